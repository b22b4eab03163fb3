/* The answers once more, by the plainest sums there are and without the library: what the definition in plain C is held
 * against. Everything is in f64, plain layout; see subject_twin(). */
#ifndef SLAT_TESTS_REFERENCE_H
#define SLAT_TESTS_REFERENCE_H
#include "problem.h"

/* Weights of one row: w[Tk] over v, and the log-sum. Softmax primitives; `logits` [Tk] are scaled. Landmark rows weigh
 * ordinary tokens; own[Tk], where not NULL, receives the probabilities in the own bucket, landmarks included. */
void reference_weights(const problem *p, int64_t b, int64_t h, int64_t i, const double *logits, double *w, double *own,
                       double *lse);

/* Fills o and lse, or o, st and states. */
void reference_forward(problem *twin);

/* Fills the gradients of a softmax primitive or merge from its o and lse. */
void reference_backward(problem *twin);

#endif
