/* grad_o of f32, rounded to the type of q for the products.
 *
 * f16 would overflow, or lose what is small: there each head is multiplied by a power of 2 that brings its greatest
 * element to 1 .. 2, and the scans, which are linear in do, divide what they write.
 */
#include "any/tensor.cuh"
#include "lightning.cuh"

namespace sm90
{

namespace
{

constexpr int tile_tokens = 256, lanes = 32, rows_at_once = slat_block / lanes;

/* Calls each(token, column, four elements) for a tile's elements; columns past the width are left out by whoever asks.
 */
template <class Each>
__device__ __forceinline__ void for_tile(const slat_view &x, int64_t b, int h, int64_t first, int64_t tokens,
                                         int32_t width, Each each)
{
    const int64_t last = slat_min(first + tile_tokens, tokens);
    for (int64_t t = first + threadIdx.x / lanes; t < last; t += rows_at_once) {
        const float *row = (const float *)x.data + slat_offset(&x, b, slat_at(0, 0, t), h);
        for (int c = 4 * (threadIdx.x % lanes); c < width; c += 4 * lanes) {
            float v[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) v[i] = c + i < width ? row[c + i] : 0.0f;
            each(t, c, v);
        }
    }
}

/* The bits of each head's greatest finite element. The order of the blocks does not matter. */
__global__ void __launch_bounds__(slat_block)
    find_greatest(const slat_view x, int64_t tokens, int32_t heads, int32_t width, int64_t tiles, uint32_t *greatest)
{
    const int64_t row = blockIdx.x / tiles, b = row / heads;
    uint32_t bits = 0;
    for_tile(x, b, (int)(row % heads), blockIdx.x % tiles * tile_tokens, tokens, width,
             [&](int64_t, int, const float(&v)[4]) {
#pragma unroll
                 for (int i = 0; i < 4; ++i)
                     if (isfinite(v[i])) bits = max(bits, __float_as_uint(fabsf(v[i])));
             });
    bits = __reduce_max_sync(~0u, bits);
    if (threadIdx.x % 32 == 0) atomicMax(&greatest[row], bits);
}

/* A head's power of 2 as a biased exponent, which leaves a normal reciprocal. */
__device__ __forceinline__ uint32_t power_for(const uint32_t *greatest, int64_t row)
{
    return greatest ? min(max(254u - (greatest[row] >> 23), 1u), 253u) : 127u;
}

/* to: [batches, tokens, heads, width rounded up to 8]. units, reciprocals: of each head's power; absent with greatest.
 */
template <class T>
__global__ void __launch_bounds__(slat_block)
    round_rows(const slat_view x, const slat_view to, int64_t tokens, int32_t heads, int32_t width, int64_t tiles,
               const uint32_t *greatest, float *units, float *powers)
{
    const int64_t row = blockIdx.x / tiles, b = row / heads, tile = blockIdx.x % tiles;
    const int h = (int)(row % heads);
    const uint32_t exponent = power_for(greatest, row);
    const float power = __uint_as_float(exponent << 23);
    if (units && tile == 0 && threadIdx.x == 0)
        units[row] = __uint_as_float((254 - exponent) << 23), powers[row] = power;
    for_tile(x, b, h, tile * tile_tokens, tokens, width, [&](int64_t t, int c, const float(&v)[4]) {
        uint2 *at = (uint2 *)((T *)to.data + slat_offset(&to, b, slat_at(0, 0, t), h) + c);
        *at = make_uint2(pack(T(), v[0] * power, v[1] * power), pack(T(), v[2] * power, v[3] * power));
    });
}

} // namespace

rounded round_grad(slat_session &session)
{
    const slat_problem &p = session.problem;
    const int64_t heads = p.b * p.hq, tiles = (p.tq + tile_tokens - 1) / tile_tokens, row = (p.dv + 7) / 8 * 8;
    rounded r = {p.grad_o, NULL, NULL};
    r.view.type = p.type;
    r.view.data = session.take(heads * p.tq * row, sizeof(uint16_t));
    r.view.head = row;
    r.view.token[2] = p.hq * row;
    r.view.batch = p.tq * p.hq * row;
    const slat_view to = r.view;
    uint32_t *greatest = NULL;
    if (p.type == SLAT_F16) {
        greatest = (uint32_t *)session.take(heads, sizeof(uint32_t));
        r.units = (float *)session.take(2 * heads, sizeof(float));
        r.powers = r.units + heads;
        session.clear(greatest, heads * sizeof(uint32_t));
        session.launch(find_greatest, heads * tiles, 0, p.grad_o, p.tq, p.hq, p.dv, tiles, greatest);
    }
    session.launch(p.type == SLAT_F16 ? round_rows<__half> : round_rows<__nv_bfloat16>, heads * tiles, 0, p.grad_o, to,
                   p.tq, p.hq, p.dv, tiles, (const uint32_t *)greatest, r.units, r.powers);
    return r;
}

} // namespace sm90
