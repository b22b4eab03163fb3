/* `slat mask`: lays panels, titles and a legend out on one picture. */
#include "mask.h"
#include "chart.h"
#include "mask_grid.h"
#include "mask_panel.h"
#include "options.h"
#include "visible.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { PANELS = 9, LEFT = 68, TOP = 68, RIGHT = 16, BETWEEN = 16, NUMBERS = 24, NAME = 26, LEGEND = 58, GRIDS = 416 };

typedef struct {
    const problem *p, *also;
    int panels, kinds, columns, lines; /* lines: of text above a panel */
    int64_t heads[PANELS];
    panel_axis rows, keys;
    const char *words;
    bool grids, sampled;
    picture on;
} sheet;

static int64_t unit_of(const problem *p, bool queries)
{
    switch (p->op) {
    case OP_BLOCK_SPARSE:
        if (!p->t[ROLE_INDPTR]) return 1;
        return queries || !p->block_sparse.block_k ? p->block_sparse.block_q : p->block_sparse.block_k;
    case OP_NEIGHBORHOOD: {
        int64_t unit = p->extents.ndim == 1 ? 1 : p->extents.tk[p->extents.ndim - 1];
        if (queries && unit > 1) unit = p->extents.tq[p->extents.ndim - 1];
        return unit;
    }
    case OP_SHARDED:
        return p->sharded.block;
    case OP_LANDMARK:
        return p->landmark.block;
    default:
        return 1;
    }
}

static void measure(sheet *s)
{
    const problem *p = s->p;
    static const double sides[] = {448, 384, 256, 192};
    static const int columns[PANELS + 1] = {1, 1, 2, 3, 4, 3, 3, 4, 4, 3};
    s->panels = mask_heads(p, p->op == OP_LIGHTNING ? 4 : PANELS, s->heads, &s->kinds);
    s->columns = columns[s->panels];
    s->lines = p->op == OP_LIGHTNING ? 2 : s->kinds > 1;
    s->grids = p->op == OP_NEIGHBORHOOD && p->extents.ndim > 1;
    const bool whole_units = !s->grids && p->op != OP_LANDMARK;
    const double side = s->grids ? 384 : sides[s->panels > 4 ? 3 : s->columns - 1];
    s->rows = panel_axis_fit(visible_queries(p), unit_of(p, true), whole_units, side);
    s->keys = panel_axis_fit(visible_keys(p), unit_of(p, false), whole_units, side);
    if (s->rows.bin == s->keys.bin && s->rows.cells > 4)
        s->rows.pixels = s->keys.pixels = fmin(s->rows.pixels, s->keys.pixels);
}

static void panel_title(sheet *s, int64_t head, double x, double y)
{
    const problem *p = s->p;
    char text[96], number[24];
    const int64_t group = p->extents.hq / p->extents.hk;
    if (p->op == OP_LIGHTNING) {
        const double slope = tensor_get(p->t[ROLE_SLOPES], head);
        chart_number(slope, number, sizeof number);
        snprintf(text, sizeof text, "head %lld, slope %s", (long long)head, number);
        picture_text(&s->on, x, y - 16, 0.8, PICTURE_LEFT, PICTURE_INK, text);
        chart_number(log(2) / slope, number, sizeof number);
        snprintf(text, sizeof text, "half after %s tokens", slope > 0 ? number : "infinitely many");
        picture_text(&s->on, x, y, 0.8, PICTURE_LEFT, PICTURE_GREY, text);
        return;
    }
    const bool whole_group = p->op == OP_SHARDED || p->extents.layout_heads == p->extents.hk;
    if (group > 1 && whole_group)
        snprintf(text, sizeof text, "heads %lld to %lld", (long long)head, (long long)(head + group - 1));
    else
        snprintf(text, sizeof text, "head %lld", (long long)head);
    picture_text(&s->on, x, y, 0.8, PICTURE_LEFT, PICTURE_INK, text);
}

static bool draw_panel(sheet *s, int n, double x, double y)
{
    mask_cells m;
    if (!mask_cells_count(s->p, s->also, s->heads[n], s->rows.bin, s->keys.bin, &m)) return false;
    uint32_t *colours = malloc((size_t)(m.rows * m.columns) * sizeof *colours);
    for (int64_t c = 0; colours && c < m.rows * m.columns; c++)
        colours[c] = panel_cell_colour(&m.cells[c], s->p->op == OP_LIGHTNING);
    s->rows.numbers = n % s->columns == 0;
    if (colours) panel_draw(&s->on, x, y, &s->rows, &s->keys, colours);
    s->sampled = s->sampled || m.sampled;
    mask_cells_free(&m);
    free(colours);
    return colours != NULL;
}

static void titles(sheet *s)
{
    const problem *p = s->p;
    char text[256];
    picture_text_bold(&s->on, 20, 28, 1, PICTURE_LEFT, PICTURE_INK, problem_op_name(p->op));
    picture_text(&s->on, 20 + picture_text_width(1, problem_op_name(p->op)) + 20, 28, 1, PICTURE_LEFT, PICTURE_INK,
                 s->words);
    const problem_extents *e = &p->extents;
    int used = 0;
    if (e->ndim > 1) {
        for (int d = 0; d < e->ndim; d++)
            used += snprintf(text + used, sizeof text - (size_t)used, "%s%lld", d ? " × " : "grid of ",
                             (long long)e->tk[d]);
    } else
        used = snprintf(text, sizeof text, "%lld tokens", (long long)e->tk[0]);
    if (visible_queries(p) != visible_keys(p))
        used += snprintf(text + used, sizeof text - (size_t)used, ", the queries are %lld of them",
                         (long long)visible_queries(p));
    if (e->hq > 1) used += snprintf(text + used, sizeof text - (size_t)used, ", %lld heads", (long long)e->hq);
    if (e->hq != e->hk)
        used += snprintf(text + used, sizeof text - (size_t)used, " on %lld key head%s", (long long)e->hk,
                         e->hk == 1 ? "" : "s");
    if (p->op != OP_LIGHTNING) {
        const double share =
            (double)(visible_pairs(p) + (s->also ? visible_pairs(s->also) : 0)) / (double)visible_dense_pairs(p);
        used += snprintf(text + used, sizeof text - (size_t)used, ": %.3g %% of %s pairs", 100 * share,
                         mask_causal(p) ? "the causal" : "all");
    }
    if (s->kinds > s->panels)
        used += snprintf(text + used, sizeof text - (size_t)used, "; %d of %d kinds of heads", s->panels, s->kinds);
    if (s->sampled) snprintf(text + used, sizeof text - (size_t)used, "; cells sampled");
    picture_text(&s->on, 20, 50, 0.8, PICTURE_LEFT, PICTURE_GREY, text);
}

static void legend(sheet *s, double y)
{
    static const char *const shares[] = {"0", "50 %", "100 %"};
    static const char *const weights[] = {"1", "0.1", "1e-2", "1e-3", "1e-4", "1e-5", "1e-6"};
    const problem *p = s->p;
    double x = 20;
    char text[96];
    if (p->op == OP_LIGHTNING) {
        chart_scale(&s->on, x + 4, y - 10, 280, 12, panel_weight_colour, 7, weights);
        picture_text(&s->on, x + 304, y, 0.8, PICTURE_LEFT, PICTURE_INK, "weight of a key: exp(-slope × distance)");
        return;
    }
    if (p->op == OP_LANDMARK) {
        x = chart_swatch(&s->on, x, y, PICTURE_BLUE, "own block");
        x = chart_swatch(&s->on, x, y, PICTURE_ORANGE,
                         s->keys.bin == 1 ? "landmarks of earlier blocks" : "landmarks of earlier blocks, enlarged");
        x = chart_swatch(&s->on, x, y, PICTURE_SKY, "their tokens");
        x = chart_swatch(&s->on, x, y, PANEL_HIDDEN, "hidden");
        chart_swatch(&s->on, x, y, PANEL_FUTURE, "after the query");
        return;
    }
    if (s->rows.bin == 1 && s->keys.bin == 1) {
        x = chart_swatch(&s->on, x, y, PICTURE_BLUE, "visible");
        x = chart_swatch(&s->on, x, y, PANEL_HIDDEN, "hidden");
    } else {
        chart_scale(&s->on, x + 4, y - 10, 150, 12, panel_share_colour, 3, shares);
        snprintf(text, sizeof text, "visible pairs of a cell, %lld × %lld tokens", (long long)s->rows.bin,
                 (long long)s->keys.bin);
        picture_text(&s->on, x + 174, y, 0.8, PICTURE_LEFT, PICTURE_INK, text);
        x += 174 + picture_text_width(0.8, text) + 24;
    }
    if (s->grids)
        chart_swatch(&s->on, x, y, PICTURE_ORANGE, "the query");
    else if (mask_causal(p))
        chart_swatch(&s->on, x, y, PANEL_FUTURE, "after the query");
}

static bool draw(sheet *s)
{
    const double wide = panel_extent(&s->keys), high = panel_extent(&s->rows), above = 16 * s->lines + NUMBERS;
    const int lines = (s->panels + s->columns - 1) / s->columns;
    const double body = lines * (above + high + NAME), least = s->grids ? 410 : 0;
    double width = LEFT + s->columns * wide + (s->columns - 1) * BETWEEN + RIGHT + (s->grids ? GRIDS : 0);
    if (width < 640) width = 640;
    if (!picture_make(&s->on, (int32_t)width, (int32_t)(TOP + fmax(body, least) + LEGEND), PICTURE_PAPER)) return false;
    for (int n = 0; n < s->panels; n++) {
        const double x = LEFT + n % s->columns * (wide + BETWEEN),
                     y = TOP + above + n / s->columns * (above + high + NAME);
        if (!draw_panel(s, n, x, y)) return false;
        if (s->lines) panel_title(s, s->heads[n], x, y - NUMBERS);
        if (n % s->columns == 0 && high > 80)
            picture_text_up(&s->on, 20, y + high / 2, 0.8, PICTURE_CENTRE, PICTURE_GREY, "query token");
        if (n / s->columns == lines - 1)
            picture_text(&s->on, x + wide / 2, y + high + 20, 0.8, PICTURE_CENTRE, PICTURE_GREY, "key token");
    }
    if (s->grids) mask_grid_draw(s->p, &s->on, LEFT + wide + 24, TOP, GRIDS - 24, 416);
    titles(s);
    legend(s, s->on.height - LEGEND + 30);
    return true;
}

bool mask_write(const problem *p, const problem *also, const char *words, const char *path, sentence *why)
{
    char parameters[160];
    sheet s = {.p = p, .also = also, .words = words ? words : parameters};
    mask_parameters(p, parameters, sizeof parameters);
    measure(&s);
    const bool drawn = draw(&s);
    const bool written = drawn && picture_write(&s.on, path, s.words);
    picture_free(&s.on);
    if (!drawn) return sentence_fail(why, "not enough memory for the picture");
    return written || sentence_fail(why, "%s: cannot be written", path);
}

/* The problem of a case file or of tensors with a layout: whatever the file has. */
static problem *from_file(const options *o, sentence *why)
{
    safetensors *file = safetensors_open(o->file[0], why);
    problem *p = file ? problem_load(file, why) : NULL;
    safetensors_close(file);
    if (p && p->op != o->op) {
        sentence_fail(why, "%s: holds %s, not %s", o->file[0], problem_op_name(p->op), problem_op_name(o->op));
        problem_free(p);
        return NULL;
    }
    return p;
}

int slat_mask_main(int argc, char **argv)
{
    options *o = malloc(sizeof *o);
    sentence why = {"not enough memory"};
    problem *p = NULL;
    bool fine = o && options_parse(o, argc, argv, &why);
    if (fine && o->help) {
        printf("usage: slat mask PRIMITIVE OPTIONS -o mask.png\n"
               "       slat mask PRIMITIVE case.safetensors -o mask.png\n"
               "Draws which keys each query sees.\n");
        options_help();
        free(o);
        return 0;
    }
    if (fine && !o->output) fine = sentence_fail(&why, "-o: the picture's file is missing");
    if (fine) p = o->files ? from_file(o, &why) : options_problem(o, &why);
    fine = p && mask_check(p, &why) && mask_write(p, NULL, NULL, o->output, &why);
    if (fine)
        printf("%s\n", o->output);
    else
        fprintf(stderr, "slat mask: %s\n", why.text);
    problem_free(p);
    free(o);
    return fine ? 0 : 2;
}
