/* Transposing one head of a block layout with one block.
 *
 * A head's entries stand between its first row's beginning and its last row's end, and so do they by column: no head
 * waits for another. Its columns' entries are counted, the counts turned into where columns begin, and the entries
 * handed out. Both walks take 64 rows at a time: every column has a word in shared memory with a bit for each row that
 * lists it, so an entry's place in its column is the number of bits before its own, and no atomic decides an order. Bad
 * entries are left out, and of a block that a broken row lists twice all but one; what a broken layout lists beyond nnz
 * is dropped.
 */
#ifndef SLAT_ANY_TRANSPOSE_CUH
#define SLAT_ANY_TRANSPOSE_CUH
#include "tile.cuh"
#include "transpose.h"

namespace simt
{

constexpr int transpose_rows = 64, transpose_panel = 2048; /* columns at a time */

template <int threads> struct transpose_room {
    unsigned long long rows[transpose_panel]; /* of the chunk, that list the column */
    int32_t begin[transpose_panel];           /* the column's entries; then where the chunk's go */
    int64_t sums[threads / 32];
};

__device__ inline int64_t clamped(int64_t at, int64_t entries)
{
    return slat_min(slat_max(at, 0), entries);
}

/* The key block at entry e of a row that begins at `begin`, or -1. */
__device__ inline int64_t column_at(const slat_layout &l, int64_t begin, int64_t e)
{
    const int64_t block = l.indices[e];
    return (e == begin || block > l.indices[e - 1]) && block >= 0 && block < l.columns ? block : -1;
}

/* Calls each(column, bit, entry) for the good entries of 64 rows from `first` on whose column lies in the panel; some
 * threads share a row. Columns are counted from the panel's first. */
template <int threads, class Each>
__device__ inline void for_entries(const slat_layout &l, const int32_t *row, int64_t first, int64_t panel,
                                   const Each &each)
{
    constexpr int share = threads / transpose_rows;
    const int bit = threadIdx.x / share;
    if (first + bit >= l.rows) return;
    const int64_t begin = clamped(row[first + bit], l.entries), end = clamped(row[first + bit + 1], l.entries);
    for (int64_t e = begin + threadIdx.x % share; e < end; e += share) {
        const int64_t j = column_at(l, begin, e) - panel;
        if (j >= 0 && j < transpose_panel) each((int)j, bit, e);
    }
}

/* Collects the rows of a chunk by column. */
template <int threads>
__device__ inline void collect(transpose_room<threads> &s, const slat_layout &l, const int32_t *row, int64_t first,
                               int64_t panel)
{
    for (int j = threadIdx.x; j < transpose_panel; j += threads) s.rows[j] = 0;
    __syncthreads();
    for_entries<threads>(l, row, first, panel, [&](int j, int bit, int64_t) { atomicOr(&s.rows[j], 1ull << bit); });
    __syncthreads();
}

/* Counts become where columns begin, the panel's first one at `begin`; gives where its last one ends. `ends`: of the
 * panel's columns, `columns` of them. */
template <int threads>
__device__ inline int64_t place_columns(transpose_room<threads> &s, int64_t begin, int64_t entries, int32_t *ends,
                                        int64_t columns)
{
    constexpr int share = transpose_panel / threads; /* columns of a thread */
    const int own = threadIdx.x * share, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int64_t sum = 0, all = 0;
    for (int n = 0; n < share; ++n) sum += s.begin[own + n];
    int64_t upto = sum; /* with those of the threads before */
    for (int step = 1; step < 32; step *= 2) {
        const int64_t left = __shfl_up_sync(~0u, upto, step);
        if (lane >= step) upto += left;
    }
    if (lane == 31) s.sums[warp] = upto;
    __syncthreads();
    for (int w = 0; w < threads / 32; ++w) {
        if (w == warp) upto += all;
        all += s.sums[w];
    }
    int64_t at = begin + upto - sum;
    for (int n = 0; n < share; ++n) {
        const int32_t count = s.begin[own + n];
        s.begin[own + n] = (int32_t)slat_min(at, entries);
        at += count;
        if (own + n < columns) ends[own + n] = (int32_t)slat_min(at, entries);
    }
    __syncthreads();
    return begin + all;
}

template <int threads> __device__ void transpose_head(const slat_layout &l, int64_t head, const transposed &to)
{
    transpose_room<threads> &s = shared<transpose_room<threads>>();
    const int32_t *row = l.indptr + head * (l.rows + 1);
    int32_t *column = to.indptr + head * (l.columns + 1);
    int64_t begin = clamped(row[0], l.entries); /* of the panel's first column */
    if (threadIdx.x == 0) column[0] = (int32_t)begin;
    for (int64_t panel = 0; panel < l.columns; panel += transpose_panel) {
        int32_t sum[transpose_panel / threads] = {};
        for (int64_t first = 0; first < l.rows; first += transpose_rows) {
            collect(s, l, row, first, panel);
            for (int n = 0; n < transpose_panel / threads; ++n) sum[n] += __popcll(s.rows[n * threads + threadIdx.x]);
            __syncthreads();
        }
        for (int n = 0; n < transpose_panel / threads; ++n) s.begin[n * threads + threadIdx.x] = sum[n];
        __syncthreads();
        begin = place_columns(s, begin, l.entries, column + panel + 1, l.columns - panel);
        for (int64_t first = 0; first < l.rows; first += transpose_rows) {
            collect(s, l, row, first, panel);
            for_entries<threads>(l, row, first, panel, [&](int j, int bit, int64_t e) {
                const int64_t at = (int64_t)s.begin[j] + __popcll(s.rows[j] & ((1ull << bit) - 1));
                if (at >= l.entries) return;
                to.indices[at] = (int32_t)(first + bit);
                if (to.entry) to.entry[at] = (int32_t)e;
            });
            __syncthreads();
            for (int n = 0; n < transpose_panel / threads; ++n)
                s.begin[n * threads + threadIdx.x] += __popcll(s.rows[n * threads + threadIdx.x]);
        }
        __syncthreads();
    }
}

} // namespace simt
#endif
