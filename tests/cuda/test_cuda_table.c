/* The table of problems on every backend of the GPU: each type, pass and layout against the definition in f64, which
 * gets the rounded inputs. Keys that must not be read are NaN, outputs and workspace are poisoned, nothing but the
 * outputs may change. Then masks, exactly: with q = 0, lse is the log of the number of visible keys. And lightning with
 * the steepest slope over every number of tokens around one and two chunks.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "gpu.h"
#include "harness.h"
#include "reference.h"
#include "subject.h"

typedef struct {
    const case_problem *problem;
    const char *backend;
    tensor_type type;
    int32_t number; /* turns brief rows through layouts and gradients */
} row;

static const slat_exec on_scalar = {.backend = "scalar"};

static void define(problem *twin, problem_pass pass)
{
    subject_outputs(twin, pass, LAYOUT_PLAIN);
    CHECK(problem_call(twin, pass, &on_scalar) == SLAT_OK, "%s of the twin: %s", problem_pass_name(pass), slat_error());
}

/* Problems of many tiles are there for the fast backends, which have to take them. */
static bool has_to_serve(const row *r, layout l)
{
    return l == LAYOUT_PLAIN && r->problem && r->problem->types & CASE_GPU;
}

static bool computes(const row *r, problem *p, problem_pass pass, layout l, const char *what)
{
    gpu_room room = {0};
    const slat_exec exec = gpu_exec(&room, r->backend, NULL);
    const slat_status s = subject_call(p, pass, &exec, what);
    const bool right = gpu_room_end(&room);
    if (s == SLAT_UNSUPPORTED && !gpu_is_general(r->backend) && !has_to_serve(r, l)) return false;
    return CHECK(s == SLAT_OK, "%s: %s, %s", what, slat_status_name(s), slat_error()) &&
           CHECK(right, "%s: the device failed, or the call wrote behind its workspace", what);
}

/* Each gradient alone, the others NULL. */
static void single_gradients(const row *r, problem *p, layout l, const problem *expected)
{
    static const problem_role gradients[] = {ROLE_DQ, ROLE_DK, ROLE_DV, ROLE_DSINK, ROLE_DS0, ROLE_DSLOPES};
    enum { GRADIENTS = sizeof gradients / sizeof *gradients };
    for (int alone = 0; alone < GRADIENTS; alone++) {
        if (!p->t[gradients[alone]] || (gpu_brief() && alone != r->number % GRADIENTS)) continue;
        tensor *kept[GRADIENTS];
        for (int n = 0; n < GRADIENTS; n++) {
            kept[n] = p->t[gradients[n]];
            if (n != alone) p->t[gradients[n]] = NULL;
        }
        tensor_repoison(kept[alone]);
        if (computes(r, p, PASS_BACKWARD, l, SLOT_NAME(gradients[alone])))
            subject_agree(p, expected, PASS_BACKWARD, SLOT_NAME(gradients[alone]));
        for (int n = 0; n < GRADIENTS; n++) p->t[gradients[n]] = kept[n];
    }
}

/* The first layout's answers are what the definition's backward reads, and single gradients are asked for there. */
static void in_layout(const row *r, layout l, bool first, const problem *given, problem *expected)
{
    const problem_pass last = given->pass;
    problem *p = gpu_problem(given, last, l);
    if (computes(r, p, PASS_FORWARD, l, layout_name(l))) {
        if (first) define(expected, PASS_FORWARD);
        subject_agree(p, expected, PASS_FORWARD, layout_name(l));
        if (last == PASS_BACKWARD) {
            if (first && p->op != OP_LIGHTNING) { /* backward reads o and lse as forward wrote them */
                tensor_copy(expected->t[ROLE_O], p->t[ROLE_O]);
                tensor_copy(expected->t[ROLE_LSE], p->t[ROLE_LSE]);
            }
            if (first) define(expected, PASS_BACKWARD);
            if (computes(r, p, PASS_BACKWARD, l, layout_name(l)))
                subject_agree(p, expected, PASS_BACKWARD, layout_name(l));
            if (first) single_gradients(r, p, l, expected);
        }
    }
    problem_free(p);
}

static void compare(const void *argument)
{
    const row *r = argument;
    problem *given = gpu_host_problem(&r->problem->p, r->type), *expected = subject_twin(given);
    if (problem_is_softmax(given->op)) subject_hide_unread(given);
    const int from = gpu_brief() ? r->number % LAYOUTS : 0, end = gpu_brief() ? from + 1 : LAYOUTS;
    for (int l = from; l < end; l++) in_layout(r, (layout)l, l == from, given, expected);
    problem_free(given);
    problem_free(expected);
}

/* A decay of e^-30 a token is below what f16 holds: weights must not be rounded before they meet. */
static void steep_tails(const void *argument)
{
    const row *r = argument;
    const int step = gpu_brief() > 1 ? 43 : gpu_brief() ? 13 : 1;
    for (int tokens = 1; tokens <= 130; tokens += step) {
        const problem_parameters parameters = {.op = OP_LIGHTNING,
                                               .pass = PASS_BACKWARD,
                                               .b = 1,
                                               .tq = {tokens},
                                               .hq = 2,
                                               .d = 64,
                                               .seed = (uint64_t)tokens,
                                               .lightning = {.slope = 30, .s0 = true, .dst = true}};
        problem *given = gpu_host_problem(&parameters, r->type), *expected = subject_twin(given);
        const row one = {.backend = r->backend, .type = r->type, .number = tokens};
        in_layout(&one, (layout)(tokens % LAYOUTS), true, given, expected);
        problem_free(given);
        problem_free(expected);
        if (!CHECK(!harness_failures(), "with %d tokens", tokens)) return;
    }
}

/* The log of the number of keys that a row sees (landmark: of its own bucket). */
static double log_count(const problem *p, const seen_mask *m, int64_t b, int64_t h, int64_t i, double *w)
{
    double lse;
    for (int64_t j = 0; j < m->tk; j++) w[j] = 0;
    reference_weights(p, b, h, i, w, w + m->tk, w + 2 * m->tk, &lse);
    double count = 0;
    for (int64_t j = 0; j < m->tk; j++) count += m->landmark ? w[2 * m->tk + j] > 0 : seen(m, b, h, i, j);
    return log(count);
}

static void exact_mask(const void *argument)
{
    const row *r = argument;
    problem_parameters parameters = r->problem->p;
    parameters.sink = parameters.dlse = false;
    problem *given = gpu_host_problem(&parameters, r->type);
    tensor_fill(given->t[ROLE_Q], 0);
    subject_descriptors storage;
    const seen_mask m = subject_mask(given, &storage);
    problem *p = gpu_problem(given, PASS_FORWARD, LAYOUT_PLAIN);
    if (computes(r, p, PASS_FORWARD, LAYOUT_PLAIN, "forward")) {
        double *w = harness_memory((3 * m.tk + 1) * (int64_t)sizeof *w), *lse = tensor_values(p->t[ROLE_LSE]);
        const int64_t rows = given->extents.b * m.tq * m.hq;
        for (int64_t n = 0; n < rows; n++) {
            const double want = log_count(given, &m, n / m.hq / m.tq, n % m.hq, n / m.hq % m.tq, w);
            CHECK(lse[n] == want || fabs(lse[n] - want) <= 1e-5, "lse[%lld]: %.9g, expected %.9g", (long long)n, lse[n],
                  want);
        }
        free(lse);
    }
    problem_free(p);
    problem_free(given);
}

static const tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16};

static bool has_type(const case_problem *c, int type)
{
    return !c->types || c->types & 1 << types[type];
}

/* Whether it is this type's turn, where each problem takes one. */
static bool has_turn(const case_problem *c, int type)
{
    int first = (int)((c - case_problems) % 3);
    while (!has_type(c, first)) first = (first + 1) % 3;
    return first == type;
}

int main(int argc, char **argv)
{
    static row rows[3 * (CASE_PROBLEMS + 1) * GPU_BACKENDS];
    const char *names[GPU_BACKENDS];
    gpu_begin("cuda_table");
    const int32_t backends = gpu_backends(names);
    row *r = rows;
    for (int n = 0; n < 3 * CASE_PROBLEMS; n++) {
        const case_problem *c = &case_problems[n / 3];
        if (!has_type(c, n % 3) || (gpu_brief() > 1 && !has_turn(c, n % 3))) continue;
        for (int32_t b = 0; b < backends; b++) {
            const bool general = gpu_is_general(names[b]);
            if (!general && !(c->types & CASE_GPU) && !gpu_serves(names[b], &c->p, types[n % 3])) continue;
            if (general && c->types & CASE_GPU && gpu_brief() > 1) continue; /* smaller ones reach the same kernels */
            *r = (row){c, names[b], types[n % 3], (int32_t)(r - rows)};
            harness_add(compare, r, "%s %s %s", c->id, names[b], tensor_type_name(r->type));
            if (problem_is_softmax(c->p.op) && gpu_brief() < 2)
                harness_add(exact_mask, r, "mask %s %s %s", c->id, names[b], tensor_type_name(r->type));
            r++;
        }
    }
    for (int n = 0; n < 3 * backends; n++) {
        const char *name = names[n / 3];
        if (!gpu_is_general(name) && types[n % 3] == TENSOR_F32) continue;
        *r = (row){.backend = name, .type = types[n % 3]};
        harness_add(steep_tails, r++, "la-steep-tails %s %s", name, tensor_type_name(types[n % 3]));
    }
    return harness_main("cuda_table", argc, argv);
}
