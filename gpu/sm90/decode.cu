/* Which problems of few queries the decode step serves. */
#include "decode.cuh"
#include "sm90.h"

namespace sm90
{

constexpr int64_t most_keys = 1 << 30, most_pieces = UINT32_MAX;

/* Whether every row of a head is fewer pieces of 16 bytes from the first than 32 bits count. */
static bool within_reach(const slat_problem &p, const slat_view &view)
{
    const slat_point grid = slat_key_grid(&p);
    const double last = (double)(grid.x - 1) * view.token[0] + (double)(grid.y - 1) * view.token[1] +
                        (double)(grid.z - 1) * view.token[2];
    return last / piece_elements + 32 < most_pieces;
}

} // namespace sm90

slat_status slat_sm90_decode_check(const slat_problem &p)
{
    using namespace sm90;
    if (p.type != SLAT_BF16 && p.type != SLAT_F16)
        return unsupported("tensors of other types than f16 and bf16 are not served");
    if (!p.aligned || !p.strides16)
        return unsupported("data and strides that are no multiples of 16 bytes are not served");
    if (!p.b || !p.tq || !p.tk) return unsupported("tensors without elements are not served");
    if (p.tq * (p.hq / p.hk) > decode_rows)
        return unsupported("q: more than 64 queries in heads that share keys are not served");
    if (p.tk > most_keys || !within_reach(p, p.k) || !within_reach(p, p.v))
        return unsupported("k, v: more than 2^30 keys, or rows that are more than 64 GiB apart, are not served");
    if (p.b * p.hq > INT32_MAX / decode_rows / most_parts) return unsupported("more heads than 2^19 are not served");
    if (p.op != SLAT_OP_BLOCK_SPARSE) return SLAT_OK;
    if (p.layout.bitmap_of) return unsupported("bitmap_of: bitmaps inside blocks are not served");
    if (p.layout.entries * p.layout.block_k > UINT32_MAX - decode_tile)
        return unsupported("indices: more than 2^32 keys are not served");
    return SLAT_OK;
}
