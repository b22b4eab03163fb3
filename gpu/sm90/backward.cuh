/* Enqueues softmax backward over a walk by query and one by key: the host's side of grad_keys and grad_queries. */
#ifndef SLAT_SM90_BACKWARD_CUH
#define SLAT_SM90_BACKWARD_CUH
#include "any/softmax_rows.h"
#include "attention.cuh"
#include "grad_keys.cuh"
#include "grad_keys_wide.cuh"
#include "grad_parted.cuh"
#include "grad_queries.cuh"
#include "grad_rows.h"

namespace sm90
{

inline slat_status check_backward(const slat_problem &p)
{
    SLAT_TRY(check_tensors(p));
    if (p.d % 8) return unsupported("q: rows of a width that is no multiple of 8 channels are not served in backward");
    if (p.o.type != p.type) return unsupported("o: f32 is not served in backward");
    return SLAT_OK;
}

/* Calls choose(type, width), which gives a function, for the call's type and width: those that backward has. */
template <class Choose> void for_grad_shape(slat_session &session, const Choose &choose)
{
    const slat_problem &p = session.problem;
    const int channels = channels_of(p);
    const auto of_type = [&](auto type) {
        if (channels <= 64) return choose(type, std::integral_constant<int, 64>())(session);
        if (channels <= 128) return choose(type, std::integral_constant<int, 128>())(session);
        if (channels <= 192) return choose(type, std::integral_constant<int, 192>())(session);
        return choose(type, std::integral_constant<int, 256>())(session);
    };
    if (p.type == SLAT_BF16)
        of_type(__nv_bfloat16());
    else
        of_type(__half());
}

/* Key heads whose queries, and the sums of their dq, should stay in the cache together. */
inline int key_heads_together(const slat_problem &p, int64_t row_bytes)
{
    constexpr int64_t cache = 32 << 20;
    const int64_t bytes = p.tq * row_bytes * p.hq / p.hk;
    return (int)slat_min(slat_max(cache / slat_max(bytes, 1), 1), p.b * p.hk);
}

/* What a walk by key says of a head's items: the first `heavy` ones take up to `longest` tiles of queries, `all` of
 * them together about as many as it says. Where none is heavy they are about alike, or become ever smaller. */
struct key_work {
    int32_t heavy;
    int64_t longest, all;
    bool scattered; /* items that run side by side add to dq all over the place: its sums would not stay in the cache */
    int64_t parted; /* where dq is added up, items of all heads whose queries come in parts, and none is heavy */
};

/* How items are taken: `sums` bytes of a row's sums should stay in the cache too. Heavy items begin so many sets of
 * heads early that they end with the others; nearly all sets may as well be all. */
inline void plan_keys(slat_session &session, const slat_problem &p, const key_work &work, int64_t sums, grad_call &call)
{
    call.heads = (int32_t)(p.b * p.hk);
    call.group = key_heads_together(p, (p.d + p.dv) * 2 + sums);
    if (work.heavy)
        while (call.heads % call.group) --call.group;
    call.sets = (call.heads + call.group - 1) / call.group;
    call.set_heads = call.group * (p.hq / p.hk);
    call.heavy = work.heavy;
    call.ahead = 0;
    if (!work.heavy) return;
    const int64_t ahead = work.longest * session.processors() * 5 / 4 / slat_max(work.all * call.group, 1) + 1;
    call.ahead = 2 * ahead > call.sets ? call.sets : (int32_t)ahead;
}

template <int D> int64_t count_sums(const slat_problem &p, const grad_call &call)
{
    return slat_min((int64_t)call.slots * call.set_heads, p.b * p.hq) * call.rows.count * D;
}

inline int32_t count_counters(const grad_call &call)
{
    return 3 + 2 * call.sets;
}

/* Whether the workspace suffices for so many sums, the numbers of rows and, with a sink, their shifts: for a copy of
 * dq, four floats a query and 1 MiB. */
inline bool has_room(const slat_problem &p, const grad_call &call, int64_t sums)
{
    const int64_t shifts = p.grad_sink.data ? p.tq : 0, row_floats = 2 * (int64_t)call.rows.count + shifts;
    return (sums + p.b * p.hq * (row_floats - (p.d + 4) * p.tq)) * 4 <= (1 << 20) - 4096;
}

/* Floats and counters that a launch takes which adds up dq. */
template <int D> int64_t count_added(const slat_problem &p, const key_work &work, const grad_call &call)
{
    return count_sums<D>(p, call) + parted_place<D>(work.parted, false, 0, 0) + count_counters(call);
}

/* As plan_keys, and how the sums of dq lie in workspace. p: of one launch. A set that is added to, one that the blocks
 * before still add to and one that is being emptied have a place each; sets of parted items, which are short, end later
 * than they could begin again, so they have more of them if there is room. */
template <int D> void plan_sums(slat_session &session, const slat_problem &p, const key_work &work, grad_call &call)
{
    constexpr int few = 3, many = 8;
    plan_keys(session, p, work.parted ? key_work() : work, D * (int64_t)sizeof(float), call);
    call.slots = (int32_t)slat_min(call.sets, call.ahead + (work.parted ? many : few));
    while (work.parted && call.slots > few && !has_room(session.problem, call, count_added<D>(p, work, call)))
        --call.slots;
}

/* Whether dq may be added up in f32, in any order. `part`: of one launch, which `call` is for. */
template <int D>
bool may_add(const slat_session &session, const slat_problem &part, const key_work &work, const grad_call &call)
{
    return session.deterministic != 1 && !work.scattered &&
           has_room(session.problem, call, count_added<D>(part, work, call)) &&
           part.b * part.hq * (call.rows.count / 64) < INT32_MAX / 2;
}

/* Takes counters, which become 0 before the products. */
inline int32_t *take_counters(slat_session &session, grad_start &start, int64_t count)
{
    if (count > INT32_MAX / 2) session.refuse("more than 2^30 sets of heads are not served");
    start.counters = (int32_t *)session.take(count, sizeof(int32_t));
    start.count = (int32_t)count;
    return start.counters;
}

/* Where a launch counts, which adds up dq. */
inline void set_counters(grad_call &call, int32_t *counters)
{
    call.next = counters;
    call.begun = call.next + 1;
    call.claimed = call.begun + 1;
    call.done = call.claimed + 1;
    call.emptied = call.done + call.sets;
}

/* What a map has boxes of: of 128 rows of an item, of a group's 64, or of a run. */
enum class boxes { of_items, of_groups, of_runs };

/* Tensors of sequences, and how launches share them. Of keys: those of k's extents, else of q's. */
struct sequence_tensors {
    static query_rows rows(const slat_problem &p) { return query_rows::of_sequence(p); }

    /* The batch entries of a launch, and the launch's problem, from entry b on. */
    static int64_t entries(const slat_problem &p) { return p.b; }
    static slat_problem part(const slat_problem &p, int64_t) { return p; }

    /* Work items of a head. */
    template <class Walk> static int64_t items(const slat_problem &p, const Walk &, bool of_keys)
    {
        return ((of_keys ? p.tk : p.tq) + tile_rows - 1) / tile_rows;
    }

    template <class Walk>
    static bool map(CUtensorMap *map, const slat_view &view, const slat_problem &p, const Walk &walk, bool of_keys,
                    int32_t columns, boxes kind)
    {
        const int32_t box = kind == boxes::of_items ? tile_rows : kind == boxes::of_groups ? group_rows : walk.run;
        return slat_map_sequence(map, &view, p.b, of_keys ? p.tk : p.tq, of_keys ? p.hk : p.hq, columns, box);
    }
};

/* The work of a kernel by key, `tiles` items a head; its blocks. */
inline int64_t count_key_items(slat_session &session, int64_t tiles, grad_call &call)
{
    const int64_t work = tiles * call.heads;
    if (work > INT32_MAX / 2) session.refuse("more than 2^30 tiles of keys are not served");
    call.tiles = (int32_t)tiles;
    return slat_min(work, session.processors());
}

/* p: of this launch. */
template <class T, int D, bool adds, class Tensors, class Columns>
void launch_grad_keys(slat_session &session, const Tensors &tensors, const slat_problem &p, const Columns &walk,
                      grad_call call)
{
    const slat_view views[] = {session.mapped(p.q),      session.mapped(p.k),      session.mapped(p.v),
                               session.mapped(p.grad_o), session.mapped(p.grad_k), session.mapped(p.grad_v)};
    typename Columns::operand q, k, v, grad_o, grad_k, grad_v;
    if (!tensors.map(&q, views[0], p, walk, false, p.d, boxes::of_runs) ||
        !tensors.map(&k, views[1], p, walk, true, p.d, boxes::of_items) ||
        !tensors.map(&v, views[2], p, walk, true, p.dv, boxes::of_items) ||
        !tensors.map(&grad_o, views[3], p, walk, false, p.dv, boxes::of_runs) ||
        !tensors.map(&grad_k, views[p.grad_k.data ? 4 : 1], p, walk, true, p.d, boxes::of_groups) ||
        !tensors.map(&grad_v, views[p.grad_v.data ? 5 : 2], p, walk, true, p.dv, boxes::of_groups)) {
        session.refuse(no_map);
        return;
    }
    const int64_t blocks = count_key_items(session, tensors.items(p, walk, true), call);
    static_assert(sizeof(key_room<D, adds, Columns>) <= most_room, "shared memory");
    session.launch_early(grad_keys<T, D, adds, Columns>, blocks, softmax_threads, sizeof(key_room<D, adds, Columns>), p,
                         walk, call, q, k, v, grad_o, grad_k, grad_v);
}

/* Of wide heads: dV or dK alone. */
template <class T, int D, bool values, class Tensors, class Columns>
void launch_grad_keys_wide(slat_session &session, const Tensors &tensors, const slat_problem &p, const Columns &walk,
                           grad_call call, int32_t *counter)
{
    const slat_view views[] = {session.mapped(p.q), session.mapped(p.k), session.mapped(p.v), session.mapped(p.grad_o)};
    typename Columns::operand q, k, v, grad_o;
    if (!tensors.map(&q, views[0], p, walk, false, p.d, boxes::of_runs) ||
        !tensors.map(&k, views[1], p, walk, true, p.d, boxes::of_items) ||
        !tensors.map(&v, views[2], p, walk, true, p.dv, boxes::of_items) ||
        !tensors.map(&grad_o, views[3], p, walk, false, p.dv, boxes::of_runs)) {
        session.refuse(no_map);
        return;
    }
    const int64_t blocks = count_key_items(session, tensors.items(p, walk, true), call);
    typedef wide_key_room<D, values, Columns> room;
    static_assert(sizeof(room) <= most_room, "shared memory");
    call.next = counter;
    session.launch_wide(grad_keys_wide<T, D, values, Columns>, blocks, softmax_threads, sizeof(room), p, walk, call, q,
                        k, v, grad_o);
}

/* Without sums of dq: counters of the launches by key, and of all of a call's in order. */
constexpr int key_counters = 2, ordered_counters = key_counters + 1;

/* dK and dV. counters: key_counters of them. */
template <class T, int D, class Tensors, class Columns>
void launch_by_key(slat_session &session, const Tensors &tensors, const slat_problem &p, const Columns &walk,
                   grad_call call, int32_t *counters)
{
    if constexpr (grad_shape<D>::wide) {
        if (p.grad_v.data) launch_grad_keys_wide<T, D, true>(session, tensors, p, walk, call, counters);
        if (p.grad_k.data) launch_grad_keys_wide<T, D, false>(session, tensors, p, walk, call, counters + 1);
    } else {
        call.next = counters;
        if (p.grad_k.data || p.grad_v.data) launch_grad_keys<T, D, false>(session, tensors, p, walk, call);
    }
}

/* Of the query heads of call.heads. */
template <class T, int D, class Tensors, class Rows>
void launch_grad_queries(slat_session &session, const Tensors &tensors, const slat_problem &p, const Rows &walk,
                         const grad_call &call, int32_t *counter)
{
    const slat_view views[] = {session.mapped(p.q), session.mapped(p.k), session.mapped(p.v), session.mapped(p.grad_o),
                               session.mapped(p.grad_q)};
    typename Rows::operand q, k, v, grad_o, grad_q;
    if (!tensors.map(&q, views[0], p, walk, false, p.d, boxes::of_items) ||
        !tensors.map(&k, views[1], p, walk, true, p.d, boxes::of_runs) ||
        !tensors.map(&v, views[2], p, walk, true, p.dv, boxes::of_runs) ||
        !tensors.map(&grad_o, views[3], p, walk, false, p.dv, boxes::of_items) ||
        !tensors.map(&grad_q, views[p.grad_q.data ? 4 : 0], p, walk, false, p.d, boxes::of_groups)) {
        session.refuse(no_map);
        return;
    }
    forward_call items = {};
    if (!count_items(session, p, tensors.items(p, walk, false), tile_rows, items, counter)) return;
    items.heads = call.heads * (p.hq / p.hk);
    items.group = (int32_t)slat_min(items.group, items.heads);
    static_assert(sizeof(query_room<D, Rows>) <= most_room, "shared memory");
    session.launch_early(grad_queries<T, D, Rows>, blocks_of(session, items), softmax_threads,
                         sizeof(query_room<D, Rows>), p, walk, items, call, q, k, v, grad_o, grad_q);
}

/* rows, columns: the walks by query, in tiles of 64 keys, and by key, for where dq is added up or for where it is not;
 * they are asked for where they are needed. layout: what `columns` reads, and has to be made. work: of `columns`. */
template <class T, int D, class Tensors, class Rows, class Columns>
void enqueue_backward(slat_session &session, const Tensors &tensors, const Rows &rows, const Columns &columns,
                      const simt::transposed &layout = {}, const key_work &work = {})
{
    const slat_problem &p = session.problem;
    const int64_t entries = tensors.entries(p), launches = p.b / entries;
    const slat_problem first = tensors.part(p, 0);
    grad_call call = {};
    call.rows = tensors.rows(p);
    call.scale = (float)p.scale;
    call.scale_2 = (float)(p.scale * 1.4426950408889634);
    if (!has_room(p, call, 0)) {
        session.refuse("lines that are far shorter than 8 queries are not served");
        return;
    }
    const bool keys = p.grad_k.data || p.grad_v.data;
    if (p.grad_q.data && keys) plan_sums<D>(session, first, work, call);
    constexpr bool fits = sizeof(key_room<D, true, decltype(columns(true))>) <= most_room;
    const bool adds = fits && p.grad_q.data && keys && may_add<D>(session, first, work, call);
    const int32_t counters = adds ? count_counters(call) : ordered_counters;
    if (p.grad_sink.data) simt::enqueue_grad_sink(session, simt::enqueue_shift(session));
    grad_start start = {};
    start.layout = layout;
    if (adds) {
        call.sums = (float *)session.take(count_sums<D>(first, call), sizeof(float));
        session.varies();
        if (const int64_t floats = parted_place<D>(work.parted, false, 0, 0)) {
            call.key_sums = (float *)session.take(floats, sizeof(float));
            session.clear(call.key_sums, floats * sizeof(float));
        }
    } else
        plan_keys(session, first, work, 0, call);
    int32_t *const counted = take_counters(session, start, counters * launches);
    enqueue_numbers(session, start, call);
    for (int64_t n = 0; n < launches; ++n) {
        const slat_problem part = tensors.part(p, n * entries);
        grad_call own = call;
        own.numbers += n * entries * p.hq * call.rows.count * 2;
        set_counters(own, counted + n * counters);
        if (adds) {
            if constexpr (fits) {
                launch_grad_keys<T, D, true>(session, tensors, part, columns(true), own);
                if constexpr (decltype(columns(true))::parts_queries) {
                    const int64_t tiles = parted_tiles<D>(work.parted);
                    session.launch(round_parted<T, D, decltype(columns(true))>, tiles, 0, part, columns(true), own,
                                   tiles);
                }
            }
            continue;
        }
        if (p.grad_q.data) launch_grad_queries<T, D>(session, tensors, part, rows(), own, own.next + key_counters);
        own.beside = p.grad_q.data;
        if (keys) launch_by_key<T, D>(session, tensors, part, columns(false), own, own.next);
    }
}

} // namespace sm90
#endif
