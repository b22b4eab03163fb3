/* The backend `amx`: the softmax primitives in tiles of bf16. What it declines is avx512's. */
#include "cpu.h"
#include "kernels.h"
#include "pairs.h"

static slat_status plan(const slat_problem *p, const slat_run *run, slat_plan *out)
{
    if (p->type != SLAT_BF16) return slat_fail(SLAT_UNSUPPORTED, "q: backend 'amx' serves bf16 only");
    const slat_cut cut = slat_softmax_cut(p);
    if (!slat_takes_pairs(&cut))
        return slat_fail(SLAT_UNSUPPORTED,
                         "q: backend 'amx' serves more than %d rows a key head, a scale above 0, an o "
                         "in bf16 backward, and keys in whole lines",
                         LANE_GROUP);
    return slat_softmax_plan(p, run, out);
}

const slat_backend_table slat_amx = {
    .abi = SLAT_ABI,
    .name = "amx",
    .device = kDLCPU,
    .rank = slat_amx_rank,
    .kernel =
        {
            [SLAT_OP_BLOCK_SPARSE] = {{plan, slat_softmax_run}, {plan, slat_softmax_run}},
            [SLAT_OP_NEIGHBORHOOD] = {{plan, slat_softmax_run}, {plan, slat_softmax_run}},
            [SLAT_OP_SHARDED] = {{plan, slat_softmax_run}, {plan, slat_softmax_run}},
            [SLAT_OP_LANDMARK] = {{plan, slat_softmax_run}, {plan, slat_softmax_run}},
        },
};
