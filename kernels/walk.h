/* Index arithmetic: which keys a query sees, and where things stand in memory. The kernels of every room share it.
 *
 * Everything here is a pure function of shapes and parameters; only the block layout's functions read index tensors.
 * Usable from C11 and from CUDA C++ on both sides (SLAT_FN).
 */
#ifndef SLAT_WALK_H
#define SLAT_WALK_H
#include "backend.h"

#ifdef __CUDACC__
#define SLAT_FN static inline __host__ __device__
#else
#define SLAT_FN static inline
#endif

/* A point of a grid. A sequence's token t is (0, 0, t). */
typedef struct {
    int64_t x, y, z;
} slat_point;

/* first, first + step, ... : count of them. */
typedef struct {
    int64_t first, count, step;
} slat_range;

SLAT_FN int64_t slat_min(int64_t a, int64_t b) { return a < b ? a : b; }
SLAT_FN int64_t slat_max(int64_t a, int64_t b) { return a > b ? a : b; }

SLAT_FN slat_point slat_at(int64_t x, int64_t y, int64_t z)
{
    slat_point point;
    point.x = x, point.y = y, point.z = z;
    return point;
}

SLAT_FN slat_range slat_steps(int64_t first, int64_t count, int64_t step)
{
    slat_range range;
    range.first = first, range.count = slat_max(count, 0), range.step = step;
    return range;
}

/* ---- tensors and grids ---- */

/* The first element of row (b, point, h), counted in elements from view->data. */
SLAT_FN int64_t slat_offset(const slat_view *view, int64_t b, slat_point at, int64_t h)
{
    return b * view->batch + at.x * view->token[0] + at.y * view->token[1] + at.z * view->token[2] + h * view->head;
}

/* The extents of q's box and of k's grid. */
SLAT_FN slat_point slat_query_box(const slat_problem *p)
{
    if (p->op != SLAT_OP_NEIGHBORHOOD) return slat_at(1, 1, p->tq);
    return slat_at(p->window[0].q_length, p->window[1].q_length, p->window[2].q_length);
}

SLAT_FN slat_point slat_key_grid(const slat_problem *p)
{
    if (p->op != SLAT_OP_NEIGHBORHOOD) return slat_at(1, 1, p->tk);
    return slat_at(p->window[0].length, p->window[1].length, p->window[2].length);
}

/* A point counted in its grid's row-major order. */
SLAT_FN int64_t slat_index(slat_point grid, slat_point at) { return (at.x * grid.y + at.y) * grid.z + at.z; }

/* ---- sequences ---- */

/* p(i): where query i stands among the keys. Negative: it stands before the first one and sees nothing. */
SLAT_FN int64_t slat_position(const slat_problem *p, int64_t i) { return i + p->tk - p->tq; }

SLAT_FN int32_t slat_key_head(const slat_problem *p, int32_t h) { return h / (p->hq / p->hk); }

/* ---- neighborhood: one dimension of the window ---- */

/* Positions at, at +- dilation, ... form a group. Inside it they are numbered 0 ... slat_group_length - 1. */
SLAT_FN int64_t slat_group_length(const slat_window *w, int64_t group)
{
    return w->length / w->dilation + (group < w->length % w->dilation);
}

/* The keys that the query at grid place `at` sees; step is the dilation. */
SLAT_FN slat_range slat_window_keys(const slat_window *w, int64_t at)
{
    const int64_t group = at % w->dilation, place = at / w->dilation, length = slat_group_length(w, group);
    const int64_t tile = place / w->stride * w->stride; /* queries of one tile share a leader */
    int64_t begin, end;
    if (w->causal) {
        const int64_t leader = slat_min(tile + w->stride - 1, length - 1);
        begin = slat_max(leader - w->window + 1, 0);
        end = place + 1;
    } else {
        const int64_t leader = slat_min(tile + w->stride / 2, length - 1);
        begin = slat_max(slat_min(leader - w->window / 2, length - w->window), 0);
        end = begin + w->window;
    }
    return slat_steps(group + begin * w->dilation, end - begin, w->dilation);
}

/* The inverse: the grid places whose queries see the key at `key`. The first key of a window never falls from one query
 * to the next, so they form one interval of the key's group. */
SLAT_FN slat_range slat_window_queries(const slat_window *w, int64_t key)
{
    const int64_t group = key % w->dilation, place = key / w->dilation, length = slat_group_length(w, group);
    int64_t begin, end; /* `end`: past the last tile whose window begins at or before the key */
    if (w->causal) {
        begin = place;
        end = place + w->window >= length ? length : (place + w->window) / w->stride * w->stride;
    } else {
        const int64_t leader = place - w->window + 1 + w->window / 2; /* the least one whose window reaches the key */
        const int64_t lag = leader - w->stride / 2;
        begin = place < w->window || lag <= 0 ? 0 : (lag + w->stride - 1) / w->stride * w->stride;
        end = place >= length - w->window
                  ? length
                  : ((place + w->window / 2 - w->stride / 2) / w->stride + 1) * w->stride;
    }
    return slat_steps(group + begin * w->dilation, slat_min(end, length) - begin, w->dilation);
}

/* A range of grid places, cut to q's box and counted from its beginning. */
SLAT_FN slat_range slat_window_box(const slat_window *w, slat_range places)
{
    const int64_t first = places.first - w->q_start, behind = w->q_length - 1 - first;
    const int64_t skip = first < 0 ? (-first + places.step - 1) / places.step : 0;
    const int64_t reach = behind < 0 ? 0 : behind / places.step + 1; /* of them lie before the box's end */
    return slat_steps(first + skip * places.step, slat_min(places.count, reach) - skip, places.step);
}

/* ---- block_sparse: the CSR layout ---- */

/* Where the row of query block `row` begins in indptr. The same for t_indptr with `columns` for `rows`. */
SLAT_FN int64_t slat_layout_row(const slat_layout *l, int64_t rows, int64_t b, int32_t h, int32_t hq, int64_t row)
{
    const int64_t batch = l->batches == 1 ? 0 : b, head = h / (hq / l->heads);
    return (batch * l->heads + head) * (rows + 1) + row;
}

/* Whether a bitmap shows key `k` of its block to query `q` of its block. */
SLAT_FN int slat_bitmap_bit(const slat_layout *l, int64_t bitmap, int64_t q, int64_t k)
{
    const int64_t bytes = (l->block_k + 7) / 8;
    return l->bitmaps[(bitmap * l->block_q + q) * bytes + k / 8] >> (k % 8) & 1;
}

/* ---- sharded: blocks of keys ---- */

/* The first key block of query block `row`'s local window; the window ends with `row` itself. */
SLAT_FN int64_t slat_shard_near(const slat_shards *s, int64_t row) { return slat_max(row - s->local_blocks + 1, 0); }

/* The key blocks before the local window that a head of this offset sees from query block `row`. */
SLAT_FN slat_range slat_shard_far(const slat_shards *s, int32_t offset, int64_t row)
{
    const int64_t near = slat_shard_near(s, row);
    if (offset < 0) return slat_steps(0, near, 1);
    const int64_t first = (s->stride - offset % s->stride) % s->stride;
    return slat_steps(first, first < near ? (near - first + s->stride - 1) / s->stride : 0, s->stride);
}

/* The inverse, of `rows` query blocks: past the last one that sees key block `column`; the first is `column` itself. */
SLAT_FN int64_t slat_shard_rows(const slat_shards *s, int32_t offset, int64_t column, int64_t rows)
{
    return offset < 0 || (column + offset) % s->stride == 0 ? rows : slat_min(column + s->local_blocks, rows);
}

/* ---- landmark ---- */

SLAT_FN int slat_is_landmark(int32_t block, int64_t key) { return key % block == block - 1; }

/* ---- numbers of visible keys ---- */

SLAT_FN int64_t slat_window_count(const slat_window w[3], slat_point at)
{
    return slat_window_keys(&w[0], at.x).count * slat_window_keys(&w[1], at.y).count *
           slat_window_keys(&w[2], at.z).count;
}

/* Of the query at `position`, 0 or more. Blocks before the local window are whole. */
SLAT_FN int64_t slat_shard_count(const slat_shards *s, int32_t offset, int64_t position)
{
    const int64_t row = position / s->block;
    return slat_shard_far(s, offset, row).count * s->block + position + 1 - slat_shard_near(s, row) * s->block;
}

/* All up to its position but its own block's landmark. */
SLAT_FN int64_t slat_landmark_count(int32_t block, int64_t position)
{
    return position + 1 - slat_is_landmark(block, position);
}

#endif
