/* Sharded (S2) attention by query: a query sees its last blocks of keys and, before them, its head's shard.
 *
 * The blocks that any of an item's queries sees form a list in closed form: from the last query's own block down to
 * the first query's window, then every stride-th one. Each lane of the producer's warp finds one run of a tile.
 */
#ifndef SLAT_SM90_SHARD_ROWS_CUH
#define SLAT_SM90_SHARD_ROWS_CUH
#include "shards.cuh"

namespace sm90
{

template <int GROUPS = 2> struct shard_rows : runs_of_keys<GROUPS> {
    using runs_of_keys<GROUPS>::rows_of_item;

    int32_t block, runs;            /* keys of a block; runs of one */
    int32_t step_blocks, step_runs; /* from a tile to the next: the runs of a tile, in blocks and runs */

    /* In tiles of `keys`, of runs of `longest` at most. */
    static shard_rows of(const slat_problem &p, int keys, int longest)
    {
        shard_rows walk = {};
        walk.block = shard_block(p);
        walk.cut(walk.block, keys, longest);
        walk.runs = (walk.block + walk.run - 1) / walk.run;
        walk.step_blocks = walk.copies / walk.runs;
        walk.step_runs = walk.copies % walk.runs;
        return walk;
    }

    struct note : run_note {
        int32_t until[most_runs]; /* the last position that sees the run */
    };

    struct cursor {
        const slat_problem &p;
        const shard_rows &walk;
        int32_t position, last; /* of the item's first and last query */
        int32_t offset;
        int32_t own, near, far; /* the last query's block, the first one of the first query's
                                   window, the last one of the shard before it */
        int32_t left;           /* runs */
        int32_t n, part;        /* this lane's run of the next tile: the n-th block of the
                                   list, and which of its runs, from the end */

        __device__ __forceinline__ cursor(const slat_problem &p, const shard_rows &walk, const work_item &item)
            : p(p), walk(walk)
        {
            const slat_shards &s = p.shards;
            offset = shard_offset(s, slat_key_head(&p, item.h));
            position = item.first + (int32_t)(p.tk - p.tq);
            last = min(position + rows_of_item, (int32_t)p.tk) - 1;
            left = 0;
            if (last < 0) return;
            own = last / walk.block;
            const int32_t behind = walk.runs - 1 - (last - own * walk.block) / walk.run; /* runs past the last query */
            const int32_t at = behind + (int32_t)(threadIdx.x % warp_lanes);
            n = at / walk.runs;
            part = at - n * walk.runs;
            near = max(max(position, 0) / walk.block - s.local_blocks + 1, 0);
            const int32_t step = offset < 0 ? 1 : s.stride, rest = offset < 0 ? 0 : shard_rest(s, offset, near - 1);
            far = near - 1 - rest;
            left = (own - near + 1 + (near > 0 && far >= 0 ? far / step + 1 : 0)) * walk.runs - behind;
        }

        __device__ __forceinline__ bool more() const { return left > 0; }

        __device__ __forceinline__ void next(int32_t (&sight)[GROUPS], note &told)
        {
            const slat_shards &s = p.shards;
            const int lane = threadIdx.x % warp_lanes;
            const bool mine = lane < walk.copies, full = mine && lane < left;
            int32_t first = (int32_t)p.tk, end = first, until = -1;
            if (full) {
                const int32_t nears = own - near + 1;
                const int32_t b = n < nears ? own - n : far - (n - nears) * (offset < 0 ? 1 : s.stride);
                first = b * walk.block + (walk.runs - 1 - part) * walk.run;
                end = min(min(first + walk.run, (b + 1) * walk.block), last + 1);
                until = INT32_MAX;
                if (n < nears && s.local_blocks <= own - b && offset >= 0 && shard_rest(s, offset, b))
                    until = (b + s.local_blocks) * walk.block - 1;
            }
            if (mine) {
                told.first[lane] = first;
                told.end[lane] = end;
                told.until[lane] = until;
            }
            const bool clears = __any_sync(~0u, full && end < slat_min(first + walk.run, p.tk));
            if (lane == 0) told.clears = clears;
#pragma unroll
            for (int g = 0; g < GROUPS; ++g) {
                const int32_t from = position + g * group_rows, to = from + group_rows - 1;
                const bool any = __any_sync(~0u, full && first <= to && until >= from);
                const bool whole =
                    __all_sync(~0u, !mine || (full && first + walk.run <= min(end, from + 1) && until >= to));
                if (lane == 0) sight[g] = !any ? sees_none : whole ? sees_all : sees_part;
            }
            left -= walk.copies;
            n += walk.step_blocks;
            part += walk.step_runs;
            if (part >= walk.runs) {
                part -= walk.runs;
                ++n;
            }
        }
    };

    struct rows : rows_of_runs<shard_rows> {
        int32_t position[2];

        __device__ __forceinline__ rows(const slat_problem &p, const shard_rows &walk, const work_item &item, int row)
            : rows_of_runs<shard_rows>(walk)
        {
#pragma unroll
            for (int r = 0; r < 2; ++r) position[r] = item.first + row + 8 * r + (int32_t)(p.tk - p.tq);
        }

        __device__ __forceinline__ void mask(const note &told, uint32_t (&mask)[2]) const
        {
            const shard_rows &walk = *this->walk;
            mask[0] = mask[1] = 0;
#pragma unroll 1
            for (int n = 0; n < walk.copies; ++n) {
                const int32_t first = told.first[n], end = told.end[n], until = told.until[n];
#pragma unroll
                for (int r = 0; r < 2; ++r) {
                    const int32_t width = min(end, position[r] + 1) - first;
                    mask[r] |= walk.run_columns(n, position[r] <= until ? width : 0);
                }
            }
        }
    };
};

} // namespace sm90
#endif
