/* Landmark attention: the loops of softmax attention with landmark.cuh's update. */
#include "landmark.cuh"
#include "session.h"
#include "softmax_rows.h"

namespace simt
{

/* The queries of a tile, in the room; where their rows of two tensors begin. */
__device__ inline void put_queries(const slat_problem &p, landmark_room &s, int64_t first, int64_t rows,
                                   const slat_view &second, const float *shift, int64_t b, int h)
{
    if (threadIdx.x >= rows) return;
    const slat_point at = slat_at(0, 0, first + threadIdx.x);
    s.queries.record[threadIdx.x] = query_of(p, at.z);
    s.queries.first[threadIdx.x] = token_at(p.q, at);
    s.queries.second[threadIdx.x] = token_at(second, at);
    if (shift) s.state[threadIdx.x] = state_of(p, shift, b, h, at);
}

/* Which elements of this thread's part are visible, which are landmarks in use. */
struct landmark_bits {
    unsigned sees, uses;
};

/* near_queries: rows are queries and columns keys; else the other way round. */
template <bool near_queries> __device__ inline landmark_bits look(landmark_room &s, uint64_t near, uint64_t far)
{
    landmark_bits bits;
    bits.sees = part_bits(near, far, [&](int row, int column) {
        return sees(s.queries.record[near_queries ? row : column], s.keys.record[near_queries ? column : row]);
    });
    bits.uses = part_bits(near, far, [&](int row, int column) {
        return uses(s.queries.record[near_queries ? row : column], s.keys.record[near_queries ? column : row]);
    });
    mark_columns(s.who.seen, bits.sees);
    mark_columns(s.marks, bits.uses);
    return bits;
}

__device__ inline void list_piece(landmark_room &s, bool listed)
{
    list_row(s.who, listed);
    if ((threadIdx.x & 31) == 0) s.marks[threadIdx.x >> 5] = 0;
}

__device__ inline uint64_t marked(const landmark_room &s)
{
    return s.marks[0] | (uint64_t)s.marks[1] << 32;
}

/* A walk over the keys of a tile of queries: step by step, and a step of many pieces twice. */
struct key_steps {
    landmark_cut cut;
    int64_t end;      /* keys that any of the queries may see lie before it */
    int64_t last_own; /* the first key of the last query's block: steps from here on are not summed */
};

template <class Piece> __device__ inline void for_each_piece(const key_steps &k, const Piece &piece)
{
#pragma unroll 1
    for (int64_t first = 0; first < k.end; first += k.cut.length) {
        const bool twice = k.cut.pieces > 1 && first < k.last_own;
#pragma unroll 1
        for (int n = 0; n < k.cut.pieces * (twice ? 2 : 1); ++n) {
            const bool sums = k.cut.pieces == 1 || (twice && n < k.cut.pieces), applies = !twice || n >= k.cut.pieces;
            piece(first, n % k.cut.pieces, sums, applies);
        }
    }
}

__device__ inline key_steps steps_of(const slat_problem &p, int64_t first, int64_t rows)
{
    const int64_t last = slat_position(&p, first + rows - 1);
    return {landmark_cut(p.landmark_block), slat_min(slat_max(last + 1, 0), p.tk), query_of(p, first + rows - 1).own};
}

/* Clears the offsets of queries whose group is their own and was not summed. */
__device__ inline void clear_groups(landmark_room &s)
{
    if (threadIdx.x < tile) s.groups.offset[threadIdx.x][0] = s.groups.mean[threadIdx.x][0] = 0;
}

/* Adds t_g - m to the logits of earlier groups: rows are queries. */
__device__ inline void add_offsets(const landmark_room &s, part &c)
{
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        const int group = s.keys.record[lane_x() + 16 * j].group;
#pragma unroll
        for (int i = 0; i < 4; ++i) c[i][j] += s.groups.offset[lane_y() + 16 * i][group];
    }
}

template <int GROUPS>
__global__ void __launch_bounds__(slat_block, GROUPS > 2 ? 1 : 2)
    landmark_forward(const __grid_constant__ slat_problem p, int64_t tiles)
{
    landmark_room &s = shared<landmark_room>();
    const int64_t work = tiles * p.hq * p.b;
    const bool wide = is_wide(p);
    for (int64_t n = blockIdx.x; n < work; n += gridDim.x) {
        const int h = n / tiles % p.hq, head = slat_key_head(&p, h);
        const int64_t b = n / tiles / p.hq, first_query = (tiles - 1 - n % tiles) * tile;
        const int64_t rows = slat_min(p.tq - first_query, tile);
        const uint64_t present = first_rows(rows);
        const source q = source_of(p.q, b, h, wide), k = source_of(p.k, b, head, wide),
                     v = source_of(p.v, b, head, wide);
        const key_steps walk = steps_of(p, first_query, rows);
        put_queries(p, s, first_query, rows, p.o, NULL, b, h);
        running r;
        part o[GROUPS] = {};
        begin_rows(r, p, h);
        for_each_piece(walk, [&](int64_t first, int piece, bool sums, bool applies) {
            const int64_t from = first + (int64_t)piece * tile;
            __syncthreads();
            if (threadIdx.x < tile) list_piece(s, put_key(p, s, from, walk.cut.rows(piece), walk.end, walk.cut));
            if (!sums && first >= walk.last_own) clear_groups(s);
            __syncthreads();
            const landmark_bits bits = look<true>(s, present, s.who.all_listed());
            __syncthreads();
            const uint64_t seen = s.who.all_seen();
            if (!(seen | marked(s))) return;
            part c;
            product_nt(c, s.tiles, q, {s.queries.first, present}, k, {s.keys.first, seen | marked(s)}, p.d);
            scale_part(c, (float)(p.scale * (double)log2e));
            __syncthreads();
            if (sums) {
                put_tile(s.tiles.a[0], c);
                __syncthreads();
                sum_groups(s, s.tiles.a[0], NULL, walk.cut, from, walk.cut.rows(piece), piece, present);
                __syncthreads();
            }
            if (!applies || !seen) return;
            add_offsets(s, c);
            weigh(r, c, bits.sees, o);
            put_tile(s.tiles.a[0], c);
            product_nn(o, s.tiles, v, {s.keys.second, seen}, 64 - __clzll(seen), 0, p.dv);
        });
        __syncthreads();
        finish_rows(r, o, p, b, h, {s.queries.second, present},
                    [&](int row) { return slat_at(0, 0, first_query + row); });
        __syncthreads();
    }
}

/* P and dS of one element: s was its logit, u its score. */
__device__ inline void unweigh(const landmark_room &s, int query, int key, bool seen, bool used, float &logit,
                               float &score)
{
    const row_state state = s.state[query];
    const int group = s.keys.record[key].group;
    const float mean = s.groups.mean[query][group];
    const bool earlier = s.keys.record[key].position < s.queries.record[query].own;
    float weight = 0, grad = 0;
    if (seen) {
        weight = exp2f(logit + s.groups.offset[query][group] - state.lse);
        grad = weight * (score - (earlier ? mean : state.shift));
    } else if (used)
        grad = exp2f(logit - state.lse) * (mean - state.shift);
    logit = weight;
    score = grad;
}

template <int GROUPS>
__global__ void __launch_bounds__(slat_block, GROUPS > 2 ? 1 : 2)
    landmark_grad_query(const __grid_constant__ slat_problem p, const float *shift, int64_t tiles)
{
    landmark_room &s = shared<landmark_room>();
    const int64_t work = tiles * p.hq * p.b;
    const bool wide = is_wide(p);
    for (int64_t n = blockIdx.x; n < work; n += gridDim.x) {
        const int h = n / tiles % p.hq, head = slat_key_head(&p, h);
        const int64_t b = n / tiles / p.hq, first_query = (tiles - 1 - n % tiles) * tile;
        const int64_t rows = slat_min(p.tq - first_query, tile);
        const uint64_t present = first_rows(rows);
        const source q = source_of(p.q, b, h, wide), k = source_of(p.k, b, head, wide),
                     v = source_of(p.v, b, head, wide);
        const source grad_o = source_of(p.grad_o, b, h, wide);
        const key_steps walk = steps_of(p, first_query, rows);
        put_queries(p, s, first_query, rows, p.grad_o, shift, b, h);
        part sum[GROUPS] = {};
        for_each_piece(walk, [&](int64_t first, int piece, bool sums, bool applies) {
            const int64_t from = first + (int64_t)piece * tile;
            __syncthreads();
            if (threadIdx.x < tile) list_piece(s, put_key(p, s, from, walk.cut.rows(piece), walk.end, walk.cut));
            if (!sums && first >= walk.last_own) clear_groups(s);
            __syncthreads();
            const landmark_bits bits = look<true>(s, present, s.who.all_listed());
            __syncthreads();
            const uint64_t seen = s.who.all_seen(), needed = seen | marked(s);
            if (!needed) return;
            part c, u;
            product_nt(c, s.tiles, q, {s.queries.first, present}, k, {s.keys.first, needed}, p.d);
            __syncthreads();
            product_nt(u, s.tiles, grad_o, {s.queries.second, present}, v, {s.keys.second, seen}, p.dv);
            scale_part(c, (float)(p.scale * (double)log2e));
            __syncthreads();
            if (sums) {
                put_tile(s.tiles.a[0], c);
                put_tile(s.tiles.b[0], u);
                __syncthreads();
                sum_groups(s, s.tiles.a[0], s.tiles.b[0], walk.cut, from, walk.cut.rows(piece), piece, present);
                __syncthreads();
            }
            if (!applies) return;
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int j = 0; j < 4; ++j)
                    unweigh(s, lane_y() + 16 * i, lane_x() + 16 * j, has(bits.sees, i, j), has(bits.uses, i, j),
                            c[i][j], u[i][j]);
            put_tile(s.tiles.a[0], u);
            product_nn(sum, s.tiles, k, {s.keys.first, needed}, 64 - __clzll(needed), 0, p.d);
        });
        __syncthreads();
        if (threadIdx.x < rows)
            s.queries.second[threadIdx.x] = token_at(p.grad_q, slat_at(0, 0, first_query + threadIdx.x));
        __syncthreads();
        const float scale = (float)p.scale, factor[4] = {scale, scale, scale, scale};
        write_tile(sum, factor, target_of(p.grad_q, b, h, wide), {s.queries.second, present}, 0, p.d);
        __syncthreads();
    }
}

/* Puts a tile whose rows are keys as [query][key]. */
__device__ inline void put_turned(float *to, const part &c)
{
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) to[(lane_x() + 16 * j) * wide_row + lane_y() + 16 * i] = c[i][j];
}

/* A tile of keys: a piece of a step. */
struct key_piece {
    landmark_cut cut;
    int64_t first; /* of the step */
    int piece;

    __device__ int64_t from(int n) const { return first + (int64_t)n * tile; }
    __device__ uint64_t present(const slat_problem &p, int n) const
    {
        return first_rows(slat_max(slat_min(cut.rows(n), p.tk - from(n)), 0));
    }
};

/* Logits and scores of piece n (rows) and 64 queries (columns). The room's buffers are free when this ends. */
__device__ inline void logits_of(const slat_problem &p, landmark_room &s, const key_piece &t, int n, uint64_t far,
                                 int64_t b, int h, part &c, part &u)
{
    const int head = slat_key_head(&p, h);
    const bool wide = is_wide(p);
    const uint64_t near = t.present(p, n);
    __syncthreads();
    product_nt(c, s.tiles, source_of(p.k, b, head, wide), {s.keys.first, near}, source_of(p.q, b, h, wide),
               {s.queries.first, far}, p.d);
    __syncthreads();
    product_nt(u, s.tiles, source_of(p.v, b, head, wide), {s.keys.second, near}, source_of(p.grad_o, b, h, wide),
               {s.queries.second, far}, p.dv);
    scale_part(c, (float)(p.scale * (double)log2e));
    __syncthreads();
}

__device__ inline void sum_piece(landmark_room &s, const key_piece &t, int n, const part &c, const part &u)
{
    put_turned(s.tiles.a[0], c);
    put_turned(s.tiles.b[0], u);
    __syncthreads();
    sum_groups(s, s.tiles.a[0], s.tiles.b[0], t.cut, t.from(n), t.cut.rows(n), n, s.who.all_listed());
    __syncthreads();
}

/* Sums over a step of several pieces, if one of the queries up to `last` is past it. */
__device__ inline void sum_step(const slat_problem &p, landmark_room &s, const key_piece &t, int64_t last, int64_t b,
                                int h)
{
    if (t.first >= query_of(p, last).own) {
        clear_groups(s);
        __syncthreads();
        return;
    }
#pragma unroll 1
    for (int n = 0; n < t.cut.pieces; ++n) {
        if (threadIdx.x < tile) put_key(p, s, t.from(n), t.cut.rows(n), p.tk, t.cut);
        part c, u;
        logits_of(p, s, t, n, s.who.all_listed(), b, h, c, u);
        sum_piece(s, t, n, c, u);
    }
    if (threadIdx.x < tile) put_key(p, s, t.from(t.piece), t.cut.rows(t.piece), p.tk, t.cut);
    __syncthreads();
}

/* Adds what the queries of head h give to this tile's dk and dv. */
template <int GROUPS>
__device__ void add_landmark_queries(const slat_problem &p, const float *shift, const key_piece &t, int64_t b, int h,
                                     part (&grad_k)[GROUPS], part (&grad_v)[GROUPS])
{
    landmark_room &s = shared<landmark_room>();
    const bool wide = is_wide(p);
    const source q = source_of(p.q, b, h, wide), grad_o = source_of(p.grad_o, b, h, wide);
#pragma unroll 1
    for (int64_t i = slat_max(t.from(t.piece) - (p.tk - p.tq), 0); i < p.tq; i += tile) {
        const int64_t rows = slat_min(p.tq - i, tile);
        __syncthreads();
        put_queries(p, s, i, rows, p.grad_o, shift, b, h);
        if (threadIdx.x < tile) list_piece(s, threadIdx.x < rows);
        __syncthreads();
        if (t.cut.pieces > 1) sum_step(p, s, t, i + rows - 1, b, h);
        const landmark_bits bits = look<false>(s, t.present(p, t.piece), s.who.all_listed());
        __syncthreads();
        const uint64_t needed = s.who.all_seen() | marked(s);
        if (!needed) continue;
        part c, u;
        logits_of(p, s, t, t.piece, needed, b, h, c, u);
        if (t.cut.pieces == 1) sum_piece(s, t, 0, c, u);
#pragma unroll
        for (int i4 = 0; i4 < 4; ++i4)
#pragma unroll
            for (int j = 0; j < 4; ++j)
                unweigh(s, lane_x() + 16 * j, lane_y() + 16 * i4, has(bits.sees, i4, j), has(bits.uses, i4, j),
                        c[i4][j], u[i4][j]);
        const int depth = 64 - __clzll(needed);
        if (p.grad_v.data) {
            put_tile(s.tiles.a[0], c);
            product_nn(grad_v, s.tiles, grad_o, {s.queries.second, needed}, depth, 0, p.dv);
            __syncthreads();
        }
        if (p.grad_k.data) {
            put_tile(s.tiles.a[0], u);
            product_nn(grad_k, s.tiles, q, {s.queries.first, needed}, depth, 0, p.d);
        }
    }
}

template <int GROUPS>
__global__ void __launch_bounds__(slat_block, 1)
    landmark_grad_key(const __grid_constant__ slat_problem p, const float *shift, int64_t tiles)
{
    landmark_room &s = shared<landmark_room>();
    const int64_t work = tiles * p.hk * p.b;
    const int group = p.hq / p.hk;
    const bool wide = is_wide(p);
    for (int64_t n = blockIdx.x; n < work; n += gridDim.x) {
        const int head = n / tiles % p.hk;
        const int64_t b = n / tiles / p.hk;
        key_piece t = {landmark_cut(p.landmark_block), 0, 0};
        t.first = n % tiles / t.cut.pieces * t.cut.length;
        t.piece = (int)(n % tiles % t.cut.pieces);
        const uint64_t present = t.present(p, t.piece);
        if (!present) continue;
        if (threadIdx.x < tile) put_key(p, s, t.from(t.piece), t.cut.rows(t.piece), p.tk, t.cut);
        part grad_k[GROUPS] = {}, grad_v[GROUPS] = {};
        for (int h = head * group; h < (head + 1) * group; ++h) add_landmark_queries(p, shift, t, b, h, grad_k, grad_v);
        __syncthreads();
        if (threadIdx.x < tile) {
            const slat_point at = slat_at(0, 0, t.from(t.piece) + threadIdx.x);
            if (p.grad_k.data) s.keys.first[threadIdx.x] = token_at(p.grad_k, at);
            if (p.grad_v.data) s.keys.second[threadIdx.x] = token_at(p.grad_v, at);
        }
        __syncthreads();
        const float scale = (float)p.scale, scales[4] = {scale, scale, scale, scale}, ones[4] = {1, 1, 1, 1};
        if (p.grad_k.data)
            write_tile(grad_k, scales, target_of(p.grad_k, b, head, wide), {s.keys.first, present}, 0, p.d);
        if (p.grad_v.data)
            write_tile(grad_v, ones, target_of(p.grad_v, b, head, wide), {s.keys.second, present}, 0, p.dv);
        __syncthreads();
    }
}

void enqueue_landmark_backward(slat_session &session)
{
    const slat_problem &p = session.problem;
    const float *shift = enqueue_shift(session);
    if (p.grad_q.data) {
        const int64_t tiles = (p.tq + tile - 1) / tile;
        const auto kernel = p.d <= 2 * tile ? landmark_grad_query<2> : landmark_grad_query<4>;
        session.launch(kernel, tiles * p.hq * p.b, sizeof(landmark_room), p, shift, tiles);
    }
    if (p.grad_k.data || p.grad_v.data) {
        const landmark_cut cut(p.landmark_block);
        const int64_t tiles = (p.tk + cut.length - 1) / cut.length * cut.pieces;
        const bool small = p.d <= 2 * tile && p.dv <= 2 * tile;
        const auto kernel = small ? landmark_grad_key<2> : landmark_grad_key<4>;
        session.launch(kernel, tiles * p.hk * p.b, sizeof(landmark_room), p, shift, tiles);
    }
}

} // namespace simt

void slat_cuda_landmark(slat_session &session)
{
    const slat_problem &p = session.problem;
    if (p.pass == SLAT_BACKWARD) {
        simt::enqueue_landmark_backward(session);
        return;
    }
    const int64_t tiles = (p.tq + simt::tile - 1) / simt::tile;
    const auto kernel = p.dv <= 2 * simt::tile ? simt::landmark_forward<2> : simt::landmark_forward<4>;
    session.launch(kernel, tiles * p.hq * p.b, sizeof(simt::landmark_room), p, tiles);
}
