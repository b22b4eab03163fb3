/* Block-sparse and dense attention: the walk over a CSR row's key blocks. */
#include "sequence.h"

/* slat_cut.cut */
enum { UNIT, IN_BLOCK, HEADS, HEAD_TILES, STEP };

/* A tile stays inside one query block, so that one list of key blocks serves it. Heads that share a list share tiles.
 */
static void cut(slat_cut *c)
{
    const slat_problem *p = c->p;
    const slat_layout *l = &p->layout;
    const int64_t unit = l->indptr ? slat_min(l->block_q, LANES) : LANES, block_k = l->indptr ? l->block_k : STEP_ROWS;
    const int64_t in_block = l->indptr ? ceil_div(l->block_q, unit) : 1, lanes = slat_min(unit, p->tq);
    const int shared = !l->indptr || l->heads != p->hq;
    c->cut[UNIT] = unit;
    c->cut[IN_BLOCK] = in_block;
    c->cut[HEADS] = shared ? heads_of_tile(p, slat_max(lanes, 1)) : 1;
    c->cut[HEAD_TILES] = ceil_div(p->hq / p->hk, c->cut[HEADS]);
    c->cut[STEP] = block_k <= STEP_ROWS ? STEP_ROWS : strip_width(ceil_div(block_k, ceil_div(block_k, STEP_ROWS)));
    c->tiles = (l->indptr ? l->rows * in_block : ceil_div(p->tq, unit)) * c->cut[HEAD_TILES];
    c->lanes = lanes_of_tile(slat_max(lanes, 1), c->cut[HEADS]);
    c->rows = STEP_ROWS;
    c->stop_unit = ceil_div(STEP_ROWS, block_k) * block_k;
    c->near = l->causal ? 0 : 1;
    c->behind = l->causal ? 1 : 0;
    c->steps = ceil_div(p->tk, block_k) * ceil_div(block_k, c->cut[STEP]);
}

static void tile(const slat_cut *c, int64_t index, slat_tile *tile)
{
    const slat_problem *p = c->p;
    const slat_layout *l = &p->layout;
    const int64_t unit = c->cut[UNIT], group = p->hq / p->hk, some = index % c->cut[HEAD_TILES] * c->cut[HEADS];
    const int64_t t = index / c->cut[HEAD_TILES], row = t / c->cut[IN_BLOCK];
    const int32_t head = (int32_t)(tile->key_head * group + some);
    int64_t first = t * unit, end = p->tq;
    tile->in_block = 0;
    if (l->indptr) {
        tile->in_block = t % c->cut[IN_BLOCK] * unit;
        first = row * l->block_q + tile->in_block;
        end = slat_min(end, (row + 1) * l->block_q);
        tile->row = slat_layout_row(l, l->rows, tile->b, head, p->hq, row);
    }
    fill_strips(p, tile, head, (int32_t)slat_min(c->cut[HEADS], group - some), first,
                slat_max(slat_min(end - first, unit), 0));
}

/* Transposes 64 x 64 bits. */
static void transpose_bits(uint64_t x[64])
{
    uint64_t mask = 0x00000000ffffffffull;
    for (int width = 32; width; width >>= 1, mask ^= mask << width)
        for (int i = 0; i < 64; i = ((i | width) + 1) & ~width) {
            const uint64_t swap = (x[i] >> width ^ x[i | width]) & mask;
            x[i] ^= swap << width;
            x[i | width] ^= swap;
        }
}

/* bits[r]: the lanes that a bitmap shows key `skip` + r of its block to. */
static void bitmap_lanes(const slat_layout *l, int64_t bitmap, int64_t query, int64_t skip, int64_t lanes,
                         uint64_t bits[64])
{
    const int64_t bytes = l->block_k / 8, some = slat_min(bytes - skip / 8, 8);
    memset(bits, 0, 64 * sizeof *bits);
    for (int64_t i = 0; i < lanes; i++)
        memcpy(bits + i, l->bitmaps + (bitmap * l->block_q + query + i) * bytes + skip / 8, (size_t)some);
    transpose_bits(bits);
}

/* Appends those of keys first ... first + count - 1 of a block that the tile sees; `first` is key `skip` of it. */
static void add_seen(const slat_cut *c, const slat_tile *tile, slat_step *step, int64_t bitmap, int64_t first,
                     int64_t skip, int64_t count)
{
    uint64_t bits[64];
    if (bitmap < 0) {
        for (int64_t i = 0; i < count; i++) step->bits[step->rows + i] = ~0ull;
        add_piece(step, first, count);
        return;
    }
    bitmap_lanes(&c->p->layout, bitmap, tile->in_block, skip, tile->strip[0].rows, bits);
    for (int64_t i = 0; c->p->layout.causal && i < count; i++)
        bits[i] &= lanes_from(first + i - tile->strip[0].position);
    for (int64_t i = 0; i < count; i++)
        if (bits[i]) {
            step->bits[step->rows] = bits[i];
            add_piece(step, first + i, 1);
        }
    step->whole = 0;
}

/* cursor: the entry in the tile's row, and the key in its block. Small blocks are gathered to fill a step. */
static int step(const slat_cut *c, const slat_tile *tile, slat_step *s)
{
    const slat_problem *p = c->p;
    const slat_layout *l = &p->layout;
    const int64_t block = l->indptr ? l->block_k : slat_max(p->tk, 1),
                  end = l->causal ? slat_min(tile->last + 1, p->tk) : p->tk;
    const int32_t begins = l->indptr ? l->indptr[tile->row] : 0, ends = l->indptr ? l->indptr[tile->row + 1] : 1;
    s->pieces = s->rows = 0;
    s->whole = 1;
    while (s->cursor[0] < ends - begins) {
        const int64_t entry = begins + s->cursor[0], column = l->indptr ? l->indices[entry] : 0, skip = s->cursor[1];
        const int64_t first = column * block + skip, left = slat_min(end, (column + 1) * block) - first;
        const int64_t bitmap = l->bitmap_of ? l->bitmap_of[entry] : -1;
        if (s->rows && (s->rows + left > STEP_ROWS || s->pieces + (bitmap < 0 ? 1 : left) > PIECES)) break;
        if (slat_crosses_stop(slat_stop(c, tile), s, first)) break;
        const int64_t count = slat_until_stop(slat_stop(c, tile), first, slat_min(left, c->cut[STEP]));
        if (count > 0) {
            if (l->causal && first + count - 1 > tile->strip[0].position) s->whole = 0;
            add_seen(c, tile, s, bitmap, first, skip, count);
        }
        s->cursor[1] = count < left ? skip + count : 0;
        s->cursor[0] += count >= left;
    }
    one_line(s);
    return s->rows > 0;
}

static int sight(const slat_cut *c, const slat_tile *tile, const slat_strip *strip, const slat_step *s,
                 slat_sight *sight)
{
    (void)tile;
    if (s->whole) {
        see_all(s, sight);
        return 1;
    }
    if (c->p->layout.causal) return see_causal(strip, s, s->bits, sight);
    see_all(s, sight);
    sight->whole = 0;
    for (int32_t r = 0; r < s->rows; r++) sight->bits[r] = every_head(strip, s->bits[r]);
    return 1;
}

#define BINS 64 /* of a head's keys, by which its stop is found */

static int64_t stop(const slat_cut *c, int64_t b, int32_t key_head)
{
    const slat_problem *p = c->p;
    const slat_layout *l = &p->layout;
    const int32_t group = p->hq / p->hk;
    const int64_t blocks = l->columns;
    int64_t entries[BINS] = {0}, all = 0, before = 0;
    if (!l->indptr) return c->stop;
    for (int32_t h = key_head * group; h < (key_head + 1) * group; h++)
        for (int64_t r = 0; r < l->rows; r++) {
            const int64_t row = slat_layout_row(l, l->rows, b, h, p->hq, r);
            for (int64_t e = l->indptr[row]; e < l->indptr[row + 1]; e++, all++)
                entries[(int64_t)l->indices[e] * BINS / blocks]++;
        }
    int bin = 0; /* the first that is behind the stop */
    while (bin < BINS && 2 * before + entries[bin] <= all) before += entries[bin++];
    const int64_t unit = c->stop_unit, at = (bin * blocks + BINS / 2) / BINS * l->block_k;
    const int64_t low = ceil_div(slat_max(c->stop - c->slack, 1), unit),
                  high = slat_min(c->stop + c->slack, p->tk - 1) / unit;
    return slat_max(slat_min((at + unit / 2) / unit, high), low) * unit;
}

const slat_walk slat_block_sparse_walk = {"block_sparse" CPU_FORM, cut, tile, step, sight, NULL, stop};
