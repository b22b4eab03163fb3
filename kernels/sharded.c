/* Sharded (S2) attention: public entries. */
#include "check.h"
#include "dispatch.h"

static slat_status sharded(const slat_exec *exec, const slat_sharded *s, const slat_attention *t, slat_pass pass)
{
    slat_problem p = {.op = SLAT_OP_SHARDED, .pass = pass};
    slat_checker c;
    SLAT_TRY(slat_check_begin(&c, &p, exec));
    if (!s) return slat_fail(SLAT_INVALID, "sharded: NULL, expected a slat_sharded");
    SLAT_TRY(slat_check_reserved("sharded", s->reserved, 4));
    if (s->block < 1) return slat_fail(SLAT_INVALID, "block: %d, expected 1 or more", s->block);
    if (s->local_blocks < 1) return slat_fail(SLAT_INVALID, "local_blocks: %d, expected 1 or more", s->local_blocks);
    if (s->stride < 1) return slat_fail(SLAT_INVALID, "stride: %d, expected 1 or more", s->stride);
    SLAT_TRY(slat_check_attention(&c, t, 1));
    const slat_want want = {
        .name = "offsets", .dims = "[Hk]", .types = SLAT_IS_I32, .flags = SLAT_COMPACT, .ndim = 1, .shape = {p.hk}};
    SLAT_TRY(slat_check_tensor(&c, &want, s->offsets));
    p.shards = (slat_shards){s->block, s->local_blocks, s->stride, slat_data(s->offsets)};
    SLAT_TRY(slat_check_end(&c, NULL, NULL));
    return slat_dispatch(&p, exec);
}

slat_status slat_sharded_forward(const slat_exec *exec, const slat_sharded *s, const slat_attention *t)
{
    return sharded(exec, s, t, SLAT_FORWARD);
}

slat_status slat_sharded_backward(const slat_exec *exec, const slat_sharded *s, const slat_attention *t)
{
    return sharded(exec, s, t, SLAT_BACKWARD);
}
