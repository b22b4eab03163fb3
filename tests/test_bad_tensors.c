/* Tensors that are refused: every tensor of every primitive and pass, spoiled in each way that a DLTensor can be. Each
 * time the status, a sentence that names the argument and the values, and no byte written.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "harness.h"
#include "subject.h"

typedef struct {
    problem_op op;
    problem_pass pass;
} which;

static bool is_index(int slot)
{
    switch (problem_slot_role(slot)) {
    case ROLE_INDPTR:
    case ROLE_INDICES:
    case ROLE_BITMAP_OF:
    case ROLE_BITMAPS:
    case ROLE_T_INDPTR:
    case ROLE_T_INDICES:
    case ROLE_T_ENTRY:
    case ROLE_OFFSETS:
    case ROLE_SLOT:
        return true;
    default:
        return false;
    }
}

/* lse, sink, slopes and their gradients take any last stride. */
static bool any_last_stride(int slot)
{
    switch (problem_slot_role(slot)) {
    case ROLE_LSE:
    case ROLE_DLSE:
    case ROLE_SINK:
    case ROLE_DSINK:
    case ROLE_SLOPES:
    case ROLE_DSLOPES:
    case ROLE_PART_LSE:
    case ROLE_PART_DLSE:
        return true;
    default:
        return false;
    }
}

static bool is_output(const call *c, int slot)
{
    return problem_slot_is_output(c->p, slot, c->pass);
}

/* Spoils the tensor of a slot; returns false where this spoiling does not apply. `words` gets up to three words that
 * the sentence must hold beside (or, where alone is set, instead of) the argument's name. */
typedef struct {
    int slot, dimension;
    bool alone;
    char words[3][24];
} spot;

typedef bool spoiling(call *c, tensor *t, spot *s);

static void say(spot *s, int n, int64_t value)
{
    snprintf(s->words[n], sizeof s->words[n], "%lld", (long long)value);
}

static bool wrong_type(call *c, tensor *t, spot *s)
{
    (void)c;
    t->dl.dtype = (DLDataType){kDLInt, 64, 1};
    strcpy(s->words[0], "i64");
    return true;
}

static bool two_lanes(call *c, tensor *t, spot *s)
{
    (void)c;
    t->dl.dtype.lanes = 2;
    strcpy(s->words[0], "x2");
    return true;
}

static bool other_device(call *c, tensor *t, spot *s)
{
    (void)c;
    t->dl.device = (DLDevice){kDLCUDA, 3};
    strcpy(s->words[0], "device");
    s->alone = true; /* the first tensor names the device, the next one is held against it */
    return true;
}

/* A merge takes any rank from o[0]: the sentence is about what no longer fits. */
static void say_rank(spot *s, int rank)
{
    s->alone = problem_slot_role(s->slot) == ROLE_PART_O;
    if (s->alone) return;
    say(s, 0, rank);
    strcpy(s->words[1], "rank");
}

static bool rank_less(call *c, tensor *t, spot *s)
{
    (void)c;
    say_rank(s, --t->dl.ndim);
    return true;
}

static bool rank_more(call *c, tensor *t, spot *s)
{
    (void)c;
    t->shape[t->dl.ndim] = t->strides[t->dl.ndim] = 1;
    say_rank(s, ++t->dl.ndim);
    return true;
}

static bool no_shape(call *c, tensor *t, spot *s)
{
    (void)c;
    (void)s;
    t->dl.shape = NULL;
    return true;
}

static bool no_data(call *c, tensor *t, spot *s)
{
    (void)c;
    t->dl.data = NULL;
    strcpy(s->words[0], "NULL");
    return true;
}

static bool misaligned(call *c, tensor *t, spot *s)
{
    (void)c;
    (void)s;
    t->dl.byte_offset += 1;
    return tensor_type_size(t->type) > 1;
}

static bool far_offset(call *c, tensor *t, spot *s)
{
    (void)c;
    (void)s;
    t->dl.byte_offset = UINT64_MAX - 15;
    return true;
}

/* The slots of the states' and bitmaps' first dimension are counted by themselves. */
static bool extent_more(call *c, tensor *t, spot *s)
{
    const problem_role role = problem_slot_role(s->slot);
    if (s->dimension == 0 && (role == ROLE_BITMAPS || (role == ROLE_ST && c->p->op == OP_LIGHTNING_STEP))) return false;
    say(s, 0, ++t->shape[s->dimension]);
    if (is_index(s->slot)) t->dl.strides = NULL;
    s->alone = true; /* the sentence may be about the tensor that it does not fit */
    return true;
}

static bool extent_negative(call *c, tensor *t, spot *s)
{
    (void)c;
    t->shape[s->dimension] = -3;
    say(s, 0, -3);
    return true;
}

static bool extent_huge(call *c, tensor *t, spot *s)
{
    (void)c;
    t->shape[s->dimension] = INT64_MAX / 2;
    s->alone = true;
    return true;
}

static bool stride_negative(call *c, tensor *t, spot *s)
{
    (void)c;
    say(s, 0, t->strides[s->dimension] = -t->strides[s->dimension]);
    return t->shape[s->dimension] > 1;
}

static bool stride_huge(call *c, tensor *t, spot *s)
{
    (void)c;
    t->strides[s->dimension] = INT64_MAX / 2;
    say(s, 0, INT64_MAX / 2);
    return t->shape[s->dimension] > 1;
}

static bool stride_zero(call *c, tensor *t, spot *s)
{
    t->strides[s->dimension] = 0;
    say(s, 0, 0);
    const bool last = s->dimension == t->dl.ndim - 1;
    return t->shape[s->dimension] > 1 &&
           (is_output(c, s->slot) || is_index(s->slot) || (last && !any_last_stride(s->slot)));
}

static bool stride_two(call *c, tensor *t, spot *s)
{
    (void)c;
    t->strides[s->dimension] *= 2;
    say(s, 0, t->strides[s->dimension]);
    const bool last = s->dimension == t->dl.ndim - 1;
    return t->shape[s->dimension] > 1 && (is_index(s->slot) || (last && !any_last_stride(s->slot)));
}

/* Rows that reach into one another. */
static bool shared_elements(call *c, tensor *t, spot *s)
{
    const int last = t->dl.ndim - 1;
    if (!is_output(c, s->slot) || s->dimension == last || t->shape[last] < 2 || t->shape[s->dimension] < 2)
        return false;
    t->strides[s->dimension] = t->strides[last];
    return true;
}

static const struct {
    const char *name;
    spoiling *spoil;
    bool each_dimension;
} spoilings[] = {
    {"wrong type", wrong_type, false},
    {"two lanes", two_lanes, false},
    {"another device", other_device, false},
    {"a rank less", rank_less, false},
    {"a rank more", rank_more, false},
    {"no shape", no_shape, false},
    {"no data", no_data, false},
    {"misaligned data", misaligned, false},
    {"an offset that wraps", far_offset, false},
    {"an extent more", extent_more, true},
    {"a negative extent", extent_negative, true},
    {"a huge extent", extent_huge, true},
    {"a negative stride", stride_negative, true},
    {"a huge stride", stride_huge, true},
    {"a stride of 0", stride_zero, true},
    {"a doubled stride", stride_two, true},
    {"shared elements", shared_elements, true},
};
enum { SPOILINGS = sizeof spoilings / sizeof *spoilings };

static void spoil_once(const which *w, int32_t n, int slot, int dimension)
{
    call *c = call_new(w->op, w->pass, LAYOUT_PLAIN);
    spot s = {.slot = slot, .dimension = dimension};
    tensor *t = c->p->t[slot];
    const int64_t shape = t->shape[dimension], stride = t->strides[dimension];
    const DLTensor dl = t->dl;
    if (spoilings[n].spoil(c, t, &s)) {
        char name[24], what[80];
        call_argument(c, slot, name);
        snprintf(what, sizeof what, "%s: %s in dimension %d", name, spoilings[n].name, dimension);
        const char *words[5] = {NULL};
        int32_t count = 0;
        if (!s.alone) words[count++] = name;
        for (int32_t i = 0; i < 3; i++) {
            if (*s.words[i]) words[count++] = s.words[i];
        }
        call_refused(c, SLAT_INVALID, words, what);
    }
    t->dl = dl;
    t->shape[dimension] = shape;
    t->strides[dimension] = stride;
    call_free(c);
}

static void spoil(const void *argument)
{
    const which *w = argument;
    call *c = call_new(w->op, w->pass, LAYOUT_PLAIN);
    call_accepted(c, "unspoiled");
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        if (!call_takes(c, slot)) continue;
        for (int32_t n = 0; n < SPOILINGS; n++) {
            const int dimensions = spoilings[n].each_dimension ? c->p->t[slot]->dl.ndim : 1;
            for (int d = 0; d < dimensions; d++) spoil_once(w, n, slot, d);
        }
    }
    call_free(c);
}

/* Where an output may lie on an input: lightning's st on s0, a merge's result on its first part. */
static bool may_share(const call *c, int output, int other)
{
    if (c->p->op == OP_LIGHTNING && c->pass == PASS_FORWARD) return output == ROLE_ST && other == ROLE_S0;
    if (c->p->op != OP_MERGE || c->pass == PASS_BACKWARD) return false;
    return (output == ROLE_O && other == problem_part(ROLE_PART_O, 0)) ||
           (output == ROLE_LSE && other == problem_part(ROLE_PART_LSE, 0));
}

/* Every output laid on every other tensor, from its beginning and from its last element. */
static void overlap(const void *argument)
{
    const which *w = argument;
    call *c = call_new(w->op, w->pass, LAYOUT_PLAIN);
    for (int output = 0; output < PROBLEM_SLOTS; output++) {
        if (!call_takes(c, output) || !is_output(c, output)) continue;
        for (int other = 0; other < PROBLEM_SLOTS; other++) {
            if (other == output || !call_takes(c, other)) continue;
            DLTensor *dl = &c->p->t[output]->dl;
            const DLTensor kept = *dl;
            const tensor *under = c->p->t[other];
            char name[24], under_name[24], what[80];
            call_argument(c, output, name);
            call_argument(c, other, under_name);
            snprintf(what, sizeof what, "%s on %s", name, under_name);
            const int64_t under_bytes = tensor_count(under) * (int64_t)tensor_type_size(under->type);
            const bool inside = tensor_count(c->p->t[output]) * dl->dtype.bits / 8 <= under_bytes;
            const char *const words[] = {"memory", name, inside ? under_name : NULL, NULL};
            dl->data = under->dl.data;
            if (may_share(c, output, other))
                call_accepted(c, what);
            else
                call_refused(c, SLAT_INVALID, words, what);
            dl->data = (char *)under->dl.data + (under_bytes - 1) / 8 * 8;
            const char *const at_the_end[] = {"memory", name, NULL}; /* it reaches into whatever lies behind, too */
            call_refused(c, SLAT_INVALID, at_the_end, what);
            *dl = kept;
        }
    }
    call_free(c);
}

/* Slices of one buffer that share no element are no overlap; the answers are those of separate buffers. */
static void interleaved(const void *argument)
{
    const which *w = argument;
    call *plain = call_new(w->op, w->pass, LAYOUT_PLAIN), *slices = call_new(w->op, w->pass, LAYOUT_INTERLEAVED);
    call_accepted(plain, "plain");
    call_accepted(slices, "interleaved");
    subject_agree(slices->p, plain->p, w->pass, "interleaved");
    call_free(plain);
    call_free(slices);
}

/* Pinned host memory is the CPU's, and any device number of it. */
static void pinned(const void *argument)
{
    const which *w = argument;
    call *c = call_new(w->op, w->pass, LAYOUT_PLAIN);
    for (int slot = 0; slot < PROBLEM_SLOTS; slot += 2) {
        if (c->p->t[slot]) c->p->t[slot]->dl.device = (DLDevice){kDLCUDAHost, 1};
    }
    call_accepted(c, "half of the tensors in pinned memory");
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        if (c->p->t[slot]) c->p->t[slot]->dl.device = (DLDevice){kDLMetal, 0};
    }
    call_refused(c, SLAT_UNSUPPORTED, NULL, "a device type without a backend");
    call_free(c);
}

int main(int argc, char **argv)
{
    static which calls[OP_COUNT * PASS_COUNT];
    for (int32_t n = 0; call_number(n, &calls[n].op, &calls[n].pass); n++) {
        const char *op = problem_op_name(calls[n].op), *pass = problem_pass_name(calls[n].pass);
        harness_add(spoil, &calls[n], "%s %s: each tensor spoiled", op, pass);
        harness_add(overlap, &calls[n], "%s %s: outputs on other tensors", op, pass);
        harness_add(interleaved, &calls[n], "%s %s: interleaved slices", op, pass);
        harness_add(pinned, &calls[n], "%s %s: devices", op, pass);
    }
    return harness_main("bad tensors", argc, argv);
}
