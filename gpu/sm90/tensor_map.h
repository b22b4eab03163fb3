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

/* A tensor on a grid, [b, x, y, z, h, d]; extents, box and step are given as x, y, z. Coordinates: column, z, y,
 * head, batch; `deep`, of the first batch entry: column, z, y, x, head. A box holds box[i] places of one head,
 * step[i] apart, 8 at most. */
bool slat_map_grid(CUtensorMap *map, const slat_view *view, int64_t b, bool deep, const int64_t extents[3],
                   int32_t heads, int32_t columns, const int32_t box[3], const int32_t step[3]);

#endif
