/* Numbers, legends and charts. */
#include "chart.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void chart_number(double value, char *text, size_t size)
{
    if (value != 0 && isfinite(value) && (fabs(value) < 1e-3 || fabs(value) >= 1e5)) {
        const int exponent = (int)floor(log10(fabs(value)) + 1e-9);
        snprintf(text, size, "%.3ge%d", value / pow(10, exponent), exponent);
        return;
    }
    snprintf(text, size, "%.3g", value);
}

double chart_swatch(picture *p, double x, double y, uint32_t colour, const char *text)
{
    picture_rectangle(p, x, y - 10, x + 12, y + 2, colour);
    picture_frame(p, x, y - 10, x + 12, y + 2, 1, picture_mix(colour, PICTURE_GREY, 0.5));
    picture_text(p, x + 18, y, 0.8, PICTURE_LEFT, PICTURE_INK, text);
    return floor(x + 18 + picture_text_width(0.8, text) + 22);
}

void chart_scale(picture *p, double x, double y, double width, double height, uint32_t (*colour)(double t), int texts,
                 const char *const *text)
{
    for (double at = 0; at < width; at++)
        picture_rectangle(p, x + at, y, x + at + 1, y + height, colour((at + 0.5) / width));
    picture_frame(p, x - 1, y - 1, x + width + 1, y + height + 1, 1, PICTURE_GREY);
    for (int n = 0; n < texts; n++) {
        const double at = floor(x + (texts > 1 ? width * n / (texts - 1) : 0));
        picture_rectangle(p, at, y + height + 1, at + 1, y + height + 4, PICTURE_GREY);
        picture_text(p, at, y + height + 16, 0.8, PICTURE_CENTRE, PICTURE_GREY, text[n]);
    }
}

enum {
    WIDTH = 860,
    HEIGHT = 560,
    LEFT = 76,
    RIGHT = 24,
    TOP = 104,
    BOTTOM = 60,
    BOXES = CHART_SERIES * CHART_POINTS * 2
};

typedef struct {
    double x0, y0, x1, y1;
} box;

/* Logarithmic axes on a picture, and what stands on it already. */
typedef struct {
    picture on;
    double low_x, high_x, low_y, high_y; /* log10 */
    box taken[BOXES];
    int boxes;
} plane;

static double across(const plane *f, double x)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * (log10(x) - f->low_x) / (f->high_x - f->low_x);
}

static double down(const plane *f, double y)
{
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (log10(y) - f->low_y) / (f->high_y - f->low_y);
}

static void take_box(plane *f, box b)
{
    if (f->boxes < BOXES) f->taken[f->boxes++] = b;
}

static bool is_free(const plane *f, box b)
{
    if (b.x0 < LEFT || b.x1 > WIDTH - RIGHT || b.y0 < TOP || b.y1 > HEIGHT - BOTTOM) return false;
    for (int n = 0; n < f->boxes; n++) {
        const box t = f->taken[n];
        if (b.x0 < t.x1 && t.x0 < b.x1 && b.y0 < t.y1 && t.y0 < b.y1) return false;
    }
    return true;
}

/* Lines and numbers at 1, 2 and 5 times the powers of ten. */
static void draw_axes(plane *f)
{
    char text[24];
    const double right = WIDTH - RIGHT, bottom = HEIGHT - BOTTOM;
    for (int exponent = -6; exponent < 6; exponent++)
        for (int m = 1; m <= 5; m += m == 1 ? 1 : 3) {
            const double value = m * pow(10, exponent), at = log10(value);
            chart_number(value, text, sizeof text);
            if (at >= f->low_x && at <= f->high_x) {
                const double x = floor(across(f, value));
                picture_rectangle(&f->on, x, TOP, x + 1, bottom, m == 1 ? PICTURE_HAIR : PICTURE_NONE);
                picture_text(&f->on, x, bottom + 18, 0.8, PICTURE_CENTRE, PICTURE_GREY, text);
            }
            if (at >= f->low_y && at <= f->high_y) {
                const double y = floor(down(f, value));
                picture_rectangle(&f->on, LEFT, y, right, y + 1, m == 1 ? PICTURE_HAIR : PICTURE_NONE);
                picture_text(&f->on, LEFT - 8, y + 5, 0.8, PICTURE_RIGHT, PICTURE_GREY, text);
            }
        }
    picture_frame(&f->on, LEFT, TOP, right, bottom, 1, PICTURE_GREY);
}

static void find_range(const chart *c, plane *f)
{
    f->low_x = f->low_y = INFINITY;
    f->high_x = f->high_y = -INFINITY;
    for (int s = 0; s < c->series; s++)
        for (int n = 0; n < c->of[s].count; n++) {
            const double x = log10(c->of[s].x[n]), y = log10(c->of[s].y[n]);
            f->low_x = fmin(f->low_x, x), f->high_x = fmax(f->high_x, x);
            f->low_y = fmin(f->low_y, y), f->high_y = fmax(f->high_y, y);
        }
    const double x = fmax(f->high_x - f->low_x, 0.3) * 0.07, y = fmax(f->high_y - f->low_y, 0.3) * 0.09;
    f->low_x -= x, f->high_x += x, f->low_y -= y, f->high_y += y;
}

static void draw_lines(plane *f, const chart_series *s)
{
    for (int n = 0; n < s->count; n++) {
        const double x = across(f, s->x[n]), y = down(f, s->y[n]);
        if (n) picture_line(&f->on, across(f, s->x[n - 1]), down(f, s->y[n - 1]), x, y, 1.6, s->colour);
        take_box(f, (box){x - 6, y - 6, x + 6, y + 6});
    }
    for (int n = 0; n < s->count; n++) {
        const double x = across(f, s->x[n]), y = down(f, s->y[n]);
        picture_disc(&f->on, x, y, 5.5, PICTURE_PAPER);
        picture_disc(&f->on, x, y, 4, s->colour);
    }
}

/* A label goes to the first place around its point where nothing stands yet. */
static void draw_labels(plane *f, const chart_series *s)
{
    for (int n = 0; n < s->count; n++) {
        const double x = across(f, s->x[n]), y = down(f, s->y[n]), width = picture_text_width(0.8, s->label[n]);
        const double places[][2] = {{x + 9, y - 4},          {x + 9, y + 14},         {x - 9 - width, y - 4},
                                    {x - 9 - width, y + 14}, {x - width / 2, y - 11}, {x - width / 2, y + 20}};
        for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
            const box b = {places[k][0] - 2, places[k][1] - 10, places[k][0] + width + 2, places[k][1] + 3};
            if (!is_free(f, b)) continue;
            take_box(f, b);
            picture_text(&f->on, places[k][0], places[k][1], 0.8, PICTURE_LEFT,
                         picture_mix(s->colour, PICTURE_INK, 0.25), s->label[n]);
            break;
        }
    }
}

bool chart_write(const chart *c, const char *path, sentence *why)
{
    plane f = {.boxes = 0};
    if (!picture_make(&f.on, WIDTH, HEIGHT, PICTURE_PAPER))
        return sentence_fail(why, "not enough memory for the picture");
    find_range(c, &f);
    draw_axes(&f);
    picture_text_bold(&f.on, 20, 28, 1, PICTURE_LEFT, PICTURE_INK, c->title);
    picture_text(&f.on, 20, 50, 0.8, PICTURE_LEFT, PICTURE_GREY, c->subtitle);
    double x = 20;
    for (int s = 0; s < c->series; s++) x = chart_swatch(&f.on, x, 82, c->of[s].colour, c->of[s].name);
    picture_text(&f.on, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, 0.8, PICTURE_CENTRE, PICTURE_GREY, c->x_name);
    picture_text_up(&f.on, 22, (TOP + HEIGHT - BOTTOM) / 2, 0.8, PICTURE_CENTRE, PICTURE_GREY, c->y_name);
    for (int s = 0; s < c->series; s++) draw_lines(&f, &c->of[s]);
    for (int s = 0; s < c->series; s++) draw_labels(&f, &c->of[s]);
    const bool written = picture_write(&f.on, path, c->title);
    picture_free(&f.on);
    return written || sentence_fail(why, "%s: cannot be written", path);
}
