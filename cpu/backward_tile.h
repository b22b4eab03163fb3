/* One tile of softmax attention backward: its rows, and its steps of keys. */
#ifndef SLAT_CPU_BACKWARD_TILE_H
#define SLAT_CPU_BACKWARD_TILE_H
#include "parallel.h"
#include "softmax_gradients.h"

/* What a worker holds. */
typedef struct {
    slat_tile tiles[2], *tile, *ahead; /* ahead: the next tile of the item, where its strips are not 0 */
    int64_t index_ahead;
    slat_step step, next;
    slat_sight sight;
    gemm_fetch fetch;
    slat_rows rows[STRIPS];
    slat_key_sums sums;
    int side;                                       /* of the stop whose steps are run: 0, 1; or BOTH */
    float *q_lanes, *o_lanes, *q, *grad_o, *grad_q; /* of all strips */
    float *k, *words, *v, *p, *u;                   /* of one step; words: k as scalars */
    slat_weights weights, slopes;                   /* P and dS */
    float *sum_k, *sum_v;                           /* of a range of keys */
} bench;

/* softmax_backward.c describes them. */
typedef enum { BY_HEAD, BY_HALF, BY_PART } slat_schedule;

#define BOTH (-1)

typedef enum { NOBODY, NOTHING, KEPT } left;

typedef struct {
    const slat_cut *cut;
    const slat_problem *p;
    slat_items items;
    slat_schedule by;
    int apart;
    int64_t ranges, range; /* of a head's keys: their number and length */
    int64_t run;           /* by part: tiles of an item */
    int64_t ld, ldv;       /* d and dv in whole vectors */
    float c, sign, scale;
    char *benches;
    size_t bench_bytes;
    float *half;  /* by half: [side, b, hq, tq, ld]: dq of the sides of the stop */
    atomic_uchar *met; /* by half: [b, key head, tile]: what the side that came first left, a `left` */
    double *sink; /* [b, key head, tile, query head of the group]: parts of grad_sink */
} backward;

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
static uint64_t load_statistics(const slat_problem *p, int64_t b, const slat_strip *strip, slat_rows *rows,
                                double *sink)
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

/* any: steps follow. */
static void load_tile(const backward *f, bench *w, int64_t index, int with_q, int any)
{
    const slat_problem *p = f->p;
    const int32_t group = p->hq / p->hk;
    double *sink = p->grad_sink.data && with_q && w->side != 1 ? f->sink + index * group : NULL;
    int64_t lane = 0;
    if (sink) memset(sink, 0, (size_t)group * sizeof *sink);
    for (int32_t s = 0; s < w->tile->strips; lane += w->tile->strip[s++].wide) {
        const slat_strip *strip = w->tile->strip + s;
        slat_rows *rows = w->rows + s;
        const uint64_t live = any || sink ? load_statistics(p, w->tile->b, strip, rows, sink) : 0;
        rows->q_lanes = w->q_lanes + lane * p->d;
        rows->o_lanes = w->o_lanes + lane * p->dv;
        rows->q = w->q + lane * f->ld;
        rows->grad_o = w->grad_o + lane * f->ldv;
        rows->grad_q[0] = w->grad_q + lane * f->ld;
        rows->grad_q[1] = rows->grad_q[0] + f->cut->lanes * f->ld;
        if (!any) continue;
        query_lanes(rows->q_lanes, &p->q, w->tile->b, strip, live, p->d, f->sign);
        query_lanes(rows->o_lanes, &p->grad_o, w->tile->b, strip, live, p->dv, 1);
        query_rows(rows->q, f->ld, &p->q, w->tile->b, strip, live, p->d);
        query_rows(rows->grad_o, f->ldv, &p->grad_o, w->tile->b, strip, live, p->dv);
    }
    memset(w->grad_q, 0, (size_t)(2 * f->cut->lanes * f->ld) * sizeof(float));
}

/* By half, whether a side's dq stands in grad_q until the other comes: an f32 one takes the first's. */
static int in_grad(const slat_problem *p, int side)
{
    return p->grad_q.type == SLAT_F32 && side == 0;
}

/* Sides whose dq stands in f->half. */
static int kept_sides(const slat_problem *p)
{
    return in_grad(p, 0) ? 1 : 2;
}

/* Row l of a strip in f->half for one side of the stop. */
static float *half_row(const backward *f, const slat_tile *tile, const slat_strip *strip, int32_t l, int side)
{
    const slat_problem *p = f->p;
    const int64_t row = slat_index(slat_query_box(p), strip->at[l]), kept = side - (2 - kept_sides(p));
    return f->half + (((kept * p->b + tile->b) * p->hq + slat_lane_head(strip, l)) * p->tq + row) * f->ld;
}

/* A row of dq is the sum over the keys before the stop and that over those behind it, whoever made them. */
static void store_row(const backward *f, const slat_tile *tile, const slat_strip *strip, int32_t l, float *before,
                      const float *behind)
{
    const slat_view *grad = &f->p->grad_q;
    for (int64_t c = 0; c < f->ld; c += VL) vec_store(before + c, vec_add(vec_load(before + c), vec_load(behind + c)));
    unpack_row(row_to(grad, tile->b, strip->at[l], slat_lane_head(strip, l)), grad->type, before, f->sign, f->p->d);
}

static void store_tile(const backward *f, const bench *w)
{
    for (int32_t s = 0; s < w->tile->strips; s++)
        for (int32_t l = 0; l < w->tile->strip[s].lanes; l++)
            store_row(f, w->tile, w->tile->strip + s, l, w->rows[s].grad_q[0] + l * f->ld,
                      w->rows[s].grad_q[1] + l * f->ld);
}

/* By half: keeps a tile's dq of one side of the stop for the other, or fetches it. */
static void move_half(const backward *f, const bench *w, int side, int keep)
{
    const slat_view *grad = &f->p->grad_q;
    for (int32_t s = 0; s < w->tile->strips; s++)
        for (int32_t l = 0; l < w->tile->strip[s].lanes; l++) {
            const slat_strip *strip = w->tile->strip + s;
            const int32_t h = slat_lane_head(strip, l);
            float *row = w->rows[s].grad_q[side] + l * f->ld;
            if (!in_grad(f->p, side)) {
                float *half = half_row(f, w->tile, strip, l, side);
                memcpy(keep ? half : row, keep ? row : half, (size_t)f->ld * sizeof(float));
            } else if (keep)
                unpack_row(row_to(grad, w->tile->b, strip->at[l], h), grad->type, row, 1, f->p->d);
            else
                pack_row(row, row_at(grad, w->tile->b, strip->at[l], h), grad->type, f->p->d);
        }
}

/* By half: a tile is stored by the side that comes to it second. any: this side has steps there. */
static void join_tile(const backward *f, const bench *w, int64_t index, int any)
{
    atomic_uchar *met = f->met + index;
    unsigned char other = atomic_load_explicit(met, memory_order_acquire);
    if (other == NOBODY) {
        if (any) move_half(f, w, w->side, 1);
        if (atomic_compare_exchange_strong_explicit(met, &other, any ? KEPT : NOTHING, memory_order_acq_rel,
                                                    memory_order_acquire))
            return;
    }
    if (other == KEPT) move_half(f, w, !w->side, 0);
    store_tile(f, w);
}

/* ---- steps ---- */

static void step_of_strip(const backward *f, bench *w, int32_t s, gemm_scalars keys, gemm_rows key_vectors,
                          gemm_scalars values, int with_q)
{
    const slat_strip *strip = w->tile->strip + s;
    slat_rows *rows = w->rows + s;
    slat_group group[GROUPS];
    const slat_step_kind kind = w->step.kind;
    if (!f->cut->walk->sight(f->cut, w->tile, strip, &w->step, &w->sight)) return;
    const int32_t groups = slat_groups(strip, &w->step, &w->sight, group);
    if (kind == SLAT_INNER && w->step.piece[0].first.z % f->p->landmark_block == 0) inner_clear(rows);
    for (int32_t g = 0; g < groups; g++) {
        const slat_span span = slat_group_span(&w->step, &w->sight, group + g);
        scores(w->p, keys, rows->q_lanes, strip->wide, f->p->d, &span, group + g, &w->fetch);
        if (kind != SLAT_OUTER)
            scores(w->u, values, rows->o_lanes, strip->wide, f->p->dv, &span, group + g, &w->fetch);
        switch (kind) {
        case SLAT_ATTEND: weigh_group(w->p, w->u, strip->wide, rows, &w->sight, group + g, f->c, f->scale); break;
        case SLAT_BUCKET: weigh_buckets(w->p, w->u, strip->wide, rows, &w->sight, f->c, f->scale); break;
        case SLAT_INNER: inner_group(w->p, w->u, strip->wide, rows, &w->sight, group + g, f->c); break;
        case SLAT_OUTER: outer_row(w->p, w->u, strip->wide, rows, &w->sight, f->c, f->scale); break;
        case SLAT_AGAIN: again_group(w->p, w->u, strip->wide, rows, &w->sight, group + g, f->c, f->scale); break;
        }
    }
    for (int32_t g = 0; kind != SLAT_INNER && g < groups; g++) {
        const slat_span span = slat_group_span(&w->step, &w->sight, group + g);
        const slat_span valued = slat_value_span(&w->step, &w->sight, group + g);
        const int64_t wide = strip->wide, lane = operand_terms(group[g].lane);
        const int64_t lanes = slat_min(group[g].lanes, strip->lanes - group[g].lane);
        set_weights(&w->weights, w->p, wide, group + g);
        set_weights(&w->slopes, w->u, wide, group + g);
        if (w->sums.v.at && kind != SLAT_OUTER)
            add_span(&w->sums, &w->sums.v, &w->step, &valued, &w->sight, weights_by_lane(&w->weights, wide, group + g),
                     (gemm_rows){rows->grad_o + lane * f->ldv, f->ldv}, f->ldv, lanes, &w->fetch);
        if (w->sums.k.at)
            add_span(&w->sums, &w->sums.k, &w->step, &span, &w->sight, weights_by_lane(&w->slopes, wide, group + g),
                     (gemm_rows){rows->q + lane * f->ld, f->ld}, f->ld, lanes, &w->fetch);
        if (with_q)
            weigh_keys(rows->grad_q[slat_is_behind(f->cut, w->tile, &w->step)], f->ld, &w->slopes, wide, key_vectors,
                       &span, &w->sight, group + g, strip->lanes, &w->fetch);
    }
}

/* What a step's products fetch: the next step's keys and values, and sums, or the rows of the tile ahead. */
static void plan_fetches(const backward *f, bench *w, int queries, int more)
{
    const slat_problem *p = f->p;
    const slat_tile *tile = w->tile;
    int64_t chunks = 0;
    for (int32_t s = 0; s < tile->strips; s++) {
        const int64_t lanes = tile->strip[s].lanes, vectors = tile->strip[s].wide / VL, rows = w->step.rows;
        chunks += gemm_chunks(rows, vectors, operand_terms(p->d)) + gemm_chunks(rows, vectors, operand_terms(p->dv));
        if (w->sums.k.at) chunks += gemm_chunks(rows, f->ld / VL, operand_terms(lanes));
        if (w->sums.v.at) chunks += gemm_chunks(rows, f->ldv / VL, operand_terms(lanes));
        if (queries) chunks += gemm_chunks(lanes, f->ld / VL, operand_terms(rows));
    }
    w->fetch.rows = w->fetch.next = 0;
    if (more) {
        fetch_keys(&w->fetch, &p->k, tile->b, tile->key_head, &w->next, p->d);
        fetch_keys(&w->fetch, &p->v, tile->b, tile->key_head, &w->next, p->dv);
        if (w->fetch.near) { /* elsewhere it cost time */
            fetch_sums(&w->fetch, &w->sums.v, &w->next, p->dv);
            fetch_sums(&w->fetch, &w->sums.k, &w->next, p->d);
        }
    } else {
        fetch_queries(&w->fetch, &p->q, w->ahead, p->d);
        fetch_queries(&w->fetch, &p->grad_o, w->ahead, p->dv);
        fetch_queries(&w->fetch, &p->o, w->ahead, p->dv);
    }
    fetch_over(&w->fetch, chunks / slat_min(f->cut->apart, 2)); /* more would cost more than it saves */
}

/* The step after w->next on the side that is run which has a kept key, or any there where dq is wanted. */
static int next_step(const backward *f, bench *w, int queries)
{
    while (f->cut->walk->step(f->cut, w->tile, &w->next)) {
        if (w->side != BOTH && w->side != slat_is_behind(f->cut, w->tile, &w->next)) continue;
        if (queries || keeps_any(&w->sums, &w->next, f->p->landmark_block)) return 1;
    }
    return 0;
}

/* The key behind a step's last, in row-major order. Pieces come in this order. */
static int64_t end_of_step(const slat_key_sums *sums, const slat_step *step)
{
    const slat_piece *last = step->piece + step->pieces - 1;
    return slat_index(sums->grid, last->first) + (last->count - 1) * step->dz + 1;
}

/* All steps of the bench's tile. */
static void run_tile(const backward *f, bench *w, int64_t index, int with_q)
{
    const slat_problem *p = f->p;
    slat_step *step = &w->step;
    const int queries = with_q && p->grad_q.data;
    memset(w->next.cursor, 0, sizeof w->next.cursor);
    int more = w->tile->strips && (queries || w->sums.first < w->sums.end) && next_step(f, w, queries);
    const int any = more;
    if (with_q || more) load_tile(f, w, index, with_q, more);
    while (more) {
        *step = w->next;
        more = next_step(f, w, queries);
        clear_sums_to(&w->sums, end_of_step(&w->sums, step), f->ld, f->ldv);
        plan_fetches(f, w, queries, more);
        gemm_rows key_vectors = {NULL, 0};
        gemm_scalars keys;
        if (queries) key_vectors = key_rows(w->k, &p->k, w->tile->b, w->tile->key_head, step, p->d, 0, 0);
#ifndef SLAT_PAIRS
        if (queries)
            keys = (gemm_scalars){key_vectors.at, key_vectors.row, 1};
        else
#endif
            keys = key_scalars(w->words, &p->k, w->tile->b, w->tile->key_head, step, p->d);
        const gemm_scalars values = key_scalars(w->v, &p->v, w->tile->b, w->tile->key_head, step, p->dv);
        for (int32_t s = 0; s < w->tile->strips; s++) step_of_strip(f, w, s, keys, key_vectors, values, queries);
    }
    if (queries && w->side == BOTH)
        store_tile(f, w);
    else if (queries)
        join_tile(f, w, index, any);
}
#endif
