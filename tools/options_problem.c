/* From options to a problem: extents, the public descriptors, block layouts by rule, shard offsets, slopes. */
#include "block_layout.h"
#include "options.h"
#include "random.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST = 1 << 30, HEADS = 65536 }; /* of a length or a parameter; heads that the library takes */

static int32_t whole(const option_list *list, int n, int32_t missing)
{
    const double value = option_value(list, n, missing);
    return value > LARGEST ? LARGEST : value < -LARGEST ? -LARGEST : (int32_t)value;
}

/* A block layout under making: rows of one head after the other. */
typedef struct {
    int64_t rows, columns, block_q, block_k, shift; /* shift: Tk - Tq */
    int64_t first, local;                           /* blocks at the start, and next to the diagonal */
    double density;
    bool causal;
} block_rule;

/* Columns begin ... end - 1 of one row. */
typedef struct {
    int64_t begin, end;
} column_range;

/* The row's columns next to the diagonal; none for a query block that begins before the first key. */
static column_range rule_local(const block_rule *r, int64_t i)
{
    const int64_t first = i * r->block_q + r->shift, last = first + r->block_q - 1;
    if (first < 0) return (column_range){0, 0};
    return (column_range){first / r->block_k - r->local + 1, last / r->block_k + r->local};
}

/* Columns that any query of the row may see. */
static int64_t rule_columns(const block_rule *r, int64_t i)
{
    const int64_t last = (i + 1) * r->block_q - 1 + r->shift;
    if (!r->causal) return r->columns;
    if (last < 0) return 0;
    return last / r->block_k + 1 < r->columns ? last / r->block_k + 1 : r->columns;
}

/* Writes the layout, or with NULLs only counts it. */
static int64_t rule_write(const block_rule *r, int64_t heads, tensor *indptr, tensor *indices)
{
    int64_t entries = 0;
    for (int64_t h = 0; h < heads; h++) {
        for (int64_t i = 0; i < r->rows; i++) {
            const column_range local = rule_local(r, i);
            const int64_t columns = rule_columns(r, i);
            if (indptr) tensor_set(indptr, h * (r->rows + 1) + i, (double)entries);
            for (int64_t j = 0; j < columns; j++) {
                if (r->density == 0 && j >= r->first && j < local.begin) j = local.begin; /* none between */
                if (r->density == 0 && j >= r->first && j >= local.end) break;
                if (j >= columns) break;
                const bool kept = j < r->first || (j >= local.begin && j < local.end);
                if (!kept && !random_block(1, h, i, j, r->density)) continue;
                if (indices) tensor_set(indices, entries, (double)j);
                entries++;
            }
        }
        if (indptr) tensor_set(indptr, h * (r->rows + 1) + r->rows, (double)entries);
    }
    return entries;
}

static bool no_memory(sentence *why)
{
    return sentence_fail(why, "not enough memory");
}

/* What a layout is made from, before any of it is. */
static bool check_rule(const options *o, const problem *p, const block_rule *r, sentence *why)
{
    const slat_block_sparse *bs = &p->block_sparse;
    const double heads = (double)p->extents.hq, blocks = (double)r->rows * (double)r->columns;
    if (!(r->density >= 0 && r->density <= 1)) return sentence_fail(why, "--density: %g, expected 0 to 1", r->density);
    if (r->local < 0 || r->first < 0)
        return sentence_fail(why, "--local, --first: %d, %d, expected 0 or more", (int)r->local, (int)r->first);
    if (o->density.count && heads * blocks > INT32_MAX)
        return sentence_fail(why, "--density: %.0f blocks of %d x %d to choose from, expected at most 2^31 - 1",
                             heads * blocks, bs->block_q, bs->block_k);
    return true;
}

static bool apply_block_sparse(const options *o, problem *p, sentence *why)
{
    slat_block_sparse *bs = &p->block_sparse;
    problem_extents *e = &p->extents;
    bs->causal = whole(&o->causal, 0, 0);
    bs->block_q = whole(&o->block, 0, 64);
    bs->block_k = whole(&o->block, 1, 64);
    if (p->t[ROLE_INDPTR] || !(o->local.count || o->first.count || o->density.count)) return true;
    if (!block_layout_takes(bs->block_q) || !block_layout_takes(bs->block_k))
        return sentence_fail(why, "--block: %d, %d, expected multiples of 8 from 8 to 256", bs->block_q, bs->block_k);
    const block_rule rule = {.rows = (e->tq[0] + bs->block_q - 1) / bs->block_q,
                             .columns = (e->tk[0] + bs->block_k - 1) / bs->block_k,
                             .block_q = bs->block_q,
                             .block_k = bs->block_k,
                             .shift = e->tk[0] - e->tq[0],
                             .first = whole(&o->first, 0, 0),
                             .local = whole(&o->local, 0, 1),
                             .density = option_value(&o->density, 0, 0),
                             .causal = bs->causal != 0};
    if (!check_rule(o, p, &rule, why)) return false;
    e->layout_batches = 1;
    e->layout_heads = o->density.count ? e->hq : 1;
    e->entries = rule_write(&rule, e->layout_heads, NULL, NULL);
    if (e->entries > INT32_MAX)
        return sentence_fail(why, "the layout has %lld blocks, expected at most 2^31 - 1", (long long)e->entries);
    if (!problem_allocate(p, ROLE_INDPTR, LAYOUT_PLAIN) || !problem_allocate(p, ROLE_INDICES, LAYOUT_PLAIN))
        return no_memory(why);
    rule_write(&rule, e->layout_heads, p->t[ROLE_INDPTR], p->t[ROLE_INDICES]);
    return true;
}

static bool apply_neighborhood(const options *o, problem *p, sentence *why)
{
    slat_neighborhood *na = &p->neighborhood;
    static const char *const names[] = {"--window", "--stride", "--dilation", "--causal", "--q-start"};
    const option_list *const lists[] = {&o->window, &o->stride, &o->dilation, &o->causal, &o->q_start};
    na->ndim = p->extents.ndim;
    for (int i = 0; i < 5; i++)
        if (lists[i]->count > na->ndim)
            return sentence_fail(why, "%s: %d numbers, but the grid has %d dimension%s", names[i], lists[i]->count,
                                 na->ndim, na->ndim == 1 ? "" : "s");
    if (!o->window.count) return sentence_fail(why, "--window: neighborhood needs it, a number a dimension");
    for (int d = 0; d < na->ndim; d++) {
        na->window[d] = whole(&o->window, d, 0);
        na->stride[d] = whole(&o->stride, d, 1);
        na->dilation[d] = whole(&o->dilation, d, 1);
        na->causal[d] = whole(&o->causal, d, 0);
        na->q_start[d] = whole(&o->q_start, d, 0);
    }
    return true;
}

static bool apply_sharded(const options *o, problem *p, sentence *why)
{
    const int32_t hk = (int32_t)p->extents.hk;
    p->sharded.block = whole(&o->block, 0, 64);
    p->sharded.local_blocks = whole(&o->local, 0, 1);
    p->sharded.stride = whole(&o->stride, 0, 1);
    if (p->t[ROLE_OFFSETS]) return true;
    if (o->offsets.count > 1 && o->offsets.count != hk)
        return sentence_fail(why, "--offsets: %d numbers, but there are %d key heads", o->offsets.count, hk);
    int32_t *offsets = malloc((size_t)hk * sizeof *offsets);
    if (!offsets || !problem_allocate(p, ROLE_OFFSETS, LAYOUT_PLAIN)) {
        free(offsets);
        return no_memory(why);
    }
    slat_status status = SLAT_OK;
    for (int32_t h = 0; h < hk && o->offsets.count; h++) offsets[h] = whole(&o->offsets, h, 0); /* one is all heads' */
    if (!o->offsets.count)
        status = slat_sharded_offsets(offsets, (int32_t)p->extents.hq, hk, p->sharded.stride,
                                      whole(&o->dense_heads, 0, 0), whole(&o->head_offset, 0, 0), o->by_key_heads);
    for (int32_t h = 0; h < hk && status == SLAT_OK; h++) tensor_set(p->t[ROLE_OFFSETS], h, offsets[h]);
    free(offsets);
    return status == SLAT_OK || sentence_fail(why, "%s", slat_error());
}

static bool apply_lightning(const options *o, problem *p, sentence *why)
{
    const int32_t heads = (int32_t)p->extents.hq;
    p->states_every = whole(&o->states_every, 0, 0);
    if (p->t[ROLE_SLOPES]) return true;
    if (o->slopes.count > 1 && o->slopes.count != heads)
        return sentence_fail(why, "--slopes: %d numbers, but there are %d heads", o->slopes.count, heads);
    float *slopes = malloc((size_t)heads * sizeof *slopes);
    if (!slopes || !problem_allocate(p, ROLE_SLOPES, LAYOUT_PLAIN)) {
        free(slopes);
        return no_memory(why);
    }
    slat_status status = SLAT_OK;
    for (int32_t h = 0; h < heads && o->slopes.count; h++) slopes[h] = (float)option_value(&o->slopes, h, 0);
    if (!o->slopes.count) status = slat_lightning_slopes(slopes, heads);
    for (int32_t h = 0; h < heads && status == SLAT_OK; h++) tensor_set(p->t[ROLE_SLOPES], h, (double)slopes[h]);
    free(slopes);
    return status == SLAT_OK || sentence_fail(why, "%s", slat_error());
}

bool options_apply(const options *o, problem *p, sentence *why)
{
    p->scale = option_value(&o->scale, 0, 0);
    switch (p->op) {
    case OP_BLOCK_SPARSE:
        return apply_block_sparse(o, p, why);
    case OP_NEIGHBORHOOD:
        return apply_neighborhood(o, p, why);
    case OP_SHARDED:
        return apply_sharded(o, p, why);
    case OP_LANDMARK:
        p->landmark.block = whole(&o->block, 0, 64);
        return true;
    case OP_LIGHTNING:
        return apply_lightning(o, p, why);
    default:
        return sentence_fail(why, "%s: takes no options", problem_op_name(p->op));
    }
}

static bool extents(const options *o, problem_extents *e, sentence *why)
{
    const bool grid = o->op == OP_NEIGHBORHOOD;
    const option_list *keys = grid ? &o->grid : &o->tokens;
    if (!keys->count)
        return sentence_fail(why, grid ? "--grid: the lengths are missing" : "--tokens: the length is missing");
    *e = (problem_extents){
        .b = 1, .ndim = grid ? keys->count : 1, .d = 64, .dv = 64, .type = TENSOR_F32, .o_type = TENSOR_F32};
    for (int d = 0; d < e->ndim; d++) {
        e->tk[d] = grid ? whole(&o->grid, d, 0) : whole(&o->tokens, 1, 0);
        e->tq[d] = grid ? (o->q_grid.count ? whole(&o->q_grid, d, 0) : e->tk[d]) : whole(&o->tokens, 0, 0);
        if (e->tq[d] < 1 || e->tk[d] < 1)
            return sentence_fail(why, "%s: lengths should be at least 1", grid ? "--grid" : "--tokens");
    }
    e->hq = whole(&o->heads, 0, 1);
    e->hk = whole(&o->heads, 1, 1);
    if (e->hk < 1 || e->hq < 1 || e->hq > HEADS || e->hq % e->hk)
        return sentence_fail(why, "--heads: %lld,%lld, but the first should be a multiple of the second, at most %d",
                             (long long)e->hq, (long long)e->hk, HEADS);
    return true;
}

problem *options_problem(const options *o, sentence *why)
{
    problem *p = problem_create(o->op, memory_host());
    if (!p) {
        sentence_fail(why, "not enough memory");
        return NULL;
    }
    if (extents(o, &p->extents, why) && options_apply(o, p, why)) return p;
    problem_free(p);
    return NULL;
}
