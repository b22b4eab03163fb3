/* What masks and charts have in common on a picture: numbers on axes, legends, scales; and charts of points. */
#ifndef TOOLS_CHART_H
#define TOOLS_CHART_H
#include "picture.h"
#include "sentence.h"

/* 0.25 -> "0.25", 1e-6 -> "1e-6", 12.5 -> "12.5": up to three digits. */
void chart_number(double value, char *text, size_t size);

/* A swatch and its text at (x, y), y the text's baseline; returns the x after it, with room for the next. */
double chart_swatch(picture *p, double x, double y, uint32_t colour, const char *text);

/* A bar of colours from (x, y) to the right: colour(t, context) for t from 0 to 1, a frame, and texts below at even
 * distances. */
void chart_scale(picture *p, double x, double y, double width, double height, uint32_t (*colour)(double t), int texts,
                 const char *const *text);

enum { CHART_POINTS = 8, CHART_SERIES = 8 };

typedef struct {
    const char *name;
    uint32_t colour;
    int count;
    double x[CHART_POINTS], y[CHART_POINTS];
    char label[CHART_POINTS][48]; /* beside the point; may be empty */
} chart_series;

typedef struct {
    const char *title, *subtitle, *x_name, *y_name;
    int series;
    chart_series of[CHART_SERIES];
} chart;

/* Both axes logarithmic; every x and y above 0. */
bool chart_write(const chart *, const char *path, sentence *why);
#endif
