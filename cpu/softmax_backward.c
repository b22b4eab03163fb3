/* Softmax attention backward, without atomics and with the same bits for any number of threads.
 *
 * There are two schedules of the same sums. `By head`: a worker takes a key head and walks its tiles, and every step
 * adds to dq, dk and dv: five products. Where key heads are too few for the threads, `by part`: rows' tiles give dq, and
 * ranges of keys, each walking all tiles that reach it, give dk and dv: seven products, but as many items as one likes.
 */
#include "parallel.h"
#include "softmax_gradients.h"

/* What a worker holds. */
typedef struct {
    slat_tile tile, ahead; /* ahead: the next of a head's tiles, where its strips are not 0 */
    slat_step step, next;
    slat_sight sight;
    gemm_fetch fetch;
    slat_rows rows[STRIPS];
    slat_key_sums sums;
    float *q_lanes, *o_lanes, *q, *grad_o, *grad_q; /* of all strips */
    float *k, *words, *v, *p, *u;                   /* of one step; words: k as scalars */
    slat_weights weights, slopes;                   /* P and dS */
    float *sum_k, *sum_v;                           /* of a range of keys */
} bench;

typedef struct {
    const slat_cut *cut;
    const slat_problem *p;
    slat_items items;
    int by_part, apart;
    int64_t ranges, range; /* of a head's keys: their number and length */
    int64_t ld, ldv;       /* d and dv in whole vectors */
    float c, sign, scale;
    char *benches;
    size_t bench_bytes;
    double *sink;          /* [b, key head, tile, query head of the group]: parts of grad_sink */
} backward;

/* Gradients of keys are summed in place where that is f32 rows of whole vectors; but not where rows collide in the cache
 * and there is room for sums elsewhere. */
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
#define SUM_BYTES ((int64_t)64 << 20) /* of all workers' sums, before heads are cut into ranges of keys */

static int64_t heads(const slat_problem *p) { return p->b * p->hk; }

static void schedule(backward *f, const slat_run *run)
{
    const slat_problem *p = f->p;
    f->apart = slat_min(heads(p), run->threads) * p->tk * (f->ld + f->ldv) * 4 <= APART_BYTES;
    const int64_t threads = run->threads, per_key = (sum_floats(f, &p->grad_k, p->d) + sum_floats(f, &p->grad_v, p->dv)) * 4;
    const int keys = p->grad_k.data || p->grad_v.data, queries = p->grad_q.data || p->grad_sink.data;
    const int64_t rounds = (heads(p) + threads - 1) / threads;
    f->by_part = !keys || !queries || rounds * 5 * threads > 7 * heads(p) || slat_min(heads(p), threads) * per_key * p->tk > SUM_BYTES;
    f->ranges = !keys ? 0 : 1;
    if (f->by_part && keys) f->ranges = slat_max(slat_min(4 * threads / slat_max(heads(p), 1), p->tk / 512), 1);
    if (f->by_part && keys) f->ranges = slat_max(f->ranges, (threads * per_key * p->tk + SUM_BYTES - 1) / SUM_BYTES);
    f->range = f->ranges ? (p->tk + f->ranges - 1) / f->ranges : 0;
    f->items.count = heads(p) * f->ranges + (f->by_part && queries ? heads(p) * f->cut->tiles : 0);
}

/* A worker's memory begins with its bench; the buffers follow. `at` NULL: only the number of bytes. */
static size_t lay_out(const backward *f, char *at)
{
    const slat_problem *p = f->p;
    const slat_cut *cut = f->cut;
    const int64_t wide = slat_min(cut->lanes, LANES);
    const int64_t floats[] = {cut->lanes * p->d, cut->lanes * p->dv, cut->lanes * f->ld, cut->lanes * f->ldv, cut->lanes * f->ld,
                              cut->rows * f->ld, cut->rows * f->ld, cut->rows * f->ldv, cut->rows * wide, cut->rows * wide,
                              f->range * sum_floats(f, &p->grad_k, p->d), f->range * sum_floats(f, &p->grad_v, p->dv),
                              PAIRS_ONLY(cut->rows * wide, cut->rows * wide, cut->rows * wide, cut->rows * wide)};
    bench none, *w = at ? (bench *)at : &none; /* only addressed where `at` is NULL */
    float **buffers[] = {&w->q_lanes, &w->o_lanes, &w->q, &w->grad_o, &w->grad_q, &w->k, &w->words, &w->v, &w->p, &w->u, &w->sum_k, &w->sum_v,
                         PAIRS_ONLY(&w->weights.by_key, &w->weights.by_lane, &w->slopes.by_key, &w->slopes.by_lane)};
    size_t bytes = (size_t)round_up((int64_t)sizeof(bench), 256);
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        if (at) *buffers[i] = (float *)(at + bytes);
        bytes += (size_t)round_up(floats[i] * 4, 256) + 256; /* buffers of equal sizes do not alias */
    }
    return bytes;
}

static size_t sink_bytes(const backward *f)
{
    return f->p->grad_sink.data ? (size_t)(f->p->b * f->p->hq * f->cut->tiles) * sizeof(double) : 0;
}

static backward begin(const slat_cut *cut, const slat_run *run, int32_t *workers)
{
    const slat_problem *p = cut->p;
    backward f = {.cut = cut, .p = p, .ld = round_up(p->d, VL), .ldv = round_up(p->dv, VL), .scale = (float)fabs(p->scale),
                  .c = (float)(fabs(p->scale) * LOG2E), .sign = p->scale < 0 ? -1 : 1};
    schedule(&f, run);
    f.bench_bytes = lay_out(&f, NULL);
    *workers = slat_workers(run, f.items.count, 5.0 * (double)(heads(p) * cut->tiles * cut->steps) * (p->d + p->dv) * cut->lanes * cut->rows);
    return f;
}

size_t slat_softmax_backward_bytes(const slat_cut *cut, const slat_run *run)
{
    int32_t workers;
    const backward f = begin(cut, run, &workers);
    return (size_t)workers * f.bench_bytes + sink_bytes(&f);
}

/* ---- rows ---- */

static float dot_row(const slat_view *x, const slat_view *y, int64_t b, slat_point at, int64_t h, int64_t columns)
{
    const void *p = row_at(x, b, at, h), *q = row_at(y, b, at, h);
    vec sum = vec_zero();
    for (int64_t c = 0; c < columns; c += VL) {
        const int n = (int)slat_min(VL, columns - c);
        sum = vec_fma(vec_load_row(p, x->type, c, n), vec_load_row(q, y->type, c, n), sum);
    }
    return vec_sum(sum);
}

/* Fills a strip's lse and delta; returns the lanes that see anything. sink: of each query head of the group. */
static uint64_t load_statistics(const slat_problem *p, int64_t b, const slat_strip *strip, slat_rows *rows, double *sink)
{
    const int32_t group = p->hq / p->hk;
    uint64_t live = 0;
    for (int32_t l = 0; l < LANES; l++) rows->lse[l] = INFINITY, rows->delta[l] = 0;
    for (int32_t l = 0; l < strip->lanes; l++) {
        const float lse = *scalar_at(&p->lse, b, strip->at[l], slat_lane_head(strip, l));
        if (lse == -INFINITY) continue;
        live |= 1ull << l;
        rows->lse[l] = (float)(lse * LOG2E);
        rows->delta[l] = dot_row(&p->grad_o, &p->o, b, strip->at[l], slat_lane_head(strip, l), p->dv);
        if (p->grad_lse.data) rows->delta[l] -= *scalar_at(&p->grad_lse, b, strip->at[l], slat_lane_head(strip, l));
        if (!sink) continue;
        const int32_t h = slat_lane_head(strip, l);
        sink[h % group] -= exp((double)((const float *)p->sink.data)[h * p->sink.head] - lse) * rows->delta[l];
    }
    return live;
}

static void load_tile(const backward *f, bench *w, int64_t index, int with_q)
{
    const slat_problem *p = f->p;
    const int32_t group = p->hq / p->hk;
    double *sink = p->grad_sink.data && with_q ? f->sink + index * group : NULL;
    int64_t lane = 0;
    if (sink) memset(sink, 0, (size_t)group * sizeof *sink);
    for (int32_t s = 0; s < w->tile.strips; lane += w->tile.strip[s++].wide) {
        const slat_strip *strip = w->tile.strip + s;
        slat_rows *rows = w->rows + s;
        const uint64_t live = load_statistics(p, w->tile.b, strip, rows, sink);
        rows->q_lanes = w->q_lanes + lane * p->d;
        rows->o_lanes = w->o_lanes + lane * p->dv;
        rows->q = w->q + lane * f->ld;
        rows->grad_o = w->grad_o + lane * f->ldv;
        rows->grad_q = w->grad_q + lane * f->ld;
        query_lanes(rows->q_lanes, &p->q, w->tile.b, strip, live, p->d, f->sign);
        query_lanes(rows->o_lanes, &p->grad_o, w->tile.b, strip, live, p->dv, 1);
        query_rows(rows->q, f->ld, &p->q, w->tile.b, strip, live, p->d);
        query_rows(rows->grad_o, f->ldv, &p->grad_o, w->tile.b, strip, live, p->dv);
    }
    memset(w->grad_q, 0, (size_t)(f->cut->lanes * f->ld) * sizeof(float));
}

static void store_tile(const backward *f, const bench *w)
{
    const slat_problem *p = f->p;
    for (int32_t s = 0; s < w->tile.strips; s++) {
        const slat_strip *strip = w->tile.strip + s;
        for (int32_t l = 0; l < strip->lanes; l++)
            unpack_row(row_to(&p->grad_q, w->tile.b, strip->at[l], slat_lane_head(strip, l)), p->grad_q.type, w->rows[s].grad_q + l * f->ld, f->sign, p->d);
    }
}

/* ---- steps ---- */

static void step_of_strip(const backward *f, bench *w, int32_t s, gemm_scalars keys, gemm_rows key_vectors, gemm_scalars values,
                          int with_q)
{
    const slat_strip *strip = w->tile.strip + s;
    const slat_rows *rows = w->rows + s;
    slat_group group[GROUPS];
    if (!f->cut->walk->sight(f->cut, &w->tile, strip, &w->step, &w->sight)) return;
    const int32_t groups = slat_groups(strip, &w->step, &w->sight, group);
    for (int32_t g = 0; g < groups; g++) {
        const slat_span span = slat_group_span(&w->step, &w->sight, group + g);
        scores(w->p, keys, rows->q_lanes, strip->wide, f->p->d, &span, group + g, &w->fetch);
        scores(w->u, values, rows->o_lanes, strip->wide, f->p->dv, &span, group + g, &w->fetch);
        if (w->step.kind == SLAT_ATTEND) weigh_group(w->p, w->u, strip->wide, rows, &w->sight, group + g, f->c, f->scale);
        else weigh_buckets(w->p, w->u, strip->wide, rows, &w->sight, f->c, f->scale);
    }
    for (int32_t g = 0; g < groups; g++) {
        const slat_span span = slat_group_span(&w->step, &w->sight, group + g);
        const slat_span valued = slat_value_span(&w->step, &w->sight, group + g);
        const int64_t wide = strip->wide, lane = operand_terms(group[g].lane);
        const int64_t lanes = slat_min(group[g].lanes, strip->lanes - group[g].lane);
        set_weights(&w->weights, w->p, wide, group + g);
        set_weights(&w->slopes, w->u, wide, group + g);
        if (w->sums.v.at)
            add_span(&w->sums, &w->sums.v, &w->step, &valued, weights_by_lane(&w->weights, wide, group + g),
                     (gemm_rows){rows->grad_o + lane * f->ldv, f->ldv}, f->ldv, lanes, &w->fetch);
        if (w->sums.k.at)
            add_span(&w->sums, &w->sums.k, &w->step, &span, weights_by_lane(&w->slopes, wide, group + g),
                     (gemm_rows){rows->q + lane * f->ld, f->ld}, f->ld, lanes, &w->fetch);
        if (with_q) weigh_keys(rows->grad_q, f->ld, &w->slopes, wide, key_vectors, &span, group + g, strip->lanes, &w->fetch);
    }
}

static int64_t step_chunks(const backward *f, const bench *w, int queries)
{
    int64_t n = 0;
    for (int32_t s = 0; s < w->tile.strips; s++) {
        const int64_t lanes = w->tile.strip[s].lanes, vectors = w->tile.strip[s].wide / VL;
        n += gemm_chunks(w->step.rows, vectors, operand_terms(f->p->d)) + gemm_chunks(w->step.rows, vectors, operand_terms(f->p->dv));
        if (w->sums.k.at) n += gemm_chunks(w->step.rows, f->ld / VL, operand_terms(lanes));
        if (w->sums.v.at) n += gemm_chunks(w->step.rows, f->ldv / VL, operand_terms(lanes));
        if (queries) n += gemm_chunks(lanes, f->ld / VL, operand_terms(w->step.rows));
    }
    return n;
}

/* The step after w->next that has a kept key, or any where dq is wanted. */
static int next_step(const backward *f, bench *w, int queries)
{
    while (f->cut->walk->step(f->cut, &w->tile, &w->next))
        if (queries || keeps_any(&w->sums, &w->next)) return 1;
    return 0;
}

static void fetch_rows(const backward *f, bench *w)
{
    fetch_queries(&w->fetch, &f->p->q, &w->ahead, f->p->d);
    fetch_queries(&w->fetch, &f->p->grad_o, &w->ahead, f->p->dv);
    fetch_queries(&w->fetch, &f->p->o, &w->ahead, f->p->dv);
}

/* All steps of the bench's tile. */
static void run_tile(const backward *f, bench *w, int64_t index, int with_q)
{
    const slat_problem *p = f->p;
    slat_step *step = &w->step;
    const int queries = with_q && p->grad_q.data;
    memset(w->next.cursor, 0, sizeof w->next.cursor);
    int more = w->tile.strips && (queries || w->sums.first < w->sums.end) && next_step(f, w, queries);
    if (with_q || more) load_tile(f, w, index, with_q);
    while (more) {
        *step = w->next;
        more = next_step(f, w, queries);
        w->fetch.rows = w->fetch.next = 0;
        if (more) fetch_keys(&w->fetch, p, w->tile.b, w->tile.key_head, &w->next);
        else fetch_rows(f, w);
        fetch_over(&w->fetch, step_chunks(f, w, queries));
        gemm_rows key_vectors = {NULL, 0};
        gemm_scalars keys;
        if (queries) key_vectors = key_rows(w->k, &p->k, w->tile.b, w->tile.key_head, step, p->d, 0, 0);
#ifndef SLAT_PAIRS
        if (queries) keys = (gemm_scalars){key_vectors.at, key_vectors.row, 1};
        else
#endif
            keys = key_scalars(w->words, &p->k, w->tile.b, w->tile.key_head, step, p->d);
        const gemm_scalars values = key_scalars(w->v, &p->v, w->tile.b, w->tile.key_head, step, p->dv);
        for (int32_t s = 0; s < w->tile.strips; s++) step_of_strip(f, w, s, keys, key_vectors, values, queries);
    }
    if (queries) store_tile(f, w);
}

/* ---- sums of a range of keys ---- */

static slat_point key_at(slat_point grid, int64_t i) { return slat_at(i / (grid.y * grid.z), i / grid.z % grid.y, i % grid.z); }

/* Points sums at the gradient itself or at the worker's memory, so that the range begins there, and clears them. */
static slat_sums clear_sums(const backward *f, const slat_key_sums *keep, const slat_view *grad, float *own, int64_t columns, int64_t b,
                            int64_t head)
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

static void store_sums(const backward *f, const slat_key_sums *keep, const slat_sums *sums, const slat_view *grad, int64_t columns, int64_t b,
                       int64_t head, float sign)
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
    sums->first = slat_min(range * f->range, p->tk);
    sums->end = slat_min(sums->first + f->range, p->tk);
    sums->k = clear_sums(f, sums, &p->grad_k, w->sum_k, p->d, w->tile.b, w->tile.key_head);
    sums->v = clear_sums(f, sums, &p->grad_v, w->sum_v, p->dv, w->tile.b, w->tile.key_head);
    w->ahead = w->tile;
    for (int64_t i = 0; i < f->cut->tiles; i++) {
        if (i == 0) f->cut->walk->tile(f->cut, i, &w->ahead);
        w->tile = w->ahead;
        if (i + 1 < f->cut->tiles) f->cut->walk->tile(f->cut, i + 1, &w->ahead);
        else w->ahead.strips = 0;
        run_tile(f, w, head * f->cut->tiles + i, !f->by_part);
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
        w->ahead.strips = 0;
        set_head(f, w, row / f->cut->tiles);
        f->cut->walk->tile(f->cut, f->cut->tiles - 1 - row % f->cut->tiles, &w->tile);
        run_tile(f, w, row / f->cut->tiles * f->cut->tiles + f->cut->tiles - 1 - row % f->cut->tiles, 1);
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
    f.sink = (double *)(f.benches + (size_t)workers * f.bench_bytes);
    slat_parallel(run, workers, work, &f);
    if (p->grad_sink.data) add_sinks(&f);
}
