/* What the kernels of softmax backward share: sizes of tiles, rows of numbers, calls, rooms in shared memory. */
#ifndef SLAT_SM90_GRAD_ROOM_CUH
#define SLAT_SM90_GRAD_ROOM_CUH
#include "softmax_room.cuh"

namespace sm90
{

/* Tiles for heads of up to D channels, by 128 keys, of which two warp groups have 64 each. Of a tile's dQ each group
 * makes 64 rows by 64 columns: the columns of a chunk of all queries, or the queries of a half (halves). */
template <int D> struct grad_shape {
    static constexpr bool wide = D > 128; /* dV and dK have a kernel each */
    static constexpr int queries = D <= 64 ? 128 : 64, keys = tile_rows;
    static constexpr int keys_at_once = D <= 64 ? keys : 64; /* by query, where blocks are not grouped */
    static constexpr bool halves = queries > group_rows;
    static constexpr int chunks = D / chunk;
    static constexpr int part = chunk;
    static constexpr int number_bytes = queries / 8 * 16 * 4; /* see below */
    static constexpr int key_bytes = chunks * keys * row_bytes, query_bytes = chunks * queries * row_bytes;
    static constexpr int square_bytes = queries / chunk * keys * row_bytes; /* dS^T */
    static constexpr int part_bytes = group_rows * part * 4;                /* in f32; room for 64 rows of dK or dV */
};

/* Numbers of query rows, [B, Hq, rows] and 64 more, eight rows together: 8 times lse in powers of 2 (+inf where a row
 * sees nothing), then 8 times dlse - delta. Rows without a query, and the 64 at the end, have +inf and 0. */
constexpr int grad_group = 8, number_floats = 2 * grad_group;

/* Which row of a head's numbers, and of its dq in f32, a query has. In a sequence row i is query i's. On a grid the
 * queries of a line that are a dilation apart follow one another, `part` rows, a multiple of grad_group; the line's
 * other queries come after them in the same way, then the next line. Rows without a query are left over. */
struct query_rows {
    int32_t count;      /* of a head, a multiple of 64 */
    int32_t line, part; /* rows of a line; of queries that are a dilation apart */
    int32_t dilation;
    int32_t x, y, z; /* extents of q */

    static __host__ __device__ query_rows of_sequence(const slat_problem &p)
    {
        const int32_t count = (int32_t)((p.tq + 63) / 64 * 64);
        return {count, count, count, 1, 1, 1, (int32_t)p.tq};
    }

    __device__ __forceinline__ int32_t row(const slat_point &at) const
    {
        const int32_t z = (int32_t)at.z;
        if (line == count && dilation == 1) return z;
        const int32_t place = z / dilation;
        return ((int32_t)at.x * y + (int32_t)at.y) * line + (z - place * dilation) * part + place;
    }

    /* The query of a row; false: there is none. */
    __device__ __forceinline__ bool query(int32_t row, slat_point &at) const
    {
        if (part == count) {
            at = slat_at(0, 0, row);
            return row < z;
        }
        const int32_t n = row / line, plane = n / y, rest = row - n * line, group = rest / part;
        const int32_t place = group + (rest - group * part) * dilation;
        at = slat_at(plane, n - plane * y, place);
        return plane < x && place < z;
    }
};

/* Sums of dq in f32, [heads, rows, D], in the order of accumulators: 64 rows together, of these 64 columns, of
 * these 16 rows, of these 8 columns, of these lane l has row l / 4, columns 2 (l % 4) and the next, and the same of row
 * l / 4 + 8. Where queries come in runs of 8 (fine): of these 8 rows, of these 8 columns, row l / 4 alone. */
template <int D> __host__ __device__ inline int64_t grad_place(int64_t row, int part)
{
    return row / 64 * (64 * D) + part * (64 * chunk) + row % 64 / grad_group * (grad_group * chunk);
}

/* The same of 64 rows of dV or dK and 64 columns: of an item whose queries come in parts. */
template <int D> __host__ __device__ inline int64_t parted_place(int64_t item, bool of_keys, int group, int part)
{
    return (((item * 2 + of_keys) * 2 + group) * (D / chunk) + part) * (group_rows * chunk);
}

/* Weights as left operands of a product, 16 of a row's columns in four registers. */
template <class T, int N> __device__ __forceinline__ void pack_weights(uint32_t (&p)[N / 2], const float (&s)[N])
{
#pragma unroll
    for (int i = 0; i < N / 2; ++i) p[i] = pack(T(), s[2 * i], s[2 * i + 1]);
}

struct grad_call {
    int32_t tiles, heads, group; /* work: items a head, heads of all batch entries; heads that are taken together */
    int32_t sets;                /* of heads that are taken together */
    int32_t heavy, ahead;        /* the first items of a head that come early, and by how many sets */
    float scale, scale_2;        /* of q.k; in powers of 2 */
    int32_t *next;               /* the next work item, 0 at first; NULL: a block has one */
    query_rows rows;
    const float *numbers, *no_numbers; /* of the query rows; of 64 that there are not */

    bool beside; /* the kernel before is grad_queries, of which nothing is read */

    /* Where dq is added up (see grad_sums.cuh). A set is the query heads of `group` key heads. */
    float *sums; /* room for `slots` sets */
    int32_t slots, set_heads;
    float *key_sums; /* of dV and dK of keys whose queries come in parts, 0 at first: see parted_place */
    int32_t *begun,
        *claimed;            /* 0 at first: tiles of the first set to clear, others to clear and to empty, given away */
    int32_t *done, *emptied; /* 0 at first: of each set its items done, the tiles of its place cleared */
};

constexpr size_t most_room = 227 << 10; /* that a block can have */

/* The room of grad_keys. adds: dS^T and the parts of dQ need room too. */
template <int D, bool adds, class Walk> struct key_room {
    typedef grad_shape<D> shape;
    static constexpr int notes = 8, items = 2;
    static constexpr int queries = D > 64 ? 3 : 2, grads = 2, outs = adds ? 1 : 2;     /* buffers */
    static constexpr int number_bytes =
        (Walk::grouped && !Walk::short_blocks ? 3 : 1) * shape::number_bytes; /* and of each group's block */
    static constexpr int block_bytes = 0; /* of those that come with dO instead */
    static constexpr bool has_values = true;

    alignas(1024) uint8_t k[shape::key_bytes];
    alignas(1024) uint8_t v[shape::key_bytes];
    alignas(1024) uint8_t q[queries][shape::query_bytes];
    alignas(1024) uint8_t grad_o[grads][shape::query_bytes];
    alignas(1024) uint8_t ds[adds ? 2 : 1][adds ? shape::square_bytes : 1024]; /* dS^T: a row a key */
    alignas(1024) uint8_t out[2][outs][shape::part_bytes]; /* of each group: its part of dQ, or its rows of dK, dV */
    alignas(128) uint8_t back[2][adds ? shape::part_bytes / 2 : 128]; /* sums to be converted */
    alignas(128) uint8_t numbers[queries][number_bytes];
    int32_t unit[2][2]; /* of each group: tiles of sums that it empties */
    typename Walk::shared_by_group shared[2];
    uint64_t back_full[2];
    uint64_t k_full, v_full, keys_empty;
    uint64_t q_full[queries], q_empty[queries], o_full[grads], o_empty[grads];
    uint64_t ds_full[2], out_full[2][outs], out_empty[2][outs];
    uint64_t item_full[items], item_empty[items];
    uint64_t note_full[notes], note_empty[notes];
    work_item item[items];
    tile_note<Walk> note[notes];
};

/* The room of grad_queries. Wide heads leave room for few keys, and none for dQ. Narrow ones have registers for whole
 * tiles, if Q and dO stay here. */
template <int D, class Walk> struct query_room {
    typedef grad_shape<D> shape;
    static constexpr bool wide = shape::wide;
    static constexpr int keys = Walk::grouped || Walk::long_blocks ? 64 : shape::keys_at_once;
    static constexpr bool whole = keys == tile_rows;
    static constexpr int k_stages = wide ? 2 : 4, v_stages = D > 192 ? 1 : k_stages; /* of `keys` */
    static constexpr int items = 2, rows = whole ? 2 : 1;                            /* rows: buffers of Q and dO */
    static constexpr int notes = sizeof(tile_note<Walk>) <= 512 ? 4 : 2;
    static constexpr int rows_bytes = shape::key_bytes, keys_bytes = rows_bytes * keys / tile_rows;
    static constexpr int out_bytes = rows_bytes / 2;

    alignas(1024) uint8_t q[rows][rows_bytes];
    alignas(1024) uint8_t grad_o[rows][rows_bytes];
    alignas(1024) uint8_t k[k_stages][keys_bytes];
    alignas(1024) uint8_t v[v_stages][keys_bytes];
    alignas(wide ? 8 : 1024) uint8_t out[2][wide ? 8 : out_bytes]; /* dQ of each group */
    uint64_t rows_full[rows], rows_empty[rows];
    uint64_t k_full[k_stages], k_empty[k_stages], v_full[v_stages], v_empty[v_stages];
    uint64_t item_full[items], item_empty[items];
    uint64_t note_full[notes], note_empty[notes];
    work_item item[items];
    tile_note<Walk> note[notes];
};

} // namespace sm90
#endif
