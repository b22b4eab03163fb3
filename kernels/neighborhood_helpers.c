/* The window of neighborhood attention in one dimension, for callers: the keys of a query, the queries of a key. */
#include "walk.h"
#include <inttypes.h>

#define LONGEST (INT64_MAX / 2) /* a place and a window added stay in range */

static slat_status fill(slat_window *w, int64_t length, int32_t window, int32_t stride, int32_t dilation,
                        int32_t causal)
{
    stride = stride ? stride : 1;
    dilation = dilation ? dilation : 1;
    if (length < 1 || length > LONGEST)
        return slat_fail(SLAT_INVALID, "length: %" PRId64 ", expected 1 to %" PRId64, length, LONGEST);
    if (window < 2) return slat_fail(SLAT_INVALID, "window: %d, expected at least 2", (int)window);
    if (stride < 1 || stride > window)
        return slat_fail(SLAT_INVALID, "stride: %d, expected 1 to window %d", (int)stride, (int)window);
    if (dilation < 1) return slat_fail(SLAT_INVALID, "dilation: %d, expected at least 1", (int)dilation);
    if ((int64_t)window * dilation > length)
        return slat_fail(SLAT_INVALID, "window: %d with dilation %d, expected a product of at most %" PRId64,
                         (int)window, (int)dilation, length);
    if (causal != 0 && causal != 1)
        return slat_fail(SLAT_INVALID, "causal: %d, expected 0 or 1", (int)causal);
    w->length = w->q_length = length, w->q_start = 0;
    w->window = window, w->stride = stride, w->dilation = dilation, w->causal = causal;
    return SLAT_OK;
}

/* `at` is a place in the dimension, `name` its argument. */
static slat_status interval(slat_range (*walk)(const slat_window *, int64_t), const slat_window *w, const char *name,
                            int64_t at, int64_t *first, int64_t *count)
{
    if (at < 0 || at >= w->length)
        return slat_fail(SLAT_INVALID, "%s: %" PRId64 ", expected 0 to %" PRId64, name, at,
                         w->length - 1);
    if (!first) return slat_fail(SLAT_INVALID, "first: NULL, expected memory to fill");
    if (!count) return slat_fail(SLAT_INVALID, "count: NULL, expected memory to fill");
    const slat_range range = walk(w, at);
    *first = range.first, *count = range.count;
    return SLAT_OK;
}

slat_status slat_neighborhood_keys(int64_t length, int32_t window, int32_t stride, int32_t dilation, int32_t causal,
                                   int64_t query, int64_t *first, int64_t *count)
{
    slat_window w = {0};
    SLAT_TRY(fill(&w, length, window, stride, dilation, causal));
    return interval(slat_window_keys, &w, "query", query, first, count);
}

slat_status slat_neighborhood_queries(int64_t length, int32_t window, int32_t stride, int32_t dilation, int32_t causal,
                                      int64_t key, int64_t *first, int64_t *count)
{
    slat_window w = {0};
    SLAT_TRY(fill(&w, length, window, stride, dilation, causal));
    return interval(slat_window_queries, &w, "key", key, first, count);
}
