/* Enqueues softmax backward over a walk by query and one by key: the host's side of grad_keys and grad_queries. */
#ifndef SLAT_SM90_BACKWARD_CUH
#define SLAT_SM90_BACKWARD_CUH
#include "any/softmax_rows.h"
#include "attention.cuh"
#include "grad_keys.cuh"
#include "grad_queries.cuh"
#include "grad_rows.h"

namespace sm90
{

inline slat_status check_backward(const slat_problem &p)
{
    SLAT_TRY(check_tensors(p));
    if (p.d % 8) return unsupported("q: rows of a width that is no multiple of 8 channels are not served in backward");
    if (p.d > 128 || p.dv > 128) return unsupported("backward of more than 128 channels is not served");
    if (p.o.type != p.type) return unsupported("o: f32 is not served in backward");
    return SLAT_OK;
}

/* Key heads whose queries, and the sums of their dq, should stay in the cache together. */
inline int key_heads_together(const slat_problem &p, int64_t row_bytes)
{
    constexpr int64_t cache = 32 << 20;
    const int64_t bytes = p.tq * row_bytes * p.hq / p.hk;
    return (int)slat_min(slat_max(cache / slat_max(bytes, 1), 1), p.b * p.hk);
}

/* How the sums of dq lie in workspace. */
template <int D> grad_call plan_sums(const slat_problem &p)
{
    constexpr int most = 3; /* sets: one that is added to, one that the blocks before still add to, one being emptied */
    grad_call call = {};
    call.heads = (int32_t)(p.b * p.hk);
    call.group = key_heads_together(p, (p.d + p.dv) * 2 + D * 4);
    call.sets = (call.heads + call.group - 1) / call.group;
    call.slots = (int32_t)slat_min(call.sets, most);
    call.set_heads = call.group * (p.hq / p.hk);
    return call;
}

template <int D> int64_t count_sums(const slat_problem &p, const grad_call &call)
{
    return slat_min((int64_t)call.slots * call.set_heads, p.b * p.hq) * grad_rows(p.tq) * D;
}

/* Whether dq may be added up in f32: in any order, and in no more workspace than a copy of it and 1 MiB. */
template <int D> bool may_add(const slat_session &session)
{
    const slat_problem &p = session.problem;
    const int64_t sums = count_sums<D>(p, plan_sums<D>(p)), copy = p.b * p.hq * p.tq * p.d;
    return session.deterministic != 1 && (sums - copy) * 4 <= 1 << 20 &&
           p.b * p.hq * (grad_rows(p.tq) / 64) < INT32_MAX / 2;
}

/* Takes counters, which become 0 before the products. */
inline int32_t *take_counters(slat_session &session, grad_start &start, int32_t count)
{
    start.counters = (int32_t *)session.take(count, sizeof(int32_t));
    start.count = count;
    return start.counters;
}

/* Takes the sums and their counters. */
template <int D> void take_sums(slat_session &session, grad_start &start, grad_call &call)
{
    call.sums = (float *)session.take(count_sums<D>(session.problem, call), sizeof(float));
    call.next = take_counters(session, start, 3 + 2 * call.sets);
    call.begun = call.next + 1;
    call.claimed = call.begun + 1;
    call.done = call.claimed + 1;
    call.emptied = call.done + call.sets;
}

template <class T, int D, bool adds, class Columns>
void launch_grad_keys(slat_session &session, const Columns &walk, grad_call call)
{
    const slat_problem &p = session.problem;
    const slat_view views[] = {session.mapped(p.q),      session.mapped(p.k),      session.mapped(p.v),
                               session.mapped(p.grad_o), session.mapped(p.grad_k), session.mapped(p.grad_v)};
    CUtensorMap q, k, v, grad_o, grad_k, grad_v;
    const int32_t keys = grad_shape<D>::keys;
    if (!slat_map_sequence(&q, &views[0], p.b, p.tq, p.hq, p.d, walk.run) ||
        !slat_map_sequence(&k, &views[1], p.b, p.tk, p.hk, p.d, keys) ||
        !slat_map_sequence(&v, &views[2], p.b, p.tk, p.hk, p.dv, keys) ||
        !slat_map_sequence(&grad_o, &views[3], p.b, p.tq, p.hq, p.dv, walk.run) ||
        !slat_map_sequence(&grad_k, &views[p.grad_k.data ? 4 : 1], p.b, p.tk, p.hk, p.d, group_rows) ||
        !slat_map_sequence(&grad_v, &views[p.grad_v.data ? 5 : 2], p.b, p.tk, p.hk, p.dv, group_rows)) {
        session.refuse(no_map);
        return;
    }
    const int64_t tiles = (p.tk + keys - 1) / keys, heads = p.b * p.hk, work = tiles * heads;
    const int64_t blocks = slat_min(work, session.processors());
    if (work > INT32_MAX / 2) {
        session.refuse("more than 2^30 tiles of keys are not served");
        return;
    }
    call.tiles = (int32_t)tiles;
    call.heads = (int32_t)heads;
    if (!adds) call.group = key_heads_together(p, (p.d + p.dv) * 2);
    session.launch_early(grad_keys<T, D, adds, Columns>, blocks, softmax_threads, sizeof(key_room<D, adds, Columns>), p,
                         walk, call, q, k, v, grad_o, grad_k, grad_v);
}

template <class T, int D, class Rows>
void launch_grad_queries(slat_session &session, const Rows &walk, const grad_call &call, int32_t *counter)
{
    const slat_problem &p = session.problem;
    const slat_view views[] = {session.mapped(p.q), session.mapped(p.k), session.mapped(p.v), session.mapped(p.grad_o),
                               session.mapped(p.grad_q)};
    CUtensorMap q, k, v, grad_o, grad_q;
    if (!slat_map_sequence(&q, &views[0], p.b, p.tq, p.hq, p.d, tile_rows) ||
        !slat_map_sequence(&k, &views[1], p.b, p.tk, p.hk, p.d, walk.run) ||
        !slat_map_sequence(&v, &views[2], p.b, p.tk, p.hk, p.dv, walk.run) ||
        !slat_map_sequence(&grad_o, &views[3], p.b, p.tq, p.hq, p.dv, tile_rows) ||
        !slat_map_sequence(&grad_q, &views[4], p.b, p.tq, p.hq, p.d, group_rows)) {
        session.refuse(no_map);
        return;
    }
    forward_call items = {};
    if (!count_items(session, p, (p.tq + tile_rows - 1) / tile_rows, items, counter)) return;
    session.launch_early(grad_queries<T, D, Rows>, blocks_of(session, items), softmax_threads,
                         sizeof(query_room<D, Rows>), p, walk, items, call, q, k, v, grad_o, grad_q);
}

/* rows, columns: the walks by query, in tiles of 64 keys, and by key; they are asked for where they are needed.
 * layout: what `columns` reads, and has to be made. */
template <class T, int D, class Rows, class Columns>
void enqueue_backward(slat_session &session, const Rows &rows, const Columns &columns,
                      const simt::transposed &layout = {})
{
    const slat_problem &p = session.problem;
    if (!p.tq || !p.tk) {
        session.refuse(no_map);
        return;
    }
    const bool keys = p.grad_k.data || p.grad_v.data, adds = p.grad_q.data && keys && may_add<D>(session);
    grad_call call = adds ? plan_sums<D>(p) : grad_call{};
    call.scale = (float)p.scale;
    call.scale_2 = (float)(p.scale * 1.4426950408889634);
    if (p.grad_sink.data) simt::enqueue_grad_sink(session, simt::enqueue_shift(session));
    grad_start start = {};
    start.layout = layout;
    if (adds) {
        take_sums<D>(session, start, call);
        call.numbers = enqueue_numbers(session, start);
        session.varies();
        launch_grad_keys<T, D, true>(session, columns(), call);
        return;
    }
    call.next = take_counters(session, start, 2);
    call.numbers = enqueue_numbers(session, start);
    if (p.grad_q.data) launch_grad_queries<T, D>(session, rows(), call, call.next + 1);
    call.beside = p.grad_q.data;
    if (keys) launch_grad_keys<T, D, false>(session, columns(), call);
}

} // namespace sm90
#endif
