/* Sums of some of a row's keys become those of all of them, in a fixed order. */
#ifndef SLAT_SM90_DECODE_MERGE_CUH
#define SLAT_SM90_DECODE_MERGE_CUH
#include "decode_room.cuh"

namespace sm90
{

/* Four columns of a row: o relative to the weight 2^top. */
struct decode_columns {
    float top, sum;
    float4 o;

    /* A row begins with its sink. */
    __device__ __forceinline__ explicit decode_columns(float sink)
    {
        top = sink * simt::log2e;
        sum = sink != -CUDART_INF_F ? 1.0f : 0.0f;
        o = make_float4(0, 0, 0, 0);
    }

    __device__ __forceinline__ void add(float more_top, float more_sum, const float4 &more)
    {
        const float greatest = fmaxf(top, more_top), base = greatest == -CUDART_INF_F ? 0.0f : greatest;
        const float a = exp2f(top - base), b = exp2f(more_top - base);
        top = greatest;
        sum = sum * a + more_sum * b;
        o = make_float4(o.x * a + more.x * b, o.y * a + more.y * b, o.z * a + more.z * b, o.w * a + more.w * b);
    }

    /* Writes columns c ... c + 3 of a row of o and, with the first ones, lse. */
    __device__ __forceinline__ void write(const slat_problem &p, const decode_item &item, int query, int h, int c,
                                          float sink) const
    {
        const slat_point at = decode_point(item, query);
        const float factor = sum == 0 ? 0.0f : 1 / sum;
        if (c == 0 && p.lse.data)
            ((float *)p.lse.data)[slat_offset(&p.lse, item.b, at, h)] = simt::log_sum(top, sum, sink);
        const simt::target to = simt::target_of(p.o, item.b, h, simt::is_wide(p));
        simt::store(to, simt::token_at(p.o, at), c, p.dv,
                    make_float4(o.x * factor, o.y * factor, o.z * factor, o.w * factor));
    }
};

/* Four columns of all rows of an item are work for one consumer's thread. */
template <class Work>
__device__ __forceinline__ void for_columns(const slat_problem &p, const decode_item &item, const Work &work)
{
    const int columns = (p.dv + 3) / 4, rows = item.queries * item.heads;
    for (int n = threadIdx.x - decode_producers * lanes; n < rows * columns; n += merge_threads) {
        const int r = n / columns;
        int query, h;
        decode_row_at(item, r, query, h);
        work(r, query, h, 4 * (n - r * columns));
    }
}

/* What the parts of an item have left in workspace. */
__device__ __forceinline__ void merge_parts(const slat_problem &p, const decode_call &call, const decode_item &item,
                                            int32_t number)
{
    constexpr int batch = 8; /* of parts, on their way at once */
    for_columns(p, item, [&](int r, int query, int h, int c) {
        const float sink = simt::sink_of(p, h);
        decode_columns all(sink);
        for (int first = 0; first < call.parts; first += batch) {
            float2 state[batch];
            float4 o[batch];
#pragma unroll
            for (int i = 0; i < batch; ++i) {
                if (first + i >= call.parts) break;
                const int64_t row = ((int64_t)(first + i) * call.items + number) * call.rows + r;
                state[i] = __ldcg(call.states + row);
                o[i] = __ldcg((const float4 *)(call.o + row * call.width + c));
            }
#pragma unroll
            for (int i = 0; i < batch; ++i)
                if (first + i < call.parts) all.add(state[i].x, state[i].y, o[i]);
        }
        all.write(p, item, query, h, c, sink);
    });
}

/* What the consumers of a block have left of a unit (held: of which tile; none: they saw no key). */
template <int D>
__device__ __forceinline__ void merge_warps(decode_room<D> &s, const slat_problem &p, const decode_call &call,
                                            const decode_item &item, int32_t unit, bool any, const int (&held)[2])
{
    for_columns(p, item, [&](int r, int query, int h, int c) {
        const float sink = call.parts == 1 ? simt::sink_of(p, h) : -CUDART_INF_F;
        decode_columns all(sink);
        for (int warp = r / 16; any && warp < decode_consumers; warp += call.row_groups)
            all.add(s.top[warp][r % 16], s.sum[warp][r % 16],
                    *(const float4 *)&s.sums(warp, held[0], held[1])[r % 16][c]);
        if (call.parts == 1) {
            all.write(p, item, query, h, c, sink);
            return;
        }
        const int64_t row = (int64_t)unit * call.rows + r;
        if (c == 0) call.states[row] = make_float2(all.top, all.sum);
        *(float4 *)(call.o + row * call.width + c) = all.o;
    });
}

/* Tells the other blocks that a part of an item is through; the last one merges them. */
template <int D>
__device__ __forceinline__ void finish_part(decode_room<D> &s, const slat_problem &p, const decode_call &call,
                                            const decode_item &item, int32_t number)
{
    __threadfence();
    named_sync(1, merge_threads);
    if (threadIdx.x == decode_producers * lanes) s.last = atomicAdd(call.done + number, 1) == call.parts - 1;
    named_sync(1, merge_threads);
    if (!s.last) return;
    __threadfence();
    merge_parts(p, call, item, number);
}

} // namespace sm90
#endif
