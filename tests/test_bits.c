/* The same bits from run to run and for any number of threads: every forward, and every backward that says so or is
 * asked to be. On every backend of this machine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "harness.h"
#include "subject.h"

/* From the table: many and few heads, grouped heads, decode, ragged ends; one key head over more than 1024 keys, whose
 * backward two workers may share; landmark's blocks that come in several steps; sweeps that are cut in time. */
static const char *const chosen[] = {
    "dense-one-head", "na1d-one-head", "s2-one-head", "lm-one-head", "bs-far-keys", "lm-257-prefix", "lm-700-decode",
    "bs-8",    "bs-ragged",   "bs-wide-key-blocks", "bs-bitmaps", "bs-d128",   "bs-decode", "dense",     "dense-decode",
    "na1d",    "na1d-causal", "na1d-decode",        "na2d",       "na3d",      "s2",        "s2-prefix", "s2-decode",
    "lm-tail", "lm-prefix",   "lm-decode",          "la",         "la-states", "la-d128",   "step",      "step-slots",
    "la-long", "la-long-states", "merge-2", "merge-5",
};

typedef struct {
    const case_problem *problem;
    const char *backend;
    tensor_type type;
} row;

static bool run_all(problem *p, const slat_exec *exec)
{
    for (problem_pass pass = PASS_FORWARD; pass <= p->pass; pass++) {
        subject_outputs(p, pass, LAYOUT_PLAIN);
        if (exec->deterministic) { /* and once without dslopes, whose sweep is so long that others need no cutting */
            tensor_free(p->t[ROLE_DSLOPES]);
            p->t[ROLE_DSLOPES] = NULL;
        }
        const slat_status s = problem_call(p, pass, exec);
        if (s == SLAT_UNSUPPORTED && subject_may_refuse(exec->backend, p)) return false;
        if (!CHECK(s == SLAT_OK, "%s, %d threads: %s", problem_pass_name(pass), exec->threads, slat_error()))
            return false;
    }
    return true;
}

static bool repeats(problem *p, const slat_exec *exec)
{
    slat_plan plan = {0};
    slat_exec asking = *exec;
    asking.plan = &plan;
    CHECK(problem_call(p, p->pass, &asking) == SLAT_OK, "%s", slat_error());
    return plan.deterministic == 1;
}

static void same_bits(const void *argument)
{
    const row *r = argument;
    static const int32_t threads[] = {1, 1, 2, 3, 4, 7, 16};
    problem_parameters parameters = r->problem->p;
    parameters.type = r->type;
    if (!problem_has_pass(parameters.op, PASS_BACKWARD)) parameters.pass = PASS_FORWARD;
    problem *first = subject_new(&parameters, LAYOUT_PLAIN), *again = subject_copy(first, LAYOUT_PLAIN);
    for (int32_t wish = 0; wish < 2; wish++) {
        slat_exec exec = {.backend = r->backend, .threads = 1, .deterministic = wish};
        if (!run_all(first, &exec)) break;
        const bool backward = repeats(first, &exec);
        if (wish == 1) CHECK(backward, "deterministic is required, but the plan says no");
        for (size_t n = 0; n < sizeof threads / sizeof *threads; n++) {
            exec.threads = threads[n];
            if (!run_all(again, &exec)) break;
            CHECK(subject_same(again, first, PASS_FORWARD), "forward, %d threads: other bits than with 1",
                  exec.threads);
            if (backward && first->pass == PASS_BACKWARD) {
                CHECK(subject_same(again, first, PASS_BACKWARD),
                      "backward, %d threads, deterministic %d: other bits than with 1", exec.threads, wish);
            }
        }
    }
    problem_free(first);
    problem_free(again);
}

int main(int argc, char **argv)
{
    static const tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16};
    enum { CHOSEN = sizeof chosen / sizeof *chosen };
    static row rows[CHOSEN * 3 * SUBJECT_BACKENDS];
    const char *names[SUBJECT_BACKENDS];
    const int32_t backends = subject_all_backends(names);
    row *r = rows;
    for (size_t n = 0; n < CHOSEN; n++) {
        const case_problem *c = case_problems;
        while (c < case_problems + CASE_PROBLEMS && strcmp(c->id, chosen[n]) != 0) c++;
        if (c == case_problems + CASE_PROBLEMS)
            return printf("the table has no %s\n0 passed, 1 failed\n", chosen[n]), 1;
        for (int32_t b = 0; b < backends; b++) {
            for (int32_t t = 0; t < 3; t++) {
                if (!strcmp(names[b], "scalar") && types[t] != TENSOR_F32) continue; /* its sums know no types */
                *r = (row){c, names[b], types[t]};
                harness_add(same_bits, r++, "%s %s %s", c->id, names[b], tensor_type_name(types[t]));
            }
        }
    }
    return harness_main("bits", argc, argv);
}
