/* What sees what: one pair at a time, as the definitions say it. */
#include "visible.h"

static int64_t points(const int64_t *extent, int ndim)
{
    int64_t product = 1;
    for (int i = 0; i < ndim; i++) product *= extent[i];
    return product;
}

int64_t visible_queries(const problem *p)
{
    return points(p->extents.tq, p->extents.ndim);
}

int64_t visible_keys(const problem *p)
{
    return points(p->extents.tk, p->extents.ndim);
}

static bool bit(const problem *p, int32_t bitmap, int64_t row, int64_t column)
{
    const int64_t block_k = p->block_sparse.block_k ? p->block_sparse.block_k : p->block_sparse.block_q;
    const int64_t bytes = (block_k + 7) / 8;
    const unsigned char *bits = p->t[ROLE_BITMAPS]->dl.data;
    return bits[(bitmap * (int64_t)p->block_sparse.block_q + row) * bytes + column / 8] >> column % 8 & 1;
}

static bool sees_block(const problem *p, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const problem_extents *e = &p->extents;
    if (p->block_sparse.causal && j > i + e->tk[0] - e->tq[0]) return false;
    if (!p->t[ROLE_INDPTR]) return true;
    const int64_t block_q = p->block_sparse.block_q,
                  block_k = p->block_sparse.block_k ? p->block_sparse.block_k : block_q;
    const int64_t rows = (e->tq[0] + block_q - 1) / block_q;
    const int64_t batch = e->layout_batches == 1 ? 0 : b, head = h * e->layout_heads / e->hq;
    const int32_t *indptr = p->t[ROLE_INDPTR]->dl.data, *indices = p->t[ROLE_INDICES]->dl.data;
    const int64_t row = (batch * e->layout_heads + head) * (rows + 1) + i / block_q;
    for (int32_t n = indptr[row]; n < indptr[row + 1]; n++) {
        if (indices[n] != j / block_k) continue;
        const int32_t bitmap = p->t[ROLE_BITMAP_OF] ? ((const int32_t *)p->t[ROLE_BITMAP_OF]->dl.data)[n] : -1;
        return bitmap < 0 || bit(p, bitmap, i % block_q, j % block_k);
    }
    return false;
}

/* One dimension: a query at grid place x, a key at y. */
static bool sees_place(const slat_neighborhood *w, int dimension, int64_t length, int64_t x, int64_t y)
{
    const int64_t k = w->window[dimension], s = w->stride[dimension] ? w->stride[dimension] : 1;
    const int64_t d = w->dilation[dimension] ? w->dilation[dimension] : 1;
    if (x % d != y % d) return false;
    const int64_t n = length / d + (x % d < length % d), place = x / d, key = y / d;
    if (w->causal[dimension]) {
        const int64_t last = place / s * s + s - 1, leader = last < n - 1 ? last : n - 1;
        return key >= leader - k + 1 && key <= place;
    }
    const int64_t middle = place / s * s + s / 2, leader = middle < n - 1 ? middle : n - 1;
    int64_t start = leader - k / 2;
    if (start > n - k) start = n - k;
    if (start < 0) start = 0;
    return key >= start && key < start + k;
}

static bool sees_neighbor(const problem *p, int64_t i, int64_t j)
{
    const problem_extents *e = &p->extents;
    for (int n = e->ndim - 1; n >= 0; n--) {
        const int64_t x = i % e->tq[n] + p->neighborhood.q_start[n], y = j % e->tk[n];
        if (!sees_place(&p->neighborhood, n, e->tk[n], x, y)) return false;
        i /= e->tq[n];
        j /= e->tk[n];
    }
    return true;
}

static bool sees_shard(const problem *p, int64_t h, int64_t place, int64_t j)
{
    const problem_extents *e = &p->extents;
    const int32_t offset = ((const int32_t *)p->t[ROLE_OFFSETS]->dl.data)[h / (e->hq / e->hk)];
    const int64_t query_block = place / p->sharded.block, key_block = j / p->sharded.block;
    if (j > place) return false;
    return offset < 0 || query_block - key_block < p->sharded.local_blocks ||
           (key_block + offset) % p->sharded.stride == 0;
}

bool visible(const problem *p, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const int64_t place = i + p->extents.tk[0] - p->extents.tq[0], block = p->landmark.block;
    switch (p->op) {
    case OP_BLOCK_SPARSE:
        return sees_block(p, b, h, i, j);
    case OP_NEIGHBORHOOD:
        return sees_neighbor(p, i, j);
    case OP_SHARDED:
        return sees_shard(p, h, place, j);
    case OP_LANDMARK:
        return j <= place && !(j / block == place / block && j % block == block - 1);
    case OP_MERGE:
        return false;
    default:
        return j <= i;
    }
}
