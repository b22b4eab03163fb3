/* Softmax attention backward, without atomics and with the same bits for any number of threads.
 *
 * There are three schedules of the same sums. `By head`: a worker takes a key head and walks its tiles, and every step
 * adds to dq, dk and dv: five products. `By half`: two workers share a key head, one with the keys before the stop, one
 * with those behind it; their sums for dq meet at the end. `By part`, for yet fewer heads: rows' tiles give dq, and
 * ranges of keys, each walking all tiles that reach it, give dk and dv: seven products, but as many items as one likes.
 */
#include "backward_tile.h"

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

/* ---- schedule and workspace ---- */

#define APART_BYTES ((int64_t)32 << 20) /* of all workers' sums that could stand in place */
#define HALF_BYTES  ((int64_t)48 << 20) /* by half: of all dq and of all workers' sums */
#define SUM_BYTES   ((int64_t)48 << 20) /* of all workers' sums, before heads are cut into ranges of keys */

static int64_t heads(const slat_problem *p)
{
    return p->b * p->hk;
}

/* The stop, counted in keys. */
static int64_t stop_key(const backward *f)
{
    const slat_point grid = slat_key_grid(f->p);
    return f->cut->stop * (f->cut->stop_dim == 0 ? grid.y * grid.z : f->cut->stop_dim == 1 ? grid.z : 1);
}

/* Keys of the longer half. */
static int64_t half_range(const backward *f)
{
    return slat_max(stop_key(f), f->p->tk - stop_key(f));
}

/* The schedule that takes the least time, in products of a head. per_key: bytes of one key's sums. */
static slat_schedule choose(const backward *f, int64_t threads, int64_t per_key)
{
    const slat_problem *p = f->p;
    const int64_t n = heads(p), rounds = (n + threads - 1) / threads, half_rounds = (2 * n + threads - 1) / threads;
    const double part = 7.0 * (double)n / (double)threads, head = 5.0 * (double)rounds,
                 half = 2.75 * (double)half_rounds;
    if (!(p->grad_k.data || p->grad_v.data) || !(p->grad_q.data || p->grad_sink.data)) return BY_PART;
    if (slat_min(n, threads) * per_key * p->tk > SUM_BYTES) return BY_PART;
    if (head <= part && head <= half) return BY_HEAD;
    if (f->cut->stop < INT64_MAX && half < part &&
        kept_sides(p) * p->b * p->hq * p->tq * f->ld * 4 + slat_min(2 * n, threads) * per_key * half_range(f) <=
            HALF_BYTES)
        return BY_HALF;
    return head <= part ? BY_HEAD : BY_PART;
}

static void schedule(backward *f, const slat_run *run)
{
    const slat_problem *p = f->p;
    const int64_t threads = run->threads, n = slat_max(heads(p), 1);
    const int64_t per_key = (sum_floats(f, &p->grad_k, p->d) + sum_floats(f, &p->grad_v, p->dv)) * 4;
    const int keys = p->grad_k.data || p->grad_v.data, queries = p->grad_q.data || p->grad_sink.data;
    f->by = choose(f, threads, per_key);
    f->apart = f->by == BY_HEAD && slat_min(n, threads) * p->tk * (f->ld + f->ldv) * 4 <= APART_BYTES;
    f->ranges = f->by == BY_HALF ? 2 : keys;
    if (f->by == BY_PART && keys) {
        f->ranges = slat_max(slat_min(4 * threads / n, p->tk / 512), 1);
        f->ranges = slat_max(f->ranges, (threads * per_key * p->tk + SUM_BYTES - 1) / SUM_BYTES);
    }
    f->range = f->by == BY_HALF ? half_range(f) : f->ranges ? (p->tk + f->ranges - 1) / f->ranges : 0;
    f->items.count = heads(p) * f->ranges + (f->by == BY_PART && queries ? heads(p) * f->cut->tiles : 0);
}

/* A worker's memory begins with its bench; the buffers follow. `at` NULL: only the number of bytes. */
static size_t lay_out(const backward *f, char *at)
{
    const slat_problem *p = f->p;
    const slat_cut *cut = f->cut;
    const int64_t wide = slat_min(cut->lanes, LANES);
    const int64_t floats[] = {cut->lanes * p->d,
                              cut->lanes * p->dv,
                              cut->lanes * f->ld,
                              cut->lanes * f->ldv,
                              2 * cut->lanes * f->ld,
                              cut->rows * f->ld,
                              cut->rows * f->ld,
                              cut->rows * f->ldv,
                              cut->rows * wide,
                              cut->rows * wide,
                              f->range * sum_floats(f, &p->grad_k, p->d),
                              f->range * sum_floats(f, &p->grad_v, p->dv),
                              PAIRS_ONLY(cut->rows * wide, cut->rows * wide, cut->rows * wide, cut->rows * wide)};
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
        bytes += (size_t)round_up(floats[i] * 4, 256) + 256; /* buffers of equal sizes do not alias */
    }
    return bytes;
}

static size_t half_bytes(const backward *f)
{
    const slat_problem *p = f->p;
    return f->by == BY_HALF ? (size_t)(kept_sides(p) * p->b * p->hq * p->tq * f->ld) * sizeof(float) : 0;
}

static size_t sink_bytes(const backward *f)
{
    return f->p->grad_sink.data ? (size_t)(f->p->b * f->p->hq * f->cut->tiles) * sizeof(double) : 0;
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
                     5.0 * (double)(heads(p) * cut->tiles * cut->steps) * (p->d + p->dv) * cut->lanes * cut->rows);
    return f;
}

size_t slat_softmax_backward_bytes(const slat_cut *cut, const slat_run *run)
{
    int32_t workers;
    const backward f = begin(cut, run, &workers);
    return (size_t)workers * f.bench_bytes + half_bytes(&f) + sink_bytes(&f);
}

/* ---- sums of a range of keys ---- */

static slat_point key_at(slat_point grid, int64_t i)
{
    return slat_at(i / (grid.y * grid.z), i / grid.z % grid.y, i % grid.z);
}

/* Points sums at the gradient itself or at the worker's memory, so that the range begins there, and clears them. */
static slat_sums clear_sums(const backward *f, const slat_key_sums *keep, const slat_view *grad, float *own,
                            int64_t columns, int64_t b, int64_t head)
{
    const int64_t ld = round_up(columns, VL);
    slat_sums sums = {NULL, {keep->grid.y * keep->grid.z * ld, keep->grid.z * ld, ld}};
    if (!grad->data) return sums;
    if (!in_place(f, grad, columns)) {
        memset(own, 0, (size_t)((keep->end - keep->first) * ld) * sizeof *own);
        sums.at = own - keep->first * ld;
        return sums;
    }
    sums.at = (float *)grad->data + slat_offset(grad, b, slat_at(0, 0, 0), head);
    for (int i = 0; i < 3; i++) sums.token[i] = grad->token[i];
    for (int64_t i = keep->first; i < keep->end; i++)
        memset(row_to(grad, b, key_at(keep->grid, i), head), 0, (size_t)columns * sizeof(float));
    return sums;
}

static void store_sums(const backward *f, const slat_key_sums *keep, const slat_sums *sums, const slat_view *grad,
                       int64_t columns, int64_t b, int64_t head, float sign)
{
    if (!grad->data || (in_place(f, grad, columns) && sign > 0)) return;
    for (int64_t i = keep->first; i < keep->end; i++) {
        const slat_point at = key_at(keep->grid, i);
        const float *from = sums->at + at.x * sums->token[0] + at.y * sums->token[1] + at.z * sums->token[2];
        unpack_row(row_to(grad, b, at, head), grad->type, from, sign, columns);
    }
}

/* ---- workers ---- */

static void set_head(const backward *f, bench *w, int64_t head)
{
    w->tile.b = head / f->p->hk;
    w->tile.key_head = (int32_t)(head % f->p->hk);
}

static void do_range(const backward *f, bench *w, int64_t item)
{
    const slat_problem *p = f->p;
    const int64_t head = item / f->ranges, range = item % f->ranges;
    slat_key_sums *sums = &w->sums;
    set_head(f, w, head);
    sums->grid = slat_key_grid(p);
    w->side = f->by == BY_HALF ? (int)range : BOTH;
    sums->first = slat_min(range * f->range, p->tk);
    sums->end = slat_min(sums->first + f->range, p->tk);
    if (w->side == 0) sums->end = stop_key(f);
    if (w->side == 1) sums->first = stop_key(f), sums->end = p->tk;
    sums->k = clear_sums(f, sums, &p->grad_k, w->sum_k, p->d, w->tile.b, w->tile.key_head);
    sums->v = clear_sums(f, sums, &p->grad_v, w->sum_v, p->dv, w->tile.b, w->tile.key_head);
    w->ahead = w->tile;
    for (int64_t i = 0; i < f->cut->tiles; i++) {
        if (i == 0) f->cut->walk->tile(f->cut, i, &w->ahead);
        w->tile = w->ahead;
        if (i + 1 < f->cut->tiles)
            f->cut->walk->tile(f->cut, i + 1, &w->ahead);
        else
            w->ahead.strips = 0;
        run_tile(f, w, head * f->cut->tiles + i, f->by != BY_PART);
    }
    store_sums(f, sums, &sums->k, &p->grad_k, p->d, w->tile.b, w->tile.key_head, f->sign);
    store_sums(f, sums, &sums->v, &p->grad_v, p->dv, w->tile.b, w->tile.key_head, 1);
}

static void work(void *ctx, int32_t worker)
{
    backward *f = ctx;
    bench *w = (bench *)(f->benches + (size_t)worker * f->bench_bytes);
    lay_out(f, (char *)w);
    for (int64_t item; (item = slat_next_item(&f->items)) >= 0;) {
        const int64_t row = item - heads(f->p) * f->ranges;
        if (row < 0) {
            do_range(f, w, item);
            continue;
        }
        w->sums = (slat_key_sums){.first = 0, .end = 0};
        w->side = BOTH;
        w->ahead.strips = 0;
        set_head(f, w, row / f->cut->tiles);
        f->cut->walk->tile(f->cut, f->cut->tiles - 1 - row % f->cut->tiles, &w->tile);
        run_tile(f, w, row / f->cut->tiles * f->cut->tiles + f->cut->tiles - 1 - row % f->cut->tiles, 1);
    }
}

/* By half: dq of every tile, when both sides are there. */
static void join(void *ctx, int32_t worker)
{
    backward *f = ctx;
    bench *w = (bench *)(f->benches + (size_t)worker * f->bench_bytes);
    for (int64_t item; (item = slat_next_item(&f->items)) >= 0;) {
        set_head(f, w, item / f->cut->tiles);
        f->cut->walk->tile(f->cut, item % f->cut->tiles, &w->tile);
        join_tile(f, &w->tile);
    }
}

/* grad_sink: the tiles' parts, in order. */
static void add_sinks(const backward *f)
{
    const slat_problem *p = f->p;
    const int64_t group = p->hq / p->hk;
    for (int32_t h = 0; h < p->hq; h++) {
        double sum = 0;
        for (int64_t b = 0; b < p->b; b++)
            for (int64_t i = 0; i < f->cut->tiles; i++)
                sum += f->sink[((b * p->hk + h / group) * f->cut->tiles + i) * group + h % group];
        ((float *)p->grad_sink.data)[h * p->grad_sink.head] = (float)sum;
    }
}

void slat_softmax_backward(const slat_cut *cut, const slat_run *run)
{
    const slat_problem *p = cut->p;
    int32_t workers;
    backward f = begin(cut, run, &workers);
    f.benches = run->workspace;
    f.half = (float *)(f.benches + (size_t)workers * f.bench_bytes);
    f.sink = (double *)((char *)f.half + half_bytes(&f));
    slat_parallel(run, workers, work, &f);
    if (f.by == BY_HALF && p->grad_q.data) {
        atomic_store(&f.items.next, 0);
        f.items.count = heads(p) * cut->tiles;
        slat_parallel(run, workers, join, &f);
    }
    if (p->grad_sink.data) add_sinks(&f);
}
