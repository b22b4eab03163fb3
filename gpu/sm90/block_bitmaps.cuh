/* Bitmaps inside the blocks of a layout: what the walks over blocks know of them where there are any.
 *
 * A block that is listed may have a bitmap, of a row of bytes a query. A note tells of each run in a tile, and of each
 * list that names it, where the run begins in that list's bitmap; a thread that makes masks reads its own bits there.
 */
#ifndef SLAT_SM90_BLOCK_BITMAPS_CUH
#define SLAT_SM90_BLOCK_BITMAPS_CUH
#include "runs.cuh"
#include <type_traits>

namespace sm90
{

constexpr int most_lists = 16;
constexpr uint32_t no_bitmap = ~0u;

/* Of a note. */
template <bool bitmaps> struct bitmap_note {
    uint32_t bitmap[most_runs][most_lists]; /* where a run begins, in bytes; no_bitmap: it is seen as a whole */
};

template <> struct bitmap_note<false> {
};

/* Of a walk. */
template <bool bitmaps> struct block_bitmaps {
    const uint8_t *data;
    int32_t bytes, block_bytes; /* of a row; of a bitmap */
    bool words;                 /* a run's keys are words of a row */
    const int32_t *by_key;      /* the entries in the order of the layout by key block, if that is walked */

    void find_bitmaps(const slat_layout &l, const int32_t *entries, int32_t run)
    {
        data = l.bitmaps;
        by_key = entries;
        bytes = l.block_k / 8;
        block_bytes = l.block_q * bytes;
        words = run % 32 == 0;
    }

    /* The bitmap of an entry, -1 where it has none, less where it names one that there is not. */
    static __device__ __forceinline__ int32_t at_entry(const slat_layout &l, int32_t entry)
    {
        if (entry < 0 || entry >= l.entries) return INT32_MIN;
        const int32_t n = l.bitmap_of[entry];
        return n < l.bitmap_count ? n : INT32_MIN;
    }

    /* Where a run of a block begins in its bitmap. */
    __device__ __forceinline__ uint32_t bitmap_place(int32_t bitmap, int32_t row, int32_t key) const
    {
        return bitmap < 0 ? no_bitmap : (uint32_t)(bitmap * block_bytes + row * bytes + key / 8);
    }

    /* Of bytes whose bits stand for 32 columns, those of the thread's eight columns. */
    static __device__ __forceinline__ uint32_t own_bits(uint32_t columns)
    {
        return (columns >> 2 * (threadIdx.x % 4) & 0x03030303) * 0x01041040 >> 24;
    }

    /* The next `keys` keys of a query's row, as a mask. */
    __device__ __forceinline__ uint32_t of_keys(uint32_t at, int32_t keys) const
    {
        const uint8_t *const from = data + at;
        uint32_t mask = 0;
        if (words) {
#pragma unroll 4
            for (int n = 0; n < keys / 32; ++n) mask |= own_bits(*(const uint32_t *)(from + 4 * n)) << 8 * n;
            return mask;
        }
        for (int n = 0; n < keys / 8; ++n) mask |= own_bits(from[n]) << 2 * n;
        return mask;
    }

    /* The next `queries` rows likewise, and of a warp's eight keys, which are a byte, key lane / 4. */
    __device__ __forceinline__ uint32_t of_queries(uint32_t at, int32_t queries) const
    {
        const int lane = threadIdx.x % warp_lanes;
        const uint8_t *const from = data + at;
        uint32_t mask = 0;
#pragma unroll 2
        for (int first = 0; first < queries; first += warp_lanes) {
            const int row = first + lane;
            const uint32_t keys = row < queries ? from[row * bytes] : 0;
            uint32_t own = 0;
#pragma unroll
            for (int key = 0; key < 8; ++key) {
                const uint32_t rows = __ballot_sync(~0u, keys >> key & 1);
                if (lane / 4 == key) own = rows;
            }
            mask |= own_bits(own) << first / 4;
        }
        return mask;
    }
};

template <> struct block_bitmaps<false> {
};

/* Rows of a walk by query. */
template <class Walk> struct rows_with_bitmaps : Walk::rows_of_lists {
    typedef typename Walk::rows_of_lists lists;
    typedef typename Walk::note note;

    const slat_problem *p;
    int32_t first; /* of the item */
    int row;
    int32_t place[2]; /* in their blocks */

    __device__ __forceinline__ rows_with_bitmaps(const slat_problem &p, const Walk &walk, const work_item &item,
                                                 int row)
        : lists(p, walk, item, row), p(&p), first(item.first), row(row)
    {
#pragma unroll
        for (int r = 0; r < 2; ++r) place[r] = (first + row + 8 * r) % walk.block_q;
    }

    __device__ __forceinline__ void mask(const note &told, uint32_t (&mask)[2]) const
    {
        const Walk &walk = *this->walk;
        lists::mask(told, mask);
#pragma unroll 1
        for (int n = 0; n < walk.copies; ++n) {
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                const uint32_t at =
                    told.lists[n] >> 16 >> this->list[r] & 1 ? told.bitmap[n][this->list[r]] : no_bitmap;
                if (at == no_bitmap) continue;
                const uint32_t own = walk.of_keys(at + place[r] * walk.bytes, walk.run);
                mask[r] &= own << (n << walk.run_shift >> 2) | ~walk.run_columns(n, walk.run);
            }
        }
    }

    /* Of 8 keys of run n, from its `key`-th one on, those that some of the item's queries see, from `row` on. */
    __device__ uint32_t seen_by(const note &told, int n, int key, int row, int rows) const
    {
        const Walk &walk = *this->walk;
        int32_t place = (first + row) % walk.block_q;
        uint32_t seen = 0;
        for (int end = row + rows; row < end && first + row < p->tq && seen != 0xff; ++row) {
            const int list = row >> walk.rows_shift;
            const int32_t position = p->layout.causal ? first + row + (int32_t)(p->tk - p->tq) : INT32_MAX - 1;
            const int32_t width = min(told.end[n], position + 1) - told.first[n] - key;
            if (told.lists[n] >> list & 1 && width > 0) {
                const uint32_t at = told.bitmap[n][list];
                seen |=
                    low_bits(min(width, 8)) & (at == no_bitmap ? 0xff : walk.data[at + place * walk.bytes + key / 8]);
            }
            if (++place == walk.block_q) place = 0;
        }
        return seen;
    }

    /* Of each eight columns of the tile two bits, set where some of the warp's rows see all of them. */
    __device__ uint32_t seen_by_warp(const note &told) const
    {
        uint32_t own[2];
        mask(told, own);
        uint32_t seen = 0;
#pragma unroll
        for (int r = 0; r < 2; ++r)
            if (first + row + 8 * r < p->tq) seen |= own[r];
        for (int lanes = 4; lanes < warp_lanes; lanes *= 2) seen |= __shfl_xor_sync(~0u, seen, lanes);
        for (int lanes = 1; lanes < 4; lanes *= 2) seen &= __shfl_xor_sync(~0u, seen, lanes);
        return seen;
    }

    /* As rows_of_runs::clear: eight threads find out together what eight keys are seen by, if their warp's rows do not
     * see them all. */
    template <int chunks, int keys>
    __device__ void clear(const note &told, uint32_t v, int thread, int threads, int first_run = 0) const
    {
        constexpr int share = tile_rows / 8;
        const int run = this->walk->run, shift = this->walk->run_shift;
        const uint32_t near = seen_by_warp(told);
        for (int key = thread / 8 * 8; key < keys; key += threads) {
            uint32_t seen = 0xff;
            const bool open = (near >> ((first_run << shift) + key) / 4 & 3) != 3;
            if (!__any_sync(~0u, open)) continue;
            if (open) seen = seen_by(told, first_run + (key >> shift), key & (run - 1), thread % 8 * share, share);
            for (int lanes = 4; lanes; lanes /= 2) seen |= __shfl_xor_sync(~0u, seen, lanes);
            for (uint32_t hidden = ~seen & 0xff; hidden; hidden &= hidden - 1)
#pragma unroll
                for (int c = 0; c < chunks; ++c)
                    store_zeros(v + (c * keys + key + __ffs(hidden) - 1) * row_bytes + thread % 8 * 16);
        }
    }
};

/* A thread's two keys of a walk by key. */
template <class Walk> struct keys_with_bitmaps : Walk::keys_of_lists {
    using Walk::keys_of_lists::keys_of_lists;

    __device__ __forceinline__ void mask(const typename Walk::note &told, uint32_t (&mask)[2]) const
    {
        const Walk &walk = this->walk;
        Walk::keys_of_lists::mask(told, mask);
        const int row = this->row & ~7; /* of the warp's first key */
#pragma unroll 1
        for (int n = 0; n < walk.copies; ++n)
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                const int list = (row + 8 * r) >> walk.lists_shift;
                const uint32_t at = told.lists[n] >> list & 1 ? told.bitmap[n][list] : no_bitmap;
                if (at == no_bitmap) continue;
                const int32_t place = (this->first - this->row + row + 8 * r) % walk.block_k;
                const uint32_t own = walk.of_queries(at + place / 8, walk.run);
                mask[r] &= own << (n << walk.run_shift >> 2) | ~walk.run_columns(n, walk.run);
            }
    }
};

/* Whether any query of the key head sees key `row` of an item. */
template <class Walk> __device__ bool sees_key(const slat_problem &p, const Walk &walk, const work_item &item, int row)
{
    const int32_t key = item.first + row, shift = (int32_t)(p.tk - p.tq), place = key % walk.block_k;
    const int heads = p.hq / p.hk;
    for (int h = item.h * heads; key < p.tk && h < (item.h + 1) * heads; ++h) {
        auto x = walk.list_of(p, item.first, item.b, h, row >> walk.lists_shift);
        while (--x.end >= x.begin) {
            const int32_t block = walk.t_indices[x.end], bitmap = walk.bitmap_at(p, x.end);
            if (!walk.good(p, block, walk.fetch(x, x.end - 1)) || bitmap < -1) continue;
            const int32_t begin = block * walk.block_q, from = max(begin, p.layout.causal ? key - shift : 0);
            int32_t query = (int32_t)slat_min(begin + walk.block_q, p.tq) - 1;
            while (query >= from && bitmap >= 0 && !slat_bitmap_bit(&p.layout, bitmap, query - begin, place)) --query;
            if (query >= from) return true;
        }
    }
    return false;
}

/* Zeroes a group's rows of K and V that no query sees: a row a thread, for it takes long to find out. */
template <int chunks, class Walk>
__device__ void clear_hidden_keys(const slat_problem &p, const Walk &walk, const work_item &item, uint32_t k,
                                  uint32_t v, int group, int thread)
{
    const int row = group * group_rows + thread;
    if (thread >= group_rows || sees_key(p, walk, item, row)) return;
    for (int piece = 0; piece < chunks * 8; ++piece) {
        const uint32_t at = (piece / 8 * tile_rows + row) * row_bytes + piece % 8 * 16;
        store_zeros(k + at);
        store_zeros(v + at);
    }
}

} // namespace sm90
#endif
