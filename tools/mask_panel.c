/* Cells, axes and colours of a mask's panel. */
#include "mask_panel.h"
#include <math.h>
#include <stdio.h>

enum { TOKEN_PIXELS = 2, LARGEST_CELL = 22, GAP_FROM = 8, DECADES = 6, UNIT_LINE = 0x98a1ac };

static int64_t cells_of(int64_t length, int64_t bin)
{
    return (length + bin - 1) / bin;
}

panel_axis panel_axis_fit(int64_t length, int64_t unit, bool whole_units, double side)
{
    panel_axis axis = {.length = length, .bin = 1, .unit = unit < 1 ? 1 : unit, .numbers = true};
    const double most = side / TOKEN_PIXELS;
    if ((double)length > most) {
        if (whole_units) axis.bin = axis.unit;
        while ((double)cells_of(length, axis.bin) > most && axis.bin < axis.unit) do
                axis.bin++;
            while (axis.unit % axis.bin);
        while ((double)cells_of(length, axis.bin) > most) axis.bin *= 2;
    }
    axis.cells = cells_of(length, axis.bin);
    axis.pixels = fmin(floor(side / (double)axis.cells), LARGEST_CELL);
    return axis;
}

double panel_extent(const panel_axis *axis)
{
    return axis->pixels * (double)axis->cells;
}

uint32_t panel_share_colour(double share)
{
    if (share <= 0) return PANEL_HIDDEN;
    return picture_mix(PANEL_HIDDEN, PICTURE_BLUE, 0.15 + 0.85 * share);
}

uint32_t panel_weight_colour(double t)
{
    static const uint32_t stops[] = {0x0e1f57, 0x1d5fa8, 0x2b9db5, 0x7ac7a1, 0xd3e5a4, 0xf7efcb};
    enum { LAST = sizeof stops / sizeof *stops - 1 };
    const double at = fmin(fmax(t, 0), 1) * LAST;
    const int low = at >= LAST ? LAST - 1 : (int)at;
    return picture_mix(stops[low], stops[low + 1], at - low);
}

uint32_t panel_cell_colour(const mask_cell *cell, bool lightning)
{
    const uint32_t hidden = picture_mix(PANEL_HIDDEN, PANEL_FUTURE, cell->future);
    if (lightning) {
        const double t = -(double)cell->weight / DECADES;
        return t <= 1 && cell->future < 1 ? panel_weight_colour(t) : hidden;
    }
    const double seen = cell->token + cell->landmark + cell->grouped;
    if (seen <= 0) return hidden;
    /* A cell of many tokens has one landmark at most: it would drown. */
    const uint32_t tokens =
        picture_mix(PICTURE_BLUE, PICTURE_SKY, cell->grouped / (cell->token + cell->grouped + 1e-9));
    const uint32_t full =
        picture_mix(tokens, PICTURE_ORANGE, cell->landmark > 0 ? fmax(cell->landmark / seen, 0.85) : 0);
    return picture_mix(PANEL_HIDDEN, full, 0.15 + 0.85 * fmin(seen, 1));
}

/* Tokens between two numbers that stand at least `room` pixels apart. */
static int64_t number_step(const panel_axis *axis, double room)
{
    int64_t step = axis->unit;
    while ((double)step / (double)axis->bin * axis->pixels < room) step *= 2;
    return step;
}

/* Where token t's number stands: the middle of its cell where a cell is a token and wide, else its edge. */
static double number_place(const panel_axis *axis, int64_t t)
{
    const bool middle = axis->bin == 1 && axis->pixels >= GAP_FROM;
    return ((double)t / (double)axis->bin + (middle ? 0.5 : 0)) * axis->pixels;
}

static void draw_numbers(picture *p, double x, double y, const panel_axis *axis, bool down)
{
    const int64_t step = number_step(axis, down ? 26 : 44);
    for (int64_t t = 0; t < axis->length; t += step) {
        char text[24];
        snprintf(text, sizeof text, "%lld", (long long)t);
        const double at = floor(number_place(axis, t));
        if (down) {
            picture_rectangle(p, x - 4, y + at, x - 1, y + at + 1, PICTURE_GREY);
            picture_text(p, x - 8, y + at + 5, 0.8, PICTURE_RIGHT, PICTURE_GREY, text);
        } else {
            picture_rectangle(p, x + at, y - 4, x + at + 1, y - 1, PICTURE_GREY);
            picture_text(p, x + at, y - 8, 0.8, PICTURE_CENTRE, PICTURE_GREY, text);
        }
    }
}

/* Thin lines between units, where cells leave room for them. */
static void draw_units(picture *p, double x, double y, const panel_axis *axis, double across, bool down)
{
    const double apart = (double)axis->unit / (double)axis->bin * axis->pixels;
    if (axis->unit <= axis->bin || apart < 14) return;
    for (int64_t t = axis->unit; t < axis->length; t += axis->unit) {
        const double at = (double)t / (double)axis->bin * axis->pixels - 1;
        if (down)
            picture_rectangle(p, x, y + at, x + across, y + at + 1, UNIT_LINE);
        else
            picture_rectangle(p, x + at, y, x + at + 1, y + across, UNIT_LINE);
    }
}

void panel_draw(picture *p, double x, double y, const panel_axis *rows, const panel_axis *columns,
                const uint32_t *colours)
{
    const double gap_x = columns->pixels >= GAP_FROM ? 1 : 0, gap_y = rows->pixels >= GAP_FROM ? 1 : 0;
    const double width = panel_extent(columns), height = panel_extent(rows);
    for (int64_t r = 0; r < rows->cells; r++)
        for (int64_t c = 0; c < columns->cells; c++) {
            const double left = x + (double)c * columns->pixels, top = y + (double)r * rows->pixels;
            picture_rectangle(p, left, top, left + columns->pixels - gap_x, top + rows->pixels - gap_y, *colours++);
        }
    draw_units(p, x, y, columns, height - gap_y, false);
    draw_units(p, x, y, rows, width - gap_x, true);
    picture_frame(p, x - 1, y - 1, x + width - gap_x + 1, y + height - gap_y + 1, 1, PICTURE_GREY);
    if (columns->numbers) draw_numbers(p, x, y - 1, columns, false);
    if (rows->numbers) draw_numbers(p, x - 1, y, rows, true);
}
