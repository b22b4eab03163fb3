/* Landmark attention (grouped softmax): public entries. */
#include "check.h"
#include "dispatch.h"

static slat_status landmark(const slat_exec *exec, const slat_landmark *l, const slat_attention *t, slat_pass pass)
{
    slat_problem p = {.op = SLAT_OP_LANDMARK, .pass = pass};
    slat_checker c;
    SLAT_TRY(slat_check_begin(&c, &p, exec));
    if (!l) return slat_fail(SLAT_INVALID, "landmark: NULL, expected a slat_landmark");
    SLAT_TRY(slat_check_reserved("landmark", l->reserved, 4));
    if (l->block < 2) return slat_fail(SLAT_INVALID, "block: %d, expected 2 or more", l->block);
    SLAT_TRY(slat_check_attention(&c, t, 1));
    if (t->sink) return slat_fail(SLAT_INVALID, "sink: given, expected NULL with landmark attention");
    p.landmark_block = l->block;
    SLAT_TRY(slat_check_end(&c, NULL, NULL));
    return slat_dispatch(&p, exec);
}

slat_status slat_landmark_forward(const slat_exec *exec, const slat_landmark *l, const slat_attention *t)
{
    return landmark(exec, l, t, SLAT_FORWARD);
}

slat_status slat_landmark_backward(const slat_exec *exec, const slat_landmark *l, const slat_attention *t)
{
    return landmark(exec, l, t, SLAT_BACKWARD);
}
