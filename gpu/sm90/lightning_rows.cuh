/* The writer: the warp group that computes y. */
#ifndef SLAT_SM90_LIGHTNING_ROWS_CUH
#define SLAT_SM90_LIGHTNING_ROWS_CUH
#include "lightning_state.cuh"

namespace sm90
{

/* y = scale (read(i) a Z + (a b^T * inside) c), for one chunk. */
template <class T, int DEPTH, int SLABS> struct writer {
    typedef chunk_room<DEPTH, SLABS> room;
    static constexpr int N = SLABS * chunk, steps = DEPTH / 16;

    float inside[32]; /* the decay between this thread's tokens i and j, 0 where i does not see j */

    __device__ __forceinline__ void list_inside(const head_decay &decay)
    {
        const int thread = threadIdx.x % group, row = thread / 32 * 16 + thread % 32 / 4, column = 2 * (thread % 4);
#pragma unroll
        for (int n = 0; n < 32; ++n) {
            const int i = row + n % 4 / 2 * 8, j = n / 4 * 8 + column + n % 2;
            inside[n] = decay.sees(i, j) ? decay.inside(i, j) : 0.0f;
        }
    }

    __device__ __forceinline__ void compute(float (&y)[N / 2], room &s, int a_at, int at, uint32_t turn,
                                            const float (&read)[2])
    {
        float scores[32];
        uint32_t weights[16];
        const uint32_t a = operand(shared_address(&s.a[a_at][0])), b = operand(shared_address(&s.b[at][0]));
        const uint32_t z = operand(shared_address(&s.state.z[0][0])),
                       c = operand(shared_address(&s.c[at][0]), panel_bytes);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < steps; ++i)
            wgmma<T, chunk>::ss(scores, a + column_step(i, 1), b + column_step(i, 1), i > 0);
        wgmma_commit();
        barrier_wait(&s.published, turn);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < steps; ++i) wgmma<T, N>::ss(y, a + column_step(i, 1), z + column_step(i, SLABS), i > 0);
        wgmma_commit();
        wgmma_wait<1>();
#pragma unroll
        for (int i = 0; i < 16; ++i)
            weights[i] = pack(T(), inside[2 * i] != 0 ? scores[2 * i] * inside[2 * i] : 0.0f,
                              inside[2 * i + 1] != 0 ? scores[2 * i + 1] * inside[2 * i + 1] : 0.0f);
        wgmma_wait<0>();
        decay_read(y, s, read);
        warp_arrive(&s.taken);
        warp_arrive(&s.a_freed[a_at]);
        settle(y);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < 4; ++i) wgmma<T, N>::template rs<1>(y, weights + 4 * i, c + i * row_step, 1);
        wgmma_commit();
        wgmma_wait<0>();
        warp_arrive(&s.freed[at]);
    }

    static __device__ __forceinline__ void decay_read(float (&y)[N / 2], const room &s, const float (&read)[2])
    {
#pragma unroll
        for (int m = 0; m < SLABS; ++m) {
            float unscale[4];
            read_unscale<T>(unscale, s.state.unscale[m]);
#pragma unroll
            for (int i = 0; i < 32; ++i) y[32 * m + i] *= read[i % 4 / 2] * unscale[i / 8];
        }
    }
};

/* Rows of 16 bits through the copy engine, which leaves out what is past the end. */
template <class T, int DEPTH, int SLABS>
__device__ __forceinline__ void store_rows(chunk_room<DEPTH, SLABS> &s, const float (&y)[SLABS * 32], float scale,
                                           const scan &p, const work &w, int token)
{
    const int thread = threadIdx.x % group;
    uint32_t packed[SLABS * 16];
    pack_scaled<T, SLABS * 32>(packed, y, scale);
    if (thread == 0) store_wait_read();
    named_sync(1, group);
    store_panels<SLABS * chunk>(&s.y[0], 1, packed, thread / 32, thread % 32);
    proxy_fence();
    named_sync(1, group);
    if (thread) return;
#pragma unroll
    for (int m = 0; m < SLABS; ++m) store_box(&p.y, &s.y[m], (w.slice * SLABS + m) * chunk, token, w.h, (int)w.b);
    store_commit();
}

/* Rows by plain stores: of f32, or of widths that the copy engine would round up to 16 bytes. */
template <class T, int COUNT>
__device__ __forceinline__ void store_elements(const float (&y)[COUNT], float scale, const scan &p, const work &w,
                                               int token, int rows)
{
    const int thread = threadIdx.x % group, row = thread / 32 * 16 + thread % 32 / 4;
    const int column = w.slice * 2 * COUNT + 2 * (thread % 4);
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        const int r = row + i % 4 / 2 * 8, c = column + i / 4 * 8 + i % 2;
        if (r >= rows || c >= p.width) continue;
        const int64_t at = slat_offset(&p.rows, w.b, slat_at(0, 0, token + r), w.h) + c;
        if (p.rows.type == SLAT_F32)
            ((float *)p.rows.data)[at] = y[i] * scale;
        else
            ((T *)p.rows.data)[at] = T(y[i] * scale);
    }
}

template <class T, int DEPTH, int SLABS>
__device__ __forceinline__ void write_rows(chunk_room<DEPTH, SLABS> &s, const scan &p, const work &w)
{
    typedef chunk_room<DEPTH, SLABS> room;
    const int row = threadIdx.x % group / 32 * 16 + threadIdx.x % 32 / 4;
    writer<T, DEPTH, SLABS> writer;
    writer.list_inside(w.decay);
    const float scale = p.scale.of(w.head);
    ring<room::stages> at;
    ring<room::a_stages> a_at;
    uint32_t turn = 0;
#pragma unroll 1
    for (int n = w.first; n < w.last; ++n, at.advance()) {
        if (!w.own(n)) continue;
        const int rows = w.rows(n), token = w.token(n);
        const float pending = w.decay.pending(n > w.first);
        const float read[2] = {pending * w.decay.read(row, rows), pending * w.decay.read(row + 8, rows)};
        float y[SLABS * 32];
        barrier_wait(&s.a_filled[a_at.slot], a_at.parity);
        barrier_wait(&s.filled[at.slot], at.parity);
        writer.compute(y, s, a_at.slot, at.slot, turn, read);
        if (p.rows.data)
            store_elements<T>(y, scale, p, w, token, rows);
        else
            store_rows<T, DEPTH, SLABS>(s, y, scale, p, w, token);
        a_at.advance();
        turn ^= 1;
    }
    if (threadIdx.x % group == 0) store_wait();
}

} // namespace sm90
#endif
