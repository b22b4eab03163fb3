/* Landmark attention of few queries: every block of keys, in tiles of whole blocks or in pieces. */
#include "landmark_decode.cuh"
#include "sm90.h"

namespace sm90
{

struct decode_landmarks {
    int32_t groups; /* blocks of a tile */

    explicit decode_landmarks(const slat_problem &p)
        : groups(p.landmark_block < decode_tile ? decode_tile / p.landmark_block : 1)
    {
    }

    int64_t items(const slat_problem &p) const { return p.b * p.hk; }

    static int64_t expected(const slat_problem &p) { return p.tk; }

    __device__ __forceinline__ decode_item place(const slat_problem &p, int32_t n) const { return whole_item(p, n); }

    __device__ __forceinline__ decode_sight row(const slat_problem &p, const decode_item &item, int query) const
    {
        const decode_sight sight = sees_up_to(slat_position(&p, item.z + query));
        return {0, sight.high, 0};
    }

    struct list {
        static constexpr int producer_registers = 40, consumer_registers = 216;
        struct fetched {
        };

        const slat_problem &p;
        decode_item item;

        int32_t block, groups, pieces; /* blocks of a tile, pieces of a block */
        int32_t last, own;             /* the last query, and the first key of its block */

        __device__ __forceinline__ list(const slat_problem &p, const decode_landmarks &walk, const decode_item &item)
            : p(p), item(item), block(p.landmark_block), groups(walk.groups),
              pieces((p.landmark_block - 1) / decode_tile + 1), last((int32_t)slat_position(&p, p.tq - 1))
        {
            own = max(last, 0) / block * block;
        }

        static int scratch(int row_groups) { return landmark_bytes(16 * row_groups); }

        /* Every block but the last query's own is walked twice where it has pieces. */
        __device__ __forceinline__ decode_part part(int n, int parts) const
        {
            if (last < 0) return {0, 0};
            if (pieces == 1) return part_of(last / (groups * block) + 1, n, parts);
            const int64_t blocks = own / block + 1, steps = 2 * pieces;
            const decode_part part = part_of(blocks, n, parts);
            return {part.first * steps, part.end * steps - (part.end == blocks && part.first < blocks ? pieces : 0)};
        }

        __device__ __forceinline__ landmark_tile tile(int64_t t) const
        {
            if (pieces == 1) return {(int32_t)t * groups * block, block, true, true, true, true, false};
            const int32_t steps = 2 * pieces, n = (int32_t)(t / steps), step = (int32_t)t - n * steps;
            const int32_t piece = step < pieces ? step : step - pieces, from = piece * decode_tile;
            const bool once = n * block == own;
            return {n * block + from,       min(block - from, decode_tile), piece == 0, piece == pieces - 1,
                    !once && step < pieces, once || step >= pieces,         once};
        }

        __device__ __forceinline__ bool weighs(int64_t t) const { return tile(t).weighs; }

        __device__ __forceinline__ fetched fetch(int64_t, int) const { return {}; }

        /* `until`: the block inside the tile, or -1 for a landmark. */
        __device__ __forceinline__ decode_key key(int64_t t, int row, const fetched &) const
        {
            const landmark_tile at = tile(t);
            const int32_t n = row / at.count, position = at.first + row;
            if (n >= groups) return no_key;
            const bool landmark = at.ends && row == n * at.count + at.count - 1;
            if (position > last || (landmark && position >= own)) return no_key;
            return key_at(position, landmark ? -1 : n);
        }

        template <class T, int D>
        __device__ __forceinline__ bool consume(decode_consumer<T, D> &rows, decode_room<D> &s, decode_place<D> &at,
                                                decode_part part) const
        {
            const bool slices = at.key_groups == decode_consumers && block % 16 == 0;
            return slices ? run_landmark_slices(rows, s, at, *this, part) : run_landmarks(rows, s, at, *this, part);
        }
    };
};

} // namespace sm90

void slat_sm90_landmark_decode(slat_session &session)
{
    sm90::serve_decode<sm90::decode_landmarks>(session);
}
