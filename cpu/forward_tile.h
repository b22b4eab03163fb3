/* One tile of softmax attention forward: its steps of keys, each S, P and o. */
#ifndef SLAT_CPU_FORWARD_TILE_H
#define SLAT_CPU_FORWARD_TILE_H
#include "few.h"
#include "parallel.h"
#include "softmax_landmark.h"
#include "softmax_scores.h"

/* What a worker holds. */
typedef struct {
    slat_tile tiles[2], *tile, *ahead; /* ahead: of the worker's next item */
    slat_step step, next;
    slat_sight sight;
    gemm_fetch fetch;
    slat_state state[STRIPS];
    float factor[STEP_BLOCKS * LANES];
    float *queries, *o; /* of all strips: transposed queries [d, wide], sums [wide, ld] */
    float *k, *v, *p;   /* of one step */
    slat_weights weights;
} bench;

typedef struct {
    const slat_cut *cut;
    const slat_problem *p;
    slat_items items;
    int64_t parts, steps; /* parts of a tile, and steps of a part */
    float c, sign;
    int64_t ld, ldk; /* dv and d in whole vectors */
    char *benches;
    size_t bench_bytes;
    float *part; /* [tile, part, TILE_LANES, ld + 2]: o, max and sum of a lane */
} forward;

/* Few queries: their rows are packed as they are, and scores are sums over lanes. */
static int is_few(const slat_tile *tile)
{
#ifdef SLAT_PAIRS
    return 0;
#endif
    return tile->strips == 1 && tile->strip[0].lanes <= FEW;
}

/* few: `keys` are vectors. */
static void step_of_strip(const forward *f, bench *w, int32_t s, gemm_scalars keys, gemm_rows values,
                          const float *queries, float *o)
{
    const slat_strip *strip = &w->tile->strip[s];
    slat_group group[GROUPS];
    if (!f->cut->walk->sight(f->cut, w->tile, strip, &w->step, &w->sight)) return;
    const int32_t groups = slat_groups(strip, &w->step, &w->sight, group);
    for (int32_t g = 0; g < groups; g++) {
        const slat_span span = slat_group_span(&w->step, &w->sight, group + g);
        if (is_few(w->tile)) {
            for (int64_t i = 0; i < span.runs; i++) {
                const gemm_rows some = {keys.at + (span.first + i * (span.run + span.skip)) * keys.row, keys.row};
                few_products(w->p + i * span.run * strip->wide, strip->wide, some, span.run, queries, f->ldk,
                             strip->lanes, f->sign, &w->fetch);
            }
            continue;
        }
        scores(w->p, keys, queries, strip->wide, f->p->d, &span, group + g, &w->fetch);
    }
    if (w->step.kind == SLAT_BUCKET) {
        bucket(&w->state[s], w->p, strip->wide, &w->sight, f->c, w->factor, o, f->ld / VL);
        set_weights(&w->weights, w->p, strip->wide, group);
    } else
        attend(&w->state[s], w->p, strip->wide, &w->sight, group, groups, f->c, o, f->ld / VL);
    if (w->step.kind == SLAT_BUCKET) {
        weigh_blocks(o, f->ld, &w->weights, strip->wide, values, &w->step, value_rows(&w->step), w->factor,
                     strip->lanes, &w->fetch);
        return;
    }
    for (int32_t g = 0; g < groups; g++) {
        const slat_span span = slat_group_span(&w->step, &w->sight, group + g);
        set_weights(&w->weights, w->p, strip->wide, group + g);
        weigh_keys(o, f->ld, &w->weights, strip->wide, values, &span, group + g, strip->lanes, &w->fetch);
    }
}

/* What a step's products fetch: the next step's keys and values; of the tile ahead also its rows. */
static void plan_fetches(const forward *f, bench *w, int more, int any_ahead)
{
    const slat_problem *p = f->p;
    const slat_tile *tile = w->tile, *next = more ? tile : w->ahead;
    int64_t chunks = 0;
    w->fetch.rows = w->fetch.next = 0;
    for (int32_t s = 0; s < tile->strips; s++) {
        chunks +=
            is_few(tile) ? w->step.rows / 4 : gemm_chunks(w->step.rows, tile->strip[s].wide / VL, operand_terms(p->d));
        chunks += gemm_chunks(tile->strip[s].lanes, f->ld / VL, operand_terms(w->step.rows));
    }
    if (!more && any_ahead) {
        fetch_queries(&w->fetch, &p->q, next, p->d);
        memset(w->next.cursor, 0, sizeof w->next.cursor);
        more = next->strips && f->cut->walk->step(f->cut, next, &w->next);
    }
    if (more) {
        fetch_keys(&w->fetch, &p->k, next->b, next->key_head, &w->next, p->d);
        fetch_keys(&w->fetch, &p->v, next->b, next->key_head, &w->next, p->dv);
    }
    fetch_over(&w->fetch, tile->strips > 1 ? chunks / 2 : chunks); /* several strips each see a part */
}

/* Steps first ... first + steps - 1 of the tile. any_ahead: there is one ahead. */
static void run_steps(const forward *f, bench *w, int64_t first, int any_ahead)
{
    const slat_problem *p = f->p;
    const slat_tile *tile = w->tile;
    const int few = is_few(tile);
    float *queries = w->queries;
    for (int32_t s = 0; s < tile->strips; s++) {
        if (few)
            pack_queries(queries, f->ldk, &p->q, tile->b, &tile->strip[s], ~0ull, p->d);
        else
            query_lanes(queries, &p->q, tile->b, &tile->strip[s], ~0ull, p->d, f->sign);
        queries += tile->strip[s].wide * p->d;
        state_clear(&w->state[s]);
    }
    memset(w->o, 0, (size_t)(f->cut->lanes * f->ld) * sizeof(float));
    memset(w->next.cursor, 0, sizeof w->next.cursor);
    int more = tile->strips && f->cut->walk->step(f->cut, tile, &w->next);
    for (int64_t i = 0; more && i < first + f->steps; i++) {
        w->step = w->next;
        more = f->cut->walk->step(f->cut, tile, &w->next);
        if (i < first) continue;
        plan_fetches(f, w, more, any_ahead);
        gemm_scalars keys;
        if (few) {
            const gemm_rows rows = key_rows(w->k, &p->k, tile->b, tile->key_head, &w->step, p->d, 1, 0);
            keys = (gemm_scalars){rows.at, rows.row, 1};
        } else
            keys = key_scalars(w->k, &p->k, tile->b, tile->key_head, &w->step, p->d);
        const gemm_rows values = key_rows(w->v, &p->v, tile->b, tile->key_head, &w->step, p->dv, few, 1);
        float *o = w->o;
        queries = w->queries;
        for (int32_t s = 0; s < tile->strips; s++) {
            step_of_strip(f, w, s, keys, values, queries, o);
            queries += tile->strip[s].wide * p->d;
            o += tile->strip[s].wide * f->ld;
        }
    }
}
#endif
