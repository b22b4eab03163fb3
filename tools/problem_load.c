/* Problems from case files. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "problem.h"

/* Metadata as numbers. A parameter that is absent is 0; one that cannot be read sets `ok` to false. */
typedef struct {
    const safetensors *file;
    sentence *why;
    bool ok;
} parameters;

/* Comma-separated whole numbers; returns how many there are. */
static int integers(parameters *x, const char *key, int64_t low, int64_t high, int most, int64_t *values)
{
    const char *text = safetensors_meta(x->file, key);
    int count = 0;
    while (text && x->ok) {
        char *end;
        errno = 0;
        const long long value = strtoll(text, &end, 10);
        if (end == text || errno || value < low || value > high || count == most || (*end && *end != ',')) {
            x->ok = sentence_fail(x->why, "%s: parameter %s cannot be read: %.60s", x->file->path, key,
                                  safetensors_meta(x->file, key));
            return 0;
        }
        values[count++] = value;
        text = *end ? end + 1 : NULL;
    }
    return count;
}

static int32_t integer(parameters *x, const char *key)
{
    int64_t value = 0;
    integers(x, key, INT32_MIN, INT32_MAX, 1, &value);
    return (int32_t)value;
}

static double real(parameters *x, const char *key)
{
    const char *text = safetensors_meta(x->file, key);
    char *end = NULL;
    if (!text) return 0;
    const double value = strtod(text, &end);
    if (end != text && !*end && isfinite(value)) return value;
    x->ok = sentence_fail(x->why, "%s: parameter %s cannot be read: %.60s", x->file->path, key, text);
    return 0;
}

static void narrow(parameters *x, const char *key, int32_t values[3], int ndim)
{
    int64_t wide[3] = {0};
    const int count = integers(x, key, INT32_MIN, INT32_MAX, 3, wide);
    if (x->ok && count && count != ndim)
        x->ok =
            sentence_fail(x->why, "%s: parameter %s has %d numbers, window has %d", x->file->path, key, count, ndim);
    for (int i = 0; i < 3; i++) values[i] = (int32_t)wide[i];
}

static void load_neighborhood(parameters *x, slat_neighborhood *n)
{
    int64_t window[3] = {0};
    n->ndim = integers(x, "window", INT32_MIN, INT32_MAX, 3, window);
    narrow(x, "window", n->window, n->ndim);
    narrow(x, "stride", n->stride, n->ndim);
    narrow(x, "dilation", n->dilation, n->ndim);
    narrow(x, "causal", n->causal, n->ndim);
    const int starts = integers(x, "q_start", INT64_MIN, INT64_MAX, 3, n->q_start);
    if (x->ok && starts && starts != n->ndim)
        x->ok = sentence_fail(x->why, "%s: parameter q_start has %d numbers, window has %d", x->file->path, starts,
                              n->ndim);
}

static bool load_parameters(problem *p, const safetensors *file, sentence *why)
{
    parameters x = {file, why, true};
    p->scale = real(&x, "scale");
    switch (p->op) {
    case OP_BLOCK_SPARSE:
        p->block_sparse.block_q = integer(&x, "block_q");
        p->block_sparse.block_k = integer(&x, "block_k");
        p->block_sparse.causal = integer(&x, "causal");
        break;
    case OP_NEIGHBORHOOD:
        load_neighborhood(&x, &p->neighborhood);
        break;
    case OP_SHARDED:
        p->sharded.block = integer(&x, "block");
        p->sharded.local_blocks = integer(&x, "local_blocks");
        p->sharded.stride = integer(&x, "stride");
        break;
    case OP_LANDMARK:
        p->landmark.block = integer(&x, "block");
        break;
    case OP_MERGE:
        p->parts = integer(&x, "parts");
        break;
    default:
        p->states_every = integer(&x, "states_every");
        break;
    }
    return x.ok;
}

/* A case file may not carry what a run makes itself. */
static bool is_input(const problem *p, int slot)
{
    return !problem_slot_is_output(p, slot, PASS_FORWARD) && !problem_slot_is_output(p, slot, PASS_BACKWARD);
}

static bool load_tensors(problem *p, const safetensors *file, sentence *why)
{
    char name[PROBLEM_NAME];
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        if (slot >= ROLE_PART_O && p->op != OP_MERGE) break;
        const safetensors_entry *entry = safetensors_find(file, problem_slot_name(slot, name));
        if (!entry || !is_input(p, slot)) continue;
        if (!(p->t[slot] = safetensors_read(file, entry, why))) return false;
    }
    return true;
}

static bool settle(problem *p, const safetensors *file, sentence *why)
{
    sentence detail;
    if (problem_settle(p, &detail)) return true;
    return sentence_fail(why, "%s: %s", file->path, detail.text);
}

static bool is_case(const safetensors *file, problem_op *op, problem_pass *pass, sentence *why)
{
    const char *version = safetensors_meta(file, "slat_case"), *name = safetensors_meta(file, "op");
    const char *which = safetensors_meta(file, "pass");
    if (!version || strcmp(version, "1"))
        return sentence_fail(why, "%s: no case file: __metadata__ has no slat_case = 1", file->path);
    if (!name || !problem_op_from_name(name, op))
        return sentence_fail(why, "%s: op is %.40s, which is no primitive", file->path, name ? name : "missing");
    if (!which || (strcmp(which, "forward") && strcmp(which, "backward")))
        return sentence_fail(why, "%s: pass is %.40s, but should be forward or backward", file->path,
                             which ? which : "missing");
    *pass = strcmp(which, "forward") ? PASS_BACKWARD : PASS_FORWARD;
    if (problem_has_pass(*op, *pass)) return true;
    return sentence_fail(why, "%s: %s has no %s pass", file->path, name, which);
}

problem *problem_load(const safetensors *file, sentence *why)
{
    problem_op op = OP_COUNT;
    problem_pass pass = PASS_FORWARD;
    if (!is_case(file, &op, &pass, why)) return NULL;
    problem *p = problem_create(op, memory_host());
    if (!p) {
        sentence_fail(why, "%s: out of memory", file->path);
        return NULL;
    }
    p->pass = pass;
    if (load_parameters(p, file, why) && load_tensors(p, file, why) && settle(p, file, why)) {
        if (pass == PASS_FORWARD || p->t[ROLE_DO]) return p;
        sentence_fail(why, "%s: a backward case without the tensor do", file->path);
    }
    problem_free(p);
    return NULL;
}

tensor *problem_expected(const safetensors *file, int slot, sentence *why)
{
    char name[PROBLEM_NAME], full[PROBLEM_NAME + 8] = "expect.";
    strcat(full, problem_slot_name(slot, name));
    const safetensors_entry *entry = safetensors_find(file, full);
    if (why) why->text[0] = '\0';
    return entry ? safetensors_read(file, entry, why) : NULL;
}
