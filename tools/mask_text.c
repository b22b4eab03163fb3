/* A mask in words. */
#include "chart.h"
#include "mask.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 3, 4))) static void append(char *text, size_t size, const char *format, ...)
{
    const size_t used = strlen(text);
    va_list rest;
    va_start(rest, format);
    vsnprintf(text + used, size - used, format, rest);
    va_end(rest);
}

/* ", window 7 × 7": once where all dimensions have the same value and it is not a window. */
static void append_dimensions(char *text, size_t size, const char *name, const int32_t *values, int ndim, int32_t usual)
{
    bool same = true, shown = false;
    for (int d = 0; d < ndim; d++) {
        same = same && values[d] == values[0];
        shown = shown || values[d] > usual;
    }
    if (!shown) return;
    append(text, size, "%s%s ", *text ? ", " : "", name);
    for (int d = 0; d < (same && usual ? 1 : ndim); d++) append(text, size, "%s%d", d ? " × " : "", values[d]);
}

static void neighborhood_parameters(const problem *p, char *text, size_t size)
{
    const slat_neighborhood *na = &p->neighborhood;
    append_dimensions(text, size, "window", na->window, na->ndim, 0);
    append_dimensions(text, size, "stride", na->stride, na->ndim, 1);
    append_dimensions(text, size, "dilation", na->dilation, na->ndim, 1);
    int causal = 0;
    for (int d = 0; d < na->ndim; d++) causal += na->causal[d] != 0;
    if (causal == na->ndim) append(text, size, ", causal");
    for (int d = 0; causal < na->ndim && d < na->ndim; d++)
        if (na->causal[d]) append(text, size, ", causal in dimension %d", d);
}

static void slopes_parameters(const problem *p, char *text, size_t size)
{
    double low = INFINITY, high = 0;
    for (int64_t h = 0; h < p->extents.hq; h++) {
        low = fmin(low, tensor_get(p->t[ROLE_SLOPES], h));
        high = fmax(high, tensor_get(p->t[ROLE_SLOPES], h));
    }
    char a[24], b[24];
    chart_number(high, a, sizeof a);
    chart_number(low, b, sizeof b);
    append(text, size, low == high ? "slope %s" : "slopes %s to %s", a, b);
}

void mask_parameters(const problem *p, char *text, size_t size)
{
    const slat_block_sparse *bs = &p->block_sparse;
    *text = 0;
    switch (p->op) {
    case OP_BLOCK_SPARSE:
        if (p->t[ROLE_INDPTR])
            append(text, size, "blocks of %d × %d", bs->block_q, bs->block_k ? bs->block_k : bs->block_q);
        else
            append(text, size, "dense");
        if (bs->causal) append(text, size, ", causal");
        break;
    case OP_NEIGHBORHOOD:
        neighborhood_parameters(p, text, size);
        break;
    case OP_SHARDED:
        append(text, size, "block %d, %d local block%s, stride %d", p->sharded.block, p->sharded.local_blocks,
               p->sharded.local_blocks == 1 ? "" : "s", p->sharded.stride);
        break;
    case OP_LANDMARK:
        append(text, size, "block %d", p->landmark.block);
        break;
    case OP_LIGHTNING:
        slopes_parameters(p, text, size);
        break;
    default:
        break;
    }
}
