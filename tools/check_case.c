/* The replay of one case: a copy in each layout, watched calls, answers held against the expected ones. */
#include "check_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "watch.h"

/* A buffer of a replay may take BUFFER_LIMIT bytes and BUFFER_FACTOR times the file: widened answers, workspace and
 * interleaved rows stay far below. */
enum { BUFFER_LIMIT = 256 << 20, BUFFER_FACTOR = 16 };

/* A case under replay. */
typedef struct {
    const check_options *options;
    const problem *given; /* as loaded */
    const memory *memory;
    tensor *expected[PROBLEM_SLOTS];
    check_result *result;
    layout kind;
} replay;

/* The memory for a call's workspace: one block, kept until the call's results were read. */
typedef struct {
    const memory *memory;
    void *data;
} workspace;

static void *allocate(void *context, size_t bytes)
{
    workspace *w = context;
    w->memory->release(w->memory, w->data);
    return w->data = w->memory->allocate(w->memory, bytes);
}

/* Memory that ends: a file must not make this program ask for much more than the file itself holds. */
typedef struct {
    const memory *inner;
    size_t most; /* bytes of one buffer */
} bounds;

static void *bounded_allocate(const memory *m, size_t bytes)
{
    const bounds *b = m->context;
    return bytes <= b->most ? b->inner->allocate(b->inner, bytes) : NULL;
}

static void bounded_release(const memory *m, void *data)
{
    const bounds *b = m->context;
    b->inner->release(b->inner, data);
}

static bool bounded_upload(const memory *m, void *to, const void *from, size_t bytes)
{
    const bounds *b = m->context;
    return b->inner->upload(b->inner, to, from, bytes);
}

static bool bounded_repeat(const memory *m, void *data, size_t period, size_t bytes)
{
    const bounds *b = m->context;
    return b->inner->repeat(b->inner, data, period, bytes);
}

static bool bounded_download(const memory *m, void *to, const void *from, size_t bytes)
{
    const bounds *b = m->context;
    return b->inner->download(b->inner, to, from, bytes);
}

static void fail(replay *r, const char *what)
{
    char name[64] = "";
    if (r->options->layouts) snprintf(name, sizeof name, "%s: ", layout_name(r->kind));
    if (r->result->outcome != CHECK_FAILED) sentence_fail(&r->result->detail, "%s%s", name, what);
    r->result->outcome = CHECK_FAILED;
}

/* Every row of the tensors that kernels read in wide words, and every step between rows, is a multiple of 16 bytes. */
static bool rows_are_wide(const problem *p)
{
    for (int slot = ROLE_Q; slot <= ROLE_DV; slot++) {
        const tensor *t = p->t[slot];
        if (!t || slot == ROLE_LSE || slot == ROLE_DLSE) continue;
        const int64_t size = (int64_t)tensor_type_size(t->type);
        if (tensor_row_length(t) * size % 16 || t->dl.byte_offset % 16) return false;
        for (int i = 0; i + 1 < t->dl.ndim; i++)
            if (t->shape[i] != 1 && t->strides[i] * size % 16) return false;
    }
    return true;
}

/* What a forced backend may leave to others. */
static bool may_refuse(const replay *r, const problem *p)
{
    const char *backend = r->options->allowance;
    if (!backend) return false;
    if (p->extents.type == TENSOR_F64) return strcmp(backend, "scalar") != 0;
    if (!strcmp(backend, "amx"))
        return p->extents.type != TENSOR_BF16 || (p->op != OP_BLOCK_SPARSE && p->op != OP_SHARDED) ||
               p->extents.o_type != TENSOR_BF16 || p->extents.tq[0] * (p->extents.hq / p->extents.hk) <= 16;
    return !strcmp(backend, "cuda-sm90") && (p->extents.type == TENSOR_F32 || !rows_are_wide(p));
}

static void compare(replay *r, const problem *p, int slot)
{
    const agree_result agreed = agree_tensors(problem_rule(r->given, slot), p->t[slot], r->expected[slot]);
    char name[PROBLEM_NAME], text[256];
    problem_slot_name(slot, name);
    if (!r->result->answer[0] || agreed.score > r->result->score) {
        r->result->score = agreed.score;
        r->result->kind = r->kind;
        memcpy(r->result->answer, name, sizeof name);
    }
    if (agree_ok(agreed)) return;
    if (agreed.where < 0)
        snprintf(text, sizeof text, "%s: rms of the error %.3g, limit %.3g", name, agreed.got, agreed.expected);
    else {
        int64_t number = agreed.where, index[TENSOR_DIMS];
        size_t used = (size_t)snprintf(text, sizeof text, "%s[", name);
        for (int i = p->t[slot]->dl.ndim - 1; i >= 0; i--) {
            index[i] = number % p->t[slot]->shape[i];
            number /= p->t[slot]->shape[i];
        }
        for (int i = 0; i < p->t[slot]->dl.ndim; i++)
            used += (size_t)snprintf(text + used, sizeof text - used, i ? ", %lld" : "%lld", (long long)index[i]);
        snprintf(text + used, sizeof text - used, "] is %.9g, expected %.9g (%.3g of the limit)", agreed.got,
                 agreed.expected, agreed.score);
    }
    fail(r, text);
}

/* Outputs that the case has an answer for, and those that the library asks for. */
static bool make_outputs(const replay *r, problem *p, problem_pass pass)
{
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        if (!problem_slot_is_output(p, slot, pass)) continue;
        const bool needed = slot == ROLE_O || slot == ROLE_LSE || (slot == ROLE_ST && p->op == OP_LIGHTNING_STEP);
        if ((needed || r->expected[slot]) && !problem_allocate(p, slot, r->kind)) return false;
    }
    return problem_reset(p, pass);
}

static void name_kernels(replay *r, const slat_plan *plan, problem_pass pass)
{
    char *text = r->result->kernels;
    const size_t used = strlen(text), size = sizeof r->result->kernels;
    if (r->kind != LAYOUT_PLAIN) return;
    if (pass == PASS_FORWARD)
        snprintf(text, size, "%s: %s", plan->backend, plan->kernel ? plan->kernel : plan->backend);
    else
        snprintf(text + used, size - used, ", %s", plan->kernel ? plan->kernel : plan->backend);
}

/* Plans, then computes; the two must answer alike. */
static slat_status call(replay *r, const problem *p, problem_pass pass, workspace *w)
{
    slat_plan plan = {0};
    slat_exec exec = {.backend = r->options->backend, .threads = r->options->threads, .plan = &plan};
    const slat_status planned = problem_call(p, pass, &exec);
    exec.plan = NULL;
    if (!memory_on_host(p->memory)) {
        exec.allocate = allocate;
        exec.allocator = w;
    }
    const slat_status status = problem_call(p, pass, &exec);
    if (planned == SLAT_OK) name_kernels(r, &plan, pass);
    if (planned == status || (planned != SLAT_OK && status != SLAT_OK)) return status;
    char text[160];
    snprintf(text, sizeof text, "%s: the plan answers %s, the call %s", problem_pass_name(pass),
             slat_status_name(planned), slat_status_name(status));
    fail(r, text);
    return status;
}

/* False ends the case in this layout: failed or skipped. */
static bool run_pass(replay *r, problem *p, problem_pass pass)
{
    tensor *written[PROBLEM_SLOTS] = {0};
    workspace w = {p->memory, NULL};
    sentence why;
    if (!make_outputs(r, p, pass)) {
        fail(r, "no memory for the outputs");
        return false;
    }
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++)
        if (problem_slot_is_output(p, slot, pass)) written[slot] = p->t[slot];
    watch *before = watch_begin(p->t, PROBLEM_SLOTS);
    const slat_status status = before ? call(r, p, pass, &w) : SLAT_NO_MEMORY;
    const bool refused = status != SLAT_OK;
    if (before && !watch_unchanged(before, written, refused ? 0 : PROBLEM_SLOTS, &why)) fail(r, why.text);
    watch_free(before);
    if (status == SLAT_UNSUPPORTED && r->result->outcome != CHECK_FAILED && may_refuse(r, p)) {
        r->result->skipped++;
        sentence_fail(&r->result->detail, "%s", slat_error());
    } else if (refused) {
        char text[400];
        snprintf(text, sizeof text, "%s: %s: %.300s", problem_pass_name(pass), slat_status_name(status),
                 before ? slat_error() : "");
        fail(r, text);
    }
    for (int slot = 0; !refused && slot < PROBLEM_SLOTS; slot++)
        if (written[slot] && r->expected[slot]) compare(r, p, slot);
    p->memory->release(p->memory, w.data);
    return !refused;
}

static void run_layout(replay *r)
{
    problem *p = problem_copy(r->given, r->kind, r->memory, NULL);
    if (!p)
        fail(r, "no memory for the inputs");
    else if (run_pass(r, p, PASS_FORWARD) && r->given->pass == PASS_BACKWARD)
        run_pass(r, p, PASS_BACKWARD);
    problem_free(p);
}

static bool is_answer(const problem *p, int slot)
{
    return problem_slot_is_output(p, slot, PASS_FORWARD) ||
           (p->pass == PASS_BACKWARD && problem_slot_is_output(p, slot, PASS_BACKWARD));
}

/* An expectation must have the shape of its answer; every one in the file must belong to an answer. */
static bool load_expected(replay *r, const safetensors *file, sentence *why)
{
    const problem *p = r->given;
    int found = 0, in_file = 0, gradients = 0;
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        tensor right = {0};
        sentence detail;
        char name[PROBLEM_NAME];
        if (!is_answer(p, slot) || !problem_slot_shape(p, slot, &right.type, &right.dl.ndim, right.shape)) continue;
        r->expected[slot] = problem_expected(file, slot, &detail);
        if (!r->expected[slot] && detail.text[0]) return sentence_fail(why, "%s", detail.text);
        if (!r->expected[slot]) continue;
        found++;
        gradients += !problem_slot_is_output(p, slot, PASS_FORWARD);
        if (!tensor_same_shape(r->expected[slot], &right))
            return sentence_fail(why, "%s: expect.%s has not the shape of its answer", file->path,
                                 problem_slot_name(slot, name));
    }
    for (int i = 0; i < file->count; i++) in_file += !strncmp(file->entries[i].name, "expect.", 7);
    if (found != in_file)
        return sentence_fail(why, "%s: an expect tensor belongs to no answer of this case", file->path);
    if (!r->expected[ROLE_O] || (p->pass == PASS_BACKWARD && !gradients))
        return sentence_fail(why, "%s: no expected %s", file->path, r->expected[ROLE_O] ? "gradient" : "o");
    return true;
}

bool check_case(const safetensors *file, const check_options *options, check_result *result, sentence *why)
{
    *result = (check_result){.outcome = CHECK_PASSED};
    problem *p = problem_load(file, why);
    if (!p) return false;
    bounds b = {options->memory, BUFFER_LIMIT};
    for (int i = 0; i < file->count; i++)
        b.most += BUFFER_FACTOR * (size_t)(file->entries[i].end - file->entries[i].begin);
    const memory bounded = {options->memory->device, &b, bounded_allocate, bounded_release, bounded_upload,
                            bounded_download, bounded_repeat};
    replay r = {.options = options, .given = p, .memory = &bounded, .result = result};
    const bool whole = load_expected(&r, file, why);
    const int layouts = options->layouts ? LAYOUTS : 1;
    for (int kind = 0; whole && kind < layouts; kind++) {
        r.kind = (layout)kind;
        run_layout(&r);
    }
    if (result->outcome == CHECK_PASSED && result->skipped == layouts) result->outcome = CHECK_SKIPPED;
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) tensor_free(r.expected[slot]);
    problem_free(p);
    return whole;
}
