/* Lightning attention: one chunked scan serves forward and all gradients.
 *
 * The scan, over chunks of at most 64 tokens, with decay lambda and tokens counted inside the chunk:
 *     y_i = scale sum_{j<=i} lambda^(i-j) (a_i.b_j) c_j + read lambda^(i+late) a_i Z
 *     Z <- lambda^r Z + add sum_j lambda^(r-late-j) b_j (x) c_j
 * forward: a, b, c = q, k, v, late 1, read scale, add 1, Z = S. dq: a, b, c = do, v, k, Z = S^T. dv: time reversed,
 * a, b, c = k, q, do, late 0, read 1, add scale, Z = dS, which ends as dS0. dk: the same with a, b, c = v, do, q,
 * Z = dS^T.
 * A block owns 64 columns of c of one head: it keeps Z's columns in registers, f32, and walks all tokens. Powers of
 * lambda are exp of differences inside a chunk: nothing overflows, whatever the slope.
 */
#ifndef SLAT_ANY_LIGHTNING_CUH
#define SLAT_ANY_LIGHTNING_CUH
#include "session.h"
#include "softmax.cuh"

namespace simt
{

/* A state whose element (d, c) is data[b batch + h head + n snapshot + d row + c column]. */
struct state_view {
    float *data;
    int64_t batch, head, snapshot, row, column;
};

struct scan {
    slat_view a, b, c, y; /* y: absent where only the state is wanted */
    state_view begin, end, snapshots;
    slat_view slopes;
    int64_t tokens, batches, every;
    int32_t heads, depth, width, late; /* depth: of a and b; width: of c and y */
    float scale, read, add;
    bool wide;
    /* Of the derivative. */
    slat_view grad_y;
    state_view grad_end;
    float *grad_slopes; /* [batches, heads, slices] */
};

struct scan_room {
    buffers tiles;
    int64_t a[tile], b[tile], c[tile], y[tile];
    float power[tile + 1]; /* lambda^n */
    float sums[slat_block / 32];
};

/* This thread's parts of a state: rows g * 64 + 4 ty + i, columns `column` + 4 tx + j. */
template <int GROUPS>
__device__ inline void load_state(part (&z)[GROUPS], const state_view &from, int64_t b, int h, int depth, int column,
                                  int width)
{
#pragma unroll
    for (int g = 0; g < GROUPS; ++g)
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const int d = g * tile + lane_y() * 4 + i, c = column + lane_x() * 4 + j;
                z[g][i][j] = from.data && d < depth && c < width
                                 ? from.data[b * from.batch + h * from.head + d * from.row + c * from.column]
                                 : 0.0f;
            }
}

template <int GROUPS>
__device__ inline void store_state(const part (&z)[GROUPS], const state_view &to, int64_t b, int h, int64_t n,
                                   int depth, int column, int width)
{
    if (!to.data) return;
#pragma unroll
    for (int g = 0; g < GROUPS; ++g)
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const int d = g * tile + lane_y() * 4 + i, c = column + lane_x() * 4 + j;
                if (d < depth && c < width)
                    to.data[b * to.batch + h * to.head + n * to.snapshot + d * to.row + c * to.column] = z[g][i][j];
            }
}

__device__ inline void put_state(float *to, const part &z)
{
#pragma unroll
    for (int i = 0; i < 4; ++i)
        *(float4 *)(to + (lane_y() * 4 + i) * wide_row + lane_x() * 4) =
            make_float4(z[i][0], z[i][1], z[i][2], z[i][3]);
}

/* One chunk's operands and extents. */
struct chunk {
    source a, b, c;
    rows_of ra, rb, rc;
    int64_t first;
    int rows, column; /* column: the first of this block's 64 */
};

/* y += A Z. */
template <int GROUPS>
__device__ inline void read_state(part &y, const part (&z)[GROUPS], const chunk &k, scan_room &s, int depth)
{
#pragma unroll
    for (int g = 0; g < GROUPS; ++g) {
        if (g * tile >= depth) break;
        uint4 bits[4];
        fetch_wide(bits, k.a, k.ra, 0, g * tile, depth);
        __syncthreads();
        put_wide(s.tiles.a[0], bits, k.a.type);
        put_state(s.tiles.b[0], z[g]);
        __syncthreads();
        multiply_nn(y, s.tiles.a[0], s.tiles.b[0], tile);
    }
}

/* Z = keep Z + B^T diag(weight(j)) C. */
template <int GROUPS, class Weight>
__device__ inline void add_chunk(part (&z)[GROUPS], const chunk &k, scan_room &s, int depth, int width,
                                 const Weight &weight)
{
    uint4 bits[4];
    fetch_wide(bits, k.c, k.rc, 0, k.column, width);
    __syncthreads();
#pragma unroll
    for (int n = 0; n < 4; ++n) {
        const int row = lane_y() + n * 16;
        const float w = row < k.rows ? weight(row) : 0.0f;
        const float4 x = widen(bits[n], k.c.type);
        *(float4 *)(s.tiles.b[0] + row * wide_row + lane_x() * 4) = make_float4(x.x * w, x.y * w, x.z * w, x.w * w);
    }
#pragma unroll
    for (int g = 0; g < GROUPS; ++g) {
        if (g * tile >= depth) break;
        fetch_wide(bits, k.b, k.rb, 0, g * tile, depth);
        __syncthreads();
        put_wide(s.tiles.a[0], bits, k.b.type);
        __syncthreads();
        multiply_tn(z[g], s.tiles.a[0], s.tiles.b[0]);
    }
}

template <int GROUPS> __device__ inline void scale_state(part (&z)[GROUPS], float factor)
{
#pragma unroll
    for (int g = 0; g < GROUPS; ++g) scale_part(z[g], factor);
}

/* y += (A B^T * weight(i, j)) C, over j <= i. */
template <class Weight>
__device__ inline void add_inside(part (&y)[1], const chunk &k, scan_room &s, int depth, int width,
                                  const Weight &weight)
{
    part c;
    __syncthreads();
    product_nt(c, s.tiles, k.a, k.ra, k.b, k.rb, depth);
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const int row = lane_y() + 16 * i, column = lane_x() + 16 * j;
            c[i][j] = column <= row ? c[i][j] * weight(row - column) : 0.0f;
        }
    __syncthreads();
    put_tile(s.tiles.a[0], c);
    product_nn(y, s.tiles, k.c, k.rc, k.rows, k.column, (int)slat_min(width, k.column + tile));
}

__device__ inline void list_powers(const scan &p, scan_room &s, int h)
{
    const float slope = ((const float *)p.slopes.data)[h * p.slopes.head];
    if (threadIdx.x <= tile) s.power[threadIdx.x] = expf(-slope * (float)threadIdx.x);
}

/* Lists the chunk's rows: up to 64, not past a snapshot. */
__device__ inline void begin_chunk(chunk &k, const scan &p, scan_room &s, int64_t first)
{
    int64_t rows = slat_min(tile, p.tokens - first);
    if (p.snapshots.data) rows = slat_min(rows, p.every - first % p.every);
    k.first = first;
    k.rows = (int)rows;
    __syncthreads();
    if (threadIdx.x < tile) {
        const int64_t token = first + threadIdx.x;
        s.a[threadIdx.x] = token * p.a.token[2];
        s.b[threadIdx.x] = token * p.b.token[2];
        s.c[threadIdx.x] = token * p.c.token[2];
        s.y[threadIdx.x] = token * (p.y.data ? p.y.token[2] : p.grad_y.token[2]);
    }
    __syncthreads();
    const uint64_t present = first_rows(rows);
    k.ra = {s.a, present};
    k.rb = {s.b, present};
    k.rc = {s.c, present};
}

/* The slices of 64 columns that a scan's output falls into. */
inline int32_t slices_of(const scan &s)
{
    return (s.width + tile - 1) / tile;
}

/* lightning_slope.cu: the gradient of the slopes, for the scan of forward with grad_y and grad_end. */
void enqueue_slopes(slat_session &session, scan s);

/* Adds up parts [batches, heads, slices], each head in one order. */
__global__ void lightning_slope_sum(const float *parts, int64_t batches, int32_t heads, int32_t slices, float *to,
                                    int64_t stride);

} // namespace simt
#endif
