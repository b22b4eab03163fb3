/* The masks of the four softmax primitives, by brute force. */
#include "seen.h"

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

bool seen_in_window(int64_t length, int64_t window, int64_t stride, int64_t dilation, bool causal, int64_t x, int64_t y)
{
    const int64_t group = x % dilation;
    if (y % dilation != group) return false;
    const int64_t n = length / dilation + (group < length % dilation ? 1 : 0);
    const int64_t p = x / dilation, place = y / dilation;
    if (causal) {
        const int64_t leader = least((p / stride) * stride + stride - 1, n - 1);
        return place >= most(leader - window + 1, 0) && place < p + 1;
    }
    const int64_t leader = least((p / stride) * stride + stride / 2, n - 1);
    const int64_t start = least(most(leader - window / 2, 0), n - window);
    return place >= start && place < start + window;
}

static const int32_t *index_data(const DLTensor *t)
{
    return (const int32_t *)((const char *)t->data + t->byte_offset);
}

static bool bit_shown(const slat_block_sparse *s, int64_t block_k, int32_t which, int64_t row, int64_t column)
{
    const uint8_t *bitmaps = (const uint8_t *)s->bitmaps->data + s->bitmaps->byte_offset;
    const int64_t row_bytes = (block_k + 7) / 8;
    return bitmaps[(which * (int64_t)s->block_q + row) * row_bytes + column / 8] >> (column % 8) & 1;
}

static bool in_blocks(const seen_mask *m, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const slat_block_sparse *s = m->block_sparse;
    if (s->causal && j > i + m->tk - m->tq) return false;
    if (!s->indptr) return true;
    const int64_t block_q = s->block_q, block_k = s->block_k ? s->block_k : s->block_q;
    const int64_t batches = s->indptr->shape[0], heads = s->indptr->shape[1], rows = (m->tq + block_q - 1) / block_q;
    const int64_t layout_head = heads == 1 ? 0 : heads == m->hq ? h : h / (m->hq / m->hk);
    const int32_t *indptr =
        index_data(s->indptr) + ((batches == 1 ? 0 : b) * heads + layout_head) * (rows + 1) + i / block_q;
    for (int32_t e = indptr[0]; e < indptr[1]; e++) {
        if (index_data(s->indices)[e] != j / block_k) continue;
        const int32_t which = s->bitmap_of ? index_data(s->bitmap_of)[e] : -1;
        return which < 0 || bit_shown(s, block_k, which, i % block_q, j % block_k);
    }
    return false;
}

static bool in_windows(const seen_mask *m, int64_t i, int64_t j)
{
    const slat_neighborhood *w = m->neighborhood;
    for (int32_t n = w->ndim - 1; n >= 0; n--) {
        const int64_t x = w->q_start[n] + i % m->q_grid[n], y = j % m->k_grid[n];
        const int64_t stride = w->stride[n] ? w->stride[n] : 1, dilation = w->dilation[n] ? w->dilation[n] : 1;
        if (!seen_in_window(m->k_grid[n], w->window[n], stride, dilation, w->causal[n] != 0, x, y)) return false;
        i /= m->q_grid[n];
        j /= m->k_grid[n];
    }
    return true;
}

static bool in_shard(const seen_mask *m, int64_t h, int64_t i, int64_t j)
{
    const slat_sharded *s = m->sharded;
    const int64_t p = i + m->tk - m->tq;
    if (j > p) return false;
    const int64_t offset = index_data(s->offsets)[h / (m->hq / m->hk)];
    return offset < 0 || p / s->block - j / s->block < s->local_blocks || (j / s->block + offset) % s->stride == 0;
}

static bool in_landmark_row(const seen_mask *m, int64_t i, int64_t j)
{
    const int64_t p = i + m->tk - m->tq, block = m->landmark->block;
    if (j > p) return false;
    return !(j / block == p / block && j % block == block - 1);
}

bool seen(const seen_mask *m, int64_t b, int64_t h, int64_t i, int64_t j)
{
    if (m->block_sparse) return in_blocks(m, b, h, i, j);
    if (m->neighborhood) return in_windows(m, i, j);
    if (m->sharded) return in_shard(m, h, i, j);
    return in_landmark_row(m, i, j);
}
