/* The table of problems on every backend and pass, in each type, against the definition in f64.
 *
 * Inputs are rounded to the type first, and the f64 twin gets the rounded values. The twin is computed by the
 * definition (scalar), which in its turn is held against sums that the tests write themselves. Keys that must not be
 * read are NaN; outputs are poisoned, and nothing but their elements may change.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "harness.h"
#include "reference.h"
#include "subject.h"

static const slat_exec on_scalar = {.backend = "scalar"};

typedef struct {
    const case_problem *problem;
    const char *backend;
    tensor_type type;
} row;

static problem *make(const case_problem *c, tensor_type type, layout l)
{
    problem_parameters p = c->p;
    p.type = type;
    return subject_new(&p, l);
}

/* A pass of the twin by the definition. */
static void define(problem *twin, problem_pass pass)
{
    subject_outputs(twin, pass, LAYOUT_PLAIN);
    const slat_status s = subject_call(twin, pass, &on_scalar, "the definition");
    CHECK(s == SLAT_OK, "%s of the twin: %s", problem_pass_name(pass), slat_error());
}

static problem_pass last_pass(const case_problem *c)
{
    return problem_has_pass(c->p.op, PASS_BACKWARD) ? c->p.pass : PASS_FORWARD;
}

/* The definition against the tests' own sums. */
static void definition(const void *argument)
{
    const case_problem *c = argument;
    problem *p = make(c, TENSOR_F64, LAYOUT_PLAIN), *got = subject_twin(p), *want = subject_twin(p);
    for (problem_pass pass = PASS_FORWARD; pass <= last_pass(c); pass++) define(got, pass);
    subject_outputs(want, PASS_FORWARD, LAYOUT_PLAIN);
    reference_forward(want);
    subject_agree(got, want, PASS_FORWARD, "forward");
    if (last_pass(c) == PASS_BACKWARD && c->p.op != OP_LIGHTNING) {
        subject_outputs(want, PASS_BACKWARD, LAYOUT_PLAIN);
        reference_backward(want);
        subject_agree(got, want, PASS_BACKWARD, "backward");
    }
    problem_free(p);
    problem_free(got);
    problem_free(want);
}

/* A pass of p; false where the backend rightly refuses it. */
static bool computes(problem *p, problem_pass pass, const char *backend, const char *what)
{
    const slat_exec exec = {.backend = backend};
    const slat_status s = subject_call(p, pass, &exec, what);
    if (s == SLAT_UNSUPPORTED && subject_may_refuse(backend, p)) return false;
    return CHECK(s == SLAT_OK, "%s: %s, %s", what, slat_status_name(s), slat_error());
}

/* Each gradient alone, the others NULL: the same as together. One type shows it. */
static void single_gradients(problem *p, const problem *expected, const char *backend)
{
    static const problem_role gradients[] = {ROLE_DQ, ROLE_DK, ROLE_DV, ROLE_DSINK, ROLE_DS0, ROLE_DSLOPES};
    enum { GRADIENTS = sizeof gradients / sizeof *gradients };
    for (int32_t alone = 0; alone < GRADIENTS; alone++) {
        if (!p->t[gradients[alone]]) continue;
        tensor *kept[GRADIENTS];
        for (int32_t n = 0; n < GRADIENTS; n++) {
            kept[n] = p->t[gradients[n]];
            if (n != alone) p->t[gradients[n]] = NULL;
        }
        char what[40];
        snprintf(what, sizeof what, "%s alone", SLOT_NAME(gradients[alone]));
        tensor_repoison(kept[alone]);
        if (computes(p, PASS_BACKWARD, backend, what)) subject_agree(p, expected, PASS_BACKWARD, what);
        for (int32_t n = 0; n < GRADIENTS; n++) p->t[gradients[n]] = kept[n];
    }
}

/* Backward reads o and lse as forward wrote them, so the twin gets those of the problem, rounded as they are. */
static void hand_over(problem *expected, const problem *p)
{
    if (p->op == OP_LIGHTNING) return;
    tensor_copy(expected->t[ROLE_O], p->t[ROLE_O]);
    tensor_copy(expected->t[ROLE_LSE], p->t[ROLE_LSE]);
}

static void in_layout(const row *r, layout l, const problem *plain, problem *expected)
{
    problem *p = subject_copy(plain, l);
    char what[80];
    if (problem_is_softmax(p->op)) subject_hide_unread(p);
    snprintf(what, sizeof what, "forward, %s", layout_name(l));
    subject_outputs(p, PASS_FORWARD, l);
    const bool computed = computes(p, PASS_FORWARD, r->backend, what);
    if (computed) {
        if (l == LAYOUT_PLAIN) define(expected, PASS_FORWARD);
        subject_agree(p, expected, PASS_FORWARD, what);
    }
    if (computed && last_pass(r->problem) == PASS_BACKWARD) {
        snprintf(what, sizeof what, "backward, %s", layout_name(l));
        if (l == LAYOUT_PLAIN) {
            hand_over(expected, p);
            define(expected, PASS_BACKWARD);
        }
        subject_outputs(p, PASS_BACKWARD, l);
        if (computes(p, PASS_BACKWARD, r->backend, what)) subject_agree(p, expected, PASS_BACKWARD, what);
        if (l == LAYOUT_PLAIN && r->type == TENSOR_F32) single_gradients(p, expected, r->backend);
    }
    problem_free(p);
}

static void compare(const void *argument)
{
    const row *r = argument;
    problem *plain = make(r->problem, r->type, LAYOUT_PLAIN), *expected = subject_twin(plain);
    in_layout(r, LAYOUT_PLAIN, plain, expected);
    in_layout(r, LAYOUT_PADDED, plain, expected);
    problem_free(plain);
    problem_free(expected);
}

static const tensor_type types[] = {TENSOR_F64, TENSOR_F32, TENSOR_F16, TENSOR_BF16};

int main(int argc, char **argv)
{
    const char *names[SUBJECT_BACKENDS];
    const int32_t backends = subject_all_backends(names);
    static row *rows; /* the harness keeps what points into them to the end */
    rows = malloc(sizeof *rows * 4 * CASE_PROBLEMS * SUBJECT_BACKENDS);
    if (!rows) return 3;
    row *r = rows;
    for (int32_t n = 0; n < CASE_PROBLEMS; n++) {
        const case_problem *c = &case_problems[n];
        if (c->types & CASE_GPU) continue;
        if (!c->types || c->types & CASE_F64) harness_add(definition, c, "%s definition", c->id);
        for (int32_t t = 0; t < 4; t++) {
            if (c->types && !(c->types & 1 << types[t])) continue;
            for (int32_t b = 0; b < backends; b++) {
                *r = (row){c, names[b], types[t]};
                harness_add(compare, r++, "%s %s %s", c->id, names[b], tensor_type_name(types[t]));
            }
        }
    }
    const int result = harness_main("table", argc, argv);
    free(rows);
    return result;
}
