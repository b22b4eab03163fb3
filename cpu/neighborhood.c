/* neighborhood: the walk over the boxes of keys that boxes of queries see.
 *
 * Dilation groups never mix, so a tile lies in one group of each dimension and counts places inside it: there windows
 * are intervals whose ends never fall from one query to the next. A step is lines of keys along z of one (x, y); each
 * strip of 16 queries (a box as near to a cube as pays) sees a part of each line.
 */
#include "sequence.h"
#include <math.h>

/* slat_cut.cut: extents of a strip's box and of a tile's, and the heads of a tile. */
enum { STRIP_X, STRIP_Y, STRIP_Z, TILE_X, TILE_Y, TILE_Z, HEADS, LINE };

/* Queries of the largest dilation group, and its keys. */
static int64_t queries_of(const slat_window *w)
{
    return ceil_div(w->q_length, w->dilation);
}
static int64_t keys_of(const slat_window *w)
{
    return ceil_div(w->length, w->dilation);
}

/* Keys that `queries` neighbours see together, at most. */
static int64_t span(const slat_window *w, int64_t queries)
{
    const int64_t moves = w->causal ? queries - 1 : (queries + w->stride - 2) / w->stride * w->stride;
    return slat_min(w->window + moves, keys_of(w));
}

/* The box of `size` queries, a power of two, times `unit` in each dimension, that sees the fewest keys a query. */
static void choose_box(const slat_problem *p, int64_t size, const int64_t unit[3], int64_t box[3])
{
    double best = INFINITY;
    for (int64_t x = 1; x <= size; x *= 2)
        for (int64_t y = 1; x * y <= size; y *= 2) {
            const int64_t side[3] = {x, y, size / (x * y)};
            double keys = 1, queries = 1;
            for (int i = 0; i < 3; i++) {
                const int64_t some = slat_min(side[i] * unit[i], queries_of(&p->window[i]));
                keys *= (double)span(&p->window[i], some);
                queries *= (double)some;
            }
            if (keys / queries >= best) continue;
            best = keys / queries;
            for (int i = 0; i < 3; i++) box[i] = slat_min(side[i] * unit[i], queries_of(&p->window[i]));
        }
}

static void cut(slat_cut *c)
{
    const slat_problem *p = c->p;
    const int64_t one[3] = {1, 1, 1};
    c->rows = ROWS;
    if (p->tq == 0) return;
    const int line = queries_of(&p->window[0]) == 1 && queries_of(&p->window[1]) == 1;
    const int wide = line && p->window[2].window >= 32 && queries_of(&p->window[2]) > LANE_GROUP;
    int64_t *strip = c->cut + STRIP_X, *box = c->cut + TILE_X;
    choose_box(p, wide ? LANES : LANE_GROUP, one, strip);
    const int64_t lanes = strip[0] * strip[1] * strip[2];
    const int whole = strip[0] == queries_of(&p->window[0]) && strip[1] == queries_of(&p->window[1]) &&
                      strip[2] == queries_of(&p->window[2]);
    c->cut[HEADS] = whole ? heads_of_tile(p, lanes) : 1;
    for (int i = 0; i < 3; i++) box[i] = strip[i];
    if (!whole && !wide) choose_box(p, STRIPS, strip, box);
    c->tiles = ceil_div(p->hq / p->hk, c->cut[HEADS]);
    c->lanes = lanes_of_tile(lanes, c->cut[HEADS]);
    int64_t keys = 1, keys_of_strip = 1;
    for (int i = 0; i < 3; i++) {
        keys_of_strip *= span(&p->window[i], strip[i]);
        c->tiles *= p->window[i].dilation * ceil_div(queries_of(&p->window[i]), box[i]);
        if (!whole) c->lanes *= (int32_t)ceil_div(box[i], strip[i]);
        if (i < 2) keys *= span(&p->window[i], box[i]);
    }
    const int64_t length = span(&p->window[2], box[2]);
    c->rows = wide ? STEP_ROWS : 2 * STEP_ROWS;
    c->cut[LINE] = ceil_div(length, ceil_div(length, STEP_ROWS));
    c->steps = keys * ceil_div(length, c->cut[LINE]);
    c->keys = keys * length;
    c->apart = (int32_t)ceil_div(c->keys, keys_of_strip);
    c->stop_unit = p->window[0].length > 1 || p->window[1].length > 1 ? 1 : STEP_ROWS;
    c->near = 1;
}

/* Where the tile's box begins in dimension i, inside its dilation group, and its extent; keys of its queries. */
static int64_t fill_dimension(const slat_window *w, slat_tile *tile, int i, int64_t group, int64_t index,
                              int64_t extent)
{
    const int64_t first = slat_max(ceil_div(slat_max(w->q_start - group, 0), w->dilation), 0) + index * extent;
    const int64_t last =
        (w->q_start + w->q_length - 1 - group) / w->dilation; /* group: less than q_start + q_length, else */
    const int64_t count = w->q_start + w->q_length - 1 < group ? 0 : slat_min(last - first + 1, extent);
    tile->group[i] = group;
    for (int64_t k = 0; k < count; k++) {
        const slat_range keys = slat_window_keys(w, group + (first + k) * w->dilation);
        tile->begin[i][k] = (keys.first - group) / w->dilation;
        tile->end[i][k] = tile->begin[i][k] + keys.count;
    }
    if (count <= 0) return 0;
    tile->key_begin[i] = tile->begin[i][0];
    tile->key_end[i] = tile->end[i][count - 1];
    tile->first[i] = group + first * w->dilation - w->q_start;
    return count;
}

/* The part of the tile's box at `offset`, for `heads` heads from `head`. */
static void add_strip(const slat_cut *c, slat_tile *tile, int32_t head, int64_t heads, const int64_t offset[3],
                      const int64_t count[3])
{
    const slat_window *w = c->p->window;
    slat_strip *strip = tile->strip + tile->strips++;
    strip->head = head;
    strip->lanes = 0;
    for (int i = 0; i < 3; i++) {
        strip->offset[i] = (int32_t)offset[i];
        strip->extent[i] = (int32_t)slat_min(c->cut[STRIP_X + i], count[i] - offset[i]);
    }
    strip->rows = strip->extent[0] * strip->extent[1] * strip->extent[2];
    for (int64_t h = 0; h < heads; h++)
        for (int32_t x = 0; x < strip->extent[0]; x++)
            for (int32_t y = 0; y < strip->extent[1]; y++)
                for (int32_t z = 0; z < strip->extent[2]; z++)
                    strip->at[strip->lanes++] = slat_at(tile->first[0] + (offset[0] + x) * w[0].dilation,
                                                        tile->first[1] + (offset[1] + y) * w[1].dilation,
                                                        tile->first[2] + (offset[2] + z) * w[2].dilation);
    strip->wide = strip_width(strip->lanes);
}

static void tile(const slat_cut *c, int64_t index, slat_tile *tile)
{
    const slat_problem *p = c->p;
    const int64_t group = p->hq / p->hk, head_tiles = ceil_div(group, c->cut[HEADS]);
    const int64_t some = index % head_tiles * c->cut[HEADS], *strip = c->cut + STRIP_X;
    int64_t count[3], at[3];
    index /= head_tiles;
    for (int i = 2; i >= 0; i--) {
        const slat_window *w = &p->window[i];
        const int64_t box = c->cut[TILE_X + i], boxes = ceil_div(queries_of(w), box);
        count[i] = fill_dimension(w, tile, i, index / boxes % w->dilation, index % boxes, box);
        index /= boxes * w->dilation;
    }
    tile->strips = 0;
    const int64_t heads = slat_min(c->cut[HEADS], group - some), rows = count[0] * count[1] * count[2];
    const int64_t together =
        rows ? slat_min(heads_of_strip(rows), heads) : 1; /* the whole box is one strip, if heads > 1 */
    for (int64_t h = 0; h < heads; h += together)
        for (at[0] = 0; at[0] < count[0]; at[0] += strip[0])
            for (at[1] = 0; at[1] < count[1]; at[1] += strip[1])
                for (at[2] = 0; at[2] < count[2]; at[2] += strip[2])
                    add_strip(c, tile, (int32_t)(tile->key_head * group + some + h), slat_min(together, heads - h), at,
                              count);
}

/* Of `count` places of dimension i from `from` on: those before the stop, if any are. */
static int64_t until_stop(const slat_cut *c, const slat_tile *tile, int i, int64_t from, int64_t count)
{
    if (i != c->stop_dim || c->stop == INT64_MAX) return count;
    const int64_t stop = ceil_div(slat_max(slat_stop(c, tile) - tile->group[i], 0), c->p->window[i].dilation);
    return from < stop ? slat_min(count, stop - from) : count;
}

/* cursor: x, y and z, counted from the first of the tile's keys. A step stays in one plane of x. */
static int step(const slat_cut *c, const slat_tile *tile, slat_step *s)
{
    const slat_window *w = c->p->window;
    int64_t size[3];
    for (int i = 0; i < 3; i++) size[i] = tile->key_end[i] - tile->key_begin[i];
    if (s->cursor[0] >= size[0]) return 0;
    for (int i = 0; i < 3; i++) s->from[i] = tile->key_begin[i] + s->cursor[i];
    const int64_t left = slat_min(size[2] - s->cursor[2], c->cut[LINE]),
                  length = until_stop(c, tile, 2, s->from[2], left);
    const int64_t fit = length < size[2] ? 1 : slat_min(c->rows / length, PIECES);
    const int64_t lines = until_stop(c, tile, 1, s->from[1], slat_min(size[1] - s->cursor[1], fit));
    s->pieces = (int32_t)lines;
    s->rows = (int32_t)(lines * length);
    s->line = (int32_t)length;
    s->dz = w[2].dilation;
    s->whole = 0;
    s->kind = SLAT_ATTEND;
    for (int64_t y = 0; y < lines; y++)
        s->piece[y] = (slat_piece){slat_at(tile->group[0] + s->from[0] * w[0].dilation,
                                           tile->group[1] + (s->from[1] + y) * w[1].dilation,
                                           tile->group[2] + s->from[2] * w[2].dilation),
                                   (int32_t)length};
    s->cursor[2] += length;
    if (s->cursor[2] < size[2]) return 1;
    s->cursor[2] = 0;
    s->cursor[1] += lines;
    if (s->cursor[1] < size[1]) return 1;
    s->cursor[1] = 0;
    s->cursor[0]++;
    return 1;
}

/* The part of from ... from + count - 1 that any of a strip's queries sees in dimension i; *all: every one sees all of
 * it. */
static int64_t seen(const slat_tile *tile, const slat_strip *strip, int i, int64_t from, int64_t count, int32_t *first,
                    int *all)
{
    const int64_t a = strip->offset[i], z = a + strip->extent[i] - 1;
    const int64_t begin = slat_max(tile->begin[i][a], from), end = slat_min(tile->end[i][z], from + count);
    *first = (int32_t)(begin - from);
    *all &= tile->begin[i][z] <= begin && end <= tile->end[i][a];
    return end - begin;
}

/* The strip's lanes at place k of its box in dimension i: they recur, for lanes run through heads, x, y and z. */
static uint64_t lanes_at(const slat_strip *strip, int i, int32_t k)
{
    const int32_t inner = i == 2 ? 1 : i == 1 ? strip->extent[2] : strip->extent[1] * strip->extent[2];
    const uint64_t some = ~0ull >> (LANES - inner);
    uint64_t lanes = 0;
    for (int32_t l = k * inner; l < strip->lanes; l += inner * strip->extent[i]) lanes |= some << l;
    return lanes;
}

/* bits[k]: the lanes that see key from + k in dimension i. Every query's interval is toggled at its two ends. */
static void dimension_lanes(const slat_tile *tile, const slat_strip *strip, int i, int64_t from, int64_t count,
                            uint64_t *bits)
{
    memset(bits, 0, (size_t)count * sizeof *bits);
    for (int32_t k = 0; k < strip->extent[i]; k++) {
        const int64_t begin = slat_max(tile->begin[i][strip->offset[i] + k] - from, 0);
        const int64_t end = tile->end[i][strip->offset[i] + k] - from;
        if (begin >= count || end <= begin) continue;
        const uint64_t lanes = lanes_at(strip, i, k);
        bits[begin] ^= lanes;
        if (end < count) bits[end] ^= lanes;
    }
    for (int64_t k = 1; k < count; k++) bits[k] ^= bits[k - 1];
}

/* Which lanes see some of a sight's lines, each a set in `seen`, and which lines each quad of lanes does. */
static void narrow(slat_sight *sight, const slat_strip *strip, uint64_t planes, const uint64_t *seen)
{
    const int32_t quads = (strip->lanes + QUAD - 1) / QUAD;
    int32_t pairs = 0; /* of a quad and a line that it sees some of */
    for (int32_t q = 0; q < quads; q++) sight->first_line[q] = sight->end_line[q] = 0;
    for (int32_t i = 0; i < sight->lines; i++) {
        const uint64_t lanes = seen[i] & planes;
        const int32_t first = lanes ? __builtin_ctzll(lanes) / QUAD : 0, end = lanes ? 64 - __builtin_clzll(lanes) : 0;
        sight->first_lane[i] = (uint8_t)(first * QUAD);
        sight->end_lane[i] = (uint8_t)end;
        for (int32_t q = first; q < quads && q * QUAD < end; q++, pairs++) {
            if (!sight->end_line[q]) sight->first_line[q] = (uint8_t)i;
            sight->end_line[q] = (uint8_t)(i + 1);
        }
    }
    sight->narrow = pairs < quads * sight->lines;
}

static int sight(const slat_cut *c, const slat_tile *tile, const slat_strip *strip, const slat_step *s,
                 slat_sight *sight)
{
    int all = 1;
    int32_t zero;
    uint64_t x[1], y[PIECES], z[ROWS];
    (void)c;
    const int64_t planes = seen(tile, strip, 0, s->from[0], 1, &zero, &all);
    const int64_t lines = seen(tile, strip, 1, s->from[1], s->rows / s->line, &sight->line, &all);
    const int64_t length = seen(tile, strip, 2, s->from[2], s->line, &sight->first, &all);
    if (planes <= 0 || lines <= 0 || length <= 0) return 0;
    sight->lines = (int32_t)lines;
    sight->length = (int32_t)length;
    sight->whole = all;
    sight->narrow = 0;
    if (all) return 1;
    dimension_lanes(tile, strip, 0, s->from[0], 1, x);
    dimension_lanes(tile, strip, 1, s->from[1] + sight->line, lines, y);
    if (lines > 1) narrow(sight, strip, x[0], y);
    dimension_lanes(tile, strip, 2, s->from[2] + sight->first, length, z);
    for (int64_t l = 0; l < lines; l++)
        for (int64_t k = 0; k < length; k++) sight->bits[l * length + k] = x[0] & y[l] & z[k];
    return 1;
}

/* Told of one line without dilation. */
static int reaches(const slat_cut *c, int64_t index, int64_t first, int64_t end)
{
    const slat_window *w = &c->p->window[2];
    if (c->p->window[0].length > 1 || c->p->window[1].length > 1 || w->dilation > 1) return 1;
    const int64_t head_tiles = ceil_div(c->p->hq / c->p->hk, c->cut[HEADS]), box = c->cut[TILE_Z];
    const int64_t query = w->q_start + index / head_tiles * box;
    const int64_t last = slat_min(query + box, w->q_start + w->q_length) - 1;
    const slat_range begins = slat_window_keys(w, query), ends = slat_window_keys(w, last);
    return begins.first < end && ends.first + ends.count > first;
}

const slat_walk slat_neighborhood_walk = {"neighborhood" CPU_FORM, cut, tile, step, sight, reaches, NULL};
