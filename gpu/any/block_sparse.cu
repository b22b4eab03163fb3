/* Block-sparse and dense attention: tiles inside the rows and columns of a block layout.
 *
 * A tile of queries lies in one block row and takes the blocks that the row lists, key by key; a tile of keys lies in
 * one block column and takes the transposed list. Bad entries are left out: numbers out of range or not above the one
 * before, bitmaps out of range; where a row begins and ends is clamped to the index tensor.
 */
#include "attention.cuh"
#include "transpose.h"

namespace simt
{

/* A list of blocks: entries begin ... end - 1 of a row of indptr. */
struct block_list {
    int64_t begin, end;
};

__device__ inline block_list list_of(const int32_t *indptr, int64_t row, int64_t entries)
{
    const int64_t begin = slat_min(slat_max(indptr[row], 0), entries),
                  end = slat_min(slat_max(indptr[row + 1], 0), entries);
    return {begin, slat_max(begin, end)};
}

/* The block at entry e, or -1 where the entry is left out. */
__device__ inline int64_t block_at(const block_list &list, const int32_t *indices, int64_t e, int64_t blocks)
{
    const int64_t block = indices[e];
    const bool ascends = e == list.begin || block > indices[e - 1];
    return ascends && block >= 0 && block < blocks ? block : -1;
}

struct block_sparse {
    const int32_t *t_indptr, *t_indices, *t_entry; /* the layout by key block; NULL in forward and where dense */

    /* position: among the keys. place: inside its block. bitmap: of the block, on the side that lists it; -1: none. */
    struct query {
        int64_t position, place, bitmap;
    };
    typedef query key;

    struct query_tile {
        const slat_problem &p;
        int64_t first, rows, keys;
        int64_t end; /* of the keys that any of the queries may see */
        block_list list;

        __device__ slat_point query(int row, block_sparse::query &q) const
        {
            const int64_t i = first + row;
            q.position = p.layout.causal ? slat_position(&p, i) : p.tk;
            q.place = p.layout.indptr ? i % p.layout.block_q : 0;
            q.bitmap = -1;
            return slat_at(0, 0, i);
        }

        __device__ bool key(int64_t n, slat_point &at, block_sparse::key &k) const
        {
            const slat_layout &l = p.layout;
            k.position = n;
            k.place = 0;
            k.bitmap = -1;
            if (l.indptr) {
                const int64_t e = list.begin + n / l.block_k, block = block_at(list, l.indices, e, l.columns);
                if (block < 0) return false;
                k.place = n % l.block_k;
                k.position = block * l.block_k + k.place;
                if (!bitmap_at(l, e, k.bitmap)) return false;
            }
            at = slat_at(0, 0, k.position);
            return k.position < end;
        }
    };

    struct key_tile {
        const slat_problem &p;
        const block_sparse &walk;
        int64_t column, first, rows, queries, begins;
        block_list list;

        __device__ slat_point key(int row, block_sparse::key &k) const
        {
            k.position = first + row;
            k.place = p.layout.indptr ? k.position % p.layout.block_k : 0;
            k.bitmap = -1;
            return slat_at(0, 0, k.position);
        }

        /* Turns to the queries of head h. */
        __device__ void begin(const slat_problem &, int64_t b, int h)
        {
            const slat_layout &l = p.layout;
            begins = l.causal ? slat_max(first - (p.tk - p.tq), 0) : 0; /* queries before see none of the keys */
            queries = slat_max(p.tq - begins, 0);
            if (!l.indptr) return;
            list = list_of(walk.t_indptr, slat_layout_row(&l, l.columns, b, h, p.hq, column), l.entries);
            queries = (list.end - list.begin) * l.block_q;
        }

        __device__ bool query(int64_t n, slat_point &at, block_sparse::query &q) const
        {
            const slat_layout &l = p.layout;
            int64_t i = begins + n;
            q.place = 0;
            q.bitmap = -1;
            if (l.indptr) {
                const int64_t e = list.begin + n / l.block_q, block = block_at(list, walk.t_indices, e, l.rows);
                if (block < 0) return false;
                q.place = n % l.block_q;
                i = block * l.block_q + q.place;
                if (l.bitmap_of) {
                    const int64_t entry = walk.t_entry[e];
                    if (entry < 0 || entry >= l.entries || !bitmap_at(l, entry, q.bitmap)) return false;
                }
            }
            q.position = l.causal ? slat_position(&p, i) : p.tk;
            at = slat_at(0, 0, i);
            return i >= begins && i < p.tq;
        }
    };

    static __device__ bool bitmap_at(const slat_layout &l, int64_t entry, int64_t &bitmap)
    {
        bitmap = l.bitmap_of ? l.bitmap_of[entry] : -1;
        return bitmap >= -1 && bitmap < l.bitmap_count;
    }

    static __device__ bool visible(const slat_problem &p, const query &q, const key &k)
    {
        if (k.position > q.position) return false;
        const int64_t bitmap = slat_max(q.bitmap, k.bitmap);
        return bitmap < 0 || slat_bitmap_bit(&p.layout, bitmap, q.place, k.place);
    }

    /* Tiles of one block. Dense: the sequence is one block. */
    static __host__ __device__ int64_t parts(const slat_problem &p, int64_t block)
    {
        return p.layout.indptr ? (block + tile - 1) / tile : 1;
    }

    static int64_t query_tiles(const slat_problem &p)
    {
        return p.layout.indptr ? p.layout.rows * parts(p, p.layout.block_q) : (p.tq + tile - 1) / tile;
    }

    static int64_t key_tiles(const slat_problem &p)
    {
        return p.layout.indptr ? p.layout.columns * parts(p, p.layout.block_k) : (p.tk + tile - 1) / tile;
    }

    /* Rows of tile n of blocks of `block` tokens. */
    static __device__ void cut(int64_t n, int64_t parts, int64_t block, int64_t tokens, int64_t &first, int64_t &rows)
    {
        const int64_t from = n % parts * tile;
        first = n / parts * block + from;
        rows = slat_min(slat_min(block - from, tile), tokens - first);
    }

    __device__ query_tile queries(const slat_problem &p, int64_t b, int h, int64_t n) const
    {
        const slat_layout &l = p.layout;
        query_tile t = {p, 0, 0, p.tk, p.tk, {0, 0}};
        const int64_t per = parts(p, l.block_q);
        cut(n, per, l.indptr ? l.block_q : tile, p.tq, t.first, t.rows);
        if (t.rows <= 0) return t;
        if (l.causal) t.end = slat_min(slat_max(slat_position(&p, t.first + t.rows - 1) + 1, 0), p.tk);
        t.keys = t.end;
        if (!l.indptr) return t;
        t.list = list_of(l.indptr, slat_layout_row(&l, l.rows, b, h, p.hq, n / per), l.entries);
        t.keys = t.end ? (t.list.end - t.list.begin) * l.block_k : 0;
        return t;
    }

    __device__ key_tile keys(const slat_problem &p, int64_t, int, int64_t n) const
    {
        const slat_layout &l = p.layout;
        const int64_t per = parts(p, l.block_k);
        key_tile t = {p, *this, n / per, 0, 0, 0, 0, {0, 0}};
        cut(n, per, l.indptr ? l.block_k : tile, p.tk, t.first, t.rows);
        return t;
    }
};

} // namespace simt

void slat_cuda_block_sparse(slat_session &session)
{
    const slat_problem &p = session.problem;
    const slat_layout &l = p.layout;
    simt::block_sparse walk = {l.t_indptr, l.t_indices, l.t_entry};
    if (p.pass == SLAT_FORWARD) {
        simt::enqueue_forward(session, walk);
        return;
    }
    const float *shift = simt::enqueue_shift(session);
    if (l.indptr && !l.t_indptr && (p.grad_k.data || p.grad_v.data)) {
        const simt::transposed made = simt::take_transposed(session, true);
        simt::enqueue_transpose(session, made);
        walk = {made.indptr, made.indices, made.entry};
    }
    simt::enqueue_backward(session, walk, shift);
}
