/* The rule of agreement: how far a result may be from the expected one.
 *
 * Every answer is finite exactly where the expected one is, -inf matches -inf. Beyond that a kind of answer has its
 * limits, which depend on the type of the inputs (f64, f32, f16, bf16). A score is the error as a multiple of its
 * limit: up to 1 agrees, infinity means that finiteness differs or that an expected 0 was not met.
 */
#ifndef TOOLS_AGREE_H
#define TOOLS_AGREE_H
#include <stdbool.h>
#include <stdint.h>

#include "tensor.h"

typedef enum {
    AGREE_OUTPUT,   /* o, st, states: rms(err) <= x max(rms(expected), floor), |err| <= 12 x max(rms(row), ...) */
    AGREE_LSE,      /* |err| <= x max(1, |lse|) */
    AGREE_GRADIENT, /* as AGREE_OUTPUT, with the gradients' x */
    AGREE_DSLOPES,  /* |err_h| <= y |expected_h| + 1e-5 max |expected| */
    AGREE_DSINK     /* |err_h| <= (y + 1e-5) max |expected| */
} agree_kind;

typedef struct {
    agree_kind kind;
    tensor_type type; /* of the inputs */
    double floor;     /* AGREE_OUTPUT, AGREE_GRADIENT; see problem_rule() */
} agree_rule;

typedef struct {
    double score;         /* worst multiple of a limit; 0: equal */
    int64_t where;        /* logical number of the element with the worst score; -1: it was the rms of all */
    double got, expected; /* there; rms(err) and its limit where `where` is -1 */
} agree_result;

/* Root mean square over the finite elements; 0 when there are none. */
double agree_rms(const double *values, int64_t count);

/* Rows are `row` elements long. */
agree_result agree_values(agree_rule, const double *got, const double *expected, int64_t count, int64_t row);
/* Two tensors of one shape; rows run along the last dimension. Score is infinity where memory fails. */
agree_result agree_tensors(agree_rule, const tensor *got, const tensor *expected);

static inline bool agree_ok(agree_result result)
{
    return result.score <= 1;
}

#endif
