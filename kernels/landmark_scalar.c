/* The definition of landmark attention: a grouped softmax.
 *
 * The last token of every block is its landmark. A query in block b sees its own bucket, that is the ordinary tokens of
 * b up to itself and the landmarks of the blocks before b, and hands each landmark's probability on to the ordinary
 * tokens of the landmark's block:
 *     lse = log sum over the own bucket of exp(s)     P_j = exp(s_j - lse)
 *     own ordinary token: w_j = P_j     ordinary token of block g: w_j = P_landmark(g) exp(s_j - log-sum of g's tokens)
 * Landmarks carry no value. Backward, with E_g = sum over g's ordinary tokens of (w_j / P_landmark(g)) u_j:
 *     own ordinary token: dS = w (u - delta + dlse)     ordinary token of block g: dS = w (u - E_g)
 *     landmark of g: dS = P (E_g - delta + dlse)
 */
#include <math.h>

#include "scalar.h"
#include "softmax_scalar.h"

/* All keys up to the query's position but its own block's landmark: whole blocks, then the own block's tokens. */
static int64_t visible(const slat_problem *p, int64_t b, int32_t h, slat_point query, slat_point *keys)
{
    const int64_t position = slat_position(p, query.z);
    (void)b, (void)h;
    if (position < 0) return 0;
    const int64_t count = slat_landmark_count(p->landmark_block, position);
    for (int64_t j = 0; j < count; ++j) keys[j] = slat_at(0, 0, j);
    return count;
}

/* How many of the row's keys are in blocks before its own. The own block's part is never empty and never whole. */
static int64_t earlier(const slat_problem *p, const slat_row *row)
{
    return row->count / p->landmark_block * p->landmark_block;
}

/* The own bucket's log-sum. Its logits are gathered in `weight`, which is free until the weights are known. */
static double own_log_sum(const slat_problem *p, slat_row *row)
{
    const int64_t block = p->landmark_block, own = earlier(p, row);
    int64_t n = 0;
    for (int64_t j = block - 1; j < own; j += block) row->weight[n++] = row->logit[j];
    for (int64_t j = own; j < row->count; ++j) row->weight[n++] = row->logit[j];
    return slat_log_sum(row->weight, n, -INFINITY);
}

/* Weights of all keys; a landmark's is its probability P, though no value takes it. */
static void set_weights(const slat_problem *p, slat_row *row)
{
    const int64_t block = p->landmark_block, own = earlier(p, row);
    for (int64_t first = 0; first < own; first += block) {
        const int64_t landmark = first + block - 1;
        const double inner = slat_log_sum(row->logit + first, block - 1, -INFINITY);
        row->weight[landmark] = exp(row->logit[landmark] - row->lse);
        for (int64_t j = first; j < landmark; ++j) row->weight[j] = row->weight[landmark] * exp(row->logit[j] - inner);
    }
    for (int64_t j = own; j < row->count; ++j) row->weight[j] = exp(row->logit[j] - row->lse);
}

static void weigh(const slat_problem *p, slat_row *row)
{
    row->lse = own_log_sum(p, row);
    set_weights(p, row);
}

static void unweigh(const slat_problem *p, slat_row *row)
{
    const int64_t block = p->landmark_block, own = earlier(p, row);
    const double shift = row->grad_lse - row->delta;
    set_weights(p, row);
    for (int64_t first = 0; first < own; first += block) {
        const int64_t landmark = first + block - 1;
        const double inner = slat_log_sum(row->logit + first, block - 1, -INFINITY);
        double mean = 0; /* E_g */
        for (int64_t j = first; j < landmark; ++j) mean += exp(row->logit[j] - inner) * row->score[j];
        for (int64_t j = first; j < landmark; ++j) row->grad_logit[j] = row->weight[j] * (row->score[j] - mean);
        row->grad_logit[landmark] = row->weight[landmark] * (mean + shift);
    }
    for (int64_t j = own; j < row->count; ++j) row->grad_logit[j] = row->weight[j] * (row->score[j] + shift);
}

static const slat_softmax rule = {visible, weigh, unweigh};

slat_status slat_landmark_scalar_forward(const slat_problem *p, const slat_run *run)
{
    return slat_softmax_scalar_forward(p, run, &rule);
}

slat_status slat_landmark_scalar_backward(const slat_problem *p, const slat_run *run)
{
    return slat_softmax_scalar_backward(p, run, &rule);
}
