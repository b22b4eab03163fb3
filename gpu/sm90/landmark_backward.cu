/* Landmark attention, backward: dq by query first, which leaves two numbers of each query row and block, then dk and dv
 * by key, which reads them. The numbers take workspace; so heads take turns where there are many keys. Blocks of up to
 * 64 tokens have walks of their own (landmark_rows.cuh, landmark_columns.cuh), longer ones others
 * (landmark_long_backward.cuh).
 */
#include "backward.cuh"
#include "landmark_columns.cuh"
#include "landmark_long_backward.cuh"
#include "sm90.h"

namespace sm90
{

/* Numbers of the blocks from `first` on, `end` at most: a line is what two tiles of queries have that share one. */
template <class Rows> static block_numbers numbers_of(const slat_problem &p, int32_t first, int32_t end)
{
    block_numbers numbers = {};
    numbers.tiles = (int32_t)((p.tq + tile_rows - 1) / tile_rows);
    numbers.first = first;
    numbers.end = end;
    const auto blocks = [&](int32_t tile) {
        return slat_max(slat_min(Rows::blocks_of(p, (int64_t)tile * tile_rows), end) - first, 0);
    };
    for (int32_t n = 0, last = numbers.tiles - 1; n <= last; ++n, --last)
        numbers.width = (int32_t)slat_max(numbers.width, blocks(last) + (last > n ? blocks(n) : 0));
    return numbers;
}

/* How the numbers are made and used in turns: for a set of key heads and a range of blocks at a time, so that they, and
 * those of rows, take no more workspace than a copy of dq in f32, four floats a query row and 1 MiB. */
struct landmark_turns {
    int64_t heads, floats; /* key heads of a set; room for its numbers */
    int32_t blocks, range; /* all of them, and those of a range: whole sets */
};

template <class Rows> static bool plan_turns(const slat_problem &p, landmark_turns &turns)
{
    constexpr int32_t set = Rows::set;
    const int64_t rows = query_rows::of_sequence(p).count, heads = p.b * p.hk, group = p.hq / p.hk;
    const int64_t room = p.b * p.hq * (p.tq * (p.d + 4) - 2 * rows) + (1 << 18) - 2048;
    turns.blocks = Rows::blocks_of(p, p.tq);
    for (turns.range = turns.blocks; turns.range >= set; turns.range = (turns.range / 2 + set - 1) / set * set) {
        int32_t width = 0;
        for (int32_t first = 0; first < turns.blocks; first += turns.range)
            width = (int32_t)slat_max(width, numbers_of<Rows>(p, first, first + turns.range).width);
        const block_numbers numbers = numbers_of<Rows>(p, 0, turns.range);
        const int64_t counters = heads * ((turns.blocks + turns.range - 1) / turns.range) * ordered_counters;
        const int64_t of_heads = group * numbers.lines() * width * block_numbers::floats;
        const int64_t most = (room - counters) / of_heads;
        if (most > 0) {
            const int64_t sets = (heads + most - 1) / most;
            turns.heads = (heads + sets - 1) / sets;
            turns.floats = turns.heads * of_heads;
            return true;
        }
        if (turns.range == set) break;
    }
    return false;
}

/* By key an item's slots are copied one by one, and its blocks written. */
struct landmark_tensors : sequence_tensors {
    using sequence_tensors::items;
    using sequence_tensors::map;

    template <int SLOT> static int64_t items(const slat_problem &, const landmark_columns<SLOT> &walk, bool)
    {
        return (walk.sums.end - walk.sums.first) / (2 * walk.slots);
    }

    static int64_t items(const slat_problem &p, const long_landmark_columns &walk, bool)
    {
        return (walk.slots_before(p, walk.sums.end) - walk.slots_before(p, walk.sums.first) + 1) / 2;
    }

    template <int SLOT>
    static bool map(CUtensorMap *map, const slat_view &view, const slat_problem &p, const landmark_columns<SLOT> &walk,
                    bool of_keys, int32_t columns, boxes kind)
    {
        if (!of_keys) return sequence_tensors::map(map, view, p, walk, of_keys, columns, kind);
        const int32_t box = kind == boxes::of_items ? SLOT : walk.block;
        return slat_map_sequence(map, &view, p.b, p.tk, p.hk, columns, box);
    }

    static bool map(CUtensorMap *map, const slat_view &view, const slat_problem &p, const long_landmark_columns &walk,
                    bool of_keys, int32_t columns, boxes kind)
    {
        if (!of_keys) return sequence_tensors::map(map, view, p, walk, of_keys, columns, kind);
        return slat_map_sequence(map, &view, p.b, p.tk, p.hk, columns, walk.run);
    }
};

/* What a walk by key begins with: the blocks from `first` on. */
template <int SLOT> static void begin_columns(landmark_columns<SLOT> &walk, int32_t first)
{
    walk.first_item = first / (2 * walk.slots);
}

static void begin_columns(long_landmark_columns &walk, int32_t first)
{
    walk.slots = walk.slots_of(walk.block);
    walk.first_item = first / 2 * walk.slots;
}

template <class T, int D, class Rows, class Columns> void landmark_backward(slat_session &session)
{
    const slat_problem &p = session.problem;
    const landmark_tensors tensors;
    landmark_turns turns = {};
    if (!plan_turns<Rows>(p, turns)) {
        if constexpr (Rows::short_blocks) /* fewer blocks at a time */
            return landmark_backward<T, D, landmark_rows<group_rows>, landmark_columns<group_rows>>(session);
        session.refuse("block: numbers of two of them for all queries take more workspace than dq");
        return;
    }
    const int64_t heads = p.b * p.hk, group = p.hq / p.hk, sets = (heads + turns.heads - 1) / turns.heads;
    const int64_t count = sets * ((turns.blocks + turns.range - 1) / turns.range);
    grad_start start = {};
    int32_t *counters = take_counters(session, start, count * ordered_counters);
    Rows rows = {};
    rows.block = (int32_t)slat_min(p.landmark_block, p.tk + 1); /* more are not there */
    rows.end = turns.blocks;
    grad_call call = {};
    call.scale = (float)p.scale;
    call.scale_2 = (float)(p.scale * log2_e);
    call.rows = query_rows::of_sequence(p);
    enqueue_numbers(session, start, call);
    if (!p.grad_k.data && !p.grad_v.data) {
        call.heads = (int32_t)heads;
        rows.writes = true;
        if (p.grad_q.data) launch_grad_queries<T, D>(session, tensors, p, rows, call, counters);
        return;
    }
    float *const data = (float *)session.take(turns.floats, sizeof(float));
    for (int64_t head = 0; head < heads; head += turns.heads)
        for (int32_t first = 0; first < turns.blocks; first += turns.range, counters += ordered_counters) {
            const int32_t end = (int32_t)slat_min(first + turns.range, turns.blocks);
            rows.sums = numbers_of<Rows>(p, first, end);
            rows.sums.data = data;
            rows.sums.first_head = (int32_t)(head * group);
            rows.writes = p.grad_q.data && !first; /* all blocks make dq, once */
            rows.first = first;
            rows.end = rows.writes ? turns.blocks : end;
            call.heads = (int32_t)slat_min(turns.heads, heads - head);
            call.group = (int32_t)slat_min(key_heads_together(p, (p.d + p.dv) * 2), call.heads);
            launch_grad_queries<T, D>(session, tensors, p, rows, call, counters + key_counters);
            Columns columns = {};
            columns.block = rows.block;
            columns.copies = grad_shape<D>::queries / group_rows;
            columns.first_head = (int32_t)head;
            columns.sums = rows.sums;
            begin_columns(columns, first);
            launch_by_key<T, D>(session, tensors, p, columns, call, counters);
        }
}

template <class T, int D, int SLOT> void landmark_backward_slots(slat_session &session)
{
    landmark_backward<T, D, landmark_rows<SLOT>, landmark_columns<SLOT>>(session);
}

} // namespace sm90

slat_status slat_sm90_landmark_backward_check(const slat_problem &p)
{
    SLAT_TRY(sm90::check_backward(p));
    if (p.scale < 0) return sm90::unsupported("scale: negative ones are not served");
    return SLAT_OK;
}

void slat_sm90_landmark_backward(slat_session &session)
{
    const int32_t block = session.problem.landmark_block;
    sm90::for_grad_shape(session, [&](auto type, auto channels) {
        typedef decltype(type) T;
        constexpr int D = decltype(channels)::value;
        return block > 64   ? sm90::landmark_backward<T, D, sm90::long_landmark_rows, sm90::long_landmark_columns>
               : block > 32 ? sm90::landmark_backward_slots<T, D, 64>
               : block > 16 ? sm90::landmark_backward_slots<T, D, 32>
               : block > 8  ? sm90::landmark_backward_slots<T, D, 16>
                            : sm90::landmark_backward_slots<T, D, 8>;
    });
}
