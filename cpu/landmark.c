/* landmark: the walk over earlier blocks, one bucket each, and then over the queries' own. Blocks that fit a step come
 * whole, longer ones in parts. */
#include "sequence.h"

/* slat_cut.cut */
enum { HEADS, HEAD_TILES, BLOCKS };

static void cut(slat_cut *c)
{
    const slat_problem *p = c->p;
    const int64_t block = p->landmark_block, lanes = slat_max(slat_min(p->tq, LANES), 1);
    c->cut[HEADS] = heads_of_tile(p, lanes);
    c->cut[HEAD_TILES] = ceil_div(p->hq / p->hk, c->cut[HEADS]);
    c->cut[BLOCKS] = slat_max(STEP_ROWS / block, 1); /* of a step */
    c->tiles = ceil_div(p->tq, LANES) * c->cut[HEAD_TILES];
    c->lanes = lanes_of_tile(lanes, c->cut[HEADS]);
    c->long_blocks = block > ROWS;
    c->rows = c->long_blocks ? STEP_ROWS : (int32_t)slat_max(STEP_ROWS, block);
    c->stop_unit = block;
    c->behind = 1;
    c->steps = ceil_div(p->tk, block * c->cut[BLOCKS]) + ceil_div(LANES + 2 * block, STEP_ROWS) + 1;
}

static void tile(const slat_cut *c, int64_t index, slat_tile *tile)
{
    const slat_problem *p = c->p;
    const int64_t group = p->hq / p->hk, some = index % c->cut[HEAD_TILES] * c->cut[HEADS];
    const int64_t first = index / c->cut[HEAD_TILES] * LANES;
    fill_strips(p, tile, (int32_t)(tile->key_head * group + some), (int32_t)slat_min(c->cut[HEADS], group - some),
                first, slat_min(p->tq - first, LANES));
}

/* The next part of one block before the last query's own. cursor[2] counts its keys, in backward twice. */
static int part_step(const slat_cut *c, const slat_tile *tile, slat_step *s)
{
    const int64_t block = c->p->landmark_block, first = s->cursor[0] * block, ordinary = block - 1;
    if (tile->last < 0 || s->cursor[0] >= tile->last / block) return 0;
    const int again = s->cursor[2] >= block;
    const int64_t at = s->cursor[2] - (again ? block : 0);
    const int64_t count = at < ordinary ? slat_min(ordinary - at, STEP_ROWS) : 1;
    add_piece(s, first + at, count);
    one_line(s);
    s->kind = at == ordinary ? SLAT_OUTER : again ? SLAT_AGAIN : SLAT_INNER;
    s->whole = first + block <= tile->strip[0].position;
    s->cursor[2] += count;
    if (s->cursor[2] == (c->p->pass == SLAT_BACKWARD ? block + ordinary : block)) s->cursor[2] = 0, s->cursor[0]++;
    return 1;
}

/* Whole blocks before the last query's own. */
static int bucket_step(const slat_cut *c, const slat_tile *tile, slat_step *s)
{
    const int64_t block = c->p->landmark_block, blocks = tile->last / block - s->cursor[0];
    if (tile->last < 0 || blocks <= 0) return 0;
    const int64_t key = s->cursor[0] * block;
    const int64_t some = slat_until_stop(slat_stop(c, tile), key, slat_min(blocks, c->cut[BLOCKS]) * block) / block;
    add_piece(s, key, some * block);
    s->cursor[0] += some;
    s->whole = s->cursor[0] * block <= tile->strip[0].position;
    s->line = (int32_t)block;
    s->dz = 1;
    s->kind = SLAT_BUCKET;
    return 1;
}

/* The ordinary keys of the queries' own blocks. */
static int own_step(const slat_cut *c, const slat_tile *tile, slat_step *s)
{
    const int64_t block = c->p->landmark_block;
    int64_t key = slat_max(s->cursor[1], slat_max(tile->strip[0].position, 0) / block * block);
    while (s->rows < STEP_ROWS && s->pieces < PIECES && key <= tile->last) {
        if (slat_is_landmark((int32_t)block, key)) {
            key++;
            continue;
        }
        const int64_t end = slat_min((key / block + 1) * block - 1, tile->last + 1);
        if (slat_crosses_stop(slat_stop(c, tile), s, key)) break;
        const int64_t count = slat_until_stop(slat_stop(c, tile), key, slat_min(end - key, STEP_ROWS - s->rows));
        add_piece(s, key, count);
        key += count;
    }
    s->cursor[1] = key;
    one_line(s);
    return s->rows > 0;
}

/* cursor: the next earlier block, the next key of the own blocks, and what has come of a long block. */
static int step(const slat_cut *c, const slat_tile *tile, slat_step *s)
{
    s->pieces = s->rows = s->whole = 0;
    return (c->long_blocks ? part_step(c, tile, s) : bucket_step(c, tile, s)) || own_step(c, tile, s);
}

static int sight(const slat_cut *c, const slat_tile *tile, const slat_strip *strip, const slat_step *s,
                 slat_sight *sight)
{
    const int64_t block = c->p->landmark_block;
    uint64_t own[STEP_ROWS];
    (void)tile;
    if (s->kind != SLAT_ATTEND) {
        see_all(s, sight);
        sight->whole = s->whole;
        for (int64_t r = 0; !s->whole && r < s->rows; r++) /* the lanes behind the row's block */
            sight->bits[r] =
                every_head(strip, lanes_from(((s->piece[0].first.z + r) / block + 1) * block - strip->position));
        return 1;
    }
    for (int32_t i = 0, r = 0; i < s->pieces; i++)
        for (int32_t j = 0; j < s->piece[i].count; j++, r++)
            own[r] = lanes_before(((s->piece[i].first.z + j) / block + 1) * block - strip->position);
    return see_causal(strip, s, own, sight);
}

const slat_walk slat_landmark_walk = {"landmark" CPU_FORM, cut, tile, step, sight, NULL, NULL};
