/* sharded: the walk over a head's shard of the context and its local window. */
#include "sequence.h"

/* slat_cut.cut */
enum { HEADS, HEAD_TILES };

static void cut(slat_cut *c)
{
    const slat_problem *p = c->p;
    const int64_t lanes = slat_max(slat_min(p->tq, LANES), 1);
    c->cut[HEADS] = heads_of_tile(p, lanes);
    c->cut[HEAD_TILES] = ceil_div(p->hq / p->hk, c->cut[HEADS]);
    c->tiles = ceil_div(p->tq, LANES) * c->cut[HEAD_TILES];
    c->lanes = lanes_of_tile(lanes, c->cut[HEADS]);
    c->rows = STEP_ROWS;
    c->near = (double)slat_min((int64_t)p->shards.local_blocks * p->shards.block, p->tk);
    c->behind = 1.0 / p->shards.stride;
    c->steps = ceil_div(p->tk, STEP_ROWS);
}

static void tile(const slat_cut *c, int64_t index, slat_tile *tile)
{
    const slat_problem *p = c->p;
    const int64_t group = p->hq / p->hk, some = index % c->cut[HEAD_TILES] * c->cut[HEADS];
    const int64_t first = index / c->cut[HEAD_TILES] * LANES;
    fill_strips(p, tile, (int32_t)(tile->key_head * group + some), (int32_t)slat_min(c->cut[HEADS], group - some),
                first, slat_min(p->tq - first, LANES));
}

/* Whether every query behind it sees key block `column`. */
static int in_shard(const slat_shards *s, int64_t offset, int64_t column)
{
    return offset < 0 || (column + offset) % s->stride == 0;
}

/* cursor: the next key. Steps are filled from as many blocks as it takes. */
static int step(const slat_cut *c, const slat_tile *tile, slat_step *s)
{
    const slat_shards *shards = &c->p->shards;
    const int64_t offset = shards->offsets[tile->key_head], first = tile->strip[0].position;
    const int64_t near = slat_shard_near(shards, slat_max(first, 0) / shards->block); /* of the first query's window */
    const int64_t near_all = slat_shard_near(shards, slat_max(tile->last, 0) / shards->block);
    int64_t key = s->cursor[0];
    s->pieces = s->rows = 0;
    s->whole = 1;
    while (s->rows < STEP_ROWS && s->pieces < PIECES && key <= tile->last) {
        int64_t column = key / shards->block;
        if (column < near && !in_shard(shards, offset, column)) { /* on to the next of the shard, or to the window */
            column += shards->stride - (column + offset) % shards->stride;
            key = slat_min(column, near) * shards->block;
            continue;
        }
        const int64_t end = slat_min((column + 1) * shards->block, tile->last + 1);
        if (slat_crosses_stop(slat_stop(c, tile), s, key)) break;
        const int64_t count = slat_until_stop(slat_stop(c, tile), key, slat_min(end - key, STEP_ROWS - s->rows));
        if (key + count - 1 > first || (column < near_all && !in_shard(shards, offset, column))) s->whole = 0;
        add_piece(s, key, count);
        key += count;
    }
    s->cursor[0] = key;
    one_line(s);
    return s->rows > 0;
}

static int sight(const slat_cut *c, const slat_tile *tile, const slat_strip *strip, const slat_step *s,
                 slat_sight *sight)
{
    const slat_shards *shards = &c->p->shards;
    const int64_t offset = shards->offsets[tile->key_head];
    uint64_t near[STEP_ROWS], any = 0;
    if (s->whole) {
        see_all(s, sight);
        return 1;
    }
    for (int32_t i = 0, r = 0; i < s->pieces; i++)
        for (int32_t j = 0; j < s->piece[i].count; j++, r++) {
            const int64_t column = (s->piece[i].first.z + j) / shards->block;
            near[r] = in_shard(shards, offset, column)
                          ? ~0ull
                          : lanes_before((column + shards->local_blocks) * shards->block - strip->position);
            any |= near[r];
        }
    return any && see_causal(strip, s, near, sight);
}

const slat_walk slat_sharded_walk = {"sharded" CPU_FORM, cut, tile, step, sight, NULL, NULL};
