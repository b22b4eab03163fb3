/* CSR layouts by rule, row after row. */
#include "block_layout.h"

#include <stdlib.h>

#include "random.h"

/* The key blocks that the places of a query block touch. */
typedef struct {
    int64_t first, last;
} diagonal;

static diagonal diagonal_of(const problem *p, int64_t i, int64_t columns)
{
    const int64_t tq = p->extents.tq[0], tk = p->extents.tk[0], block_q = p->block_sparse.block_q;
    const int64_t block_k = p->block_sparse.block_k ? p->block_sparse.block_k : block_q;
    const int64_t end = (i + 1) * block_q < tq ? (i + 1) * block_q : tq;
    const int64_t low = i * block_q + tk - tq, high = end - 1 + tk - tq;
    diagonal d = {low < 0 ? 0 : low / block_k, high < 0 ? -1 : high / block_k};
    if (d.last >= columns) d.last = columns - 1;
    return d;
}

static bool keeps(const problem_parameters *x, int64_t head, diagonal d, int64_t j)
{
    if (j >= d.first && j <= d.last) return true;
    if (j > d.last && x->block_sparse.causal) return false;
    if (j < d.first && j >= d.first - x->block_sparse.window_blocks) return true;
    return random_block(x->block_sparse.seed, head, d.first, j, x->block_sparse.density);
}

/* Writes indptr, and indices where it is given; returns the number of entries. */
static int64_t walk(const problem *p, const problem_parameters *x, int64_t rows, int64_t columns, int32_t *indptr,
                    int32_t *indices)
{
    const int64_t heads = p->extents.layout_batches * p->extents.layout_heads;
    int64_t entries = 0, row = 0;
    for (int64_t h = 0; h < heads; h++) {
        indptr[row++] = (int32_t)entries;
        for (int64_t i = 0; i < rows; i++) {
            const diagonal d = diagonal_of(p, i, columns);
            for (int64_t j = 0; j < columns; j++) {
                if (!keeps(x, h, d, j)) continue;
                if (entries == INT32_MAX) return -1;
                if (indices) indices[entries] = (int32_t)j;
                entries++;
            }
            indptr[row++] = (int32_t)entries;
        }
    }
    return entries;
}

/* A few bitmaps, the first of which shows nothing, shared by the blocks that get one. */
static bool add_bitmaps(problem *p, const problem_parameters *x)
{
    const uint64_t seed = x->block_sparse.seed + 77;
    p->extents.bitmaps = 16;
    if (!problem_allocate(p, ROLE_BITMAP_OF, LAYOUT_PLAIN) || !problem_allocate(p, ROLE_BITMAPS, LAYOUT_PLAIN))
        return false;
    int32_t *of = p->t[ROLE_BITMAP_OF]->dl.data;
    for (int64_t e = 0; e < p->extents.entries; e++)
        of[e] = random_uniform(seed, (uint64_t)e) < x->block_sparse.bitmaps
                    ? (int32_t)random_below(seed + 1, (uint64_t)e, 16)
                    : -1;
    tensor *bitmaps = p->t[ROLE_BITMAPS];
    unsigned char *bytes = bitmaps->dl.data;
    const int64_t count = tensor_count(bitmaps);
    for (int64_t i = 0; i < count; i++)
        bytes[i] = i < count / 16 ? 0 : (unsigned char)random_below(seed + 2, (uint64_t)i, 256);
    return true;
}

static bool add_transposed(problem *p, sentence *why)
{
    for (int slot = ROLE_T_INDPTR; slot <= ROLE_T_ENTRY; slot++)
        if (!problem_allocate(p, slot, LAYOUT_PLAIN)) return sentence_fail(why, "no memory for the transposed layout");
    slat_block_sparse d = problem_block_sparse(p);
    d.t_indptr = d.t_indices = d.t_entry = NULL;
    if (slat_block_sparse_transpose(NULL, &d, p->extents.tq[0], p->extents.tk[0], &p->t[ROLE_T_INDPTR]->dl,
                                    &p->t[ROLE_T_INDICES]->dl, &p->t[ROLE_T_ENTRY]->dl) == SLAT_OK)
        return true;
    return sentence_fail(why, "%s", slat_error());
}

bool block_layout_random(problem *p, const problem_parameters *x, sentence *why)
{
    problem_extents *e = &p->extents;
    const int64_t block_q = p->block_sparse.block_q;
    const int64_t block_k = p->block_sparse.block_k ? p->block_sparse.block_k : block_q;
    if (block_q < 1 || block_k < 1)
        return sentence_fail(why, "block_q: %lld, but should be positive", (long long)block_q);
    const int64_t rows = (e->tq[0] + block_q - 1) / block_q, columns = (e->tk[0] + block_k - 1) / block_k;
    e->layout_batches = x->block_sparse.batches ? x->block_sparse.batches : 1;
    e->layout_heads = x->block_sparse.heads ? x->block_sparse.heads : e->hq;
    if (!problem_allocate(p, ROLE_INDPTR, LAYOUT_PLAIN)) return sentence_fail(why, "no memory for indptr");
    e->entries = walk(p, x, rows, columns, p->t[ROLE_INDPTR]->dl.data, NULL);
    if (e->entries < 0) return sentence_fail(why, "indices: more than 2^31 - 1 blocks");
    if (!problem_allocate(p, ROLE_INDICES, LAYOUT_PLAIN)) return sentence_fail(why, "no memory for indices");
    walk(p, x, rows, columns, p->t[ROLE_INDPTR]->dl.data, p->t[ROLE_INDICES]->dl.data);
    if (x->block_sparse.bitmaps > 0 && !add_bitmaps(p, x)) return sentence_fail(why, "no memory for bitmaps");
    return !x->block_sparse.transposed || add_transposed(p, why);
}
