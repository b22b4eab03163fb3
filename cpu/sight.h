/* What of a step's scores has to be computed for a strip: groups of rows, each with the lanes that see any of them. */
#ifndef SLAT_CPU_SIGHT_H
#define SLAT_CPU_SIGHT_H
#include "softmax.h"

/* Rows row ... row + rows - 1 of the sight and lanes lane ... lane + lanes - 1, multiples of LANE_GROUP. */
typedef struct {
    int32_t row, rows, lane, lanes;
} slat_group;

#define GROUPS (ROWS / LANE_GROUP)

/* Cuts a sight into groups; returns their number. Scores outside them are never computed nor read. */
static inline int32_t slat_groups(const slat_strip *strip, const slat_step *step, const slat_sight *sight,
                                  slat_group group[GROUPS])
{
    const int32_t rows = sight->lines * sight->length;
    const int blocks = step->kind == SLAT_BUCKET || step->kind == SLAT_OUTER;
    if (sight->whole || blocks || sight->lines > 1 || strip->wide == LANE_GROUP) {
        group[0] = (slat_group){0, rows, 0, strip->wide};
        return 1;
    }
    int32_t n = 0;
    for (int32_t row = 0; row < rows; row += LANE_GROUP) {
        const int32_t some = rows - row < LANE_GROUP ? rows - row : LANE_GROUP;
        uint64_t seen = 0;
        for (int32_t i = 0; i < some; i++) seen |= sight->bits[row + i];
        if (!seen) continue;
        const int32_t first = __builtin_ctzll(seen) / LANE_GROUP, last = 63 - __builtin_clzll(seen);
        const slat_group now = {row, some, first * LANE_GROUP, (last / LANE_GROUP + 1 - first) * LANE_GROUP};
        slat_group *before = group + n - 1;
        if (n && before->row + before->rows == row && before->lane == now.lane && before->lanes == now.lanes)
            before->rows += some;
        else
            group[n++] = now;
    }
    return n;
}

/* A group's rows as they stand in the step: runs of rows at one distance. */
typedef struct {
    int64_t first;     /* the first row in the step */
    int64_t runs, run; /* so many runs of so many rows */
    int64_t skip;      /* rows of the step between two runs, that the sight lacks */
    int64_t gap;       /* and those that it has */
} slat_span;

static inline slat_span slat_group_span(const slat_step *step, const slat_sight *sight, const slat_group *group)
{
    const int64_t first = (int64_t)sight->line * step->line + sight->first, skip = step->line - sight->length;
    if (!skip || sight->lines == 1) return (slat_span){first + group->row, 1, group->rows, 0, 0};
    return (slat_span){first, sight->lines, sight->length, skip, 0};
}

/* The same without the rows that have no value: landmarks, the last of each line. */
static inline slat_span slat_value_span(const slat_step *step, const slat_sight *sight, const slat_group *group)
{
    if (step->kind != SLAT_BUCKET) return slat_group_span(step, sight, group);
    return (slat_span){(int64_t)sight->line * step->line, sight->lines, step->line - 1, 0, 1};
}
#endif
