/* Few queries against many keys: forward softmax attention at the memory's speed.
 *
 * A unit of work is a part of one item's keys. The query heads of a key head are rows of one product, so that K and V
 * come once. Four warps gather the listed keys, row by row, into rings in shared memory, running ahead into the next
 * unit; four consume them: S = Q K^T, the online softmax in registers, O += P V, each with sums of its own that meet at
 * the end of a unit. Where items are few their keys are cut by position in the list; the block that ends the last part
 * of an item adds the parts up, in their order. decode_walk.cuh says what is read.
 */
#ifndef SLAT_SM90_DECODE_CUH
#define SLAT_SM90_DECODE_CUH
#include "attention.cuh"
#include "decode_consume.cuh"
#include "decode_merge.cuh"
#include "decode_produce.cuh"

namespace sm90
{

template <class T, int D, class Walk>
__device__ __forceinline__ void consume_units(decode_room<D> &s, const slat_problem &p, const Walk &walk,
                                              const decode_call &call, int consumer)
{
    typedef decode_shape<D> shape;
    const int32_t units = call.items * call.parts;
    const int lane = threadIdx.x % lanes;
    decode_place<D> at = {};
    at.row_group = consumer % call.row_groups;
    at.key_group = consumer / call.row_groups;
    at.key_groups = decode_consumers / call.row_groups;
    at.scale = call.scale;
    at.scratch = (uint8_t *)(&s + 1) + shape::query_bytes * call.row_groups;
    uint4 *const queries = (uint4 *)(&s + 1) + at.row_group * shape::depth * lanes;
    decode_consumer<T, D> rows;
    rows.q = queries + lane;
    decode_turn turn;
    for (int32_t n = blockIdx.x; n < units; n = turn.hear(s.queue)) {
        const decode_item item = walk.place(p, n % call.items);
        for (int i = at.key_group; i < shape::depth; i += at.key_groups)
            rows.put_queries(queries, p, item, at.row_group, i);
        const typename Walk::list list(p, walk, item);
        const decode_part part = list.part(n / call.items, call.parts);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            int query, h;
            const bool present = decode_row_at(item, at.row_group * 16 + lane / 4 + 8 * r, query, h);
            rows.sight[r] = present ? walk.row(p, item, query) : sees_nothing;
        }
        rows.begin();
        named_sync(1, merge_threads);
        const bool any = list.consume(rows, s, at, part);
        named_sync(1, merge_threads);
        if (any) rows.leave(s, consumer, at.held);
        named_sync(1, merge_threads);
        merge_warps(s, p, call, item, n, any, at.held);
        if (any) {
            barrier_arrive(&s.k_empty[at.held[0]]);
            barrier_arrive(&s.v_empty[at.held[1]]);
        }
        if (call.parts > 1) finish_part(s, p, call, item, n % call.items);
    }
}

template <class T, int D, class Walk>
__global__ void __launch_bounds__(decode_threads, decode_shape<D>::blocks)
    decode(const __grid_constant__ slat_problem p, const __grid_constant__ Walk walk,
           const __grid_constant__ decode_call call)
{
    typedef decode_shape<D> shape;
    extern __shared__ uint8_t memory[];
    auto &s = *(decode_room<D> *)memory;
    const int warp = __shfl_sync(~0u, threadIdx.x / lanes, 0);
    if (threadIdx.x < shape::stages) {
        barrier_init(&s.k_full[threadIdx.x], 2 * decode_tile), barrier_init(&s.v_full[threadIdx.x], decode_tile);
        barrier_init(&s.k_empty[threadIdx.x], decode_consumers * lanes);
        barrier_init(&s.v_empty[threadIdx.x], decode_consumers * lanes);
    }
    if (threadIdx.x < decode_queue::slots) {
        barrier_init(&s.queue.full[threadIdx.x], 1);
        barrier_init(&s.queue.empty[threadIdx.x], decode_threads - lanes);
    }
    __syncthreads();
    if (warp < decode_producers) {
        if (shape::blocks > 1) registers_give<Walk::list::producer_registers>();
        produce_units(s, p, walk, call, warp);
    } else {
        if (shape::blocks > 1) registers_take<Walk::list::consumer_registers>();
        consume_units<T>(s, p, walk, call, warp - decode_producers);
    }
}

constexpr int most_parts = 64;

/* Into how many parts to cut every item's keys, for the shortest time; counted in times of a tile while all blocks are
 * at work: a unit begins and ends in two, to clear counters takes two, to add up eight parts one. */
template <int D, class Walk> int32_t choose_parts(slat_session &session, const Walk &walk)
{
    const slat_problem &p = session.problem;
    const int64_t items = walk.items(p), tiles = (walk.expected(p) + decode_tile - 1) / decode_tile;
    const int64_t slots = (int64_t)session.processors() * decode_shape<D>::blocks;
    int64_t best = INT64_MAX;
    int32_t parts = 1;
    for (int32_t n = 1; n <= most_parts; ++n) {
        const int64_t rounds = (items * n + slots - 1) / slots;
        const int64_t time = rounds * ((tiles + n - 1) / n + 2) + (n > 1 ? 2 + n / 8 : 0);
        if (time < best) best = time, parts = n;
    }
    return parts;
}

template <class T, int D, class Walk> void enqueue_decode(slat_session &session, const Walk &walk, int32_t parts)
{
    const slat_problem &p = session.problem;
    const int64_t items = walk.items(p);
    decode_call call = {};
    call.items = (int32_t)items;
    call.parts = parts;
    call.rows = (int32_t)(p.tq * (p.hq / p.hk));
    call.row_groups = call.rows <= 16 ? 1 : call.rows <= 32 ? 2 : 4;
    call.scale = (float)(p.scale * 1.4426950408889634);
    call.width = (p.dv + 3) / 4 * 4;
    const int64_t units = items * parts, blocks = slat_min(units, session.processors() * decode_shape<D>::blocks);
    if (units > blocks || parts > 1) {
        call.next = (int32_t *)session.take(1 + items, sizeof(int32_t));
        call.done = call.next + 1;
        session.clear(call.next, (1 + items) * sizeof(int32_t));
    }
    if (parts > 1) {
        call.states = (float2 *)session.take(units * call.rows, sizeof(float2));
        call.o = (float *)session.take(units * call.rows * call.width, sizeof(float));
    }
    const size_t room =
        sizeof(decode_room<D>) + decode_shape<D>::query_bytes * call.row_groups + Walk::list::scratch(call.row_groups);
    session.launch_wide(decode<T, D, Walk>, blocks, decode_threads, room, p, walk, call);
}

template <class Walk> void serve_decode(slat_session &session)
{
    for_shape(session, [](auto type, auto channels) {
        return [](slat_session &s) {
            const Walk walk(s.problem);
            constexpr int D = decltype(channels)::value;
            enqueue_decode<decltype(type), D>(s, walk, choose_parts<D>(s, walk));
        };
    });
}

} // namespace sm90
#endif
