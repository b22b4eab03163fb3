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

/* The weights of the tokens that this thread has of a transposed tile: 8 i + 2 (lane % 4) and the next. `beyond` tokens
 * come after the tile. */
template <class T>
__device__ __forceinline__ void list_weights(uint32_t (&weights)[8], const head_decay &decay, int rows, int beyond,
                                             int lane)
{
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const int j = 8 * i + 2 * (lane % 4);
        weights[i] = pack(T(), decay.add(j, rows, beyond), decay.add(j + 1, rows, beyond));
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

template <class T> __device__ __forceinline__ void weigh(uint32_t (&x)[4][4], const uint32_t (&weights)[8])
{
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e) x[i][e] = times(T(), x[i][e], weights[2 * i + e / 2]);
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

template <int SLABS, int PARTS, int COUNT, class Work>
__device__ __forceinline__ void load_state(float (&z)[SLABS][PARTS][COUNT], const state_view &v, int64_t snapshot,
                                           float factor, const scan &p, const Work &w)
{
#pragma unroll
    for (int i = 0; i < SLABS * PARTS * COUNT; ++i) z[i / (PARTS * COUNT)][i / COUNT % PARTS][i % COUNT] = 0;
    if (!v.data || !w.begins()) return;
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

template <class T, int DEPTH, int SLABS, class Work> struct keeper {
    typedef chunk_room<DEPTH, SLABS> room;
    static constexpr int N = DEPTH % 128 ? 64 : 128, parts = DEPTH / N, count = N / 2;
    static constexpr int most = SLABS == 1 && DEPTH < 256 ? 2 : 1; /* chunks that are added at once */
    /* Few accumulators: packed before the update, stored when the products of the first chunk have been sent. */
    static constexpr bool early = SLABS * DEPTH <= 128;

    room &s;
    const scan &p;
    const Work &w;
    const int warp, lane;
    float z[SLABS][parts][count], keep;
    uint32_t weights[most][8];
    packed_slab<parts, count> packed[early ? SLABS : 1];
    ring<room::stages> at;
    uint32_t turn;
    int listed; /* what `keep` and `weights` are for: rows of both chunks, and whether it is not the first step */

    __device__ __forceinline__ keeper(room &s, const scan &p, const Work &w, const places<room> &now)
        : s(s), p(p), w(w), warp(threadIdx.x % group / 32), lane(threadIdx.x % 32), at(now.at), turn(now.turn),
          listed(-1)
    {
        load_state(z, p.begin, w.segment, p.begin_scale.of(w.head), p, w);
    }

    __device__ __forceinline__ void store_packed()
    {
#pragma unroll
        for (int m = 0; m < SLABS; ++m) packed[early ? m : 0].template store<T>(s.state, m, SLABS, warp, lane);
    }

    __device__ __forceinline__ void list_decays(int first, int second, bool begun)
    {
        keep = w.decay.keep(first + second) * w.decay.pending(begun);
        list_weights<T>(weights[0], w.decay, first, second, lane);
        if (most > 1) list_weights<T>(weights[most - 1], w.decay, second, 0, lane);
    }

    /* Publishes the state where chunk n is this block's, then adds COUNT chunks to it. */
    template <int COUNT> __device__ __forceinline__ void take(int n)
    {
        const bool own = w.own(n);
        const int first = w.rows(n), second = COUNT > 1 ? w.rows(n + 1) : 0;
        const int step = first << 8 | second << 1 | (n > w.first);
        if (step != listed) list_decays(first, second, n > w.first), listed = step;
        uint32_t c[COUNT][SLABS][4][4];
        int slots[COUNT];
#pragma unroll
        for (int i = 0; i < COUNT; ++i, at.advance()) {
            slots[i] = at.slot;
            barrier_wait(&s.filled[at.slot], at.parity);
#pragma unroll
            for (int m = 0; m < SLABS; ++m) load_transposed(c[i][m], &s.c[at.slot][m], warp, lane);
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
#pragma unroll
        for (int m = 0; m < SLABS; ++m)
#pragma unroll
            for (int k = 0; k < parts; ++k) {
#pragma unroll
                for (int i = 0; i < count; ++i) z[m][k][i] *= keep;
                settle(z[m][k]);
            }
#pragma unroll
        for (int i = 0; i < COUNT; ++i)
#pragma unroll
            for (int m = 0; m < SLABS; ++m) weigh<T>(c[i][m], weights[i]);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < 4 * COUNT; ++i) {
            const uint32_t right = operand(shared_address(&s.b[slots[i / 4]][0]), panel_bytes) + i % 4 * row_step;
#pragma unroll
            for (int m = 0; m < SLABS; ++m)
#pragma unroll
                for (int k = 0; k < parts; ++k)
                    wgmma<T, N>::template rs<1>(z[m][k], c[i / 4][m][i % 4], right + k * (N / chunk * panel_bytes / 16),
                                                1);
            const bool last = i + 1 == 4 * COUNT, stores = early && i == 3;
            if (last || stores) wgmma_commit();
            if (stores && own) {
                barrier_wait(&s.taken, turn ^ 1);
                store_packed();
                publish(&s.published);
            }
            if (stores && !last) wgmma_fence();
        }
        turn ^= own;
        wgmma_wait<0>();
#pragma unroll
        for (int i = 0; i < COUNT; ++i) /* also for the writer, where it passes */
            warp_arrive(&s.freed[slots[i]], i == 0 && own ? 1 : 2);
    }
};

/* Where blocks take turns, a chunk whose y another block writes is added together with the one before it. */
template <class T, int DEPTH, int SLABS, class Work>
__device__ __forceinline__ void keep_state(chunk_room<DEPTH, SLABS> &s, const scan &p, const Work &w,
                                           places<chunk_room<DEPTH, SLABS>> &now)
{
    typedef keeper<T, DEPTH, SLABS, Work> keeper;
    keeper k(s, p, w, now);
#pragma unroll 1
    for (int n = w.first; n < w.last;) {
        if (p.every && w.own(n) && n % p.every == 0) store_state(k.z, p.snapshots, n / p.every, 1, p, w);
        if (keeper::most > 1 && n + 1 < w.last && !w.own(n + 1) && (w.turn < 0 || w.own(n))) {
            k.template take<keeper::most>(n);
            n += 2;
        } else
            k.template take<1>(n++);
    }
    if (w.turn <= 0 && (p.end.snapshot || w.last == w.chunks)) /* each segment's, where each has a place */
        store_state(k.z, p.end, w.segment, p.end_scale.of(w.head) * w.decay.pending(true), p, w);
    now.at = k.at, now.turn = k.turn;
}

} // namespace sm90
#endif
