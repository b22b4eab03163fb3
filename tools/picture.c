/* The canvas of picture.h: coverage from distances, and PNG through libpng. */
#include "picture.h"
#include <math.h>
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int picture_make(picture *p, int32_t width, int32_t height, uint32_t colour)
{
    p->width = width;
    p->height = height;
    p->rgb = malloc((size_t)width * (size_t)height * 3);
    if (!p->rgb) return 0;
    picture_rectangle(p, 0, 0, width, height, colour);
    return 1;
}

void picture_free(picture *p)
{
    free(p->rgb);
    p->rgb = NULL;
}

uint32_t picture_mix(uint32_t from, uint32_t to, double share)
{
    uint32_t mixed = 0;
    for (int32_t shift = 0; shift < 24; shift += 8) {
        const double a = (double)(from >> shift & 255), b = (double)(to >> shift & 255);
        mixed |= (uint32_t)lrint(a + (b - a) * share) << shift;
    }
    return mixed;
}

static void blend(picture *p, int32_t x, int32_t y, double cover, uint32_t colour)
{
    uint8_t *at = p->rgb + ((size_t)y * (size_t)p->width + (size_t)x) * 3;
    for (int32_t c = 0; c < 3; c++) {
        const double new = (double)(colour >> (16 - 8 * c) & 255);
        at[c] = (uint8_t)lrint(at[c] + (new - at[c]) * cover);
    }
}

/* How much of [at, at+1) lies in [low, high). */
static double overlap(int32_t at, double low, double high)
{
    return fmax(0, fmin(high, at + 1.0) - fmax(low, at));
}

static int32_t clip(double x, int32_t limit)
{
    return x < 0 ? 0 : x > limit ? limit : (int32_t)x;
}

void picture_rectangle(picture *p, double x0, double y0, double x1, double y1, uint32_t colour)
{
    const int32_t left = clip(floor(x0), p->width), right = clip(ceil(x1), p->width);
    const int32_t top = clip(floor(y0), p->height), bottom = clip(ceil(y1), p->height);
    for (int32_t y = top; y < bottom; y++)
        for (int32_t x = left; x < right; x++) blend(p, x, y, overlap(x, x0, x1) * overlap(y, y0, y1), colour);
}

void picture_frame(picture *p, double x0, double y0, double x1, double y1, double width, uint32_t colour)
{
    picture_rectangle(p, x0, y0, x1, y0 + width, colour);
    picture_rectangle(p, x0, y1 - width, x1, y1, colour);
    picture_rectangle(p, x0, y0 + width, x0 + width, y1 - width, colour);
    picture_rectangle(p, x1 - width, y0 + width, x1, y1 - width, colour);
}

static double distance(picture_point c, picture_point a, picture_point b)
{
    const double dx = b.x - a.x, dy = b.y - a.y, square = dx * dx + dy * dy;
    double t = square > 0 ? ((c.x - a.x) * dx + (c.y - a.y) * dy) / square : 0;
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    return hypot(c.x - a.x - t * dx, c.y - a.y - t * dy);
}

/* The part of the canvas that strokes touch, with the greatest coverage of each pixel. */
typedef struct {
    int32_t left, top, right, bottom;
    float *cover;
} stencil;

static void stencil_segment(stencil *s, picture_point a, picture_point b, double radius)
{
    const double reach = radius + 1;
    const int32_t left = clip(floor(fmin(a.x, b.x) - reach) - s->left, s->right - s->left);
    const int32_t right = clip(ceil(fmax(a.x, b.x) + reach) - s->left, s->right - s->left);
    const int32_t top = clip(floor(fmin(a.y, b.y) - reach) - s->top, s->bottom - s->top);
    const int32_t bottom = clip(ceil(fmax(a.y, b.y) + reach) - s->top, s->bottom - s->top);
    for (int32_t y = top; y < bottom; y++)
        for (int32_t x = left; x < right; x++) {
            const picture_point centre = {s->left + x + 0.5, s->top + y + 0.5};
            const double cover = radius + 0.5 - distance(centre, a, b);
            float *most = s->cover + (size_t)y * (size_t)(s->right - s->left) + x;
            if (cover > *most) *most = cover > 1 ? 1 : (float)cover;
        }
}

void picture_strokes(picture *p, const picture_point *points, const int32_t *counts, int32_t strokes, double width,
                     uint32_t colour)
{
    int32_t total = 0;
    for (int32_t s = 0; s < strokes; s++) total += counts[s];
    if (total == 0) return;
    double x0 = points[0].x, x1 = x0, y0 = points[0].y, y1 = y0;
    for (int32_t n = 1; n < total; n++) {
        x0 = fmin(x0, points[n].x), x1 = fmax(x1, points[n].x);
        y0 = fmin(y0, points[n].y), y1 = fmax(y1, points[n].y);
    }
    const double radius = width / 2, reach = radius + 1;
    stencil s = {clip(floor(x0 - reach), p->width), clip(floor(y0 - reach), p->height),
                 clip(ceil(x1 + reach), p->width), clip(ceil(y1 + reach), p->height), NULL};
    if (s.left >= s.right || s.top >= s.bottom) return;
    s.cover = calloc((size_t)(s.right - s.left) * (size_t)(s.bottom - s.top), sizeof *s.cover);
    if (!s.cover) return;
    for (int32_t n = 0, k = 0; n < strokes; k += counts[n++]) {
        if (counts[n] == 1) stencil_segment(&s, points[k], points[k], radius);
        for (int32_t m = 1; m < counts[n]; m++) stencil_segment(&s, points[k + m - 1], points[k + m], radius);
    }
    const float *cover = s.cover;
    for (int32_t y = s.top; y < s.bottom; y++)
        for (int32_t x = s.left; x < s.right; x++) blend(p, x, y, *cover++, colour);
    free(s.cover);
}

void picture_line(picture *p, double x0, double y0, double x1, double y1, double width, uint32_t colour)
{
    const picture_point points[2] = {{x0, y0}, {x1, y1}};
    const int32_t count = 2;
    picture_strokes(p, points, &count, 1, width, colour);
}

void picture_disc(picture *p, double x, double y, double radius, uint32_t colour)
{
    const picture_point centre = {x, y};
    const int32_t count = 1;
    picture_strokes(p, &centre, &count, 1, 2 * radius, colour);
}

static int write_png(const picture *p, FILE *file, const char *description)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info || setjmp(png_jmpbuf(png))) {
        png_destroy_write_struct(&png, &info);
        return 0;
    }
    char key[] = "Description";
    png_text text = {.compression = PNG_TEXT_COMPRESSION_NONE, .key = key, .text = (char *)(uintptr_t)description};
    text.text_length = strlen(description);
    png_init_io(png, file);
    png_set_IHDR(png, info, (png_uint_32)p->width, (png_uint_32)p->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_text(png, info, &text, 1);
    png_set_compression_level(png, 9);
    png_write_info(png, info);
    for (int32_t y = 0; y < p->height; y++) png_write_row(png, p->rgb + (size_t)y * (size_t)p->width * 3);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    return 1;
}

int picture_write(const picture *p, const char *path, const char *description)
{
    FILE *file = fopen(path, "wb");
    if (!file) return 0;
    const int written = write_png(p, file, description);
    return fclose(file) == 0 && written;
}
