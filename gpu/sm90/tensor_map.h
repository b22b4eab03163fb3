/* Descriptors for bulk tensor copies, made on the host. */
#ifndef SLAT_SM90_TENSOR_MAP_H
#define SLAT_SM90_TENSOR_MAP_H
#include "walk.h"
#include <cuda.h>

/* What a map cannot hold is answered with false: strides that are no multiples of 16 bytes, extents or strides that are
 * too long. A box has 64 columns (one chunk) and 128-byte swizzle. While a call only plans, data may be any address. */

/* A tensor [b, t, h, d] of 16-bit elements. Coordinates: column, token, head, batch; a box is `tokens` of one head. */
bool slat_map_sequence(CUtensorMap *map, const slat_view *view, int64_t b, int64_t tokens, int32_t heads,
                       int32_t columns, int32_t box_tokens);

/* A tensor on a grid, [b, x, y, z, h, d]; extents and box are given as x, y, z. Coordinates: column, z, y, head, batch;
 * `deep`, of the first batch entry: column, z, y, x, head. A box holds box[i] places of one head. */
bool slat_map_grid(CUtensorMap *map, const slat_view *view, int64_t b, bool deep, const int64_t extents[3],
                   int32_t heads, int32_t columns, const int32_t box[3]);

/* What a step from group to group, head to head and entry to entry adds to the last coordinate of a map of groups. */
struct slat_group_steps {
    int32_t group[3], head, batch;
};

/* The same of a dilated grid, where places that lie dilation[i] apart form a group, and a box holds places of a group.
 * Coordinates: column, places along z, y, x, and where the group's first place, head and entry lie. Of extents[i]
 * places the first extents[i] % dilation[i] groups have one more than the others. So there are `count` maps, 2 for one
 * dimension and 8 for three: bit 0 of a map's number says that it is for the shorter ones along z, bit 1 along y, bit 2
 * along x. Where these have no place nothing may be copied. */
bool slat_map_groups(CUtensorMap *maps, int count, slat_group_steps *steps, const slat_view *view, int64_t b,
                     const int64_t extents[3], const int32_t dilation[3], int32_t heads, int32_t columns,
                     const int32_t box[3]);

#endif
