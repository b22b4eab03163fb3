/* The transposed block layout: the same entries by key block, query blocks ascending.
 *
 * Three kernels, no atomic decides an order: each head counts its columns' entries; one block turns the counts into
 * where columns begin, all heads in one sequence; each head then walks its rows in order and hands its entries out. In
 * a row of an ascending layout every key block stands once, so the threads of a block can take a row's entries side by
 * side. Bad entries are left out; what a broken layout lists beyond nnz is dropped.
 */
#include "tile.cuh"
#include "transpose.h"

namespace simt
{

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

/* Counts a head's entries by column into t_indptr[1 ...]. */
__global__ void __launch_bounds__(slat_block) transpose_count(const __grid_constant__ slat_layout l, int32_t *t_indptr)
{
    const int64_t heads = (int64_t)l.batches * l.heads;
    for (int64_t head = blockIdx.x; head < heads; head += gridDim.x) {
        const int32_t *row = l.indptr + head * (l.rows + 1);
        int32_t *count = t_indptr + head * (l.columns + 1) + 1;
        for (int64_t j = threadIdx.x; j < l.columns; j += slat_block) count[j] = 0;
        __syncthreads();
        for (int64_t i = threadIdx.x >> 3; i < l.rows; i += slat_block >> 3) {
            const int64_t begin = clamped(row[i], l.entries), end = clamped(row[i + 1], l.entries);
            for (int64_t e = begin + (threadIdx.x & 7); e < end; e += 8) {
                const int64_t j = column_at(l, begin, e);
                if (j >= 0) atomicAdd(&count[j], 1);
            }
        }
    }
}

/* One block: counts become where each column ends, and thus where the next begins. next[head][j]: where column j
 * begins. */
__global__ void __launch_bounds__(slat_block)
    transpose_place(const __grid_constant__ slat_layout l, int32_t *t_indptr, int32_t *next)
{
    int64_t *sums = &shared<int64_t>();
    const int64_t heads = (int64_t)l.batches * l.heads, columns = heads * l.columns;
    int64_t before = 0;
    for (int64_t first = 0; first < columns; first += slat_block) {
        const int64_t n = first + threadIdx.x, head = n / l.columns, j = n % l.columns;
        int32_t *column = t_indptr + head * (l.columns + 1) + j;
        const int64_t own = n < columns ? column[1] : 0;
        sums[threadIdx.x] = own;
        for (int step = 1; step < slat_block; step *= 2) {
            __syncthreads();
            const int64_t left = (int)threadIdx.x >= step ? sums[threadIdx.x - step] : 0;
            __syncthreads();
            sums[threadIdx.x] += left;
        }
        __syncthreads();
        const int64_t end = before + sums[threadIdx.x], last = sums[slat_block - 1];
        if (n < columns) {
            if (j == 0) column[0] = (int32_t)slat_min(end - own, l.entries);
            column[1] = (int32_t)slat_min(end, l.entries);
            next[n] = (int32_t)slat_min(end - own, l.entries);
        }
        before += last;
        __syncthreads();
    }
    for (int64_t head = threadIdx.x; l.columns == 0 && head < heads; head += slat_block) t_indptr[head] = 0;
}

/* A block owns a head. */
__global__ void __launch_bounds__(slat_block)
    transpose_fill(const __grid_constant__ slat_layout l, int32_t *next, int32_t *t_indices, int32_t *t_entry)
{
    const int64_t heads = (int64_t)l.batches * l.heads;
    for (int64_t head = blockIdx.x; head < heads; head += gridDim.x) {
        const int32_t *row = l.indptr + head * (l.rows + 1);
        for (int64_t i = 0; i < l.rows; ++i) {
            const int64_t begin = clamped(row[i], l.entries), end = clamped(row[i + 1], l.entries);
            for (int64_t e = begin + threadIdx.x; e < end; e += slat_block) {
                const int64_t j = column_at(l, begin, e);
                if (j < 0) continue;
                const int64_t to = atomicAdd(&next[head * l.columns + j], 1); /* a broken row may list a block twice */
                if (to < 0 || to >= l.entries) continue;
                t_indices[to] = (int32_t)i;
                t_entry[to] = (int32_t)e;
            }
            __syncthreads();
        }
    }
}

void enqueue_transpose(slat_session &session, int32_t *t_indptr, int32_t *t_indices, int32_t *t_entry)
{
    const slat_layout &l = session.problem.layout;
    const int64_t heads = (int64_t)l.batches * l.heads;
    int32_t *next = (int32_t *)session.take(heads * l.columns, sizeof(int32_t));
    session.launch(transpose_count, heads, 0, l, t_indptr);
    session.launch(transpose_place, heads ? 1 : 0, slat_block * sizeof(int64_t), l, t_indptr, next);
    session.launch(transpose_fill, heads, 0, l, next, t_indices, t_entry);
}

} // namespace simt

void slat_cuda_transpose(slat_session &session)
{
    const slat_layout &l = session.problem.layout;
    simt::enqueue_transpose(session, (int32_t *)l.t_indptr, (int32_t *)l.t_indices, (int32_t *)l.t_entry);
}
