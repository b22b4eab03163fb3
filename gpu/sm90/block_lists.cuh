/* Block columns: lists of the query blocks that see a block of keys. */
#ifndef SLAT_SM90_BLOCK_LISTS_CUH
#define SLAT_SM90_BLOCK_LISTS_CUH
#include "any/transpose.h"
#include "runs_of_queries.cuh"

namespace sm90
{

struct block_lists : runs_of_queries {
    const int32_t *t_indptr, *t_indices; /* NULL where dense */
    int32_t block_q, block_k;            /* dense: the whole sequence is one block column of blocks of one tile */
    int32_t lists, lists_shift;          /* lists of an item; log2 of the keys that share one */
    int32_t runs;                        /* of a block */

    /* by_key: the layout by key block. In tiles of `queries`. */
    void find(const slat_layout &l, const simt::transposed &by_key, int queries)
    {
        t_indptr = by_key.indptr;
        t_indices = by_key.indices;
        block_q = l.indptr ? l.block_q : 64;
        block_k = l.indptr ? l.block_k : tile_rows;
        lists_shift = twos(block_k, tile_rows);
        lists = tile_rows >> lists_shift;
        cut(block_q, queries, 64);
        runs = block_q / run;
    }

    /* One list: entries `begin` to `end` - 1. */
    struct list {
        int32_t begin, end;
    };

    /* List n of the item whose first key is `first`. */
    __device__ __forceinline__ list list_of(const slat_problem &p, int32_t first, int32_t b, int h, int n) const
    {
        const slat_layout &l = p.layout;
        const int32_t key = first + (n << lists_shift);
        if (n >= lists || key >= p.tk) return {0, 0};
        if (!l.indptr) {
            const int64_t query = l.causal ? slat_max(key - (p.tk - p.tq), 0) : 0;
            return {(int32_t)(query / block_q), (int32_t)((p.tq + block_q - 1) / block_q)};
        }
        const int32_t *column = t_indptr + slat_layout_row(&l, l.columns, b, h, p.hq, key / block_k);
        return {min(max(column[0], 0), (int32_t)l.entries), min(max(column[1], 0), (int32_t)l.entries)};
    }

    /* An entry of a list; less than any outside it. */
    __device__ __forceinline__ int32_t fetch(const list &x, int32_t e) const
    {
        return e >= x.begin && e < x.end ? t_indices[e] : INT32_MIN;
    }

    static __device__ __forceinline__ bool good(const slat_problem &p, int32_t block, int32_t before)
    {
        return block >= 0 && block < (int32_t)p.layout.rows && block > before;
    }

    /* Past the last key of piece n that any query of the key head sees; its first one where none does. */
    __device__ int32_t seen_end(const slat_problem &p, const work_item &item, int n) const
    {
        const int32_t first = item.first + (n << lists_shift),
                      end = (int32_t)slat_min(first + (1 << lists_shift), p.tk);
        const int heads = p.hq / p.hk;
        int32_t seen = first;
        for (int h = item.h * heads; h < (item.h + 1) * heads; ++h) {
            list x = list_of(p, item.first, item.b, h, n);
            int32_t block = -1;
            while (block < 0 && --x.end >= x.begin) {
                block = p.layout.indptr ? t_indices[x.end] : x.end;
                if (p.layout.indptr && !good(p, block, fetch(x, x.end - 1))) block = -1;
            }
            if (block < 0) continue;
            const int64_t last = slat_min((int64_t)(block + 1) * block_q, p.tq) - 1 + p.tk - p.tq;
            seen = max(seen, p.layout.causal ? (int32_t)slat_min(last + 1, end) : end);
        }
        return seen;
    }
};

} // namespace sm90
#endif
