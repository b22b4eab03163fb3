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
    int64_t part, part_ahead;          /* of them */
    slat_step step, next;
    slat_sight sight;
    gemm_fetch fetch;
    slat_state state[STRIPS], inner[STRIPS]; /* inner: of a block of landmark's that comes in several steps */
    float factor[STEP_BLOCKS * LANES];
    float *queries, *o; /* of all strips: transposed queries [d, wide], sums [wide, ld] */
    float *inner_o;     /* the same for `inner` */
    float *k, *v, *p;   /* of one step */
    const char *rows[3 * ROWS]; /* few queries: see plan_few() */
    slat_weights weights;
} bench;

typedef struct {
    const slat_cut *cut;
    const slat_problem *p;
    slat_items items;
    int64_t parts, range; /* parts of a tile; a part has so many keys of a sequence, or steps over a grid */
    float c, sign;
    int64_t ld, ldk; /* dv and d in whole vectors */
    char *benches;
    size_t bench_bytes;
    float *part; /* [tile, part, TILE_LANES, ld + 2]: o, max and sum of a lane */
} forward;

static inline int64_t part_of(const forward *f, const slat_step *step)
{
    const slat_problem *p = f->p;
    if (f->parts == 1) return 0;
    if (p->op == SLAT_OP_NEIGHBORHOOD) return (step->number - 1) / f->range;
    const int64_t key = step->piece[0].first.z;
    return (f->cut->long_blocks && step->kind != SLAT_ATTEND ? key - key % p->landmark_block : key) / f->range;
}

/* The step after *step that belongs to a part; 0: there is none. Steps come in the order of keys, landmark's do not. */
static int next_step(const forward *f, const slat_tile *tile, int64_t part, slat_step *step)
{
    while (tile->strips && f->cut->walk->step(f->cut, tile, step)) {
        step->number++;
        const int64_t now = part_of(f, step);
        if (now == part) return 1;
        if (now > part && f->p->op != SLAT_OP_LANDMARK) return 0;
    }
    return 0;
}

static void before_first(slat_step *step)
{
    memset(step->cursor, 0, sizeof step->cursor);
    step->number = 0;
}

/* Few queries: their rows are packed as they are, and scores are sums over lanes. */
static int is_few(const slat_tile *tile)
{
#ifdef SLAT_PAIRS
    return 0;
#endif
    return tile->strips == 1 && tile->strip[0].lanes <= FEW;
}

/* What products of few queries with row `row` of w->rows fetch. */
static few_fetch fetch_from(const bench *w, int64_t row, int64_t bytes)
{
    return (few_fetch){w->rows + w->step.rows + row, w->rows + slat_min(FEW_NEAR, w->step.rows) + row, bytes};
}

/* few: `keys` are vectors. */
static void step_of_strip(const forward *f, bench *w, int32_t s, gemm_scalars keys, gemm_rows values,
                          const float *queries, float *o)
{
    const slat_strip *strip = &w->tile->strip[s];
    float *inner_o = w->inner_o + (o - w->o);
    const int few = is_few(w->tile), blocks = w->step.kind == SLAT_BUCKET || w->step.kind == SLAT_OUTER;
    const int64_t lanes = few ? round_up(strip->lanes, 4) : strip->lanes;
    const int64_t wide = few && !blocks ? lanes : strip->wide; /* of a row of scores */
    slat_group group[GROUPS];
    if (!f->cut->walk->sight(f->cut, w->tile, strip, &w->step, &w->sight)) return;
    const int32_t groups = slat_groups(strip, &w->step, &w->sight, group);
    for (int32_t g = 0; g < groups; g++) {
        const slat_span span = slat_group_span(&w->step, &w->sight, group + g);
        if (few) {
            for (int64_t i = 0; i < span.runs; i++) {
                const int64_t row = span.first + i * (span.run + span.skip);
                few_products(w->p + i * span.run * wide, wide, (gemm_rows){keys.at + row * keys.row, keys.row},
                             span.run, queries, f->ldk, lanes, f->sign,
                             fetch_from(w, row, row_bytes(&f->p->v, f->p->dv)));
            }
            continue;
        }
        scores(w->p, keys, queries, strip->wide, f->p->d, &span, group + g, &w->fetch);
    }
    if (w->step.kind == SLAT_OUTER) {
        close_block(&w->state[s], &w->inner[s], w->p, strip->wide, &w->sight, f->c, o, inner_o, f->ld / VL);
        return;
    }
    if (w->step.kind == SLAT_INNER) o = inner_o;
    if (!blocks) {
        slat_state *state = w->step.kind == SLAT_INNER ? &w->inner[s] : &w->state[s];
        if (few) few_attend(state, w->p, wide, &w->sight, f->c, o, f->ld / VL);
        else attend(state, w->p, wide, &w->sight, group, groups, f->c, o, f->ld / VL);
    } else {
        bucket(&w->state[s], w->p, strip->wide, &w->sight, f->c, w->factor, o, f->ld / VL);
        set_weights(&w->weights, w->p, strip->wide, group);
        weigh_blocks(o, f->ld, &w->weights, strip->wide, values, &w->step, value_rows(&w->step), w->factor,
                     strip->lanes, &w->fetch);
        return;
    }
    for (int32_t g = 0; g < groups; g++) {
        const slat_span span = slat_group_span(&w->step, &w->sight, group + g);
        if (few) {
            for (int64_t i = 0; i < span.runs; i++) {
                const int64_t row = span.first + i * (span.run + span.skip);
                few_values(o, f->ld, w->p + i * span.run * wide, wide,
                           (gemm_rows){values.at + row * values.row, values.row}, span.run,
                           fetch_from(w, w->step.rows + row, row_bytes(&f->p->k, f->p->d)));
            }
            continue;
        }
        set_weights(&w->weights, w->p, strip->wide, group + g);
        weigh_keys(o, f->ld, &w->weights, strip->wide, values, &span, &w->sight, group + g, strip->lanes,
                   &w->fetch);
    }
}

/* Few queries: lists the rows that are read from now on, as far as they are known: the step's keys and values, or the
 * next step's values where these are packed already, and the next step's keys. Landmark's whole blocks fetch the last
 * as others do. */
static void plan_few(const forward *f, bench *w, const slat_tile *next, int packed)
{
    const slat_problem *p = f->p;
    const slat_tile *tile = w->tile;
    const int64_t rows = w->step.rows;
    list_rows(w->rows, rows, &p->k, tile->b, tile->key_head, &w->step);
    if (packed && next)
        list_rows(w->rows + rows, rows, &p->v, next->b, next->key_head, &w->next);
    else
        list_rows(w->rows + rows, rows, &p->v, tile->b, tile->key_head, &w->step);
    if (next)
        list_rows(w->rows + 2 * rows, rows, &p->k, next->b, next->key_head, &w->next);
    else
        memcpy(w->rows + 2 * rows, w->rows + rows, (size_t)rows * sizeof *w->rows);
    if (next && w->step.kind == SLAT_BUCKET)
        fetch_keys(&w->fetch, &p->k, next->b, next->key_head, &w->next, p->d);
    fetch_over(&w->fetch, gemm_chunks(tile->strip[0].lanes, f->ld / VL, w->step.rows));
}

/* What a step's products fetch: the next step's keys and values; of the tile ahead also its rows; and where a tile ends,
 * the rows that its results go to. packed: the step's values are. */
static void plan_fetches(const forward *f, bench *w, int more, int any_ahead, int packed)
{
    const slat_problem *p = f->p;
    const slat_tile *tile = w->tile, *next = more ? tile : w->ahead;
    const int last = !more;
    int64_t chunks = 0;
    w->fetch.rows = w->fetch.next = 0;
    if (!more && any_ahead) {
        fetch_queries(&w->fetch, &p->q, next, p->d);
        before_first(&w->next);
        more = next_step(f, next, w->part_ahead, &w->next);
    }
    if (is_few(tile)) {
        plan_few(f, w, more ? next : NULL, packed);
        return;
    }
    for (int32_t s = 0; s < tile->strips; s++) {
        chunks += gemm_chunks(w->step.rows, tile->strip[s].wide / VL, operand_terms(p->d));
        chunks += gemm_chunks(tile->strip[s].lanes, f->ld / VL, operand_terms(w->step.rows));
    }
    if (more) {
        fetch_keys(&w->fetch, &p->k, next->b, next->key_head, &w->next, p->d);
        fetch_keys(&w->fetch, &p->v, next->b, next->key_head, &w->next, p->dv);
    }
    if (last && f->parts == 1) fetch_queries(&w->fetch, &p->o, tile, p->dv);
    fetch_over(&w->fetch, chunks / f->cut->apart);
}

/* The steps of the tile's part. any_ahead: there is a tile ahead. */
static void run_steps(const forward *f, bench *w, int any_ahead)
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
        if (f->cut->long_blocks) state_clear(&w->inner[s]);
    }
    memset(w->o, 0, (size_t)(f->cut->lanes * f->ld) * sizeof(float));
    if (f->cut->long_blocks) memset(w->inner_o, 0, (size_t)(f->cut->lanes * f->ld) * sizeof(float));
    before_first(&w->next);
    int more = next_step(f, tile, w->part, &w->next);
    while (more) {
        w->step = w->next;
        more = next_step(f, tile, w->part, &w->next);
        gemm_scalars keys;
        if (few) {
            const gemm_rows rows = key_rows(w->k, &p->k, tile->b, tile->key_head, &w->step, p->d, 1, 0);
            keys = (gemm_scalars){rows.at, rows.row, 1};
        } else
            keys = key_scalars(w->k, &p->k, tile->b, tile->key_head, &w->step, p->d);
        const gemm_rows values = key_rows(w->v, &p->v, tile->b, tile->key_head, &w->step, p->dv, few, 1);
        plan_fetches(f, w, more, any_ahead, values.at == w->v);
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
