/* Sharded attention: a row sees its last blocks of keys and, before them, its head's shard. */
#include "attention.cuh"

namespace simt
{

struct sharded {
    struct query {
        int64_t position;
    };
    struct key {
        int64_t position, last; /* the last position whose query sees it */
    };

    struct query_tile {
        const slat_problem &p;
        int64_t first, rows, keys;
        int64_t near, far_keys; /* the first key of the first row's window; keys of the shard before it */
        slat_range far;
        int32_t offset;

        __device__ slat_point query(int row, sharded::query &q) const
        {
            q.position = slat_position(&p, first + row);
            return slat_at(0, 0, first + row);
        }

        __device__ bool key(int64_t n, slat_point &at, sharded::key &k) const
        {
            const slat_shards &s = p.shards;
            const int64_t j =
                n < far_keys ? (far.first + n / s.block * far.step) * s.block + n % s.block : near + n - far_keys;
            k = key_of(s, offset, j);
            at = slat_at(0, 0, j);
            return true;
        }
    };

    struct key_tile {
        const slat_problem &p;
        int64_t first, rows, queries, begins;
        int32_t offset;

        __device__ slat_point key(int row, sharded::key &k) const
        {
            k = key_of(p.shards, offset, first + row);
            return slat_at(0, 0, first + row);
        }

        __device__ void begin(const slat_problem &, int64_t, int) {}

        __device__ bool query(int64_t n, slat_point &at, sharded::query &q) const
        {
            q.position = slat_position(&p, begins + n);
            at = slat_at(0, 0, begins + n);
            return true;
        }
    };

    static __device__ bool in_shard(const slat_shards &s, int32_t offset, int64_t block)
    {
        return offset < 0 || (block + offset) % s.stride == 0;
    }

    static __device__ key key_of(const slat_shards &s, int32_t offset, int64_t j)
    {
        const int64_t block = j / s.block;
        return {j, in_shard(s, offset, block) ? INT64_MAX : (block + s.local_blocks) * s.block - 1};
    }

    static __device__ bool visible(const slat_problem &, const query &q, const key &k)
    {
        return k.position <= q.position && q.position <= k.last;
    }

    static int64_t query_tiles(const slat_problem &p) { return (p.tq + tile - 1) / tile; }

    /* A tile of keys never ends inside a block that it does not fill: large blocks are cut, small ones are whole. */
    static __host__ __device__ int64_t key_span(const slat_problem &p)
    {
        const int64_t block = p.shards.block;
        return block < tile ? tile / block * block : block;
    }

    static __host__ __device__ int64_t key_parts(const slat_problem &p) { return (key_span(p) + tile - 1) / tile; }

    static int64_t key_tiles(const slat_problem &p) { return (p.tk + key_span(p) - 1) / key_span(p) * key_parts(p); }

    __device__ query_tile queries(const slat_problem &p, int64_t, int h, int64_t n) const
    {
        const slat_shards &s = p.shards;
        query_tile t = {p, n * tile,  slat_min(p.tq - n * tile, tile), 0, 0,
                        0, {0, 0, 1}, s.offsets[slat_key_head(&p, h)]};
        const int64_t last = slat_position(&p, t.first + t.rows - 1);
        if (t.rows <= 0 || last < 0) return t;
        const int64_t row = slat_max(slat_position(&p, t.first), 0) / s.block;
        t.near = slat_shard_near(&s, row) * s.block;
        t.far = slat_shard_far(&s, t.offset, row);
        t.far_keys = t.far.count * s.block;
        t.keys = t.far_keys + last + 1 - t.near;
        return t;
    }

    __device__ key_tile keys(const slat_problem &p, int64_t, int head, int64_t n) const
    {
        const slat_shards &s = p.shards;
        const int64_t span = key_span(p), from = n % key_parts(p) * tile;
        key_tile t = {p, n / key_parts(p) * span + from, 0, 0, 0, s.offsets[head]};
        t.rows = slat_min(slat_min(span - from, tile), p.tk - t.first);
        if (t.rows <= 0) return t;
        const int64_t last_block = (t.first + t.rows - 1) / s.block;
        int64_t last = slat_min((last_block + s.local_blocks) * s.block, p.tk) - 1;
        for (int64_t block = t.first / s.block; block <= last_block; ++block)
            if (in_shard(s, t.offset, block)) last = p.tk - 1;
        t.begins = slat_max(t.first - (p.tk - p.tq), 0);
        t.queries = slat_max(last - (p.tk - p.tq) + 1 - t.begins, 0);
        return t;
    }
};

} // namespace simt

void slat_cuda_sharded(slat_session &session)
{
    if (session.problem.pass == SLAT_FORWARD)
        simt::enqueue_forward(session, simt::sharded());
    else
        simt::enqueue_backward(session, simt::sharded(), simt::enqueue_shift(session));
}
