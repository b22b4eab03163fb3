/* Enqueues softmax attention over a walk: the host's side of the loop. */
#ifndef SLAT_SM90_ATTENTION_CUH
#define SLAT_SM90_ATTENTION_CUH
#include "session.h"
#include "softmax_loop.cuh"
#include "tensor_map.h"
#include <type_traits>

namespace sm90
{

inline slat_status unsupported(const char *sentence)
{
    return slat_cuda_host->fail(SLAT_UNSUPPORTED, "backend 'cuda-sm90': %s", sentence);
}

constexpr const char *no_map = "strides that a tensor map cannot hold are not served";

/* The widths that have kernels; others are computed as the next one, on zeros. */
inline int channels_of(const slat_problem &p)
{
    const int most = p.d > p.dv ? p.d : p.dv;
    return most <= 64 ? 64 : most <= 96 ? 96 : most <= 128 ? 128 : most <= 192 ? 192 : 256;
}

/* What both passes ask for. */
inline slat_status check_tensors(const slat_problem &p)
{
    if (p.type != SLAT_BF16 && p.type != SLAT_F16)
        return unsupported("tensors of other types than f16 and bf16 are not served");
    if (!p.b || !p.tq || !p.tk) return unsupported("tensors without elements are not served");
    if (!p.aligned || !p.strides16)
        return unsupported("data and strides that are no multiples of 16 bytes are not served");
    if (p.dv % 8) return unsupported("v: rows of a width that is no multiple of 8 channels are not served");
    if (p.tq > INT32_MAX - tile_rows || p.tk > INT32_MAX / 2)
        return unsupported("sequences of more than 2^30 tokens are not served");
    if (p.b * p.hq > INT32_MAX) return unsupported("more than 2^31 - 1 heads are not served");
    return SLAT_OK;
}

inline slat_status check_forward(const slat_problem &p)
{
    SLAT_TRY(check_tensors(p));
    if (p.scale < 0) return unsupported("scale: negative ones are not served");
    return SLAT_OK;
}

/* Heads whose keys and values should stay in the cache together. */
inline int heads_together(const slat_problem &p)
{
    constexpr int64_t cache = 8 << 20;
    const int64_t bytes = p.tk * (p.d + p.dv) * 2 * p.hk / p.hq;
    return (int)slat_min(slat_max(cache / slat_max(bytes, 1), 1), p.b * p.hq);
}

/* Tiles of `rows` queries whose causal queries see few keys: at most a quarter, and no more than the cache has room for
 * in all heads. */
inline int small_tiles(const slat_problem &p, int64_t tiles, int rows)
{
    constexpr int64_t cache = 24 << 20;
    const int64_t bytes = rows * (p.d + p.dv) * 2 * p.b * p.hk;
    return p.layout.causal && p.tq == p.tk ? (int)slat_min(tiles / 4, cache / bytes) : 0;
}

/* Whether o is left to plain stores: the copy engine's write multiples of 16 bytes. */
inline bool leaves_plainly(const slat_problem &p)
{
    return p.o.type == SLAT_F32 || p.dv % 8;
}

template <class Walk> struct forward_maps {
    typename Walk::operand q, k, v, o;
};

/* Work items of `rows` queries, `tiles` a head. counter: one that is 0 when the kernel begins; NULL: it is taken here.
 */
inline bool count_items(slat_session &session, const slat_problem &p, int64_t tiles, int rows, forward_call &call,
                        int32_t *counter = NULL)
{
    const int64_t heads = p.b * p.hq, work = tiles * heads;
    if (work > INT32_MAX / 2) {
        session.refuse("more than 2^30 tiles of queries are not served");
        return false;
    }
    call.tiles = (int32_t)tiles;
    call.heads = (int32_t)heads;
    call.group = heads_together(p);
    call.small = small_tiles(p, tiles, rows);
    if (work > session.processors()) {
        call.next = counter;
        if (counter) return true;
        call.next = (int32_t *)session.take(1, sizeof(int32_t));
        session.clear(call.next, sizeof(int32_t));
    }
    return true;
}

inline int64_t blocks_of(slat_session &session, const forward_call &call)
{
    return slat_min((int64_t)call.tiles * call.heads, session.processors());
}

/* Launches the loop for `tiles` items a head. */
template <class T, int D, class Walk>
void launch_forward(slat_session &session, const slat_problem &p, const Walk &walk, int64_t tiles, bool plain,
                    const forward_maps<Walk> &maps)
{
    typedef forward_shape<D, Walk> shape;
    forward_call call = {};
    if (!count_items(session, p, tiles, shape::rows, call)) return;
    call.plain = plain;
    call.scale = (float)(p.scale * 1.4426950408889634);
    session.launch_wide(softmax_forward<T, D, Walk>, blocks_of(session, call), shape::threads,
                        sizeof(forward_room<D, Walk>) + 1024, p, walk, call, maps.q, maps.k, maps.v, maps.o);
}

/* Whether there are enough items of `groups` groups for all processors to be busy until the longest ones end. */
inline bool has_many_items(slat_session &session, int groups)
{
    const slat_problem &p = session.problem;
    return p.tq / (groups * group_rows) * p.b * p.hq >= 2 * session.processors();
}

/* A walk over sequences. run: tokens of K that come in one copy; run_v: of V. */
template <class T, int D, class Walk> void enqueue_forward(slat_session &session, const Walk &walk, int run, int run_v)
{
    constexpr int rows = forward_shape<D, Walk>::rows;
    const slat_problem &p = session.problem;
    const slat_view views[] = {session.mapped(p.q), session.mapped(p.k), session.mapped(p.v), session.mapped(p.o)};
    const bool plain = leaves_plainly(p);
    forward_maps<Walk> maps = {};
    if (!slat_map_sequence(&maps.q, &views[0], p.b, p.tq, p.hq, p.d, rows) ||
        !slat_map_sequence(&maps.k, &views[1], p.b, p.tk, p.hk, p.d, run) ||
        !slat_map_sequence(&maps.v, &views[2], p.b, p.tk, p.hk, p.dv, run_v) ||
        (!plain && !slat_map_sequence(&maps.o, &views[3], p.b, p.tq, p.hq, p.dv, group_rows))) {
        session.refuse(no_map);
        return;
    }
    launch_forward<T, D>(session, p, walk, (p.tq + rows - 1) / rows, plain, maps);
}

template <class T, int D, class Walk> void enqueue_forward(slat_session &session, const Walk &walk, int run)
{
    enqueue_forward<T, D>(session, walk, run, run);
}

/* Calls choose(type, width), which gives a function, for the call's type and width. */
template <class Choose> void for_shape(slat_session &session, const Choose &choose)
{
    const slat_problem &p = session.problem;
    const auto of_type = [&](auto type) {
        switch (channels_of(p)) {
        case 64:
            return choose(type, std::integral_constant<int, 64>())(session);
        case 96:
            return choose(type, std::integral_constant<int, 96>())(session);
        case 128:
            return choose(type, std::integral_constant<int, 128>())(session);
        case 192:
            return choose(type, std::integral_constant<int, 192>())(session);
        default:
            return choose(type, std::integral_constant<int, 256>())(session);
        }
    };
    if (p.type == SLAT_BF16)
        of_type(__nv_bfloat16());
    else
        of_type(__half());
}

} // namespace sm90
#endif
