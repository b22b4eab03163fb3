/* The chunked scan of linear attention on Hopper's tensor cores: one block walks the tokens of one head, 64 at a time.
 *
 * With a decay lambda and in the order of the walk:
 *     y_i = scale (sum_{j<=i} lambda^(i-j) (a_i.b_j) c_j + lambda^(i+1) a_i Z)
 *     Z <- lambda^r Z + sum_j lambda^(r-1-j) b_j (x) c_j
 * A reverse walk begins at the last chunk, and its adjoint state decays after it took a token, not before:
 *     y_i = scale (sum_{j>=i} lambda^(j-i) (a_i.b_j) c_j + lambda^(r-1-i) a_i Z)
 *     Z <- lambda (lambda^(r-1) Z + sum_j lambda^j b_j (x) c_j)
 * where the leading lambda stays pending until Z is next used, so that no weight in a product is below what the chunk's
 * nearest token has (f16 would lose it).
 *
 * Three warp groups share the work. The producer copies tiles of a, b and c. The keeper has Z^T in registers, f32: rows
 * are SLABS times 64 columns of c, columns are the DEPTH columns of a and b. Before it adds a chunk, it publishes Z^T
 * in 16 bits in shared memory. The writer computes y. Several blocks may share a head: they split c's columns, and the
 * chunks whose y they write.
 */
#ifndef SLAT_SM90_CHUNK_LOOP_CUH
#define SLAT_SM90_CHUNK_LOOP_CUH
#include "ring.cuh"
#include "walk.h"
#include "wgmma.cuh"

namespace sm90
{

constexpr int chunk_tokens = 64, warp_tokens = 16, group = 128; /* threads of a warp group */

/* 64 rows of 64 elements, swizzled. */
struct alignas(1024) panel {
    uint16_t at[chunk_tokens * chunk];
};
constexpr uint32_t panel_bytes = sizeof(panel);
static_assert(panel_bytes == chunk_tokens * row_bytes, "panels are dense");

/* An f32 state whose element (d, c) is data[b batch + h head + n snapshot + d row + c column]. */
struct state_view {
    float *data; /* NULL: reads as 0, is not written */
    int64_t batch, head, snapshot, row, column;
};

/* A factor, for all heads or one for each. */
struct factor {
    float all;
    const float *each; /* [batches, heads] or NULL */

    __device__ __forceinline__ float of(int64_t head) const { return each ? all * each[head] : all; }
};

struct scan {
    CUtensorMap a, b, c, y;
    slat_view rows;        /* y where it leaves by plain stores; else absent */
    state_view begin, end; /* `snapshot` counts segments */
    state_view snapshots;  /* the state before every `every`-th chunk, to be written */
    const float *slopes;
    int64_t slope_stride, tokens;
    factor scale, begin_scale, end_scale; /* of y; of the states when they come and go */
    int32_t reverse, writes;              /* writes: y is wanted */
    int32_t depth, width;                 /* of a and b; of c and y */
    int32_t every;                        /* chunks between snapshots; 0: none */
};

/* How the blocks share the work. */
struct split {
    int32_t jobs, heads;      /* scans of one launch; heads of each */
    int32_t slices, turns;    /* blocks for c's columns; blocks that take turns at writing chunks; a power of 2 */
    int32_t segments, each;   /* of the tokens, and their chunks */
    int32_t workers, batches; /* blocks of one scan's line (lightning_line.cuh), 0: none; of the problem */
    float limit;              /* chunks that each of them may have */
};

/* Powers of a head's lambda, all as 2^(difference of a cumulative decay). Past a ragged end they stay at 1. */
struct head_decay {
    float slope; /* to base 2 */
    bool reverse;

    __device__ __forceinline__ float over(int tokens) const { return exp2_fast(-slope * (float)max(tokens, 0)); }
    __device__ __forceinline__ float pending(bool begun) const { return reverse && begun ? over(1) : 1.0f; }
    __device__ __forceinline__ float add(int j, int rows, int beyond) const
    {
        return over(max(reverse ? j : rows - 1 - j, 0) + beyond);
    }
    __device__ __forceinline__ float keep(int rows) const { return over(reverse ? rows - 1 : rows); }
    __device__ __forceinline__ float read(int i, int rows) const { return over(reverse ? rows - 1 - i : i + 1); }
    __device__ __forceinline__ bool sees(int i, int j) const { return reverse ? j >= i : j <= i; }
    __device__ __forceinline__ float inside(int i, int j) const { return over(reverse ? j - i : i - j); }
};

/* What one block does. Chunks are numbered in the order of the walk. */
struct work {
    int64_t b, head; /* head: of all batches' */
    int32_t h, slice, turn, turns;
    int32_t deep; /* the first of a's and b's columns */
    int32_t first, last, chunks, segment;
    int32_t ragged, left; /* the chunk with the last token, and its tokens */
    head_decay decay;

    __device__ __forceinline__ int place(int n) const { return decay.reverse ? chunks - 1 - n : n; }
    __device__ __forceinline__ int token(int n) const { return place(n) * chunk_tokens; }
    __device__ __forceinline__ int rows(int n) const { return n == ragged ? left : chunk_tokens; }
    __device__ __forceinline__ bool own(int n) const { return (n & (turns - 1)) == turn; }
    __device__ __forceinline__ bool begins() const { return true; } /* with a given state */

    /* The first chunk whose y it writes, and the first of y's columns where a block has so many. */
    __device__ __forceinline__ int first_own() const { return first + ((turn - first) & (turns - 1)); }
    __device__ __forceinline__ int first_column(int columns) const { return slice * columns; }

    template <int slots> __device__ __forceinline__ void skip(ring<slots> &at, int chunks) const
    {
        if (chunks) at.advance();
    }
};

__device__ __forceinline__ head_decay decay_of(const scan &p, int h)
{
    constexpr float log2_e = 1.442695041f, steepest = 1e30f; /* times a distance, still finite */
    return {fminf(p.slopes[h * p.slope_stride] * log2_e, steepest), p.reverse != 0};
}

__device__ __forceinline__ int chunks_of(const scan &p)
{
    return (int)((p.tokens + chunk_tokens - 1) / chunk_tokens);
}

__device__ __forceinline__ void take_head(work &w, const scan &p, const split &by, int64_t head)
{
    w.h = (int)(head % by.heads);
    w.b = head / by.heads;
    w.head = head;
    w.deep = 0;
    w.chunks = chunks_of(p);
    w.ragged = p.reverse ? 0 : w.chunks - 1;
    w.left = (int)(p.tokens - (w.chunks - 1) * (int64_t)chunk_tokens);
    w.decay = decay_of(p, w.h);
}

__device__ __forceinline__ work work_of(const scan &p, const split &by, int64_t block)
{
    work w;
    int64_t index = block / by.jobs;
    w.turn = p.writes ? (int)(index % by.turns) : -1;
    index /= by.turns;
    w.slice = (int)(index % by.slices);
    index /= by.slices;
    w.segment = (int)(index % by.segments);
    take_head(w, p, by, index / by.segments);
    w.turns = by.turns;
    w.first = w.segment * by.each;
    w.last = min(w.first + by.each, w.chunks);
    return w;
}

/* Tiles on their way through shared memory. reads_y: a chunk's y is read, with a. */
template <int DEPTH, int SLABS, int STAGES, int A_STAGES, int READS_Y> struct chunk_ring {
    static constexpr int panels = DEPTH / chunk, slabs = SLABS, stages = STAGES, a_stages = A_STAGES, reads_y = READS_Y;

    panel a[a_stages][panels + reads_y], b[stages][panels], c[stages][slabs];
    uint64_t a_filled[a_stages], a_freed[a_stages], filled[stages], freed[stages], published, taken;

    __device__ void init()
    {
        if (threadIdx.x == 0) {
            for (int i = 0; i < a_stages; ++i) {
                barrier_init(&a_filled[i], 1);
                barrier_init(&a_freed[i], 4); /* the writer's warps */
            }
            for (int i = 0; i < stages; ++i) {
                barrier_init(&filled[i], 1);
                barrier_init(&freed[i], 8); /* and the keeper's */
            }
            barrier_init(&published, 4);
            barrier_init(&taken, 4);
            barrier_init_fence();
        }
        __syncthreads();
    }
};

/* Z^T in 16 bits, where the keeper puts it for the writer. */
template <int DEPTH, int SLABS> struct published_state {
    panel z[DEPTH / chunk][SLABS];
    float unscale[SLABS][4]; /* by slab and warp, 16 columns of c each */
};

/* How many chunks fit, in panels. */
template <int DEPTH, int SLABS> struct chunk_stages {
    static constexpr int panels = DEPTH / chunk, budget = 28, a = DEPTH / SLABS > 64 ? 2 : 3;
    static constexpr int fit = (budget - a * panels - panels * SLABS - SLABS) / (panels + SLABS), b = fit < 8 ? fit : 8;
};

/* The block's shared memory. */
template <int DEPTH, int SLABS>
struct chunk_room : chunk_ring<DEPTH, SLABS, chunk_stages<DEPTH, SLABS>::b, chunk_stages<DEPTH, SLABS>::a, 0> {
    published_state<DEPTH, SLABS> state;
    panel y[SLABS];
};

/* Where a room begins, in dynamic shared memory of room_bytes bytes. */
template <class Room> constexpr size_t room_bytes = sizeof(Room) + alignof(Room);

template <class Room> __device__ __forceinline__ Room &room_in(uint8_t *memory)
{
    static_assert(room_bytes<Room> <= 227 * 1024, "more than a block can have");
    return *(Room *)(((uintptr_t)memory + alignof(Room) - 1) / alignof(Room) * alignof(Room));
}

/* Where a role stands: in the ring of chunks, in that of a, and in the turns of the published state. */
template <class Room> struct places {
    ring<Room::stages> at;
    ring<Room::a_stages> a_at;
    uint32_t turn = 0;
};

/* One lane arrives for its warp. */
__device__ __forceinline__ void warp_arrive(uint64_t *barrier, int times = 1)
{
    __syncwarp();
    if ((int)threadIdx.x % 32 < times) barrier_arrive(barrier);
}

/* ---- accumulators ---- */

/* Their values are settled here: else their arithmetic moves in between the products that follow. */
template <int N> __device__ __forceinline__ void settle(float (&x)[N])
{
#pragma unroll
    for (int i = 0; i < N; ++i) asm volatile("" : "+f"(x[i])::"memory");
}

template <int N> __device__ __forceinline__ void settle(uint32_t (&x)[N])
{
#pragma unroll
    for (int i = 0; i < N; ++i) asm volatile("" : "+r"(x[i])::"memory");
}

template <class T, int N>
__device__ __forceinline__ void pack_scaled(uint32_t (&to)[N / 2], const float (&x)[N], float factor)
{
#pragma unroll
    for (int i = 0; i < N / 2; ++i) to[i] = pack(T(), x[2 * i] * factor, x[2 * i + 1] * factor);
}

/* 64 rows of N packed columns into panels that are `stride` panels apart. */
template <int N>
__device__ __forceinline__ void store_panels(panel *to, int stride, const uint32_t (&x)[N / 4], int warp, int lane)
{
    const int row = warp * 16 + lane % 16;
#pragma unroll
    for (int j = 0; j < N / 8; j += 2) {
        const int piece = j % 8 + lane / 16;
        store_matrices(shared_address(to + j / 8 * stride) + swizzle_128(row, piece), x[2 * j], x[2 * j + 1],
                       x[2 * j + 2], x[2 * j + 3]);
    }
}

/* The product's step over 16 rows of a panel; over 16 columns of panels that are `stride` panels apart. */
constexpr int row_step = 16 * row_bytes / 16;
__device__ __forceinline__ constexpr int column_step(int i, int stride)
{
    return (i / 4 * stride * (int)panel_bytes + i % 4 * 32) / 16;
}

__device__ __forceinline__ float *state_at(const state_view &v, const work &w, int64_t snapshot)
{
    return v.data + w.b * v.batch + w.h * v.head + snapshot * v.snapshot;
}

/* ---- the producer ---- */

/* A chunk of `panels` times 64 columns. Each half of its tokens comes whole: rows lie together in memory. */
constexpr int box_tokens = 32;
template <int panels>
__device__ __forceinline__ void load_chunk(panel *to, const CUtensorMap *map, uint64_t *filled, int column, int token,
                                           const work &w)
{
#pragma unroll
    for (int row = 0; row < chunk_tokens; row += box_tokens)
#pragma unroll
        for (int i = 0; i < panels; ++i)
            load_box((char *)(to + i) + row * row_bytes, map, filled, column + i * chunk, token + row, w.h, (int)w.b);
}

template <class Room, class Work> __device__ void produce(Room &s, const scan &p, const Work &w, places<Room> &now)
{
    ring<Room::stages> at = now.at;
    ring<Room::a_stages> a_at = now.a_at;
    const int column = w.slice * Room::slabs * chunk;
    for (int n = w.first; n < w.last; ++n, at.advance()) {
        const int token = w.token(n);
        barrier_wait(&s.freed[at.slot], at.parity ^ 1);
        uint64_t *filled = &s.filled[at.slot];
        barrier_expect(filled, (Room::panels + Room::slabs) * panel_bytes);
        load_chunk<Room::panels>(s.b[at.slot], &p.b, filled, w.deep, token, w);
        load_chunk<Room::slabs>(s.c[at.slot], &p.c, filled, column, token, w);
        if (!w.own(n)) continue;
        barrier_wait(&s.a_freed[a_at.slot], a_at.parity ^ 1);
        filled = &s.a_filled[a_at.slot];
        barrier_expect(filled, (Room::panels + Room::reads_y) * panel_bytes);
        load_chunk<Room::panels>(s.a[a_at.slot], &p.a, filled, w.deep, token, w);
        load_chunk<Room::reads_y>(s.a[a_at.slot] + Room::panels, &p.y, filled, column, token, w);
        a_at.advance();
    }
    now.at = at, now.a_at = a_at;
}

} // namespace sm90
#endif
