/* The backend's table, one an instruction set. */
#include "cpu.h"
#include "kernels.h"
#include "scalar.h"

#if VL == 16
#define TABLE slat_avx512
#define NAME  "avx512"
#define RANK  slat_avx512_rank
#else
#define TABLE slat_avx2
#define NAME  "avx2"
#define RANK  slat_avx2_rank
#endif

const slat_backend_table TABLE = {
    .abi = SLAT_ABI,
    .name = NAME,
    .device = kDLCPU,
    .rank = RANK,
    .kernel =
        {
            [SLAT_OP_BLOCK_SPARSE] = {{slat_softmax_plan, slat_softmax_run}, {slat_softmax_plan, slat_softmax_run}},
            [SLAT_OP_NEIGHBORHOOD] = {{slat_softmax_plan, slat_softmax_run}, {slat_softmax_plan, slat_softmax_run}},
            [SLAT_OP_SHARDED] = {{slat_softmax_plan, slat_softmax_run}, {slat_softmax_plan, slat_softmax_run}},
            [SLAT_OP_LANDMARK] = {{slat_softmax_plan, slat_softmax_run}, {slat_softmax_plan, slat_softmax_run}},
            [SLAT_OP_LIGHTNING] = {{slat_lightning_plan, slat_lightning_run},
                                   {slat_lightning_plan, slat_lightning_run}},
            [SLAT_OP_LIGHTNING_STEP] = {{slat_lightning_step_plan, slat_lightning_step_run}},
            [SLAT_OP_MERGE] = {{slat_merge_plan, slat_merge_run}, {slat_merge_plan, slat_merge_run}},
            [SLAT_OP_TRANSPOSE] = {{slat_transpose_scalar_plan, slat_transpose_scalar}}, /* borrowed: all memory */
        },
};
