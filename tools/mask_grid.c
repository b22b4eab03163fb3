/* Grids of keys, a panel a query; slices for three dimensions. */
#include "mask_grid.h"
#include "mask_panel.h"
#include "visible.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SLICES = 5, TITLE = 30, NUMBERS = 34 };

static int64_t flat(const int64_t *place, const int64_t *lengths, int ndim)
{
    int64_t n = 0;
    for (int d = 0; d < ndim; d++) n = n * lengths[d] + place[d];
    return n;
}

typedef struct {
    const problem *p;
    picture *on;
    int64_t query[3]; /* in its box */
    int first;        /* the dimension that runs downwards; the next one runs to the right */
    int64_t slice;    /* place in dimension 0 of three */
} view;

static uint32_t place_colour(const view *v, int64_t row, int64_t column, int64_t q_bin, int64_t k_bin)
{
    const problem_extents *e = &v->p->extents;
    int64_t key[3] = {v->slice, 0, 0}, at[3];
    for (int d = 0; d < e->ndim; d++) at[d] = v->query[d] + v->p->neighborhood.q_start[d];
    const bool own =
        at[v->first] / q_bin == row && at[v->first + 1] / k_bin == column && (!v->first || at[0] == v->slice);
    if (own) return PICTURE_ORANGE;
    key[v->first] = row * q_bin + q_bin / 2;
    key[v->first + 1] = column * k_bin + k_bin / 2;
    for (int d = v->first; d < e->ndim; d++)
        if (key[d] >= e->tk[d]) key[d] = e->tk[d] - 1;
    const bool sees = visible(v->p, 0, 0, flat(v->query, e->tq, e->ndim), flat(key, e->tk, e->ndim));
    return sees ? PICTURE_BLUE : PANEL_HIDDEN;
}

static double draw_plane(const view *v, double x, double y, double width, double height, bool numbers)
{
    const int64_t *lengths = v->p->extents.tk + v->first;
    panel_axis rows = panel_axis_fit(lengths[0], 1, false, height),
               columns = panel_axis_fit(lengths[1], 1, false, width);
    rows.pixels = columns.pixels = fmin(rows.pixels, columns.pixels);
    rows.numbers = columns.numbers = numbers;
    uint32_t *colours = malloc((size_t)(rows.cells * columns.cells) * sizeof *colours);
    if (!colours) return 0;
    for (int64_t r = 0; r < rows.cells; r++)
        for (int64_t c = 0; c < columns.cells; c++)
            colours[r * columns.cells + c] = place_colour(v, r, c, rows.bin, columns.bin);
    panel_draw(v->on, x, y, &rows, &columns, colours);
    free(colours);
    return panel_extent(&columns);
}

static void query_title(const view *v, double x, double y, const char *what)
{
    char text[96];
    const int64_t *at = v->query, *start = v->p->neighborhood.q_start;
    if (v->p->extents.ndim == 2)
        snprintf(text, sizeof text, "%s (%lld, %lld)", what, (long long)(at[0] + start[0]),
                 (long long)(at[1] + start[1]));
    else
        snprintf(text, sizeof text, "%s (%lld, %lld, %lld), slices of the first dimension", what,
                 (long long)(at[0] + start[0]), (long long)(at[1] + start[1]), (long long)(at[2] + start[2]));
    picture_text(v->on, x, y, 0.8, PICTURE_LEFT, PICTURE_INK, text);
}

/* Where the four queries of two dimensions stand: a corner, an edge, the middle, near the far corner. */
static void draw_planes(view *v, double x, double y, double width, double height)
{
    const int64_t *q = v->p->extents.tq;
    const int64_t chosen[4][2] = {{0, 0}, {q[0] / 2, 0}, {q[0] / 2, q[1] / 2}, {q[0] - 1 - q[0] / 8, q[1] - 1}};
    for (int n = 0; n < 4; n++) {
        v->query[0] = chosen[n][0];
        v->query[1] = chosen[n][1];
        const double left = x + NUMBERS + (n % 2) * floor(width / 2), top = y + TITLE + (n / 2) * floor(height / 2);
        query_title(v, left, top - 26, "keys of query");
        draw_plane(v, left, top, width / 2 - NUMBERS - 8, height / 2 - TITLE - 16, true);
    }
}

static void draw_slices(view *v, double x, double y, double width, double height)
{
    const problem_extents *e = &v->p->extents;
    const slat_neighborhood *na = &v->p->neighborhood;
    for (int n = 0; n < 3; n++) {
        for (int d = 0; d < 3; d++) v->query[d] = n == 0 ? 0 : n == 1 ? e->tq[d] / 2 : e->tq[d] - 1;
        int64_t first = 0, count = 0;
        if (slat_neighborhood_keys(e->tk[0], na->window[0], na->stride[0], na->dilation[0], na->causal[0],
                                   na->q_start[0] + v->query[0], &first, &count) != SLAT_OK)
            return;
        const int shown = count < SLICES ? (int)count : SLICES;
        const double top = y + TITLE + n * floor(height / 3),
                     pitch = floor((width - NUMBERS) / (shown > 3 ? shown : 3));
        query_title(v, x + NUMBERS, top - 26, "query");
        for (int s = 0; s < shown; s++) {
            char text[24];
            v->slice = first + (shown > 1 ? s * (count - 1) / (shown - 1) : 0) * na->dilation[0];
            const double wide = draw_plane(v, x + NUMBERS + s * pitch, top, pitch - 10, height / 3 - TITLE - 16, false);
            snprintf(text, sizeof text, "%lld", (long long)v->slice);
            picture_text(v->on, x + NUMBERS + s * pitch + wide / 2, top - 6, 0.8, PICTURE_CENTRE, PICTURE_GREY, text);
        }
    }
}

void mask_grid_draw(const problem *p, picture *on, double x, double y, double width, double height)
{
    view v = {.p = p, .on = on, .first = p->extents.ndim - 2};
    if (p->extents.ndim == 2) draw_planes(&v, x, y, width, height);
    if (p->extents.ndim == 3) draw_slices(&v, x, y, width, height);
}
