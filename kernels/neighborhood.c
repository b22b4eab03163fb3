/* Neighborhood attention: public entries. */
#include "check.h"
#include "dispatch.h"

static slat_status check_dimension(const slat_neighborhood *n, int32_t i, int64_t length, int64_t q_length,
                                   slat_window *out)
{
    const int32_t window = n->window[i], stride = n->stride[i] ? n->stride[i] : 1;
    const int32_t dilation = n->dilation[i] ? n->dilation[i] : 1;
    const int64_t q_start = n->q_start[i];
    if (window < 2) return slat_fail(SLAT_INVALID, "window[%d]: %d, expected 2 or more", i, window);
    if (stride < 1 || stride > window)
        return slat_fail(SLAT_INVALID, "stride[%d]: %d, expected 1 to the window, %d", i, stride, window);
    if (dilation < 1 || (int64_t)window * dilation > length)
        return slat_fail(SLAT_INVALID, "window[%d] * dilation[%d]: %d * %d, expected at most the grid's %lld", i, i,
                         window, dilation, (long long)length);
    if (n->causal[i] != 0 && n->causal[i] != 1)
        return slat_fail(SLAT_INVALID, "causal[%d]: %d, expected 0 or 1", i, n->causal[i]);
    if (q_start < 0 || q_start > length - q_length)
        return slat_fail(SLAT_INVALID, "q_start[%d]: a box of %lld from %lld leaves the grid of %lld", i,
                         (long long)q_length, (long long)q_start, (long long)length);
    *out = (slat_window){length, q_length, q_start, window, stride, dilation, n->causal[i]};
    return SLAT_OK;
}

static slat_status neighborhood(const slat_exec *exec, const slat_neighborhood *n, const slat_attention *t,
                                slat_pass pass)
{
    slat_problem p = {.op = SLAT_OP_NEIGHBORHOOD, .pass = pass};
    slat_checker c;
    SLAT_TRY(slat_check_begin(&c, &p, exec));
    if (!n) return slat_fail(SLAT_INVALID, "neighborhood: NULL, expected a slat_neighborhood");
    SLAT_TRY(slat_check_reserved("neighborhood", n->reserved, 4));
    if (n->ndim < 1 || n->ndim > 3) return slat_fail(SLAT_INVALID, "ndim: %d, expected 1, 2 or 3", n->ndim);
    SLAT_TRY(slat_check_attention(&c, t, n->ndim));
    for (int32_t i = 0; i < 3; i++) p.window[i] = (slat_window){1, 1, 0, 1, 1, 1, 0};
    for (int32_t i = 0; i < n->ndim; i++)
        SLAT_TRY(check_dimension(n, i, t->k->shape[1 + i], t->q->shape[1 + i], &p.window[3 - n->ndim + i]));
    SLAT_TRY(slat_check_end(&c, NULL, NULL));
    return slat_dispatch(&p, exec);
}

slat_status slat_neighborhood_forward(const slat_exec *exec, const slat_neighborhood *n, const slat_attention *t)
{
    return neighborhood(exec, n, t, SLAT_FORWARD);
}

slat_status slat_neighborhood_backward(const slat_exec *exec, const slat_neighborhood *n, const slat_attention *t)
{
    return neighborhood(exec, n, t, SLAT_BACKWARD);
}
