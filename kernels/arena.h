/* A workspace cut into arrays. The same function cuts it when a call plans (base NULL: only sizes are added up) and
 * when it runs, so the two agree. */
#ifndef SLAT_ARENA_H
#define SLAT_ARENA_H
#include "backend.h"

typedef struct {
    char *base;
    size_t used;  /* bytes */
    int overflow; /* they do not fit into a size_t */
} slat_arena;

/* `count` elements of `size` bytes, aligned to 16 bytes; NULL while the arena only counts. */
static inline void *slat_take(slat_arena *arena, int64_t count, size_t size)
{
    const size_t at = arena->used;
    if (arena->overflow || (uint64_t)count > (SIZE_MAX - at - 15) / size) {
        arena->overflow = 1;
        return NULL;
    }
    arena->used = (at + (size_t)count * size + 15) / 16 * 16;
    return arena->base ? arena->base + at : NULL;
}

/* Fills the plan of a scalar kernel, which needs what the arena counted. */
static inline slat_status slat_plan_scalar(const slat_arena *arena, const char *kernel, slat_plan *plan)
{
    if (arena->overflow) return slat_fail(SLAT_NO_MEMORY, "workspace: its size does not fit into a size_t");
    plan->kernel = kernel;
    plan->workspace = arena->used;
    plan->deterministic = 1;
    plan->launches = 0;
    return SLAT_OK;
}

#endif
