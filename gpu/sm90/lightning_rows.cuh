/* The writer: the warp group that computes y. */
#ifndef SLAT_SM90_LIGHTNING_ROWS_CUH
#define SLAT_SM90_LIGHTNING_ROWS_CUH
#include "lightning_state.cuh"

namespace sm90
{

/* y = scale (read(i) a Z + (a b^T * inside) c), for one chunk after the other. The scores of the next one are on their
 * way while y of the one before it leaves. */
template <class T, int DEPTH, int SLABS> struct writer {
    typedef chunk_room<DEPTH, SLABS> room;
    static constexpr int N = SLABS * chunk, steps = DEPTH / 16;
    static constexpr bool masks = DEPTH < 256; /* registers are left for masks */

    float inside[32];              /* the decay between this thread's tokens i and j, 0 where i does not see j */
    uint32_t seen[masks ? 16 : 1]; /* all bits where it does, of two tokens j */
    uint32_t a[steps][4];
    float scores[32];

    __device__ __forceinline__ void list_inside(const head_decay &decay)
    {
        const int thread = threadIdx.x % group, row = thread / 32 * 16 + thread % 32 / 4, column = 2 * (thread % 4);
#pragma unroll
        for (int n = 0; n < 32; ++n) {
            const int i = row + n % 4 / 2 * 8, j = n / 4 * 8 + column + n % 2;
            inside[n] = decay.sees(i, j) ? decay.inside(i, j) : 0.0f;
            const uint32_t half = inside[n] != 0 ? 0xffffu : 0;
            if (masks) seen[n / 2] = n % 2 ? seen[n / 2] | half << 16 : half;
        }
    }

    /* Two scores times their decays. What is not seen may be NaN, and counts 0. */
    __device__ __forceinline__ uint32_t weigh(int i) const
    {
        const float x = scores[2 * i] * inside[2 * i], y = scores[2 * i + 1] * inside[2 * i + 1];
        return masks ? pack(T(), x, y) & seen[i]
                     : pack(T(), inside[2 * i] != 0 ? x : 0.0f, inside[2 * i + 1] != 0 ? y : 0.0f);
    }

    /* Takes the chunk's rows of a, for both of its products, and begins its scores. */
    __device__ __forceinline__ void begin(room &s, const ring<room::a_stages> &a_at, const ring<room::stages> &at)
    {
        const int thread = threadIdx.x % group, warp = thread / 32, lane = thread % 32;
        barrier_wait(&s.a_filled[a_at.slot], a_at.parity);
#pragma unroll
        for (int i = 0; i < steps; ++i)
            load_matrices(a[i], shared_address(&s.a[a_at.slot][i / 4]) +
                                    swizzle_128(warp * 16 + lane % 16, i % 4 * 2 + lane / 16));
        barrier_wait(&s.filled[at.slot], at.parity);
        const uint32_t b = operand(shared_address(&s.b[at.slot][0]));
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < steps; ++i) wgmma<T, chunk>::template rs<0>(scores, a[i], b + column_step(i, 1), i > 0);
        wgmma_commit();
    }

    /* a Z, and then the product with c begins. */
    __device__ __forceinline__ void finish(float (&y)[N / 2], room &s, int at, uint32_t turn, const float (&read)[2],
                                           int a_slot)
    {
        uint32_t weights[16];
        const uint32_t z = operand(shared_address(&s.state.z[0][0])),
                       c = operand(shared_address(&s.c[at][0]), panel_bytes);
        barrier_wait(&s.published, turn);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < steps; ++i) wgmma<T, N>::template rs<0>(y, a[i], z + column_step(i, SLABS), i > 0);
        wgmma_commit();
#pragma unroll
        for (int i = 0; i < 16; ++i) weights[i] = weigh(i);
        wgmma_wait<0>();
        decay_read(y, s, read);
        warp_arrive(&s.taken);
        warp_arrive(&s.a_freed[a_slot]); /* not in begin(): an arrival overtakes loads that nobody waited for */
        settle(y);
        settle(weights);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < 4; ++i) wgmma<T, N>::template rs<1>(y, weights + 4 * i, c + i * row_step, 1);
        wgmma_commit();
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

/* A warp's rows of 16 bits through the copy engine, which leaves out what is past the end. */
template <class T, int DEPTH, int SLABS>
__device__ __forceinline__ void store_rows(chunk_room<DEPTH, SLABS> &s, const float (&y)[SLABS * 32], float scale,
                                           const scan &p, const work &w, int token)
{
    const int warp = threadIdx.x % group / 32, lane = threadIdx.x % 32;
    if (lane == 0) store_wait_read();
    __syncwarp();
#pragma unroll
    for (int m = 0; m < SLABS; ++m) {
        uint32_t packed[16];
#pragma unroll
        for (int i = 0; i < 16; ++i) packed[i] = pack(T(), y[32 * m + 2 * i] * scale, y[32 * m + 2 * i + 1] * scale);
        store_panels<chunk>(&s.y[m], 1, packed, warp, lane);
    }
    proxy_fence();
    __syncwarp();
    if (lane) return;
#pragma unroll
    for (int m = 0; m < SLABS; ++m)
        store_box(&p.y, s.y[m].at + warp * warp_tokens * chunk, (w.slice * SLABS + m) * chunk,
                  token + warp * warp_tokens, w.h, (int)w.b);
    store_commit();
}

/* Rows by plain stores: of f32, or of widths that the copy engine would round up to 16 bytes. */
template <class T, int COUNT, class Work>
__device__ __forceinline__ void store_elements(const float (&y)[COUNT], float scale, const scan &p, const Work &w,
                                               int token, int rows)
{
    const int thread = threadIdx.x % group, row = thread / 32 * 16 + thread % 32 / 4;
    const int column = w.first_column(2 * COUNT) + 2 * (thread % 4);
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

template <class T, int DEPTH, int SLABS, class Work>
__device__ __forceinline__ void write_rows(chunk_room<DEPTH, SLABS> &s, const scan &p, const Work &w,
                                           places<chunk_room<DEPTH, SLABS>> &now)
{
    typedef chunk_room<DEPTH, SLABS> room;
    const int row = threadIdx.x % group / 32 * 16 + threadIdx.x % 32 / 4;
    int n = w.first_own();
    if (w.turn < 0 || n >= w.last) return;
    writer<T, DEPTH, SLABS> writer;
    writer.list_inside(w.decay);
    const float scale = p.scale.of(w.head);
    ring<room::stages> at = now.at;
    ring<room::a_stages> a_at = now.a_at;
    w.skip(at, n - w.first);
    writer.begin(s, a_at, at);
    wgmma_wait<0>();
    wgmma_ended(writer.scores);
#pragma unroll 1
    for (uint32_t turn = now.turn; n < w.last; n += w.turns, turn ^= 1, now.turn = turn) {
        const int rows = w.rows(n), token = w.token(n), here = at.slot;
        const float pending = w.decay.pending(n > w.first);
        const float read[2] = {pending * w.decay.read(row, rows), pending * w.decay.read(row + 8, rows)};
        float y[SLABS * 32];
        writer.finish(y, s, here, turn, read, a_at.slot);
        at.advance();
        if (w.turns > 1) at.advance();
        a_at.advance();
        if (n + w.turns < w.last) {
            writer.begin(s, a_at, at);
            wgmma_wait<1>();
        } else
            wgmma_wait<0>();
        wgmma_ended(y);
        warp_arrive(&s.freed[here]);
        if (p.rows.data)
            store_elements<T>(y, scale, p, w, token, rows);
        else
            store_rows<T, DEPTH, SLABS>(s, y, scale, p, w, token);
        wgmma_wait<0>();
        wgmma_ended(writer.scores);
    }
    now.at = at, now.a_at = a_at;
    if (threadIdx.x % 32 == 0) store_wait();
}

} // namespace sm90
#endif
