/* Block-sparse and dense attention of few queries: one block row an item. Heads of a group that have lists of their own
 * are items of their own. Bad entries are left out as the general kernel does.
 */
#include "decode.cuh"
#include "sm90.h"

namespace sm90
{

struct decode_blocks {
    int32_t heads, parted; /* heads of all items of a batch entry; 1: they are query heads */

    explicit decode_blocks(const slat_problem &p)
    {
        parted = p.layout.indptr && p.layout.heads == p.hq;
        heads = parted ? p.hq : p.hk;
    }

    int64_t items(const slat_problem &p) const { return p.b * heads * (p.layout.indptr ? p.layout.rows : 1); }

    static int64_t expected(const slat_problem &p)
    {
        const slat_layout &l = p.layout;
        if (!l.indptr) return p.tk;
        return slat_min(l.entries / slat_max((int64_t)l.batches * l.heads * l.rows, 1), l.columns) * l.block_k;
    }

    __device__ __forceinline__ decode_item place(const slat_problem &p, int32_t n) const
    {
        const slat_layout &l = p.layout;
        const int32_t group = p.hq / p.hk, head = n % heads, rest = n / heads;
        decode_item item = {rest,
                            parted ? head / group : head,
                            parted ? head : head * group,
                            parted ? 1 : group,
                            0,
                            0,
                            0,
                            (int32_t)p.tq,
                            1};
        if (!l.indptr) return item;
        item.b = rest / (int32_t)l.rows;
        item.z = (rest - item.b * (int32_t)l.rows) * l.block_q;
        item.queries = min(l.block_q, (int32_t)p.tq - item.z);
        return item;
    }

    __device__ __forceinline__ decode_sight row(const slat_problem &p, const decode_item &item, int query) const
    {
        return sees_up_to(p.layout.causal ? slat_position(&p, item.z + query) : p.tk - 1);
    }

    struct list : decode_list {
        struct fetched {
            int32_t block, before;
        };

        const slat_problem &p;
        int32_t begin, end; /* the first entry; past the last key that any of the rows sees */

        __device__ __forceinline__ list(const slat_problem &p, const decode_blocks &, const decode_item &item) : p(p)
        {
            const slat_layout &l = p.layout;
            end = (int32_t)p.tk;
            if (l.causal) end = (int32_t)slat_max(slat_position(&p, item.z + item.queries - 1) + 1, 0);
            keys = end;
            begin = 0;
            if (!l.indptr) return;
            const int32_t *row = l.indptr + slat_layout_row(&l, l.rows, item.b, item.h, p.hq, item.z / l.block_q);
            const int32_t entries = (int32_t)l.entries;
            begin = min(max(row[0], 0), entries);
            keys = (uint32_t)max(min(max(row[1], 0), entries) - begin, 0) * l.block_k;
        }

        __device__ __forceinline__ fetched fetch(int64_t tile, int row) const
        {
            const uint32_t n = number(tile, row);
            const slat_layout &l = p.layout;
            if (!l.indptr || n >= keys) return {0, -1};
            const int32_t *entry = l.indices + begin + n / l.block_k;
            return {*entry, n >= (uint32_t)l.block_k ? entry[-1] : -1};
        }

        __device__ __forceinline__ decode_key key(int64_t tile, int row, const fetched &f) const
        {
            const uint32_t n = number(tile, row);
            const slat_layout &l = p.layout;
            if (n >= keys) return no_key;
            int32_t position = (int32_t)n;
            if (l.indptr) {
                if (f.block < 0 || f.block >= l.columns || (f.block <= f.before && n >= (uint32_t)l.block_k))
                    return no_key;
                position = f.block * l.block_k + n % l.block_k;
            }
            return position < end ? key_at(position) : no_key;
        }
    };
};

} // namespace sm90

void slat_sm90_block_sparse_decode(slat_session &session)
{
    sm90::serve_decode<sm90::decode_blocks>(session);
}
