/* How a backward pass is shared out, and its workspace. softmax_backward.c describes the schedules. */
#ifndef SLAT_CPU_BACKWARD_SCHEDULE_H
#define SLAT_CPU_BACKWARD_SCHEDULE_H
#include "backward_tile.h"
#include "size.h"

/* Gradients of keys are summed in place where that is f32 rows of whole vectors; but not where rows collide in the
 * cache and there is room for sums elsewhere. */
static int in_place(const backward *f, const slat_view *grad, int64_t columns)
{
    return grad->type == SLAT_F32 && columns % VL == 0 && !(f->apart && aliases(grad->token[2] * 4));
}

static int64_t sum_floats(const backward *f, const slat_view *grad, int64_t columns)
{
    return grad->data && !in_place(f, grad, columns) ? round_up(columns, VL) : 0; /* of one key */
}

#define APART_BYTES ((int64_t)32 << 20) /* of all workers' sums that could stand in place */
#define HALF_BYTES  ((int64_t)48 << 20) /* by half: of all dq and of all workers' sums */
#define TILE_ITEMS  16 /* by part: items of tiles for each worker, at least, and */
#define TILE_RUN    8  /* tiles of an item, at most: neighbours share keys */
#define SUM_BYTES   ((int64_t)48 << 20) /* of all workers' sums, before heads are cut into ranges of keys */

/* A stop, counted in keys. */
static int64_t stop_key(const backward *f, int64_t stop)
{
    const slat_point grid = slat_key_grid(f->p);
    return stop * (f->cut->stop_dim == 0 ? grid.y * grid.z : f->cut->stop_dim == 1 ? grid.z : 1);
}

/* Keys of the longer half, at most. */
static int64_t half_range(const backward *f)
{
    const int64_t stop = stop_key(f, f->cut->stop);
    return slat_min(slat_max(stop, f->p->tk - stop) + f->cut->slack, f->p->tk);
}

/* dq of the sides of the stop, by half. */
static size_t dq_bytes(const backward *f)
{
    const slat_problem *p = f->p;
    const size_t rows = size_product((size_t)slat_heads(p) * (size_t)(p->hq / p->hk), (size_t)p->tq);
    return size_product(size_product(rows, (size_t)kept_sides(p)), (size_t)f->ld * sizeof(float));
}

static size_t half_bytes(const backward *f)
{
    return f->by == BY_HALF ? dq_bytes(f) : 0;
}

/* What the sides leave word of, a byte a tile. */
static size_t met_bytes(const backward *f)
{
    return f->by == BY_HALF ? size_product((size_t)slat_heads(f->p), (size_t)f->cut->tiles) : 0;
}

/* The schedule that takes the least time, in products of a head. per_key: bytes of one key's sums. */
static slat_schedule choose(const backward *f, int64_t threads, int64_t per_key)
{
    const slat_problem *p = f->p;
    const int64_t n = slat_heads(p);
    const int64_t rounds = (n + threads - 1) / threads, half_rounds = (2 * n + threads - 1) / threads;
    const double part = 7.0 * (double)n / (double)threads, head = 5.0 * (double)rounds,
                 half = 2.75 * (double)half_rounds;
    if (!(p->grad_k.data || p->grad_v.data) || !(p->grad_q.data || p->grad_sink.data)) return BY_PART;
    if ((double)(slat_min(n, threads) * per_key) * (double)p->tk > SUM_BYTES) return BY_PART;
    if (head <= part && head <= half) return BY_HEAD;
    if (f->cut->stop < INT64_MAX && half < part &&
        (double)dq_bytes(f) + (double)(slat_min(2 * n, threads) * per_key) * (double)half_range(f) <= HALF_BYTES)
        return BY_HALF;
    return head <= part ? BY_HEAD : BY_PART;
}

static void schedule(backward *f, const slat_run *run)
{
    const slat_problem *p = f->p;
    const int64_t threads = slat_useful_threads(run), n = slat_max(slat_heads(p), 1);
    const int64_t per_key = (sum_floats(f, &p->grad_k, p->d) + sum_floats(f, &p->grad_v, p->dv)) * 4;
    const int keys = (p->grad_k.data || p->grad_v.data) && slat_heads(p), queries = p->grad_q.data || p->grad_sink.data;
    f->by = choose(f, threads, per_key);
    f->apart = f->by == BY_HEAD &&
               (double)(slat_min(n, threads) * (f->ld + f->ldv) * 4) * (double)p->tk <= APART_BYTES;
    f->ranges = f->by == BY_HALF ? 2 : keys;
    if (f->by == BY_PART && keys) {
        f->ranges = slat_max(slat_min(4 * threads / n, p->tk / 512), 1);
        f->ranges = slat_max(f->ranges, (int64_t)ceil((double)(threads * per_key) * (double)p->tk / SUM_BYTES));
    }
    f->range = f->by == BY_HALF ? half_range(f) : f->ranges ? (p->tk + f->ranges - 1) / f->ranges : 0;
    f->run = slat_max(slat_min(n * f->cut->tiles / (threads * TILE_ITEMS), TILE_RUN), 1);
    f->items.count = slat_heads(p) * f->ranges;
    if (f->by == BY_PART && queries) f->items.count += slat_heads(p) * ((f->cut->tiles + f->run - 1) / f->run);
}

/* A worker's memory begins with its bench; the buffers follow. `at` NULL: only the number of bytes. */
static size_t lay_out(const backward *f, char *at)
{
    const slat_problem *p = f->p;
    const slat_cut *cut = f->cut;
    const size_t rows = (size_t)cut->rows, lanes = (size_t)cut->lanes, wide = lanes < LANES ? lanes : LANES;
    const size_t ld = (size_t)f->ld, ldv = (size_t)f->ldv, range = (size_t)f->range;
    const size_t floats[] = {lanes * (size_t)p->d,
                             lanes * (size_t)p->dv,
                             lanes * ld,
                             lanes * ldv,
                             2 * lanes * ld,
                             rows * ld,
                             rows * ld,
                             rows * ldv,
                             rows * wide,
                             rows * wide,
                             size_product(range, (size_t)sum_floats(f, &p->grad_k, p->d)),
                             size_product(range, (size_t)sum_floats(f, &p->grad_v, p->dv)),
                             PAIRS_ONLY(rows * wide, rows * wide, rows * wide, rows * wide)};
    bench none, *w = at ? (bench *)at : &none; /* only addressed where `at` is NULL */
    float **buffers[] = {&w->q_lanes,
                         &w->o_lanes,
                         &w->q,
                         &w->grad_o,
                         &w->grad_q,
                         &w->k,
                         &w->words,
                         &w->v,
                         &w->p,
                         &w->u,
                         &w->sum_k,
                         &w->sum_v,
                         PAIRS_ONLY(&w->weights.by_key, &w->weights.by_lane, &w->slopes.by_key, &w->slopes.by_lane)};
    size_t bytes = (size_t)round_up((int64_t)sizeof(bench), 256);
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        if (at) *buffers[i] = (float *)(at + bytes);
        bytes = size_sum(bytes, size_buffer(floats[i]));
    }
    return bytes;
}

static size_t sink_bytes(const backward *f)
{
    const slat_problem *p = f->p;
    const size_t tiles = size_product((size_t)slat_heads(p) * (size_t)(p->hq / p->hk), (size_t)f->cut->tiles);
    return p->grad_sink.data ? size_product(tiles, sizeof(double)) : 0;
}

static backward begin(const slat_cut *cut, const slat_run *run, int32_t *workers)
{
    const slat_problem *p = cut->p;
    backward f = {.cut = cut,
                  .p = p,
                  .ld = round_up(p->d, VL),
                  .ldv = round_up(p->dv, VL),
                  .scale = (float)fabs(p->scale),
                  .c = (float)(fabs(p->scale) * LOG2E),
                  .sign = p->scale < 0 ? -1 : 1};
    schedule(&f, run);
    f.bench_bytes = lay_out(&f, NULL);
    *workers =
        slat_workers(run, f.items.count,
                     5.0 * (double)slat_heads(p) * (double)cut->tiles * (double)cut->steps * (p->d + p->dv) *
                         cut->lanes * cut->rows,
                     f.bench_bytes);
    return f;
}
#endif
