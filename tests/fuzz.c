/* Draws a problem, hands it to the library and judges the answer. */
#include "fuzz.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "reference.h"
#include "subject.h"
#include "tensor_buffer.h"
#include "watch.h"

/* One drawn problem on its way. */
typedef struct {
    problem *p;
    problem_pass pass;
    slat_exec exec;
    layout l;
    int32_t spoiled; /* times */
    bool comparable; /* the answer, where there is one */
    char notes[2][120];
    char *why;
} trial;

__attribute__((format(printf, 2, 3))) static bool wrong(const trial *t, const char *format, ...)
{
    char text[300];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    snprintf(t->why, FUZZ_WHY, "%s %s %s%s%s%s%s: %s", problem_op_name(t->p->op), problem_pass_name(t->pass),
             layout_name(t->l), t->spoiled ? ", spoiled: " : "", t->notes[0], t->spoiled > 1 ? "; " : "", t->notes[1],
             text);
    return false;
}

/* Whether all that the tensor reaches lies in a buffer of the problem. Data that is NULL reaches nothing: the library
 * must see that by itself. */
static bool holds(const problem *p, const tensor *t)
{
    const DLTensor *dl = &t->dl;
    if (!dl->data || !dl->shape) return true;
    double last = (dl->dtype.bits * dl->dtype.lanes + 7) / 8; /* whole bytes */
    const double size = last;
    for (int d = 0; d < dl->ndim; d++) {
        if (dl->shape[d] <= 0) return true;
        last += (double)t->strides[d] * (double)(dl->shape[d] - 1) * size;
        if (t->strides[d] < 0) return true; /* always refused */
    }
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        if (!p->t[slot]) continue;
        const tensor_buffer *b = p->t[slot]->buffer;
        if (b->base + TENSOR_RED_ZONE != (unsigned char *)dl->data) continue;
        return dl->byte_offset <= b->bytes && (double)dl->byte_offset + last <= (double)b->bytes;
    }
    return false;
}

static bool all_held(const problem *p)
{
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        if (p->t[slot] && !holds(p, p->t[slot])) return false;
    }
    return true;
}

/* Whether the twin's inputs are numbers: a spoiled tensor may reach into the poison between the rows of others. The
 * parts of a merge may rightly be none. */
static bool all_finite(const problem *twin, bool parts_too)
{
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        const tensor *t = twin->t[slot];
        if (!t || t->type != TENSOR_F64 || (slot >= ROLE_PART_O && !parts_too)) continue;
        for (int64_t n = tensor_count(t) - 1; n >= 0; n--) {
            if (!isfinite(tensor_get(t, n))) return false;
        }
    }
    return true;
}

static bool agrees(const trial *t, const problem *expected, problem_pass pass)
{
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        const tensor *got = t->p->t[slot], *want = expected->t[slot];
        if (!got || !problem_slot_is_output(t->p, slot, pass)) continue;
        if (!want || !tensor_same_shape(got, want)) continue;
        agree_rule rule = problem_rule(t->p, slot);
        if (rule.type == TENSOR_F64 && got->type == TENSOR_F32) rule.type = TENSOR_F32; /* o beside f64 may be f32 */
        const agree_result r = agree_tensors(rule, got, want);
        if (!agree_ok(r)) {
            return wrong(t, "%s scores %.3g at %lld: got %.9g, expected %.9g", SLOT_NAME(slot), r.score,
                         (long long)r.where, r.got, r.expected);
        }
    }
    return true;
}

/* What a backward pass of the twin reads of the problem's forward. */
static void hand_over(problem *twin, const problem *p)
{
    static const problem_role roles[] = {ROLE_O, ROLE_LSE, ROLE_STATES};
    for (size_t n = 0; n < 3; n++) {
        if (twin->t[roles[n]] && p->t[roles[n]]) tensor_copy(twin->t[roles[n]], p->t[roles[n]]);
    }
}

/* The definition in f64, and now and then the tests' own sums too. */
static bool judge(const trial *t, problem *twin, bool own_sums)
{
    const slat_exec on_scalar = {.backend = "scalar"};
    subject_outputs(twin, PASS_FORWARD, LAYOUT_PLAIN);
    if (t->pass == PASS_BACKWARD) {
        hand_over(twin, t->p);
        subject_outputs(twin, PASS_BACKWARD, LAYOUT_PLAIN);
    }
    const slat_status s = problem_call(twin, t->pass, &on_scalar);
    if (s != SLAT_OK) return wrong(t, "SLAT_OK, but the twin is refused: %s", slat_error());
    if (!agrees(t, twin, t->pass)) return false;
    if (!own_sums || (t->pass == PASS_BACKWARD && t->p->op == OP_LIGHTNING)) return true;
    if (t->p->op == OP_LIGHTNING_STEP) subject_outputs(twin, PASS_FORWARD, LAYOUT_PLAIN);
    if (t->pass == PASS_FORWARD)
        reference_forward(twin);
    else
        reference_backward(twin);
    return agrees(t, twin, t->pass);
}

/* The call itself, watched. */
static bool called(trial *t, slat_status *status)
{
    tensor *written[PROBLEM_SLOTS] = {NULL};
    sentence why = {""};
    watch *w = watch_begin(t->p->t, PROBLEM_SLOTS);
    if (!w) abort();
    *status = problem_call(t->p, t->pass, &t->exec);
    for (int slot = 0; slot < PROBLEM_SLOTS && *status == SLAT_OK; slot++) {
        if (t->p->t[slot] && problem_slot_is_output(t->p, slot, t->pass)) written[slot] = t->p->t[slot];
    }
    const bool unchanged = watch_unchanged(w, written, PROBLEM_SLOTS, &why);
    watch_free(w);
    if (!unchanged) return wrong(t, "%s, but %s", slat_status_name(*status), why.text);
    if (*status < SLAT_OK || *status > SLAT_NO_MEMORY) return wrong(t, "status %d", (int)*status);
    if (*status != SLAT_OK && strlen(slat_error()) < 8)
        return wrong(t, "%s without a sentence", slat_status_name(*status));
    return true;
}

/* A tensor whose data is another's cannot be held against a twin, and is no error where both are read. */
static bool is_aliased(const problem *p)
{
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        const tensor *t = p->t[slot];
        if (t && t->dl.data != t->buffer->base + TENSOR_RED_ZONE) return true;
    }
    return false;
}

static bool run(fuzz_source *s, trial *t, fuzz_count *count)
{
    slat_plan plan = {0};
    slat_exec asking = t->exec;
    asking.plan = &plan;
    const slat_status planned = problem_call(t->p, t->pass, &asking);
    /* Memory that is not there may be read before a backend is sought, but not where an argument is refused. */
    if (planned != SLAT_INVALID && !all_held(t->p)) return count->planned++, true;
    tensor *st = t->p->t[ROLE_ST], *s0 = t->p->t[ROLE_S0]; /* the twin of a step begins where the step does */
    if (t->p->op == OP_LIGHTNING_STEP && planned == SLAT_OK && st->dl.data && st->dl.shape &&
        tensor_same_shape(st, s0)) {
        tensor_copy(s0, st);
    }
    const bool may_refuse = t->exec.backend && subject_may_refuse(t->exec.backend, t->p);
    slat_status status;
    if (!called(t, &status)) return false;
    if (planned != SLAT_OK && status == SLAT_OK)
        return wrong(t, "planned %s, called SLAT_OK", slat_status_name(planned));
    if (status != SLAT_OK) {
        if (t->spoiled || (may_refuse && status == SLAT_UNSUPPORTED)) return count->refused++, true;
        return wrong(t, "%s: %s", slat_status_name(status), slat_error());
    }
    if (is_aliased(t->p) || !t->comparable) return true;
    sentence why = {""};
    if (t->spoiled && !problem_settle(t->p, &why)) return wrong(t, "SLAT_OK, but %s", why.text);
    problem *twin = subject_twin(t->p);
    const bool compared = all_finite(twin, t->spoiled);
    const bool right = !compared || judge(t, twin, t->p->extents.type == TENSOR_F64 && fuzz_chance(s, 50));
    problem_free(twin);
    harness_release();
    count->right += compared && right;
    return right;
}

/* Leaves out optional tensors now and then. */
static void leave_out(fuzz_source *s, problem *p, problem_pass pass)
{
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        const problem_role role = problem_slot_role(slot);
        const bool gradient = pass == PASS_BACKWARD && problem_slot_is_output(p, slot, PASS_BACKWARD);
        const bool optional =
            gradient || (pass == PASS_FORWARD && (role == ROLE_LSE || role == ROLE_ST || role == ROLE_STATES));
        if (!p->t[slot] || !optional || p->op == OP_LIGHTNING_STEP || !fuzz_chance(s, 15)) continue;
        tensor_free(p->t[slot]);
        p->t[slot] = NULL;
    }
}

/* Makes everything ready for the call. *done: it ends here, for the forward before a backward was refused. */
static bool prepare(fuzz_source *s, trial *t, fuzz_count *count, bool *done)
{
    const bool spoils = fuzz_chance(s, 50);
    *done = false;
    subject_outputs(t->p, PASS_FORWARD, t->l);
    if (spoils && fuzz_chance(s, 60)) t->comparable = fuzz_spoil_values(s, t->p, &t->exec, t->notes[t->spoiled++]);
    if (t->pass == PASS_BACKWARD) {
        t->pass = PASS_FORWARD;
        slat_status status;
        if (!called(t, &status)) return false;
        t->pass = PASS_BACKWARD;
        if (status != SLAT_OK) {
            *done = true;
            count->refused++;
            return t->spoiled ||
                   (status == SLAT_UNSUPPORTED && t->exec.backend && subject_may_refuse(t->exec.backend, t->p)) ||
                   wrong(t, "forward: %s", slat_error());
        }
        subject_outputs(t->p, PASS_BACKWARD, t->l);
    }
    leave_out(s, t->p, t->pass);
    if (!spoils || (t->spoiled && fuzz_chance(s, 80))) return true;
    fuzz_spoil_tensor(s, t->p, t->notes[t->spoiled++]);
    t->comparable &= t->pass == PASS_FORWARD; /* backward no longer reads what forward read and wrote */
    return true;
}

bool fuzz_one(fuzz_source *s, const char *backend, fuzz_count *count, char why[FUZZ_WHY])
{
    const problem_parameters parameters = fuzz_parameters(s);
    trial t = {.comparable = true, .pass = parameters.pass, .l = (layout)fuzz_below(s, LAYOUTS), .why = why};
    t.exec.backend = backend;
    t.exec.threads = (int32_t)fuzz_below(s, 4);
    t.exec.deterministic = (int32_t)fuzz_below(s, 3) - 1;
    t.p = subject_new(&parameters, t.l);
    bool done;
    const bool right = prepare(s, &t, count, &done) && (done || run(s, &t, count));
    problem_free(t.p);
    return right;
}
