/* Sharded attention of few queries: the window from the first one's on, then the shard before it. */
#include "decode.cuh"
#include "sm90.h"

namespace sm90
{

struct decode_shards {
    explicit decode_shards(const slat_problem &) {}

    int64_t items(const slat_problem &p) const { return p.b * p.hk; }

    static int64_t expected(const slat_problem &p)
    {
        const slat_shards &s = p.shards;
        return slat_min(((int64_t)s.local_blocks + p.tk / s.block / s.stride) * s.block, p.tk);
    }

    __device__ __forceinline__ decode_item place(const slat_problem &p, int32_t n) const { return whole_item(p, n); }

    __device__ __forceinline__ decode_sight row(const slat_problem &p, const decode_item &item, int query) const
    {
        return sees_up_to(slat_position(&p, item.z + query));
    }

    struct list : decode_list {
        struct fetched {
        };

        int32_t block, local, stride, offset;
        int32_t last, own, near, far, step; /* the last query and its block; the first block of the window; the last
                                               one of the shard before it, and the way to the next */

        __device__ __forceinline__ list(const slat_problem &p, const decode_shards &, const decode_item &item)
            : block(p.shards.block), local(p.shards.local_blocks), stride(p.shards.stride)
        {
            offset = p.shards.offsets[item.key_head];
            if (offset >= 0) offset %= stride;
            last = (int32_t)slat_position(&p, p.tq - 1);
            keys = 0;
            if (last < 0) return;
            own = last / block;
            local = min(local, own + 1);
            near = max(max((int32_t)slat_position(&p, 0), 0) / block - local + 1, 0);
            step = offset < 0 ? 1 : stride;
            far = near - 1;
            if (near > 0 && offset >= 0) far -= past_shard(far);
            const int32_t blocks = own - near + 1 + (far >= 0 ? far / step + 1 : 0);
            keys = (uint32_t)blocks * block;
        }

        /* How far a block is past the shard's last one before it; of heads that have one. */
        __device__ __forceinline__ int32_t past_shard(int32_t at) const
        {
            return (int32_t)(((uint32_t)at + (uint32_t)offset) % (uint32_t)stride);
        }

        __device__ __forceinline__ fetched fetch(int64_t, int) const { return {}; }

        __device__ __forceinline__ decode_key key(int64_t tile, int row, const fetched &) const
        {
            const uint32_t n = number(tile, row);
            if (n >= keys) return no_key;
            const int32_t i = n / block, nears = own - near + 1;
            const int32_t at = i < nears ? own - i : far - (i - nears) * step;
            const int32_t position = at * block + (int32_t)(n - i * block);
            if (position > last) return no_key;
            const bool always = i >= nears || offset < 0 || at + local > own || past_shard(at) == 0;
            return key_at(position, always ? INT32_MAX : (at + local) * block - 1);
        }
    };
};

} // namespace sm90

void slat_sm90_sharded_decode(slat_session &session)
{
    sm90::serve_decode<sm90::decode_shards>(session);
}
