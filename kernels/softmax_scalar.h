/* Softmax attention of one row at a time: what block_sparse, neighborhood, sharded and landmark share.
 *
 * A primitive says which keys a row sees and, if it is not one plain softmax, how logits become weights.
 */
#ifndef SLAT_SOFTMAX_SCALAR_H
#define SLAT_SOFTMAX_SCALAR_H
#include "walk.h"

/* One query row (b, h, i) and its visible keys in ascending order. Arrays have `count` elements. */
typedef struct {
    int64_t count;
    slat_point *keys;
    double *logit;          /* s: scale q.k */
    double *weight;         /* P: what multiplies v. Both passes */
    double *score;          /* u: do.v, 0 for a landmark. Backward */
    double *grad_logit;     /* dS. Backward */
    double sink;            /* -inf: none */
    double lse;             /* natural log of the sum; -inf: nothing is visible */
    double delta, grad_lse; /* do.o, dlse. Backward */
} slat_row;

/* Lists the keys that row (b, h, query) sees, ascending, as points of k's grid. Returns how many. */
typedef int64_t slat_visible(const slat_problem *p, int64_t b, int32_t h, slat_point query, slat_point *keys);

typedef struct {
    slat_visible *visible;
    /* Forward: logit, sink -> lse, weight. There is at least one key. */
    void (*weigh)(const slat_problem *p, slat_row *row);
    /* Backward: logit, lse, score, delta, grad_lse -> weight, grad_logit. lse is not -inf. */
    void (*unweigh)(const slat_problem *p, slat_row *row);
} slat_softmax;

/* One softmax over everything visible. */
void slat_weigh(const slat_problem *p, slat_row *row);
void slat_unweigh(const slat_problem *p, slat_row *row);

/* log(exp(initial) + sum of exp(x)); -inf is log 0. Nothing overflows on the way, a NaN stays one. */
double slat_log_sum(const double *x, int64_t n, double initial);

slat_status slat_softmax_scalar_forward(const slat_problem *p, const slat_run *run, const slat_softmax *rule);
slat_status slat_softmax_scalar_backward(const slat_problem *p, const slat_run *run, const slat_softmax *rule);

#endif
