/* The transposed block layout: the same entries by key block, query blocks ascending.
 *
 * Three kernels, no atomic decides an order: each head counts its columns' entries; one block turns the counts into
 * where columns begin, all heads in one sequence; each head then hands its entries out. Both walks over a head take 64
 * rows at a time: every column has a word in shared memory with a bit for each row that lists it, so an entry's place
 * in its column is the number of bits before its own. Bad entries are left out, and of a block that a broken row lists
 * twice all but one; what a broken layout lists beyond nnz is dropped.
 */
#include "tile.cuh"
#include "transpose.h"

namespace simt
{

constexpr int transpose_threads = 1024, transpose_rows = 64, transpose_panel = 2048; /* columns at a time */

struct transpose_room {
    unsigned long long rows[transpose_panel]; /* of the chunk, that list the column */
    int32_t begin[transpose_panel];           /* where the chunk's entries of the column go */
};

__device__ inline int64_t clamped(int32_t at, int64_t entries)
{
    return slat_min(slat_max(at, 0), entries);
}

/* The key block at entry e of a row that begins at `begin`, or -1. */
__device__ inline int64_t column_at(const slat_layout &l, int64_t begin, int64_t e)
{
    const int64_t block = l.indices[e];
    return (e == begin || block > l.indices[e - 1]) && block >= 0 && block < l.columns ? block : -1;
}

/* Calls each(column, bit, entry) for the good entries of 64 rows from `first` on whose column lies in the panel; 16
 * threads share a row. Columns are counted from the panel's first. */
template <class Each>
__device__ inline void for_entries(const slat_layout &l, const int32_t *row, int64_t first, int64_t panel,
                                   const Each &each)
{
    constexpr int share = transpose_threads / transpose_rows;
    const int bit = threadIdx.x / share;
    if (first + bit >= l.rows) return;
    const int64_t begin = clamped(row[first + bit], l.entries), end = clamped(row[first + bit + 1], l.entries);
    for (int64_t e = begin + threadIdx.x % share; e < end; e += share) {
        const int64_t j = column_at(l, begin, e) - panel;
        if (j >= 0 && j < transpose_panel) each((int)j, bit, e);
    }
}

/* Collects the rows of a chunk by column. */
__device__ inline void collect(const slat_layout &l, const int32_t *row, int64_t first, int64_t panel)
{
    transpose_room &s = shared<transpose_room>();
    for (int j = threadIdx.x; j < transpose_panel; j += transpose_threads) s.rows[j] = 0;
    __syncthreads();
    for_entries(l, row, first, panel, [&](int j, int bit, int64_t) { atomicOr(&s.rows[j], 1ull << bit); });
    __syncthreads();
}

/* Counts a head's entries by column into t_indptr[1 ...]. */
__global__ void __launch_bounds__(transpose_threads)
    transpose_count(const __grid_constant__ slat_layout l, int32_t *t_indptr)
{
    transpose_room &s = shared<transpose_room>();
    const int64_t heads = (int64_t)l.batches * l.heads;
    for (int64_t head = blockIdx.x; head < heads; head += gridDim.x) {
        const int32_t *row = l.indptr + head * (l.rows + 1);
        int32_t *count = t_indptr + head * (l.columns + 1) + 1;
        for (int64_t panel = 0; panel < l.columns; panel += transpose_panel) {
            int32_t sum[transpose_panel / transpose_threads] = {};
            for (int64_t first = 0; first < l.rows; first += transpose_rows) {
                collect(l, row, first, panel);
                for (int n = 0; n < transpose_panel / transpose_threads; ++n)
                    sum[n] += __popcll(s.rows[n * transpose_threads + threadIdx.x]);
                __syncthreads();
            }
            for (int n = 0; n < transpose_panel / transpose_threads; ++n) {
                const int64_t j = panel + n * transpose_threads + threadIdx.x;
                if (j < l.columns) count[j] = sum[n];
            }
        }
    }
}

/* One block: counts become where each column ends, and thus where the next begins. */
__global__ void __launch_bounds__(transpose_threads)
    transpose_place(const __grid_constant__ slat_layout l, int32_t *t_indptr)
{
    constexpr int share = 4; /* columns of a thread */
    int64_t *sums = &shared<int64_t>();
    const int64_t heads = (int64_t)l.batches * l.heads, columns = heads * l.columns;
    int64_t before = 0;
    for (int64_t first = 0; first < columns; first += share * transpose_threads) {
        const int64_t own = first + threadIdx.x * share;
        int32_t count[share];
        int64_t sum = 0;
        for (int n = 0; n < share; ++n) {
            const int64_t at = own + n;
            count[n] = at < columns ? t_indptr[at / l.columns * (l.columns + 1) + at % l.columns + 1] : 0;
            sum += count[n];
        }
        sums[threadIdx.x] = sum;
        for (int step = 1; step < transpose_threads; step *= 2) {
            __syncthreads();
            const int64_t left = (int)threadIdx.x >= step ? sums[threadIdx.x - step] : 0;
            __syncthreads();
            sums[threadIdx.x] += left;
        }
        __syncthreads();
        int64_t end = before + sums[threadIdx.x] - sum;
        before += sums[transpose_threads - 1];
        for (int n = 0; n < share && own + n < columns; ++n) {
            int32_t *const column = t_indptr + (own + n) / l.columns * (l.columns + 1) + (own + n) % l.columns;
            if ((own + n) % l.columns == 0) column[0] = (int32_t)slat_min(end, l.entries);
            end += count[n];
            column[1] = (int32_t)slat_min(end, l.entries);
        }
        __syncthreads();
    }
    for (int64_t head = threadIdx.x; l.columns == 0 && head < heads; head += transpose_threads) t_indptr[head] = 0;
}

/* A block owns a head. */
__global__ void __launch_bounds__(transpose_threads)
    transpose_fill(const __grid_constant__ slat_layout l, const int32_t *t_indptr, int32_t *t_indices, int32_t *t_entry)
{
    transpose_room &s = shared<transpose_room>();
    const int64_t heads = (int64_t)l.batches * l.heads;
    for (int64_t head = blockIdx.x; head < heads; head += gridDim.x) {
        const int32_t *row = l.indptr + head * (l.rows + 1), *column = t_indptr + head * (l.columns + 1);
        for (int64_t panel = 0; panel < l.columns; panel += transpose_panel) {
            for (int j = threadIdx.x; j < transpose_panel && panel + j < l.columns; j += transpose_threads)
                s.begin[j] = column[panel + j];
            for (int64_t first = 0; first < l.rows; first += transpose_rows) {
                collect(l, row, first, panel);
                for_entries(l, row, first, panel, [&](int j, int bit, int64_t e) {
                    const int64_t to = (int64_t)s.begin[j] + __popcll(s.rows[j] & ((1ull << bit) - 1));
                    if (to >= l.entries) return;
                    t_indices[to] = (int32_t)(first + bit);
                    if (t_entry) t_entry[to] = (int32_t)e;
                });
                __syncthreads();
                for (int j = threadIdx.x; j < transpose_panel; j += transpose_threads)
                    s.begin[j] += __popcll(s.rows[j]);
            }
            __syncthreads();
        }
    }
}

void enqueue_transpose(slat_session &session, int32_t *t_indptr, int32_t *t_indices, int32_t *t_entry)
{
    const slat_layout &l = session.problem.layout;
    const int64_t heads = (int64_t)l.batches * l.heads;
    const size_t room = sizeof(transpose_room);
    session.launch_wide(transpose_count, heads, transpose_threads, room, l, t_indptr);
    session.launch_wide(transpose_place, heads ? 1 : 0, transpose_threads, transpose_threads * sizeof(int64_t), l,
                        t_indptr);
    session.launch_wide(transpose_fill, heads, transpose_threads, room, l, t_indptr, t_indices, t_entry);
}

} // namespace simt

void slat_cuda_transpose(slat_session &session)
{
    const slat_layout &l = session.problem.layout;
    simt::enqueue_transpose(session, (int32_t *)l.t_indptr, (int32_t *)l.t_indices, (int32_t *)l.t_entry);
}
