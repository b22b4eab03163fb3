/* Threads: the one way in which this folder runs in parallel. */
#ifndef SLAT_CPU_PARALLEL_H
#define SLAT_CPU_PARALLEL_H
#include "backend.h"
#include <stdatomic.h>

/* Runs task(ctx, 0) ... task(ctx, workers - 1), each once, in any order and possibly one after the other: no task may
 * wait for another. Uses run->parallel where given, else OpenMP; one worker runs on the caller's thread. */
void slat_parallel(const slat_run *run, int32_t workers, void (*task)(void *ctx, int32_t worker), void *ctx);

#define SLAT_WORKERS 256               /* of a call, at most, however many threads it may use */
#define SLAT_ROOMS   ((size_t)96 << 20) /* bytes of all workers' memory, at most, unless one alone needs more */

static inline int32_t slat_useful_threads(const slat_run *run)
{
    return run->threads < SLAT_WORKERS ? run->threads : SLAT_WORKERS;
}

/* How many workers are worth starting for so many items of work with so many multiplications and additions in all, if
 * each takes `room` bytes of workspace. */
static inline int32_t slat_workers(const slat_run *run, int64_t items, double operations, size_t room)
{
    const double worth = operations / 1e6; /* what a thread does in the time that starting several takes */
    int64_t workers = slat_useful_threads(run) < items ? slat_useful_threads(run) : items;
    if ((double)workers > worth) workers = (int64_t)worth;
    if (room && (size_t)workers > SLAT_ROOMS / room) workers = (int64_t)(SLAT_ROOMS / room);
    return workers < 1 ? 1 : (int32_t)workers;
}

/* Hands out items 0 ... count - 1, each to one worker. */
typedef struct {
    atomic_llong next;
    int64_t count;
} slat_items;

/* The next item, or -1. */
static inline int64_t slat_next_item(slat_items *items)
{
    const int64_t item = atomic_fetch_add_explicit(&items->next, 1, memory_order_relaxed);
    return item < items->count ? item : -1;
}
#endif
