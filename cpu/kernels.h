/* Every kernel of this folder, as one instruction set compiled it. */
#ifndef SLAT_CPU_KERNELS_H
#define SLAT_CPU_KERNELS_H
#include "vec.h"

#define slat_softmax_plan CPU_NAME(softmax_plan)
#define slat_softmax_run  CPU_NAME(softmax_run)

slat_status slat_softmax_plan(const slat_problem *p, const slat_run *run, slat_plan *plan);
slat_status slat_softmax_run(const slat_problem *p, const slat_run *run);

#define slat_lightning_plan      CPU_NAME(lightning_plan)
#define slat_lightning_run       CPU_NAME(lightning_run)
#define slat_lightning_step_plan CPU_NAME(lightning_step_plan)
#define slat_lightning_step_run  CPU_NAME(lightning_step_run)
#define slat_merge_plan          CPU_NAME(merge_plan)
#define slat_merge_run           CPU_NAME(merge_run)

/* One plan and one run for both passes. */
slat_status slat_lightning_plan(const slat_problem *p, const slat_run *run, slat_plan *plan);
slat_status slat_lightning_run(const slat_problem *p, const slat_run *run);
slat_status slat_lightning_step_plan(const slat_problem *p, const slat_run *run, slat_plan *plan);
slat_status slat_lightning_step_run(const slat_problem *p, const slat_run *run);
slat_status slat_merge_plan(const slat_problem *p, const slat_run *run, slat_plan *plan);
slat_status slat_merge_run(const slat_problem *p, const slat_run *run);
#endif
