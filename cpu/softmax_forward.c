/* Softmax attention forward: for each tile of queries, over its steps of keys,
 *     S = K Q^T,   P = exp2(c S - max),   o += P^T V
 * with c = |scale| log2(e), the running maximum and sum of every lane in a state, and o in f32 until the last step.
 *
 * Few tiles over many keys are split into parts of a fixed range of keys, which are merged in order: the bits of a
 * result do not depend on the number of threads.
 */
#include "cpu.h"
#include "forward_tile.h"
#include "size.h"

#define SPLIT_TILES 128  /* as many tiles fill every machine's threads */
#define SPLIT_FEW   256  /* the same for tiles of few queries, whose work varies with what their heads see */
#define SPLIT_KEYS  2048 /* of a part, at least */

static void split(const slat_cut *cut, int64_t *parts, int64_t *range)
{
    const slat_problem *p = cut->p;
    const int64_t tiles = slat_max(slat_heads(p) * cut->tiles, 1);
    const int64_t fill = cut->lanes <= LANE_GROUP ? SPLIT_FEW : SPLIT_TILES;
    const int64_t want = slat_max(slat_min(fill / tiles, cut->keys / SPLIT_KEYS), 1);
    const int64_t all = p->op == SLAT_OP_NEIGHBORHOOD ? cut->steps : p->tk;
    const int64_t unit = p->op == SLAT_OP_NEIGHBORHOOD ? 1 : STEP_ROWS;
    *range = slat_max(round_up((all + want - 1) / want, unit), 1);
    *parts = slat_max((all + *range - 1) / *range, 1);
}

/* A worker's memory begins with its bench; the buffers follow. `at` NULL: only the number of bytes. */
static size_t lay_out(const slat_cut *cut, char *at)
{
    const slat_problem *p = cut->p;
    const int64_t d = round_up(p->d, VL), dv = round_up(p->dv, VL);
    const int64_t wide = slat_min(cut->lanes, LANES);
    const int64_t floats[] = {cut->lanes * d,
                              cut->lanes * dv,
                              cut->long_blocks ? cut->lanes * dv : 0,
                              cut->rows * d,
                              cut->rows * dv,
                              cut->rows * wide,
                              PAIRS_ONLY(cut->rows * wide)};
    bench none, *w = at ? (bench *)at : &none; /* only addressed where `at` is NULL */
    float **buffers[] = {&w->queries, &w->o, &w->inner_o, &w->k, &w->v, &w->p, PAIRS_ONLY(&w->weights.by_key)};
    size_t bytes = (size_t)round_up((int64_t)sizeof(bench), 256);
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        if (at) *buffers[i] = (float *)(at + bytes);
        bytes = size_sum(bytes, size_buffer((size_t)floats[i]));
    }
    return bytes;
}

static double operations(const slat_cut *cut)
{
    const slat_problem *p = cut->p;
    const int64_t lanes = slat_min(cut->lanes, round_up(p->tq * (p->hq / p->hk), 4)); /* few.h computes no others */
    return 2.0 * (double)slat_heads(p) * (double)cut->tiles * (double)cut->steps * (p->d + p->dv) * (double)lanes *
           cut->rows;
}

static size_t part_bytes(const slat_cut *cut, int64_t parts)
{
    const slat_problem *p = cut->p;
    const int64_t row = round_up(p->dv, VL) + 2;
    return parts == 1 ? 0 : (size_t)(slat_heads(p) * cut->tiles * parts * cut->lanes * row) * sizeof(float);
}

static int32_t workers(const slat_cut *cut, const slat_run *run, int64_t parts, size_t bench_bytes)
{
    const slat_problem *p = cut->p;
    return slat_workers(run, slat_heads(p) * cut->tiles * parts, operations(cut), bench_bytes);
}

/* ---- results ---- */

/* Stores one lane: o / sum, and lse in natural log. The sink is a logit without a value. */
static void finish_lane(const forward *f, const slat_tile *tile, const slat_strip *strip, int32_t l, const float *o,
                        float max, float sum)
{
    const slat_problem *p = f->p;
    float scale = sum > 0 ? 1 / sum : sum == 0 ? 0 : sum; /* NaN stays */
    double lse = sum == 0 ? -INFINITY : LN2 * (double)max + (double)logf(sum);
    const double sink =
        p->sink.data ? (double)((const float *)p->sink.data)[slat_lane_head(strip, l) * p->sink.head] : -INFINITY;
    if (sink != -INFINITY) {
        const double top = fmax(lse, sink), all = top + log(exp(lse - top) + exp(sink - top));
        scale *= (float)exp(lse - all);
        lse = lse == lse ? all : lse;
        if (sum == 0) scale = 0;
    }
    unpack_row(row_to(&p->o, tile->b, strip->at[l], slat_lane_head(strip, l)), p->o.type, o, scale, p->dv);
    if (p->lse.data) *scalar_at(&p->lse, tile->b, strip->at[l], slat_lane_head(strip, l)) = (float)lse;
}

static void finish(const forward *f, const bench *w)
{
    const float *o = w->o;
    for (int32_t s = 0; s < w->tile->strips; s++) {
        const slat_strip *strip = &w->tile->strip[s];
        for (int32_t l = 0; l < strip->lanes; l++)
            finish_lane(f, w->tile, strip, l, o + l * f->ld, w->state[s].max[l], w->state[s].sum[l]);
        o += strip->wide * f->ld;
    }
}

/* The place of one part's lane `l` of all the tile's. */
static float *part_lane(const forward *f, int64_t tile, int64_t part, int64_t lane)
{
    return f->part + ((tile * f->parts + part) * f->cut->lanes + lane) * (f->ld + 2);
}

static void keep_part(const forward *f, const bench *w, int64_t tile, int64_t part)
{
    int64_t lane = 0;
    for (int32_t s = 0; s < w->tile->strips; s++) {
        for (int32_t l = 0; l < w->tile->strip[s].lanes; l++) {
            float *to = part_lane(f, tile, part, lane + l);
            memcpy(to, w->o + (lane + l) * f->ld, (size_t)f->ld * sizeof *to);
            to[f->ld] = w->state[s].max[l];
            to[f->ld + 1] = w->state[s].sum[l];
        }
        lane += w->tile->strip[s].wide;
    }
}

/* Adds a tile's parts, in order, into the first. */
static void merge_parts(const forward *f, const slat_tile *tile, int64_t index)
{
    int64_t lane = 0;
    for (int32_t s = 0; s < tile->strips; lane += tile->strip[s++].wide)
        for (int32_t l = 0; l < tile->strip[s].lanes; l++) {
            float *to = part_lane(f, index, 0, lane + l);
            float max = -INFINITY, sum = 0;
            for (int64_t i = 0; i < f->parts; i++) max = fmaxf(max, part_lane(f, index, i, lane + l)[f->ld]);
            for (int64_t i = 0; i < f->parts; i++) {
                const float *from = part_lane(f, index, i, lane + l);
                const float factor = from[f->ld + 1] == 0 ? 0 : exp2f(from[f->ld] - max);
                const vec all = vec_all(factor);
                sum += from[f->ld + 1] * factor;
                for (int64_t c = 0; c < f->ld; c += VL)
                    vec_store(to + c, i ? vec_fma(vec_load(from + c), all, vec_load(to + c))
                                        : vec_mul(vec_load(from + c), all));
            }
            finish_lane(f, tile, &tile->strip[s], l, to, max, sum);
        }
}

/* ---- the workers ---- */

/* Where the heads' rows stand side by side, they share pages: all heads' tiles at one place come together. Otherwise a
 * head's do, so that its keys stay in the cache. The last tiles first: causal ones are the longest. */
static void find_tile(const forward *f, int64_t index, slat_tile *tile)
{
    const int64_t heads = slat_heads(f->p), tiles = f->cut->tiles;
    const int together = f->p->k.head < f->p->k.token[2];
    const int64_t head = together ? index % heads : index / tiles, at = together ? index / heads : index % tiles;
    tile->b = head / f->p->hk;
    tile->key_head = (int32_t)(head % f->p->hk);
    f->cut->walk->tile(f->cut, tiles - 1 - at, tile);
}

static void look_ahead(const forward *f, bench *w, int64_t item)
{
    find_tile(f, item / f->parts, w->ahead);
    w->part_ahead = item % f->parts;
}

/* Takes the item after w->ahead's, whose tile becomes the one to work on; returns the number of the latter. */
static int64_t advance(forward *f, bench *w, int64_t *ahead)
{
    const int64_t item = *ahead;
    slat_tile *tile = w->ahead;
    w->ahead = w->tile;
    w->tile = tile;
    w->part = w->part_ahead;
    *ahead = slat_next_item(&f->items);
    if (*ahead >= 0) look_ahead(f, w, *ahead);
    return item;
}

static void work(void *ctx, int32_t worker)
{
    forward *f = ctx;
    bench *w = (bench *)(f->benches + (size_t)worker * f->bench_bytes);
    int64_t ahead = slat_next_item(&f->items);
    if (ahead < 0) return;
    tiles_begin();
    w->weights = (slat_weights){0};
    w->fetch.near = slat_fetches_near();
    lay_out(f->cut, (char *)w);
    w->tile = w->tiles;
    w->ahead = w->tiles + 1;
    look_ahead(f, w, ahead);
    while (ahead >= 0) {
        const int64_t item = advance(f, w, &ahead);
        run_steps(f, w, ahead >= 0);
        if (f->parts == 1)
            finish(f, w);
        else
            keep_part(f, w, item / f->parts, item % f->parts);
    }
    tiles_end();
}

static void work_merge(void *ctx, int32_t worker)
{
    forward *f = ctx;
    bench *w = (bench *)(f->benches + (size_t)worker * f->bench_bytes);
    for (int64_t item; (item = slat_next_item(&f->items)) >= 0;) {
        find_tile(f, item, w->tiles);
        merge_parts(f, w->tiles, item);
    }
}

size_t slat_softmax_forward_bytes(const slat_cut *cut, const slat_run *run)
{
    const size_t bench_bytes = lay_out(cut, NULL);
    int64_t parts, range;
    split(cut, &parts, &range);
    return size_sum(size_product((size_t)workers(cut, run, parts, bench_bytes), bench_bytes), part_bytes(cut, parts));
}

void slat_softmax_forward(const slat_cut *cut, const slat_run *run)
{
    const slat_problem *p = cut->p;
    forward f = {.cut = cut,
                 .p = p,
                 .c = (float)(fabs(p->scale) * LOG2E),
                 .sign = p->scale < 0 ? -1 : 1,
                 .ld = round_up(p->dv, VL),
                 .ldk = round_up(p->d, VL),
                 .bench_bytes = lay_out(cut, NULL),
                 .benches = run->workspace};
    split(cut, &f.parts, &f.range);
    const int32_t count = workers(cut, run, f.parts, f.bench_bytes);
    f.part = (float *)(f.benches + (size_t)count * f.bench_bytes);
    f.items.count = slat_heads(p) * cut->tiles * f.parts;
    slat_parallel(run, count, work, &f);
    if (f.parts > 1) {
        atomic_store(&f.items.next, 0);
        f.items.count /= f.parts;
        slat_parallel(run, count, work_merge, &f);
    }
}
