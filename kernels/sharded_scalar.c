/* The definition of sharded attention: a row sees its last local_blocks blocks and, before them, its head's shard,
 * every stride-th block (a dense head: all of them). */
#include "scalar.h"
#include "softmax_scalar.h"

static int64_t visible(const slat_problem *p, int64_t b, int32_t h, slat_point query, slat_point *keys)
{
    const slat_shards *s = &p->shards;
    const int64_t position = slat_position(p, query.z);
    int64_t count = 0;
    (void)b;
    if (position < 0) return 0;

    const int64_t row = position / s->block;
    const slat_range far = slat_shard_far(s, s->offsets[slat_key_head(p, h)], row);
    for (int64_t n = 0; n < far.count; ++n)
        for (int64_t j = 0; j < s->block; ++j) keys[count++] = slat_at(0, 0, (far.first + n * far.step) * s->block + j);
    for (int64_t j = slat_shard_near(s, row) * s->block; j <= position; ++j) keys[count++] = slat_at(0, 0, j);
    return count;
}

static const slat_softmax rule = {visible, slat_weigh, slat_unweigh};

slat_status slat_sharded_scalar_forward(const slat_problem *p, const slat_run *run)
{
    return slat_softmax_scalar_forward(p, run, &rule);
}

slat_status slat_sharded_scalar_backward(const slat_problem *p, const slat_run *run)
{
    return slat_softmax_scalar_backward(p, run, &rule);
}
