/* What the walks over shards share. */
#ifndef SLAT_SM90_SHARDS_CUH
#define SLAT_SM90_SHARDS_CUH
#include "runs.cuh"

namespace sm90
{

/* Divides numbers from 0 to 2^31 - 1 by the same one. */
struct divisor {
    uint32_t factor;
    int32_t shift;

    static divisor of(int32_t by)
    {
        int32_t shift = 0;
        while ((int64_t)1 << shift < by) ++shift;
        shift += 31;
        return {(uint32_t)((((uint64_t)1 << shift) + by - 1) / by), shift};
    }

    __host__ __device__ __forceinline__ int32_t of_number(int32_t n) const
    {
        return (int32_t)((uint64_t)(uint32_t)n * factor >> shift);
    }
};

/* Keys of a block; one that holds all keys is no longer than they are, but for a rest to 8. */
inline int32_t shard_block(const slat_problem &p)
{
    return (int32_t)slat_min(p.shards.block, (p.tk + 7) / 8 * 8);
}

/* The offset of a key head, below the stride; negative: a dense head. */
__device__ __forceinline__ int32_t shard_offset(const slat_shards &s, int head)
{
    const int32_t offset = s.offsets[head];
    return offset < 0 ? -1 : offset % s.stride;
}

/* How far a block is past the shard's last one up to it. */
__device__ __forceinline__ int32_t shard_rest(const slat_shards &s, int32_t offset, int32_t block)
{
    return (int32_t)(((uint32_t)block + (uint32_t)offset) % (uint32_t)s.stride);
}

} // namespace sm90
#endif
