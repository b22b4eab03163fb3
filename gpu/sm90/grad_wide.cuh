/* Products and sums of wide heads, whose 64 rows a warp group holds by all channels. Left operands come from shared
 * memory, for want of registers.
 */
#ifndef SLAT_SM90_GRAD_WIDE_CUH
#define SLAT_SM90_GRAD_WIDE_CUH
#include "grad_room.cuh"

namespace sm90
{

/* Issues 64 rows of a, which has 128, times the 64 rows of b. */
template <class T, int D> __device__ __forceinline__ void wide_products(float (&c)[32], uint32_t a, uint32_t b)
{
    const uint32_t left = operand(a), right = operand(b);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < D / 16; ++i)
        wgmma<T, 64>::ss(c, left + operand_step(i / 4 * tile_rows * row_bytes + i % 4 * 32),
                         right + operand_step(i / 4 * group_rows * row_bytes + i % 4 * 32), i > 0);
    wgmma_commit();
}

template <class T, int D> struct wide_sums {
    static constexpr int part = D % 128 ? 64 : 128, parts = D / part; /* columns of a product */

    float c[parts][part / 2];

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int n = 0; n < parts; ++n)
#pragma unroll
            for (int i = 0; i < part / 2; ++i) c[n][i] = 0;
    }

    /* Issues the addition of weights times the 64 rows of x. */
    __device__ __forceinline__ void add(const uint32_t (&weights)[16], uint32_t x)
    {
        const uint32_t right = operand(x, group_rows * row_bytes);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int n = 0; n < parts; ++n)
                wgmma<T, part>::template rs<1>(
                    c[n], weights + 4 * i,
                    right + operand_step(n * part / chunk * group_rows * row_bytes + i * 16 * row_bytes), 1);
        wgmma_commit();
    }

    /* Writes this thread's two rows, the first one is `row`, times `factor`; place(row, at): where a row stands. */
    template <class Place>
    __device__ __forceinline__ void store(const slat_view &to, const work_item &item, int width, float factor, int row,
                                          const Place &place) const
    {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            slat_point at;
            if (!place(row + 8 * r, at)) continue;
            uint16_t *const first = (uint16_t *)to.data + slat_offset(&to, item.b, at, item.h) + 2 * (threadIdx.x % 4);
#pragma unroll
            for (int n = 0; n < D; n += 8) {
                const float *const x = &c[n / part][n % part / 2 + 2 * r];
                if (n < width) *(uint32_t *)(first + n) = pack(T(), x[0] * factor, x[1] * factor);
            }
        }
    }
};

} // namespace sm90
#endif
