/* Visible pairs, counted row by row or block by block. */
#include "visible.h"

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Sum over rows first .. first + rows - 1 of how many of the keys 0 .. keys - 1 stand at or before place row + shift.
 */
static int64_t triangle(int64_t first, int64_t rows, int64_t keys, int64_t shift)
{
    const int64_t low = first + shift + 1; /* keys that the first row sees, before limits */
    const int64_t empty = least(rows, most(0, -low)),
                  full = least(rows - empty, most(0, low + rows - 1 - most(keys, low - 1)));
    const int64_t sloped = rows - empty - full, start = low + empty;
    return sloped * start + sloped * (sloped - 1) / 2 + full * keys;
}

static int64_t bitmap_pairs(const problem *p, int32_t bitmap, int64_t rows, int64_t columns, int64_t i0, int64_t j0)
{
    const int64_t block_q = p->block_sparse.block_q,
                  block_k = p->block_sparse.block_k ? p->block_sparse.block_k : block_q;
    const int64_t bytes = (block_k + 7) / 8, shift = p->extents.tk[0] - p->extents.tq[0];
    const unsigned char *bits = (const unsigned char *)p->t[ROLE_BITMAPS]->dl.data + bitmap * block_q * bytes;
    int64_t pairs = 0;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t end = p->block_sparse.causal ? least(columns, i0 + r + shift - j0 + 1) : columns;
        for (int64_t c = 0; c < end; c++) pairs += bits[r * bytes + c / 8] >> c % 8 & 1;
    }
    return pairs;
}

/* Pairs of rows x columns at (i0, j0). */
static int64_t box_pairs(const problem *p, int64_t rows, int64_t columns, int64_t i0, int64_t j0)
{
    if (!p->block_sparse.causal) return rows * columns;
    return triangle(i0, rows, columns, p->extents.tk[0] - p->extents.tq[0] - j0);
}

static int64_t layout_pairs(const problem *p, int64_t batch_head, int64_t first_row, int64_t last_row)
{
    const problem_extents *e = &p->extents;
    const int64_t block_q = p->block_sparse.block_q,
                  block_k = p->block_sparse.block_k ? p->block_sparse.block_k : block_q;
    const int64_t rows = (e->tq[0] + block_q - 1) / block_q;
    const int32_t *indptr = (const int32_t *)p->t[ROLE_INDPTR]->dl.data + batch_head * (rows + 1);
    const int32_t *indices = p->t[ROLE_INDICES]->dl.data;
    const int32_t *of = p->t[ROLE_BITMAP_OF] ? p->t[ROLE_BITMAP_OF]->dl.data : NULL;
    int64_t pairs = 0;
    for (int64_t i = first_row; i <= last_row; i++)
        for (int32_t n = indptr[i]; n < indptr[i + 1]; n++) {
            const int64_t i0 = i * block_q, j0 = indices[n] * block_k;
            const int64_t height = least(block_q, e->tq[0] - i0), width = least(block_k, e->tk[0] - j0);
            pairs +=
                of && of[n] >= 0 ? bitmap_pairs(p, of[n], height, width, i0, j0) : box_pairs(p, height, width, i0, j0);
        }
    return pairs;
}

static int64_t block_sparse_pairs(const problem *p)
{
    const problem_extents *e = &p->extents;
    if (!p->t[ROLE_INDPTR]) return e->b * e->hq * box_pairs(p, e->tq[0], e->tk[0], 0, 0);
    const int64_t rows = (e->tq[0] + p->block_sparse.block_q - 1) / p->block_sparse.block_q;
    int64_t pairs = 0;
    for (int64_t n = 0; n < e->layout_batches * e->layout_heads; n++) pairs += layout_pairs(p, n, 0, rows - 1);
    return pairs * (e->b / e->layout_batches) * (e->hq / e->layout_heads);
}

/* Keys of one dimension that the query at grid place x sees. */
static int64_t places(const slat_neighborhood *w, int n, int64_t length, int64_t x)
{
    const int64_t s = w->stride[n] ? w->stride[n] : 1, d = w->dilation[n] ? w->dilation[n] : 1;
    if (!w->causal[n]) return w->window[n];
    const int64_t group = length / d + (x % d < length % d), place = x / d;
    const int64_t leader = least(place / s * s + s - 1, group - 1);
    return place - most(leader - w->window[n] + 1, 0) + 1;
}

static int64_t neighborhood_pairs(const problem *p)
{
    const problem_extents *e = &p->extents;
    int64_t pairs = e->b * e->hq;
    for (int n = 0; n < e->ndim; n++) {
        int64_t sum = 0;
        for (int64_t i = 0; i < e->tq[n]; i++)
            sum += places(&p->neighborhood, n, e->tk[n], i + p->neighborhood.q_start[n]);
        pairs *= sum;
    }
    return pairs;
}

static int64_t shard_row(const problem *p, int32_t offset, int64_t place)
{
    const int64_t block = p->sharded.block, stride = p->sharded.stride;
    if (place < 0) return 0;
    const int64_t before = place / block - p->sharded.local_blocks + 1; /* blocks that are not local */
    if (offset < 0 || before <= 0) return place + 1;
    const int64_t first = (stride - offset % stride) % stride; /* the first block of the shard */
    const int64_t kept = before > first ? (before - first + stride - 1) / stride : 0;
    return place + 1 - (before - kept) * block;
}

static int64_t landmark_row(const problem *p, int64_t place)
{
    const int64_t block = p->landmark.block;
    if (place < 0) return 0;
    return place / block * block + least(place % block + 1, block - 1);
}

static int64_t row_of_head(const problem *p, int64_t key_head, int64_t i)
{
    const int64_t place = i + p->extents.tk[0] - p->extents.tq[0];
    if (p->op == OP_LANDMARK) return landmark_row(p, place);
    return shard_row(p, ((const int32_t *)p->t[ROLE_OFFSETS]->dl.data)[key_head], place);
}

/* Sharded and landmark: heads of a group are alike. */
static int64_t pairs_by_row(const problem *p)
{
    const problem_extents *e = &p->extents;
    int64_t pairs = 0;
    for (int64_t g = 0; g < e->hk; g++)
        for (int64_t i = 0; i < e->tq[0]; i++) pairs += row_of_head(p, g, i);
    return pairs * e->b * (e->hq / e->hk);
}

int64_t visible_pairs(const problem *p)
{
    const problem_extents *e = &p->extents;
    if (p->op != OP_MERGE && e->b == 0) return 0; /* a layout of no batches has no share of them either */
    switch (p->op) {
    case OP_BLOCK_SPARSE:
        return block_sparse_pairs(p);
    case OP_NEIGHBORHOOD:
        return neighborhood_pairs(p);
    case OP_SHARDED:
    case OP_LANDMARK:
        return pairs_by_row(p);
    case OP_MERGE:
        return 0;
    default:
        return e->b * e->hq * triangle(0, e->tq[0], e->tq[0], 0);
    }
}

static int64_t block_row(const problem *p, int64_t b, int64_t h, int64_t i)
{
    const problem_extents *e = &p->extents;
    if (!p->t[ROLE_INDPTR]) return box_pairs(p, 1, e->tk[0], i, 0);
    const int64_t block_q = p->block_sparse.block_q,
                  block_k = p->block_sparse.block_k ? p->block_sparse.block_k : block_q;
    const int64_t rows = (e->tq[0] + block_q - 1) / block_q, bytes = (block_k + 7) / 8;
    const int64_t head = (e->layout_batches == 1 ? 0 : b) * e->layout_heads + h * e->layout_heads / e->hq;
    const int32_t *indptr = (const int32_t *)p->t[ROLE_INDPTR]->dl.data + head * (rows + 1) + i / block_q;
    const int32_t *of = p->t[ROLE_BITMAP_OF] ? p->t[ROLE_BITMAP_OF]->dl.data : NULL;
    int64_t keys = 0;
    for (int32_t n = indptr[0]; n < indptr[1]; n++) {
        const int64_t j0 = ((const int32_t *)p->t[ROLE_INDICES]->dl.data)[n] * block_k,
                      width = least(block_k, e->tk[0] - j0);
        if (!of || of[n] < 0) {
            keys += box_pairs(p, 1, width, i, j0);
            continue;
        }
        const int64_t end = p->block_sparse.causal ? least(width, i + e->tk[0] - e->tq[0] - j0 + 1) : width;
        const unsigned char *bits =
            (const unsigned char *)p->t[ROLE_BITMAPS]->dl.data + (of[n] * block_q + i % block_q) * bytes;
        for (int64_t c = 0; c < end; c++) keys += bits[c / 8] >> c % 8 & 1;
    }
    return keys;
}

int64_t visible_row(const problem *p, int64_t b, int64_t h, int64_t i)
{
    const problem_extents *e = &p->extents;
    int64_t keys = 1;
    switch (p->op) {
    case OP_BLOCK_SPARSE:
        return block_row(p, b, h, i);
    case OP_NEIGHBORHOOD:
        for (int n = e->ndim - 1; n >= 0; n--) {
            keys *= places(&p->neighborhood, n, e->tk[n], i % e->tq[n] + p->neighborhood.q_start[n]);
            i /= e->tq[n];
        }
        return keys;
    case OP_SHARDED:
    case OP_LANDMARK:
        return row_of_head(p, h / (e->hq / e->hk), i);
    case OP_MERGE:
        return 0;
    default:
        return i + 1;
    }
}

int64_t visible_dense_pairs(const problem *p)
{
    const problem_extents *e = &p->extents;
    int64_t pairs = e->b * e->hq;
    if (p->op == OP_MERGE) return 0;
    if (p->op == OP_BLOCK_SPARSE) return pairs * box_pairs(p, e->tq[0], e->tk[0], 0, 0);
    if (p->op != OP_NEIGHBORHOOD) return pairs * triangle(0, e->tq[0], e->tk[0], e->tk[0] - e->tq[0]);
    for (int n = 0; n < e->ndim; n++)
        pairs *= p->neighborhood.causal[n] ? triangle(0, e->tq[n], e->tk[n], p->neighborhood.q_start[n])
                                           : e->tq[n] * e->tk[n];
    return pairs;
}
