/* A small raster canvas: filled rectangles, anti-aliased strokes, text in a stroke font, and PNG files.
 *
 * Lengths are pixels, x grows to the right and y downwards; pixel (0, 0) covers [0,1) x [0,1). Colours are 0xRRGGBB.
 * Whatever lies outside the canvas is cut off.
 */
#ifndef TOOLS_PICTURE_H
#define TOOLS_PICTURE_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int32_t width, height;
    uint8_t *rgb; /* rows from the top, three bytes a pixel */
} picture;

typedef struct {
    double x, y;
} picture_point;

typedef enum { PICTURE_LEFT, PICTURE_CENTRE, PICTURE_RIGHT } picture_align;

/* The colours that masks and charts share. */
enum {
    PICTURE_PAPER = 0xffffff,
    PICTURE_INK = 0x20262e,
    PICTURE_GREY = 0x6b7480,
    PICTURE_HAIR = 0xd3d8de,
    PICTURE_NONE = 0xf0f2f5,
    PICTURE_BLUE = 0x1d5fa8,
    PICTURE_SKY = 0x93c1ea,
    PICTURE_ORANGE = 0xe4702a
};

int picture_make(picture *p, int32_t width, int32_t height, uint32_t colour); /* 0: no memory */
void picture_free(picture *p);
int picture_write(const picture *p, const char *path, const char *description); /* 0: the file cannot be written */

uint32_t picture_mix(uint32_t from, uint32_t to, double share); /* share 0: from, 1: to */

/* Edges between pixels are anti-aliased. */
void picture_rectangle(picture *p, double x0, double y0, double x1, double y1, uint32_t colour);
void picture_frame(picture *p, double x0, double y0, double x1, double y1, double width, uint32_t colour);

/* Joined segments with round ends; counts[s] points in stroke s, one after the other. Where strokes cross, the colour
 * is laid once. A stroke of one point is a disc. */
void picture_strokes(picture *p, const picture_point *points, const int32_t *counts, int32_t strokes, double width,
                     uint32_t colour);
void picture_line(picture *p, double x0, double y0, double x1, double y1, double width, uint32_t colour);
void picture_disc(picture *p, double x, double y, double radius, uint32_t colour);

/* Text on the baseline y. A size of 1 has capitals 10 pixels high and falls on whole pixels; UTF-8. */
void picture_text(picture *p, double x, double y, double size, picture_align align, uint32_t colour, const char *text);
void picture_text_bold(picture *p, double x, double y, double size, picture_align align, uint32_t colour,
                       const char *text);
/* The same turned by a quarter: it reads from bottom to top, its baseline is the vertical line x. */
void picture_text_up(picture *p, double x, double y, double size, picture_align align, uint32_t colour,
                     const char *text);
double picture_text_width(double size, const char *text);
#endif
