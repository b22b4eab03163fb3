/* Answers held against dense attention's, and time. */
#include "compare.h"
#include "stopwatch.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CALLS = 15 };
static const double enough = 0.5; /* seconds of calls */

bool compare_read(const problem *p, compare_answer *a)
{
    const problem_extents *e = &p->extents;
    *a = (compare_answer){.rows = e->b * e->tq[0], .heads = e->hq, .width = e->dv};
    a->o = tensor_values(p->t[ROLE_O]);
    if (p->t[ROLE_LSE]) a->lse = tensor_values(p->t[ROLE_LSE]);
    return a->o && (a->lse || !p->t[ROLE_LSE]);
}

void compare_answer_free(compare_answer *a)
{
    free(a->o);
    free(a->lse);
    a->o = a->lse = NULL;
}

double compare_error(const compare_answer *a, const compare_answer *right, bool scaled)
{
    double difference = 0, whole = 0;
    for (int64_t h = 0; h < a->heads; h++) {
        double dot = 0, square = 0, factor = 1;
        for (int64_t n = 0; scaled && n < a->rows * a->width; n++) {
            const int64_t at = (n / a->width * a->heads + h) * a->width + n % a->width;
            dot += a->o[at] * right->o[at];
            square += a->o[at] * a->o[at];
        }
        if (scaled && square > 0) factor = dot / square;
        for (int64_t n = 0; n < a->rows * a->width; n++) {
            const int64_t at = (n / a->width * a->heads + h) * a->width + n % a->width;
            const double off = factor * a->o[at] - right->o[at];
            difference += off * off;
            whole += right->o[at] * right->o[at];
        }
    }
    return sqrt(difference / whole);
}

double compare_mass(const compare_answer *a, const compare_answer *right)
{
    double sum = 0;
    for (int64_t n = 0; n < a->rows * a->heads; n++) sum += exp(a->lse[n] - right->lse[n]);
    return sum / (double)(a->rows * a->heads);
}

static slat_status call(const problem *p, const problem *rest, const slat_exec *exec)
{
    slat_status status = problem_call(p, PASS_FORWARD, exec);
    if (status != SLAT_OK || !rest) return status;
    status = problem_call(rest, PASS_FORWARD, exec);
    if (status != SLAT_OK) return status;
    DLTensor *out = tensor_dl(p->t[ROLE_O]), *lse = tensor_dl(p->t[ROLE_LSE]);
    const DLTensor *outs[] = {out, tensor_dl(rest->t[ROLE_O])}, *lses[] = {lse, tensor_dl(rest->t[ROLE_LSE])};
    return slat_merge_forward(exec, 2, outs, lses, out, lse);
}

/* `count` calls, and on a device the wait for them: what a call takes. */
static slat_status measure(const problem *p, const problem *rest, const slat_exec *exec, int count, double *seconds)
{
    const double start = stopwatch_now();
    for (int n = 0; n < count; n++) {
        const slat_status status = call(p, rest, exec);
        if (status != SLAT_OK) return status;
    }
    if (!memory_on_host(p->memory)) tensor_get(p->t[ROLE_O], 0);
    *seconds = (stopwatch_now() - start) / count;
    return SLAT_OK;
}

slat_status compare_time(const problem *p, const problem *rest, const slat_exec *exec, double *seconds)
{
    const int count = memory_on_host(p->memory) ? 1 : 20; /* a wait takes long beside a kernel */
    double spent = 0;
    for (int n = -1; n < MOST_CALLS && spent < enough; n++) {
        double took;
        const slat_status status = measure(p, rest, exec, n < 0 ? 1 : count, &took);
        if (status != SLAT_OK) return status;
        if (n < 0 && took > enough) {
            *seconds = took;
            return SLAT_OK;
        }
        if (n < 0) continue;
        if (n == 0 || took < *seconds) *seconds = took;
        spent += took * count;
    }
    return SLAT_OK;
}

tensor *compare_repeat_heads(const tensor *t, int64_t heads)
{
    const int64_t key_heads = t->shape[2], width = t->shape[3], rows = t->shape[0] * t->shape[1];
    const int64_t shape[4] = {t->shape[0], t->shape[1], heads, width};
    tensor *repeated = tensor_new(memory_host(), t->type, 4, shape);
    double *from = tensor_values(t), *to = malloc((size_t)(rows * heads * width) * sizeof *to);
    bool fine = repeated && from && to;
    for (int64_t n = 0; fine && n < rows * heads; n++)
        memcpy(to + n * width, from + (n / heads * key_heads + n % heads * key_heads / heads) * width,
               (size_t)width * sizeof *to);
    fine = fine && tensor_write(repeated, to);
    free(from);
    free(to);
    if (fine) return repeated;
    tensor_free(repeated);
    return NULL;
}
