/* The keeper: the warp group that has the state, Z^T, in registers. */
#ifndef SLAT_SM90_LIGHTNING_STATE_CUH
#define SLAT_SM90_LIGHTNING_STATE_CUH
#include "chunk_loop.cuh"

namespace sm90
{

/* Two elements times two. */
__device__ __forceinline__ uint32_t times(__nv_bfloat16, uint32_t x, uint32_t y)
{
    const __nv_bfloat162 xy = __hmul2(*(__nv_bfloat162 *)&x, *(__nv_bfloat162 *)&y);
    return *(uint32_t *)&xy;
}

__device__ __forceinline__ uint32_t times(__half, uint32_t x, uint32_t y)
{
    const __half2 xy = __hmul2(*(__half2 *)&x, *(__half2 *)&y);
    return *(uint32_t *)&xy;
}

/* The weights of the tokens that this thread has of a transposed tile: 8 i + 2 (lane % 4) and the next. */
template <class T>
__device__ __forceinline__ void list_weights(uint32_t (&weights)[8], const head_decay &decay, int rows, int lane)
{
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const int j = 8 * i + 2 * (lane % 4);
        weights[i] = pack(T(), decay.add(j, rows), decay.add(j + 1, rows));
    }
}

/* A tile's transpose as a left operand: x[i] is 16 tokens. */
__device__ __forceinline__ void load_transposed(uint32_t (&x)[4][4], const panel *from, int warp, int lane)
{
    const int row = lane / 16 * 8 + lane % 8, piece = warp * 2 + lane / 8 % 2;
    const uint32_t at = shared_address(from) + swizzle_128(row, piece);
#pragma unroll
    for (int i = 0; i < 4; ++i) load_matrices_transposed(x[i], at + i * 16 * row_bytes);
}

template <class T>
__device__ __forceinline__ void weigh(uint32_t (&to)[4][4], const uint32_t (&x)[4][4], const uint32_t (&weights)[8])
{
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e) to[i][e] = times(T(), x[i][e], weights[2 * i + e / 2]);
}

/* Calls each(element, where it stands) for this thread's elements of Z^T that the state has: all of them, where it is
 * `whole`. `state`: its first element. */
template <bool whole, int SLABS, int PARTS, int COUNT, class Each>
__device__ __forceinline__ void for_elements(float (&z)[SLABS][PARTS][COUNT], float *state, const state_view &v,
                                             const scan &p, const work &w, Each each)
{
    const int thread = threadIdx.x % group, row = thread / 32 * 16 + thread % 32 / 4, column = 2 * (thread % 4);
#pragma unroll
    for (int m = 0; m < SLABS; ++m) {
        const int c = (w.slice * SLABS + m) * chunk + row;
        int64_t at = c * v.column + (w.deep + column) * v.row,
                below = at + 8 * v.column; /* they walk: no address outlives its use */
        int left = p.depth - w.deep - column;
#pragma unroll
        for (int i = 0; i < PARTS * COUNT; i += 4) {
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                float(&x)[COUNT] = z[m][i / COUNT];
                if (whole || (e < left && c < p.width)) each(x[i % COUNT + e], state + at);
                if (whole || (e < left && c + 8 < p.width)) each(x[i % COUNT + e + 2], state + below);
                at += e ? 7 * v.row : v.row;
                below += e ? 7 * v.row : v.row;
                asm volatile("" : "+l"(at), "+l"(below));
            }
            left -= 8;
        }
    }
}

template <int SLABS, int PARTS, int COUNT, class Each>
__device__ __forceinline__ void for_state(float (&z)[SLABS][PARTS][COUNT], float *state, const state_view &v,
                                          const scan &p, const work &w, Each each)
{
    if (p.depth - w.deep >= PARTS * COUNT * 2 && (w.slice + 1) * SLABS * chunk <= p.width)
        for_elements<true>(z, state, v, p, w, each);
    else
        for_elements<false>(z, state, v, p, w, each);
}

template <int SLABS, int PARTS, int COUNT>
__device__ __forceinline__ void load_state(float (&z)[SLABS][PARTS][COUNT], const state_view &v, int64_t snapshot,
                                           float factor, const scan &p, const work &w)
{
#pragma unroll
    for (int i = 0; i < SLABS * PARTS * COUNT; ++i) z[i / (PARTS * COUNT)][i / COUNT % PARTS][i % COUNT] = 0;
    if (!v.data) return;
    for_state(z, state_at(v, w, snapshot), v, p, w, [](float &x, const float *at) { x = *at; });
#pragma unroll
    for (int i = 0; i < SLABS * PARTS * COUNT; ++i) z[i / (PARTS * COUNT)][i / COUNT % PARTS][i % COUNT] *= factor;
}

template <int SLABS, int PARTS, int COUNT>
__device__ __forceinline__ void store_state(float (&z)[SLABS][PARTS][COUNT], const state_view &v, int64_t snapshot,
                                            float factor, const scan &p, const work &w)
{
    if (!v.data) return;
    for_state(z, state_at(v, w, snapshot), v, p, w, [&](float &x, float *at) { *at = x * factor; });
}

/* f16 holds the published state times a power of 2 that brings the warp's greatest element to 2^14 .. 2^15: nothing
 * overflows, and small states keep their precision. Answers the power's biased exponent. bf16 needs no such power. */
template <int PARTS, int COUNT>
__device__ __forceinline__ uint32_t scale_exponent(__half, const float (&z)[PARTS][COUNT])
{
    float greatest = 0;
#pragma unroll
    for (int i = 0; i < PARTS * COUNT; ++i) greatest = fmaxf(greatest, fabsf(z[i / COUNT][i % COUNT]));
    const uint32_t exponent = __reduce_max_sync(~0u, __float_as_uint(greatest)) >> 23;
    return min(268u - exponent, 253u);
}

template <int PARTS, int COUNT>
__device__ __forceinline__ uint32_t scale_exponent(__nv_bfloat16, const float (&)[PARTS][COUNT])
{
    return 127;
}

__device__ __forceinline__ float power_of_2(uint32_t biased)
{
    return __uint_as_float(biased << 23);
}

template <class T> constexpr bool scales = false;
template <> constexpr bool scales<__half> = true;

/* What the writer multiplies 16 columns each by. The lane that will say that the state was taken reads them. */
template <class T> __device__ __forceinline__ void read_unscale(float (&x)[4], const float (&unscale)[4])
{
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = 1;
    if (!scales<T>) return;
    if (threadIdx.x % 32 == 0) {
#pragma unroll
        for (int i = 0; i < 4; ++i) x[i] = unscale[i];
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = __shfl_sync(~0u, x[i], 0);
}

/* A slab of Z^T on its way to shared memory. */
template <int PARTS, int COUNT> struct packed_slab {
    uint32_t x[PARTS][COUNT / 2], exponent;

    template <class T> __device__ __forceinline__ void pack_up(const float (&z)[PARTS][COUNT])
    {
        exponent = scale_exponent(T(), z);
#pragma unroll
        for (int n = 0; n < PARTS; ++n) pack_scaled<T, COUNT>(x[n], z[n], scales<T> ? power_of_2(exponent) : 1.0f);
    }

    template <class T, class State>
    __device__ __forceinline__ void store(State &s, int slab, int slabs, int warp, int lane) const
    {
#pragma unroll
        for (int n = 0; n < PARTS; ++n)
            store_panels<2 * COUNT>(&s.z[n * 2 * COUNT / chunk][slab], slabs, x[n], warp, lane);
        if (scales<T> && lane == 0) s.unscale[slab][warp] = power_of_2(254 - exponent);
    }
};

/* The stored slabs may be read. */
__device__ __forceinline__ void publish(uint64_t *published)
{
    proxy_fence();
    warp_arrive(published);
}

template <class T, int DEPTH, int SLABS>
__device__ __forceinline__ void keep_state(chunk_room<DEPTH, SLABS> &s, const scan &p, const work &w)
{
    typedef chunk_room<DEPTH, SLABS> room;
    constexpr int N = DEPTH % 128 ? 64 : 128, parts = DEPTH / N, count = N / 2;
    constexpr bool early = SLABS * DEPTH <= 128; /* few accumulators: packed before the update, stored under it */
    const int warp = threadIdx.x % group / 32, lane = threadIdx.x % 32;
    float z[SLABS][parts][count];
    uint32_t weights[8], c[SLABS][4][4], left[SLABS][4][4];
    packed_slab<parts, count> packed[early ? SLABS : 1];
    load_state(z, p.begin, w.segment, p.begin_scale.of(w.head), p, w);
    ring<room::stages> at;
    uint32_t turn = 0;
    int listed = 0;
    barrier_wait(&s.filled[0], 0);
#pragma unroll
    for (int m = 0; m < SLABS; ++m) load_transposed(c[m], &s.c[0][m], warp, lane);
#pragma unroll 1
    for (int n = w.first; n < w.last; ++n) {
        const int rows = w.rows(n), here = at.slot;
        const bool own = w.own(n);
        if (p.every && n % p.every == 0 && w.own(n / p.every)) store_state(z, p.snapshots, n / p.every, 1, p, w);
        if (rows != listed) list_weights<T>(weights, w.decay, listed = rows, lane);
#pragma unroll
        for (int m = 0; m < SLABS; ++m) weigh<T>(left[m], c[m], weights);
        at.advance();
        if (n + 1 < w.last) {
            barrier_wait(&s.filled[at.slot], at.parity);
#pragma unroll
            for (int m = 0; m < SLABS; ++m) load_transposed(c[m], &s.c[at.slot][m], warp, lane);
        }
        if (own) {
            if (!early) barrier_wait(&s.taken, turn ^ 1);
#pragma unroll
            for (int m = 0; m < SLABS; ++m) {
                packed_slab<parts, count> &slab = packed[early ? m : 0];
                slab.template pack_up<T>(z[m]);
                if (!early) slab.template store<T>(s.state, m, SLABS, warp, lane);
            }
            if (!early) publish(&s.published);
        }
        const float keep = w.decay.keep(rows) * w.decay.pending(n > w.first);
        const uint32_t right = operand(shared_address(&s.b[here][0]), panel_bytes);
#pragma unroll
        for (int m = 0; m < SLABS; ++m)
#pragma unroll
            for (int k = 0; k < parts; ++k) {
#pragma unroll
                for (int i = 0; i < count; ++i) z[m][k][i] *= keep;
                settle(z[m][k]);
            }
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int m = 0; m < SLABS; ++m)
#pragma unroll
                for (int k = 0; k < parts; ++k)
                    wgmma<T, N>::template rs<1>(z[m][k], left[m][i],
                                                right + i * row_step + k * (N / chunk * panel_bytes / 16), 1);
        wgmma_commit();
        if (early && own) {
            barrier_wait(&s.taken, turn ^ 1);
#pragma unroll
            for (int m = 0; m < SLABS; ++m) packed[early ? m : 0].template store<T>(s.state, m, SLABS, warp, lane);
            publish(&s.published);
        }
        turn ^= own;
        wgmma_wait<0>();
        warp_arrive(&s.freed[here], own ? 1 : 2); /* also for the writer, where it passes */
    }
    if (w.turn <= 0 && (p.end.snapshot || w.last == w.chunks)) /* each segment's, where each has a place */
        store_state(z, p.end, w.segment, p.end_scale.of(w.head) * w.decay.pending(true), p, w);
}

} // namespace sm90
#endif
