/* Merge's tensors as rows over the folded dimensions: what the merge kernels of a CPU share. */
#ifndef SLAT_MERGE_ROWS_H
#define SLAT_MERGE_ROWS_H
#include "arena.h"
#include "check.h"

/* Row (at[0], at[1], ...) begins at element sum of at[i] * strides[i]. */
typedef struct {
    void *data; /* NULL: absent */
    slat_type type;
    int64_t strides[SLAT_MERGE_DIMS];
} slat_row_view;

typedef struct {
    slat_row_view *o, *lse, *grad_o, *grad_lse; /* one a part; the gradients in backward */
    slat_row_view out, out_lse, grad_out, grad_out_lse;
} slat_merge_views;

/* Takes the arrays from the arena; they are filled by slat_merge_look(). */
static inline void slat_merge_take(slat_merge_views *views, const slat_problem *p, slat_arena *arena)
{
    const int32_t parts = p->parts.parts;
    views->o = slat_take(arena, parts, sizeof *views->o);
    views->lse = slat_take(arena, parts, sizeof *views->lse);
    if (p->pass == SLAT_FORWARD) return;
    views->grad_o = slat_take(arena, parts, sizeof *views->grad_o);
    views->grad_lse = slat_take(arena, parts, sizeof *views->grad_lse);
}

static inline slat_row_view slat_row_view_of(const slat_parts *parts, const DLTensor *t)
{
    slat_row_view v = {0};
    if (!t) return v;
    v.data = slat_data(t);
    v.type = (slat_type)slat_type_of(t->dtype);
    slat_merge_strides(parts, t, v.strides);
    return v;
}

static inline void slat_merge_look(slat_merge_views *views, const slat_parts *parts)
{
    for (int32_t a = 0; a < parts->parts; ++a) {
        views->o[a] = slat_row_view_of(parts, parts->o[a]);
        views->lse[a] = slat_row_view_of(parts, parts->lse[a]);
        if (views->grad_o) views->grad_o[a] = slat_row_view_of(parts, parts->grad_o ? parts->grad_o[a] : NULL);
        if (views->grad_lse) views->grad_lse[a] = slat_row_view_of(parts, parts->grad_lse ? parts->grad_lse[a] : NULL);
    }
    views->out = slat_row_view_of(parts, parts->out);
    views->out_lse = slat_row_view_of(parts, parts->out_lse);
    views->grad_out = slat_row_view_of(parts, parts->grad_out);
    views->grad_out_lse = slat_row_view_of(parts, parts->grad_out_lse);
}

static inline int64_t slat_row_offset(const slat_row_view *v, const int64_t at[SLAT_MERGE_DIMS])
{
    int64_t sum = 0;
    for (int32_t k = 0; k < SLAT_MERGE_DIMS; ++k) sum += at[k] * v->strides[k];
    return sum;
}

/* Moves to the next row in row-major order; 0 after the last one. */
static inline int32_t slat_next_row(const slat_parts *parts, int64_t at[SLAT_MERGE_DIMS])
{
    for (int32_t k = parts->ndim - 1; k >= 0; --k) {
        if (++at[k] < parts->shape[k]) return 1;
        at[k] = 0;
    }
    return 0;
}

#endif
