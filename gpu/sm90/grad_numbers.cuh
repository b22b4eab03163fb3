/* By key: what the numbers of a tile's queries make of a thread's keys. These are lse and -delta of the query or, where
 * the walk is grouped (grad_groups.cuh), c and -m of the query and the keys' block. A block's landmark takes lse and
 * -delta, and its do.v is m.
 */
#ifndef SLAT_SM90_GRAD_NUMBERS_CUH
#define SLAT_SM90_GRAD_NUMBERS_CUH
#include "grad_room.cuh"

namespace sm90
{

/* Copies the numbers of each group's block, where blocks are not short: a warp. */
template <class Walk>
__device__ __forceinline__ void load_block_numbers(uint8_t *to, int bytes, const slat_problem &p, const Walk &walk,
                                                   const typename Walk::note &told, const work_item &item,
                                                   uint64_t *full)
{
    const int group = threadIdx.x % warp_lanes;
    if (group < 2) load_bytes(to + group * bytes, walk.numbers(p, told, item, group), bytes, full);
}

/* Two numbers of the j-th eight queries. */
__device__ __forceinline__ float2 load_numbers(uint32_t numbers, int j)
{
    return load_floats(numbers + j * number_floats * 4);
}

/* The same of numbers in memory. */
__device__ __forceinline__ float2 load_numbers(const float *numbers, int j)
{
    return *(const float2 *)(numbers + j * number_floats);
}

/* The second ones of eight queries. */
__device__ __forceinline__ uint32_t second_numbers(uint32_t numbers)
{
    return numbers + grad_group * 4;
}
__device__ __forceinline__ const float *second_numbers(const float *numbers)
{
    return numbers + grad_group;
}

/* Where blocks are long: the row of a group's landmark, if there is one. */
template <bool long_blocks> struct landmark_row {
};
template <> struct landmark_row<true> {
    int landmark;
};

/* A consumer thread's two keys of its group's 64, of which the second one is 8 further. */
template <class Walk> struct key_pair : landmark_row<Walk::long_blocks> {
    const Walk &walk;
    const int group;

    __device__ __forceinline__ key_pair(const Walk &walk, int group) : walk(walk), group(group) {}

    static __device__ __forceinline__ int thread() { return threadIdx.x % group_threads; }
    static __device__ __forceinline__ int lane() { return threadIdx.x % warp_lanes; }

    __device__ __forceinline__ bool is_landmark(int r) const
    {
        if constexpr (Walk::long_blocks)
            return thread() / warp_lanes * 16 + lane() / 4 + 8 * r == this->landmark;
        else if constexpr (Walk::grouped)
            return walk.is_landmark(thread() / warp_lanes * 16 + lane() / 4 + 8 * r);
        else
            return false;
    }

    /* Where blocks are short: a tile's numbers of the block of key r, in memory. */
    __device__ __forceinline__ const float *block_numbers_of(const slat_problem &p, const typename Walk::note &told,
                                                             const work_item &item, int r) const
    {
        const int row = group * group_rows + thread() / warp_lanes * 16 + lane() / 4 + 8 * r;
        return walk.numbers(p, told, item, row) + lane() % 4 * 2;
    }

    /* S^T becomes P^T. scale: to powers of 2; first(j): the first key's lse, or c, of two of the j-th eight queries;
     * second: where the other key's are, if they are others. */
    template <int N, class Lse, class Numbers>
    static __device__ __forceinline__ void weigh(float (&s)[N], float scale, const Lse &first, const Numbers &second)
    {
#pragma unroll
        for (int j = 0; j < N / 4; ++j) {
            const float2 lse = first(j), lse_2 = Walk::grouped ? load_numbers(second, j) : lse;
            float *const x = s + 4 * j;
            x[0] = exp2_fast(fmaf(x[0], scale, -lse.x));
            x[1] = exp2_fast(fmaf(x[1], scale, -lse.y));
            x[2] = exp2_fast(fmaf(x[2], scale, -lse_2.x));
            x[3] = exp2_fast(fmaf(x[3], scale, -lse_2.y));
        }
    }

    /* -delta, or -m. added: to dP^T; otherwise dP^T is added to it, and nothing is left to do when that is there.
     * second: as above, where blocks are short. */
    template <bool added, int N, class Numbers>
    static __device__ __forceinline__ void lessen(float (&grad_p)[N], const Numbers &numbers, const Numbers &second)
    {
        if (added) wgmma_ended(grad_p);
#pragma unroll
        for (int j = 0; j < N / 4; ++j) {
            const float2 less = load_numbers(second_numbers(numbers), j);
            const float2 less_2 = Walk::short_blocks ? load_numbers(second_numbers(second), j) : less;
            float *const x = grad_p + 4 * j;
#pragma unroll
            for (int r = 0; r < 4; ++r) {
                const float2 own = r < 2 ? less : less_2;
                const float y = r % 2 ? own.y : own.x;
                x[r] = added ? x[r] + y : y;
            }
        }
    }

    /* dP^T - delta becomes dS^T. weight(i): the i-th two of P^T; numbers: the queries' ones. */
    template <int N, class Weight>
    __device__ __forceinline__ void differentiate(float (&grad_p)[N], const Weight &weight, uint32_t numbers) const
    {
        wgmma_ended(grad_p);
#pragma unroll
        for (int i = 0; i < N / 2; ++i) {
            const float2 w = weight(i);
            grad_p[2 * i] *= w.x;
            grad_p[2 * i + 1] *= w.y;
        }
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            if (!is_landmark(r)) continue; /* its dP is 0 so far: the weight times -mean is there */
#pragma unroll
            for (int j = 0; j < N / 4; ++j) {
                const float2 less = load_numbers(numbers + grad_group * 4, j), w = weight(2 * j + r);
                float *const x = grad_p + 4 * j + 2 * r;
                x[0] = fmaf(w.x, less.x, -x[0]);
                x[1] = fmaf(w.y, less.y, -x[1]);
            }
        }
    }

    /* dV of a landmark is 0. */
    template <int N> __device__ __forceinline__ void clear_landmarks(float (&grad_v)[N]) const
    {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            if (!is_landmark(r)) continue;
#pragma unroll
            for (int i = 2 * r; i < N; i += 4) grad_v[i] = grad_v[i + 1] = 0;
        }
    }
};

} // namespace sm90
#endif
