/* Before the products of backward: each row's lse and delta. */
#include "any/tensor.cuh"
#include "grad_room.cuh"
#include "grad_rows.h"
#include <math_constants.h>

namespace sm90
{

constexpr int number_lanes = 8;                                        /* threads of a row */
constexpr int number_heads = slat_block / (number_lanes * grad_group); /* heads of a block, eight rows of each */

/* sum(o * grad_o) of 16 bytes of each. */
__device__ __forceinline__ float partial_delta(const slat_problem &p, int64_t o, int64_t grad_o, float sum)
{
    const uint4 x = *(const uint4 *)((const uint16_t *)p.o.data + o),
                y = *(const uint4 *)((const uint16_t *)p.grad_o.data + grad_o);
    const uint32_t xs[] = {x.x, x.y, x.z, x.w}, ys[] = {y.x, y.y, y.z, y.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const float2 u = simt::widen_pair(xs[i], p.type), v = simt::widen_pair(ys[i], p.type);
        if (u.x != 0) sum = fmaf(u.x, v.x, sum);
        if (u.y != 0) sum = fmaf(u.y, v.y, sum);
    }
    return sum;
}

/* delta leaves out channels where o is 0: a row that sees nothing has a delta of 0, whatever its grad_o. */
__global__ void __launch_bounds__(slat_block)
    softmax_numbers(const __grid_constant__ slat_problem p, int32_t rows, int32_t blocks, float *numbers)
{
    const int part = threadIdx.x % number_lanes, row = threadIdx.x / number_lanes % grad_group;
    const int heads = (int)p.b * p.hq, sets = (heads + number_heads - 1) / number_heads;
    if (blockIdx.x == 0 && threadIdx.x < 64 * 2) /* those at the end */
        numbers[(int64_t)heads * rows * 2 + threadIdx.x] =
            threadIdx.x % number_floats < grad_group ? CUDART_INF_F : 0.0f;
    for (int n = blockIdx.x; n < blocks; n += gridDim.x) {
        const int group = n / sets, head = n % sets * number_heads + threadIdx.x / (number_lanes * grad_group);
        const int b = head / p.hq, h = head - b * p.hq, query = group * grad_group + row;
        const slat_point at = simt::point_of(slat_query_box(&p), query);
        float lse = CUDART_INF_F, delta = 0;
        if (head < heads && query < p.tq) {
            const int64_t o = slat_offset(&p.o, b, at, h), grad_o = slat_offset(&p.grad_o, b, at, h);
#pragma unroll 2
            for (int c = part * 8; c < p.dv; c += number_lanes * 8) delta = partial_delta(p, o + c, grad_o + c, delta);
            lse = simt::row_number(p.lse, b, at, h);
        }
#pragma unroll
        for (int lanes = number_lanes / 2; lanes; lanes /= 2) delta += __shfl_xor_sync(~0u, delta, lanes);
        if (part || head >= heads) continue;
        const bool sees = lse != -CUDART_INF_F && lse != CUDART_INF_F;
        if (sees && p.grad_lse.data) delta -= simt::row_number(p.grad_lse, b, at, h);
        float *const to = numbers + ((int64_t)head * (rows / grad_group) + group) * number_floats + row;
        to[0] = sees ? lse * 1.4426950408889634f : CUDART_INF_F;
        to[grad_group] = sees ? delta : 0.0f;
    }
}

const float *enqueue_numbers(slat_session &session)
{
    const slat_problem &p = session.problem;
    const int64_t rows = grad_rows(p.tq), heads = p.b * p.hq;
    const int64_t blocks = rows / grad_group * ((heads + number_heads - 1) / number_heads);
    float *const numbers = (float *)session.take((heads * rows + 64) * 2, sizeof(float));
    if (blocks > INT32_MAX / 2) session.refuse("more than 2^30 groups of query rows are not served");
    session.launch(softmax_numbers, blocks, 0, p, (int32_t)rows, (int32_t)blocks, numbers);
    return numbers;
}

} // namespace sm90
