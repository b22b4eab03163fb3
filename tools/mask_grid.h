/* The keys of a few chosen queries of a neighborhood, on their grid of two or three dimensions. */
#ifndef TOOLS_MASK_GRID_H
#define TOOLS_MASK_GRID_H
#include "picture.h"
#include "problem.h"

/* Draws from (x, y) into `width` x `height` pixels: in two dimensions four queries, in three dimensions three queries,
 * each with some slices along the first dimension. The query's own place is orange. */
void mask_grid_draw(const problem *, picture *, double x, double y, double width, double height);
#endif
