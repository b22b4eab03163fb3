/* What the walks over sequences share: strips of consecutive queries, and the causal rule as bits of lanes. */
#ifndef SLAT_CPU_SEQUENCE_H
#define SLAT_CPU_SEQUENCE_H
#include "softmax.h"

static inline int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static inline int32_t strip_width(int64_t lanes)
{
    return (int32_t)(ceil_div(lanes, LANE_GROUP) * LANE_GROUP);
}

/* Few rows of many heads go into one strip. */
static inline int64_t heads_of_strip(int64_t rows)
{
    return rows > LANE_GROUP / 2 ? 1 : LANES / slat_max(rows, 1);
}

/* Query heads of one group that a tile takes together, so that they share its keys; and its lanes. */
static inline int32_t heads_of_tile(const slat_problem *p, int64_t rows)
{
    const int64_t fit =
        heads_of_strip(rows) > 1 ? heads_of_strip(rows) : slat_min(TILE_LANES / strip_width(rows), STRIPS);
    return (int32_t)slat_max(slat_min(p->hq / p->hk, fit), 1);
}

static inline int32_t lanes_of_tile(int64_t rows, int64_t heads)
{
    return heads_of_strip(rows) > 1 ? strip_width(rows * heads) : strip_width(rows) * (int32_t)heads;
}

/* Queries first ... first + rows - 1 of `heads` heads from `head`. */
static inline void fill_strips(const slat_problem *p, slat_tile *tile, int32_t head, int32_t heads, int64_t first,
                               int64_t rows)
{
    const int64_t together = slat_min(heads_of_strip(rows), heads);
    tile->strips = 0;
    for (int32_t h = 0; rows > 0 && h < heads; h += (int32_t)together) {
        slat_strip *strip = tile->strip + tile->strips++;
        strip->head = head + h;
        strip->rows = (int32_t)rows;
        strip->lanes = (int32_t)(rows * slat_min(together, heads - h));
        strip->wide = strip_width(strip->lanes);
        strip->position = slat_position(p, first);
        for (int64_t l = 0; l < strip->lanes; l++) strip->at[l] = slat_at(0, 0, first + l % rows);
    }
    tile->last = slat_position(p, first + rows - 1);
}

/* Bits of lanes from `lane` on; of those before it. */
static inline uint64_t lanes_from(int64_t lane)
{
    return lane <= 0 ? ~0ull : lane >= 64 ? 0 : ~0ull << lane;
}
static inline uint64_t lanes_before(int64_t lane)
{
    return ~lanes_from(lane);
}

/* Bits of one head's rows for each of a strip's heads. */
static inline uint64_t every_head(const slat_strip *strip, uint64_t bits)
{
    uint64_t all = bits & lanes_before(strip->rows);
    for (int32_t l = strip->rows; l < strip->lanes; l *= 2) all |= all << l;
    return all & lanes_before(strip->lanes);
}

/* The step's rows are all of it, in one line. */
static inline void one_line(slat_step *step)
{
    step->line = step->rows;
    step->dz = 1;
    step->kind = SLAT_ATTEND;
}

static inline void see_all(const slat_step *step, slat_sight *sight)
{
    sight->line = 0;
    sight->lines = step->rows / step->line;
    sight->first = 0;
    sight->length = step->line;
    sight->whole = 1;
    sight->narrow = 0;
}

/* The lanes whose position is at or behind each key, of those rows that `bits` has. Returns 0 where none is left. */
static inline int see_causal(const slat_strip *strip, const slat_step *step, const uint64_t *bits, slat_sight *sight)
{
    uint64_t any = 0;
    see_all(step, sight);
    sight->whole = 0;
    for (int32_t i = 0, r = 0; i < step->pieces; i++)
        for (int32_t j = 0; j < step->piece[i].count; j++, r++)
            any |= sight->bits[r] =
                every_head(strip, lanes_from(step->piece[i].first.z + j - strip->position) & (bits ? bits[r] : ~0ull));
    return any != 0;
}

/* Appends keys first ... first + count - 1. */
static inline void add_piece(slat_step *step, int64_t first, int64_t count)
{
    slat_piece *last = step->piece + step->pieces - 1;
    if (step->pieces && last->first.z + last->count == first)
        last->count += (int32_t)count;
    else
        step->piece[step->pieces++] = (slat_piece){slat_at(0, 0, first), (int32_t)count};
    step->rows += (int32_t)count;
}
#endif
