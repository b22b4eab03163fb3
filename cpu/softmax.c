/* The plan of the softmax primitives. */
#include "softmax.h"
#include "size.h"
#include <math.h>

#define STOP_KEYS 1024 /* more of a head are worth halving */
#include "cpu.h"
#include "kernels.h"
#include "pairs.h"

/* How many times queries see the keys before `key`, about. */
static double work_before(const slat_cut *cut, double key)
{
    const slat_problem *p = cut->p;
    const double queries = (double)slat_min(p->tq, p->tk), keys = (double)p->tk, first = keys - queries;
    const double behind = queries * fmin(key, first) + fmax(key - first, 0) * (queries - fmax(key - first, 0) / 2);
    return cut->near * queries * key / keys + cut->behind * behind;
}

/* Halves the work of a head's keys, where heads alone would not fill the threads of a large machine. */
static void find_stop(slat_cut *cut)
{
    const slat_problem *p = cut->p;
    const slat_point grid = slat_key_grid(p);
    const int64_t extents[] = {grid.x, grid.y, grid.z};
    cut->stop = INT64_MAX;
    cut->stop_dim = grid.x > 1 ? 0 : grid.y > 1 ? 1 : 2;
    if (p->pass == SLAT_FORWARD || slat_heads(p) >= STOP_HEADS || p->tk < STOP_KEYS) return;
    double low = 0, high = (double)p->tk;
    for (int i = 0; i < 40; i++) {
        const double half = (low + high) / 2;
        if (work_before(cut, half) < work_before(cut, (double)p->tk) / 2)
            low = half;
        else
            high = half;
    }
    const int64_t extent = extents[cut->stop_dim], at = (int64_t)(low / (double)p->tk * (double)extent + 0.5);
    const int64_t stop = (at + cut->stop_unit / 2) / cut->stop_unit * cut->stop_unit;
    if (stop <= 0 || stop >= extent) return;
    cut->stop = stop;
    cut->slack = cut->walk->stop ? p->tk / 8 : 0;
    for (int64_t i = 0; i < slat_heads(p); i++) cut->stops[i] = stop;
}

static void set_stops(slat_cut *cut)
{
    const int32_t heads = cut->p->hk;
    for (int64_t i = 0; cut->walk->stop && cut->stop < INT64_MAX && i < slat_heads(cut->p); i++)
        cut->stops[i] = cut->walk->stop(cut, i / heads, (int32_t)(i % heads));
}

slat_cut slat_softmax_cut(const slat_problem *p)
{
    static const slat_walk *const walks[] = {
        [SLAT_OP_BLOCK_SPARSE] = &slat_block_sparse_walk,
        [SLAT_OP_NEIGHBORHOOD] = &slat_neighborhood_walk,
        [SLAT_OP_SHARDED] = &slat_sharded_walk,
        [SLAT_OP_LANDMARK] = &slat_landmark_walk,
    };
    slat_cut cut = {.p = p, .walk = walks[p->op], .keys = p->tk, .apart = 1, .stop_unit = STEP_ROWS};
    cut.walk->cut(&cut);
    find_stop(&cut);
    return cut;
}

#if VL == 16 && !defined(SLAT_PAIRS)
/* The same sources over pairs of bf16: softmax.c again, with SLAT_PAIRS. */
slat_status slat_avx512_bf16_softmax_plan(const slat_problem *p, const slat_run *run, slat_plan *plan);
slat_status slat_avx512_bf16_softmax_run(const slat_problem *p, const slat_run *run);

#define OR_PAIRS(cut, call)                                                                                            \
    do {                                                                                                               \
        if (slat_takes_pairs(cut) && slat_has_avx512_bf16()) return call;                                              \
    } while (0)
#else
#define OR_PAIRS(cut, call)
#endif

slat_status slat_softmax_plan(const slat_problem *p, const slat_run *run, slat_plan *plan)
{
    if (p->type == SLAT_F64) return slat_fail(SLAT_UNSUPPORTED, "q: f64, expected f32, f16 or bf16");
    const slat_cut cut = slat_softmax_cut(p);
    OR_PAIRS(&cut, slat_avx512_bf16_softmax_plan(p, run, plan));
    return size_plan(p->pass == SLAT_FORWARD ? slat_softmax_forward_bytes(&cut, run)
                                             : slat_softmax_backward_bytes(&cut, run),
                     cut.walk->name, plan);
}

slat_status slat_softmax_run(const slat_problem *p, const slat_run *run)
{
    slat_cut cut = slat_softmax_cut(p);
    OR_PAIRS(&cut, slat_avx512_bf16_softmax_run(p, run));
    set_stops(&cut);
    if (p->pass == SLAT_FORWARD)
        slat_softmax_forward(&cut, run);
    else
        slat_softmax_backward(&cut, run);
    return SLAT_OK;
}
