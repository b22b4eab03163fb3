/* A call of the library with everything in reach. */
#include "call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "subject.h"
#include "watch.h"

static const problem_parameters bases[OP_COUNT] = {
    [OP_BLOCK_SPARSE] =
        {.op = OP_BLOCK_SPARSE,
         .type = TENSOR_F32,
         .b = 2,
         .tq = {20},
         .tk = {28},
         .hq = 4,
         .hk = 2,
         .d = 8,
         .dv = 16,
         .sink = true,
         .dlse = true,
         .block_sparse =
             {.block_q = 8, .block_k = 8, .density = 1, .batches = 2, .heads = 4, .bitmaps = .5, .transposed = true}},
    [OP_NEIGHBORHOOD] = {.op = OP_NEIGHBORHOOD,
                         .type = TENSOR_F32,
                         .ndim = 2,
                         .b = 2,
                         .tq = {3, 4},
                         .tk = {6, 7},
                         .hq = 4,
                         .hk = 2,
                         .d = 8,
                         .dv = 16,
                         .sink = true,
                         .dlse = true,
                         .neighborhood = {.window = {3, 2}, .stride = {2, 1}, .dilation = {2, 3}, .q_start = {3, 2}}},
    [OP_SHARDED] = {.op = OP_SHARDED,
                    .type = TENSOR_F32,
                    .b = 2,
                    .tq = {20},
                    .tk = {28},
                    .hq = 4,
                    .hk = 2,
                    .d = 8,
                    .dv = 16,
                    .sink = true,
                    .dlse = true,
                    .sharded = {.block = 4, .local_blocks = 2, .stride = 3}},
    [OP_LANDMARK] = {.op = OP_LANDMARK,
                     .type = TENSOR_F32,
                     .b = 2,
                     .tq = {20},
                     .tk = {28},
                     .hq = 4,
                     .hk = 2,
                     .d = 8,
                     .dv = 16,
                     .dlse = true,
                     .landmark = {4}},
    [OP_LIGHTNING] = {.op = OP_LIGHTNING,
                      .type = TENSOR_F32,
                      .b = 2,
                      .tq = {20},
                      .hq = 4,
                      .d = 8,
                      .dv = 16,
                      .lightning = {.s0 = true, .dst = true, .states_every = 8}},
    [OP_LIGHTNING_STEP] = {.op = OP_LIGHTNING_STEP,
                           .type = TENSOR_F32,
                           .b = 3,
                           .tq = {1},
                           .hq = 4,
                           .d = 8,
                           .dv = 16,
                           .lightning = {.s0 = true, .slots = 5}},
    [OP_MERGE] =
        {.op = OP_MERGE, .type = TENSOR_F32, .b = 2, .tq = {6}, .hq = 3, .d = 8, .dlse = true, .merge = {.parts = 3}},
};

static void fill_merge(call *c)
{
    const problem *p = c->p;
    for (int32_t a = 0; a < p->parts; a++) {
        c->merge_o[a] = tensor_dl(p->t[problem_part(ROLE_PART_O, a)]);
        c->merge_lse[a] = tensor_dl(p->t[problem_part(ROLE_PART_LSE, a)]);
        c->merge_grad_o[a] = tensor_dl(p->t[problem_part(ROLE_PART_DO, a)]);
        c->merge_grad_lse[a] = tensor_dl(p->t[problem_part(ROLE_PART_DLSE, a)]);
    }
    c->merge_arrays[0] = c->merge_o;
    c->merge_arrays[1] = c->merge_lse;
    c->merge_out = tensor_dl(p->t[ROLE_O]);
    c->merge_out_lse = tensor_dl(p->t[ROLE_LSE]);
    c->merge_grad_out = tensor_dl(p->t[ROLE_DO]);
    c->merge_parts = p->parts;
}

call *call_new(problem_op op, problem_pass pass, layout l)
{
    problem_parameters parameters = bases[op];
    parameters.pass = pass;
    call *c = calloc(1, sizeof *c);
    if (!c) abort();
    c->p = subject_new(&parameters, l);
    c->pass = pass;
    subject_outputs(c->p, PASS_FORWARD, l);
    if (pass == PASS_BACKWARD) {
        CHECK(problem_call(c->p, PASS_FORWARD, NULL) == SLAT_OK, "%s", slat_error());
        subject_outputs(c->p, PASS_BACKWARD, l);
    }
    if (problem_is_softmax(op)) c->attention = problem_attention(c->p, pass);
    if (op == OP_BLOCK_SPARSE) c->block_sparse = problem_block_sparse(c->p);
    if (op == OP_NEIGHBORHOOD) c->neighborhood = c->p->neighborhood;
    if (op == OP_SHARDED) c->sharded = problem_sharded(c->p);
    if (op == OP_LANDMARK) c->landmark = c->p->landmark;
    if (op == OP_LIGHTNING || op == OP_LIGHTNING_STEP) c->lightning = problem_lightning(c->p, pass);
    if (op == OP_MERGE) fill_merge(c);
    return c;
}

void call_free(call *c)
{
    problem_free(c->p);
    free(c);
}

static slat_status run_merge(const call *c)
{
    if (c->pass == PASS_FORWARD) {
        return slat_merge_forward(&c->exec, c->merge_parts, c->merge_arrays[0], c->merge_arrays[1], c->merge_out,
                                  c->merge_out_lse);
    }
    return slat_merge_backward(&c->exec, c->merge_parts, c->merge_arrays[0], c->merge_arrays[1], c->merge_out,
                               c->merge_out_lse, c->merge_grad_out, tensor_dl(c->p->t[ROLE_DLSE]), c->merge_grad_o,
                               c->merge_grad_lse);
}

slat_status call_run(const call *c)
{
    const slat_attention *t = c->no_tensors ? NULL : &c->attention;
    const slat_lightning *l = c->no_tensors ? NULL : &c->lightning;
    const bool forward = c->pass == PASS_FORWARD, none = c->no_descriptor;
    switch (c->p->op) {
    case OP_BLOCK_SPARSE:
        return (forward ? slat_block_sparse_forward : slat_block_sparse_backward)(&c->exec,
                                                                                  none ? NULL : &c->block_sparse, t);
    case OP_NEIGHBORHOOD:
        return (forward ? slat_neighborhood_forward : slat_neighborhood_backward)(&c->exec,
                                                                                  none ? NULL : &c->neighborhood, t);
    case OP_SHARDED:
        return (forward ? slat_sharded_forward : slat_sharded_backward)(&c->exec, none ? NULL : &c->sharded, t);
    case OP_LANDMARK:
        return (forward ? slat_landmark_forward : slat_landmark_backward)(&c->exec, none ? NULL : &c->landmark, t);
    case OP_LIGHTNING:
        return (forward ? slat_lightning_forward : slat_lightning_backward)(&c->exec, l);
    case OP_LIGHTNING_STEP:
        return slat_lightning_step(&c->exec, l);
    default:
        return run_merge(c);
    }
}

void call_refused(const call *c, slat_status status, const char *const *words, const char *what)
{
    sentence why = {""};
    watch *w = watch_begin(c->p->t, PROBLEM_SLOTS);
    if (!w) abort();
    const slat_status got = call_run(c);
    CHECK(got == status, "%s: %s (%s), expected %s", what, slat_status_name(got), got ? slat_error() : "",
          slat_status_name(status));
    for (int32_t n = 0; got == status && words && words[n]; n++) {
        CHECK(strstr(slat_error(), words[n]), "%s: \"%s\" lacks \"%s\"", what, slat_error(), words[n]);
    }
    CHECK(watch_unchanged(w, NULL, 0, &why), "%s: refused, but %s", what, why.text);
    watch_free(w);
}

void call_accepted(const call *c, const char *what)
{
    const slat_status got = call_run(c);
    CHECK(got == SLAT_OK, "%s: %s, %s", what, slat_status_name(got), slat_error());
}

bool call_takes(const call *c, int slot)
{
    const problem_op op = c->p->op;
    const problem_role role = problem_slot_role(slot);
    if (!c->p->t[slot]) return false;
    if (op == OP_LIGHTNING_STEP) return role != ROLE_S0;
    const bool gradient =
        problem_slot_is_output(c->p, slot, PASS_BACKWARD) || role == ROLE_DO || role == ROLE_DLSE || role == ROLE_DST;
    if (c->pass == PASS_FORWARD) return !gradient;
    return op != OP_LIGHTNING || (role != ROLE_O && role != ROLE_ST);
}

const char *call_argument(const call *c, int slot, char name[24])
{
    static const struct {
        problem_role role;
        const char *name, *in_merge;
    } renamed[] = {
        {ROLE_DO, "grad_o", "grad_out"},   {ROLE_DLSE, "grad_lse", "grad_out_lse"},
        {ROLE_DQ, "grad_q", ""},           {ROLE_DK, "grad_k", ""},
        {ROLE_DV, "grad_v", ""},           {ROLE_DSINK, "grad_sink", ""},
        {ROLE_DST, "grad_st", ""},         {ROLE_DS0, "grad_s0", ""},
        {ROLE_DSLOPES, "grad_slopes", ""}, {ROLE_O, "o", "out"},
        {ROLE_LSE, "lse", "out_lse"},
    };
    static const char *const of_part[] = {"o", "lse", "grad_o", "grad_lse"};
    const problem_role role = problem_slot_role(slot);
    if (slot >= ROLE_PART_O) {
        snprintf(name, 24, "%s[%d]", of_part[role - ROLE_PART_O], (slot - ROLE_PART_O) / 4);
        return name;
    }
    snprintf(name, 24, "%s", SLOT_NAME(slot));
    for (size_t n = 0; n < sizeof renamed / sizeof *renamed; n++) {
        if (renamed[n].role == role)
            snprintf(name, 24, "%s", c->p->op == OP_MERGE ? renamed[n].in_merge : renamed[n].name);
    }
    return name;
}

bool call_number(int32_t n, problem_op *op, problem_pass *pass)
{
    for (int32_t o = 0; o < OP_COUNT; o++) {
        for (int32_t s = 0; s < PASS_COUNT; s++) {
            if (!problem_has_pass((problem_op)o, (problem_pass)s) || n-- > 0) continue;
            *op = (problem_op)o;
            *pass = (problem_pass)s;
            return true;
        }
    }
    return false;
}
