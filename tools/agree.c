/* The limits of each type, and errors as multiples of them. */
#include "agree.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    double output, gradient, lse, head; /* x of the table, and y of dslopes and dsink */
} limits;

static limits limits_of(tensor_type type)
{
    switch (type) {
    case TENSOR_F64:
        return (limits){1e-12, 1e-11, 1e-12, 1e-9};
    case TENSOR_F32:
        return (limits){1e-5, 3e-5, 1e-5, 1e-4};
    case TENSOR_F16:
        return (limits){1e-3, 2e-3, 1e-4, 1e-2};
    default:
        return (limits){5e-3, 1e-2, 1e-4, 3e-2};
    }
}

double agree_rms(const double *values, int64_t count)
{
    double sum = 0;
    int64_t finite = 0;
    for (int64_t i = 0; i < count; i++)
        if (isfinite(values[i])) {
            sum += values[i] * values[i];
            finite++;
        }
    return finite ? sqrt(sum / (double)finite) : 0;
}

/* An error as a multiple of its limit: nothing is within a limit of 0 but 0. */
static double multiple(double error, double limit)
{
    if (error == 0) return 0;
    return limit > 0 ? error / limit : (double)INFINITY;
}

static void keep_worst(agree_result *worst, double score, int64_t where, double got, double expected)
{
    if (score > worst->score) *worst = (agree_result){score, where, got, expected};
}

/* True where both are finite; else they must be the same infinity. */
static bool both_finite(agree_result *worst, int64_t i, double got, double expected)
{
    if (isfinite(got) && isfinite(expected)) return true;
    if (!(got == expected)) keep_worst(worst, (double)INFINITY, i, got, expected);
    return false;
}

static agree_result compare_rows(double x, double floor, const double *got, const double *expected, int64_t count,
                                 int64_t row)
{
    agree_result worst = {0, -1, 0, 0};
    const double whole = fmax(agree_rms(expected, count), floor);
    double squares = 0;
    int64_t finite = 0;
    for (int64_t first = 0; first < count; first += row) {
        const double limit = 12 * x * fmax(agree_rms(expected + first, row), whole);
        for (int64_t i = first; i < first + row; i++) {
            if (!both_finite(&worst, i, got[i], expected[i])) continue;
            const double error = fabs(got[i] - expected[i]);
            keep_worst(&worst, multiple(error, limit), i, got[i], expected[i]);
            squares += error * error;
            finite++;
        }
    }
    const double rms = finite ? sqrt(squares / (double)finite) : 0;
    keep_worst(&worst, multiple(rms, x * whole), -1, rms, x * whole);
    return worst;
}

static agree_result compare_each(agree_rule rule, const double *got, const double *expected, int64_t count)
{
    agree_result worst = {0, -1, 0, 0};
    const limits x = limits_of(rule.type);
    double largest = 0;
    for (int64_t i = 0; i < count; i++)
        if (isfinite(expected[i])) largest = fmax(largest, fabs(expected[i]));
    for (int64_t i = 0; i < count; i++) {
        if (!both_finite(&worst, i, got[i], expected[i])) continue;
        double limit = x.lse * fmax(1, fabs(expected[i]));
        if (rule.kind == AGREE_DSLOPES) limit = x.head * fabs(expected[i]) + 1e-5 * largest;
        if (rule.kind == AGREE_DSINK) limit = (x.head + 1e-5) * largest;
        keep_worst(&worst, multiple(fabs(got[i] - expected[i]), limit), i, got[i], expected[i]);
    }
    return worst;
}

agree_result agree_values(agree_rule rule, const double *got, const double *expected, int64_t count, int64_t row)
{
    const limits x = limits_of(rule.type);
    if (rule.kind == AGREE_OUTPUT) return compare_rows(x.output, rule.floor, got, expected, count, row);
    if (rule.kind == AGREE_GRADIENT) return compare_rows(x.gradient, rule.floor, got, expected, count, row);
    return compare_each(rule, got, expected, count);
}

agree_result agree_tensors(agree_rule rule, const tensor *got, const tensor *expected)
{
    agree_result result = {(double)INFINITY, -1, 0, 0};
    double *a = tensor_values(got), *b = tensor_values(expected);
    if (a && b && tensor_same_shape(got, expected))
        result = agree_values(rule, a, b, tensor_count(got), tensor_row_length(got));
    free(a);
    free(b);
    return result;
}
