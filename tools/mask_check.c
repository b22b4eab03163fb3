/* Parameters and index tensors that a picture can be drawn from: what visible() trusts. */
#include "block_layout.h"
#include "mask.h"
#include <math.h>

static bool check_layout(const problem *p, sentence *why)
{
    const slat_block_sparse *bs = &p->block_sparse;
    const int64_t block_k = bs->block_k ? bs->block_k : bs->block_q;
    if (!p->t[ROLE_INDPTR]) return true;
    if (!block_layout_takes(bs->block_q) || !block_layout_takes(block_k))
        return sentence_fail(why, "block: %d, %d, but sizes should be multiples of 8 from 8 to 256", bs->block_q,
                             bs->block_k);
    const int64_t count = tensor_count(p->t[ROLE_INDPTR]), entries = p->extents.entries;
    int64_t before = 0;
    for (int64_t n = 0; n < count; n++) {
        const int64_t at = (int64_t)tensor_get(p->t[ROLE_INDPTR], n);
        if (at < before || at > entries)
            return sentence_fail(why, "indptr: entry %lld is %lld, but it should be %lld to %lld", (long long)n,
                                 (long long)at, (long long)before, (long long)entries);
        before = at;
    }
    for (int64_t n = 0; p->t[ROLE_BITMAP_OF] && n < entries; n++) {
        const int64_t at = (int64_t)tensor_get(p->t[ROLE_BITMAP_OF], n);
        if (at < -1 || at >= p->extents.bitmaps)
            return sentence_fail(why, "bitmap_of: entry %lld is %lld, but there are %lld bitmaps", (long long)n,
                                 (long long)at, (long long)p->extents.bitmaps);
    }
    return true;
}

static bool check_window(const problem *p, int d, sentence *why)
{
    const slat_neighborhood *na = &p->neighborhood;
    const int64_t length = p->extents.tk[d], dilation = na->dilation[d] ? na->dilation[d] : 1;
    if (na->window[d] < 2 || na->window[d] > length)
        return sentence_fail(why, "window: %d, but it should be 2 to the grid's length %lld", na->window[d],
                             (long long)length);
    if (na->stride[d] < 0 || na->stride[d] > na->window[d])
        return sentence_fail(why, "stride: %d, but it should be 1 to the window %d", na->stride[d], na->window[d]);
    if (dilation < 1 || dilation * na->window[d] > length)
        return sentence_fail(why, "dilation: %d, but times the window %d it should be 1 to the grid's length %lld",
                             na->dilation[d], na->window[d], (long long)length);
    if (na->q_start[d] < 0 || na->q_start[d] > length - p->extents.tq[d])
        return sentence_fail(why, "q_start: %lld, and the queries' box leaves the grid", (long long)na->q_start[d]);
    return true;
}

static bool check_slopes(const problem *p, sentence *why)
{
    for (int64_t h = 0; h < p->extents.hq; h++) {
        const double slope = tensor_get(p->t[ROLE_SLOPES], h);
        if (!(slope >= 0) || isinf(slope))
            return sentence_fail(why, "slopes: %g of head %lld, but it should be 0 or more, finite", slope,
                                 (long long)h);
    }
    return true;
}

bool mask_check(const problem *p, sentence *why)
{
    for (int d = 0; d < p->extents.ndim; d++)
        if (p->extents.tq[d] < 1 || p->extents.tk[d] < 1 || p->extents.b < 1 || p->extents.hq < 1)
            return sentence_fail(why, "an extent of 0: there is nothing to draw");
    if (p->extents.hq % p->extents.hk)
        return sentence_fail(why, "heads: %lld query heads, but it should be a multiple of %lld key heads",
                             (long long)p->extents.hq, (long long)p->extents.hk);
    switch (p->op) {
    case OP_BLOCK_SPARSE:
        return check_layout(p, why);
    case OP_NEIGHBORHOOD:
        for (int d = 0; d < p->extents.ndim; d++)
            if (!check_window(p, d, why)) return false;
        return true;
    case OP_SHARDED:
        if (p->sharded.block >= 1 && p->sharded.local_blocks >= 1 && p->sharded.stride >= 1) return true;
        return sentence_fail(why, "block, local and stride should be at least 1");
    case OP_LANDMARK:
        return p->landmark.block >= 2 ||
               sentence_fail(why, "block: %d, but it should be at least 2", p->landmark.block);
    case OP_LIGHTNING:
        return check_slopes(p, why);
    default:
        return sentence_fail(why, "%s: has no mask", problem_op_name(p->op));
    }
}
