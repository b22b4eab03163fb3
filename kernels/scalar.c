/* The scalar backend's table: it serves every primitive, pass, type and shape on a CPU, and comes last. */
#include "scalar.h"

#include "dispatch.h"

static int32_t rank(DLDevice device)
{
    return device.device_type == kDLCPU;
}

const slat_backend_table slat_scalar = {
    .abi = SLAT_ABI,
    .name = "scalar",
    .device = kDLCPU,
    .rank = rank,
    .kernel = {
        [SLAT_OP_BLOCK_SPARSE] = {{slat_softmax_scalar_plan, slat_block_sparse_scalar_forward},
                                  {slat_softmax_scalar_plan, slat_block_sparse_scalar_backward}},
        [SLAT_OP_NEIGHBORHOOD] = {{slat_softmax_scalar_plan, slat_neighborhood_scalar_forward},
                                  {slat_softmax_scalar_plan, slat_neighborhood_scalar_backward}},
        [SLAT_OP_SHARDED] = {{slat_softmax_scalar_plan, slat_sharded_scalar_forward},
                             {slat_softmax_scalar_plan, slat_sharded_scalar_backward}},
        [SLAT_OP_LANDMARK] = {{slat_softmax_scalar_plan, slat_landmark_scalar_forward},
                              {slat_softmax_scalar_plan, slat_landmark_scalar_backward}},
        [SLAT_OP_LIGHTNING] = {{slat_lightning_scalar_plan, slat_lightning_scalar_forward},
                               {slat_lightning_scalar_plan, slat_lightning_scalar_backward}},
        [SLAT_OP_LIGHTNING_STEP] = {{slat_lightning_scalar_plan, slat_lightning_step_scalar}},
        [SLAT_OP_MERGE] = {{slat_merge_scalar_plan, slat_merge_scalar_forward},
                           {slat_merge_scalar_plan, slat_merge_scalar_backward}},
        [SLAT_OP_TRANSPOSE] = {{slat_transpose_scalar_plan, slat_transpose_scalar}},
    },
};
