/* The scalar backend: the definition of every primitive in plain C, all sums in double. Read in this order:
 * softmax_scalar.c, then what each primitive adds (block_sparse_, neighborhood_, sharded_, landmark_scalar.c), then
 * lightning_scalar.c and merge_scalar.c.
 *
 * Each function here is a slat_kernel's plan or run (backend.h). Everything is single-threaded and deterministic.
 */
#ifndef SLAT_SCALAR_H
#define SLAT_SCALAR_H
#include "backend.h"

/* One plan for all softmax primitives, both passes. */
slat_status slat_softmax_scalar_plan(const slat_problem *p, const slat_run *run, slat_plan *plan);
slat_status slat_block_sparse_scalar_forward(const slat_problem *p, const slat_run *run);
slat_status slat_block_sparse_scalar_backward(const slat_problem *p, const slat_run *run);
slat_status slat_neighborhood_scalar_forward(const slat_problem *p, const slat_run *run);
slat_status slat_neighborhood_scalar_backward(const slat_problem *p, const slat_run *run);
slat_status slat_sharded_scalar_forward(const slat_problem *p, const slat_run *run);
slat_status slat_sharded_scalar_backward(const slat_problem *p, const slat_run *run);
slat_status slat_landmark_scalar_forward(const slat_problem *p, const slat_run *run);
slat_status slat_landmark_scalar_backward(const slat_problem *p, const slat_run *run);

slat_status slat_transpose_scalar_plan(const slat_problem *p, const slat_run *run, slat_plan *plan);
slat_status slat_transpose_scalar(const slat_problem *p, const slat_run *run);

slat_status slat_lightning_scalar_plan(const slat_problem *p, const slat_run *run, slat_plan *plan);
slat_status slat_lightning_scalar_forward(const slat_problem *p, const slat_run *run);
slat_status slat_lightning_scalar_backward(const slat_problem *p, const slat_run *run);
slat_status slat_lightning_step_scalar(const slat_problem *p, const slat_run *run);

slat_status slat_merge_scalar_plan(const slat_problem *p, const slat_run *run, slat_plan *plan);
slat_status slat_merge_scalar_forward(const slat_problem *p, const slat_run *run);
slat_status slat_merge_scalar_backward(const slat_problem *p, const slat_run *run);

#endif
