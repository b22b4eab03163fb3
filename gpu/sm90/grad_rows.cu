/* Before the products of backward: each row's lse and delta. The first blocks transpose the block layout meanwhile, a
 * head each. */
#include "any/tensor.cuh"
#include "any/transpose.cuh"
#include "grad_room.cuh"
#include "grad_rows.h"
#include <math_constants.h>

namespace sm90
{

constexpr int number_lanes = 8;                                          /* threads of a row */
constexpr int number_threads = number_lanes * grad_group;                /* of eight rows of a head */
constexpr int number_turns = 2;                                          /* heads that a thread has to do with */
constexpr int number_heads = number_turns * slat_block / number_threads; /* of a block */

/* sum(o * grad_o) of 16 bytes of each. careful: without the channels where o is 0. */
template <class T, bool careful>
__device__ __forceinline__ float partial_delta(const slat_problem &p, int64_t o, int64_t grad_o, float sum)
{
    const uint4 x = *(const uint4 *)((const uint16_t *)p.o.data + o),
                y = *(const uint4 *)((const uint16_t *)p.grad_o.data + grad_o);
    const uint32_t xs[] = {x.x, x.y, x.z, x.w}, ys[] = {y.x, y.y, y.z, y.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const float2 u = unpack(T(), xs[i]), v = unpack(T(), ys[i]);
        if (!careful || u.x != 0) sum = fmaf(u.x, v.x, sum);
        if (!careful || u.y != 0) sum = fmaf(u.y, v.y, sum);
    }
    return sum;
}

/* This thread's part of the sum of a query's row, of all entries' heads. */
template <class T, bool careful>
__device__ __forceinline__ float row_delta(const slat_problem &p, int head, const slat_point &at, int part)
{
    const int b = head / p.hq, h = head - b * p.hq;
    const int64_t o = slat_offset(&p.o, b, at, h), grad_o = slat_offset(&p.grad_o, b, at, h);
    float sum = 0;
#pragma unroll 2
    for (int c = part * 8; c < p.dv; c += number_lanes * 8) sum = partial_delta<T, careful>(p, o + c, grad_o + c, sum);
    return sum;
}

/* delta leaves out channels where o is 0: a row that sees nothing has a delta of 0, whatever its grad_o. Only what is
 * not finite shows it. */
template <class T>
__global__ void __launch_bounds__(slat_block, 4) /* blocks of a multiprocessor */
    softmax_numbers(const __grid_constant__ slat_problem p, const __grid_constant__ query_rows rows, int32_t blocks,
                    float *numbers, float *no_numbers, const __grid_constant__ grad_start start, int32_t layouts)
{
    kernel_after_begins();
    if (blockIdx.x == 0)
        for (int i = threadIdx.x; i < start.count; i += slat_block) start.counters[i] = 0;
    if ((int)blockIdx.x < layouts) {
        simt::transpose_head<slat_block>(p.layout, blockIdx.x, start.layout);
        return;
    }
    const int first = blockIdx.x - layouts;
    const int part = threadIdx.x % number_lanes, row = threadIdx.x / number_lanes % grad_group;
    const int heads = (int)p.b * p.hq, sets = (heads + number_heads - 1) / number_heads;
    if (first == 0 && threadIdx.x < 64 * 2)
        no_numbers[threadIdx.x] = threadIdx.x % number_floats < grad_group ? CUDART_INF_F : 0.0f;
    for (int n = first; n < blocks; n += gridDim.x - layouts) {
        const int group = n / sets, first_head = n % sets * number_heads + threadIdx.x / number_threads;
        slat_point at;
        const bool there = rows.query(group * grad_group + row, at);
        float lse[number_turns], delta[number_turns];
        /* All heads' rows are on their way before the first one is added up. */
#pragma unroll
        for (int i = 0; i < number_turns; ++i) {
            const int head = first_head + i * (slat_block / number_threads);
            lse[i] = CUDART_INF_F, delta[i] = 0;
            if (head >= heads || !there) continue;
            lse[i] = simt::row_number(p.lse, head / p.hq, at, head % p.hq);
            delta[i] = row_delta<T, false>(p, head, at, part);
        }
#pragma unroll
        for (int i = 0; i < number_turns; ++i) {
            const int head = first_head + i * (slat_block / number_threads);
            if (isnan(delta[i])) delta[i] = row_delta<T, true>(p, head, at, part);
#pragma unroll
            for (int lanes = number_lanes / 2; lanes; lanes /= 2) delta[i] += __shfl_xor_sync(~0u, delta[i], lanes);
            if (part || head >= heads) continue;
            const bool sees = lse[i] != -CUDART_INF_F && lse[i] != CUDART_INF_F;
            if (sees && p.grad_lse.data) delta[i] -= simt::row_number(p.grad_lse, head / p.hq, at, head % p.hq);
            float *const to = numbers + ((int64_t)head * (rows.count / grad_group) + group) * number_floats + row;
            to[0] = sees ? lse[i] * 1.4426950408889634f : CUDART_INF_F;
            to[grad_group] = sees ? -delta[i] : 0.0f;
        }
    }
}

void enqueue_numbers(slat_session &session, const grad_start &start, grad_call &call)
{
    const slat_problem &p = session.problem;
    const int64_t rows = call.rows.count, heads = p.b * p.hq;
    const int64_t blocks = rows / grad_group * ((heads + number_heads - 1) / number_heads);
    const int64_t layouts = start.layout.indptr ? (int64_t)p.layout.batches * p.layout.heads : 0;
    float *const numbers = (float *)session.take((heads * rows + 64) * 2, sizeof(float));
    float *const no_numbers = numbers + heads * rows * 2;
    if (blocks + layouts > INT32_MAX / 2) session.refuse("more than 2^30 groups of query rows are not served");
    const auto kernel = p.type == SLAT_BF16 ? softmax_numbers<__nv_bfloat16> : softmax_numbers<__half>;
    session.launch(kernel, blocks ? layouts + blocks : 0, layouts ? sizeof(simt::transpose_room<slat_block>) : 0, p,
                   call.rows, (int32_t)blocks, numbers, no_numbers, start, (int32_t)layouts);
    call.numbers = numbers;
    call.no_numbers = no_numbers;
}

} // namespace sm90
