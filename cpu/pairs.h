/* Which softmax problems the kernels over pairs of bf16 serve. */
#ifndef SLAT_CPU_PAIRS_H
#define SLAT_CPU_PAIRS_H
#include "softmax.h"

/* Enough queries for lanes, steps of one line or of whole landmark blocks that begin at even rows, all in bf16. */
static inline int slat_takes_pairs(const slat_cut *cut)
{
    const slat_problem *p = cut->p;
    if (p->type != SLAT_BF16 || p->scale < 0 || p->tq * (p->hq / p->hk) <= LANE_GROUP) return 0;
    if (p->pass == SLAT_BACKWARD && p->grad_o.type != SLAT_BF16) return 0;
    if (p->op == SLAT_OP_NEIGHBORHOOD) return cut->rows <= STEP_ROWS;
    return p->op != SLAT_OP_LANDMARK || cut->long_blocks || p->landmark_block % 2 == 0;
}
#endif
