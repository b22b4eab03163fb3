/* One matrix of a mask's picture: coloured cells with numbered axes. Used for queries x keys and for grids of keys. */
#ifndef TOOLS_MASK_PANEL_H
#define TOOLS_MASK_PANEL_H
#include "mask_cells.h"
#include "picture.h"

/* An axis of the panel: `length` tokens in `cells` cells of `bin` tokens. */
typedef struct {
    int64_t length, bin, cells;
    int64_t unit; /* numbers and heavier lines fall on its multiples; at least 1 */
    bool numbers;
    double pixels; /* of a cell */
} panel_axis;

/* Chooses cells for a length that gets at most `side` pixels. `unit` tokens belong together (a block, a grid's row):
 * where tokens are too many, a cell is a part of a unit, or with whole_units no less than one. */
panel_axis panel_axis_fit(int64_t length, int64_t unit, bool whole_units, double side);

double panel_extent(const panel_axis *); /* pixels */

/* Cells from (x, y); colours[row * columns + column]. Numbers stand above and to the left. */
void panel_draw(picture *, double x, double y, const panel_axis *rows, const panel_axis *columns,
                const uint32_t *colours);

uint32_t panel_cell_colour(const mask_cell *, bool lightning);
uint32_t panel_share_colour(double share); /* of visible pairs */
uint32_t panel_weight_colour(double t);    /* decay 10^(-6 t) */
enum { PANEL_FUTURE = 0xf9fafb, PANEL_HIDDEN = 0xe1e5ea };
#endif
