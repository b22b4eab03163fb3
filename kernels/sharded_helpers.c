/* The offsets of sharded attention's published rule, and of the rule that leaves no column unread. */
#include "backend.h"

slat_status slat_sharded_offsets(int32_t *offsets, int32_t hq, int32_t hk, int32_t stride, int32_t dense_heads,
                                 int32_t head_offset, int32_t per_key_head)
{
    if (!offsets) return slat_fail(SLAT_INVALID, "offsets: NULL, expected memory to fill");
    if (hk < 1) return slat_fail(SLAT_INVALID, "hk: %d, expected at least 1", (int)hk);
    if (hq < 1 || hq % hk)
        return slat_fail(SLAT_INVALID, "hq: %d, expected a multiple of hk %d", (int)hq, (int)hk);
    if (stride < 1) return slat_fail(SLAT_INVALID, "stride: %d, expected at least 1", (int)stride);
    if (dense_heads < 0 || dense_heads > hk)
        return slat_fail(SLAT_INVALID, "dense_heads: %d, expected 0 to hk %d", (int)dense_heads, (int)hk);
    if (head_offset < 0)
        return slat_fail(SLAT_INVALID, "head_offset: %d, expected at least 0", (int)head_offset);
    if (per_key_head != 0 && per_key_head != 1)
        return slat_fail(SLAT_INVALID, "per_key_head: %d, expected 0 or 1", (int)per_key_head);

    const int64_t share = stride / (per_key_head ? hk : hq);
    const int64_t step = share > 1 ? share : 1;
    for (int32_t g = 0; g < hk; g++)
        offsets[g] = g < hk - dense_heads ? (int32_t)((g * step + head_offset) % stride) : -1;
    return SLAT_OK;
}
