/* Problems as the library's arguments. */
#include "problem.h"

slat_attention problem_attention(const problem *p, problem_pass pass)
{
    slat_attention a = {0};
    a.q = tensor_dl(p->t[ROLE_Q]);
    a.k = tensor_dl(p->t[ROLE_K]);
    a.v = tensor_dl(p->t[ROLE_V]);
    a.o = tensor_dl(p->t[ROLE_O]);
    a.lse = tensor_dl(p->t[ROLE_LSE]);
    a.scale = p->scale;
    a.sink = tensor_dl(p->t[ROLE_SINK]);
    if (pass == PASS_FORWARD) return a;
    a.grad_o = tensor_dl(p->t[ROLE_DO]);
    a.grad_lse = tensor_dl(p->t[ROLE_DLSE]);
    a.grad_q = tensor_dl(p->t[ROLE_DQ]);
    a.grad_k = tensor_dl(p->t[ROLE_DK]);
    a.grad_v = tensor_dl(p->t[ROLE_DV]);
    a.grad_sink = tensor_dl(p->t[ROLE_DSINK]);
    return a;
}

slat_block_sparse problem_block_sparse(const problem *p)
{
    slat_block_sparse d = p->block_sparse;
    d.indptr = tensor_dl(p->t[ROLE_INDPTR]);
    d.indices = tensor_dl(p->t[ROLE_INDICES]);
    d.bitmap_of = tensor_dl(p->t[ROLE_BITMAP_OF]);
    d.bitmaps = tensor_dl(p->t[ROLE_BITMAPS]);
    d.t_indptr = tensor_dl(p->t[ROLE_T_INDPTR]);
    d.t_indices = tensor_dl(p->t[ROLE_T_INDICES]);
    d.t_entry = tensor_dl(p->t[ROLE_T_ENTRY]);
    return d;
}

slat_sharded problem_sharded(const problem *p)
{
    slat_sharded d = p->sharded;
    d.offsets = tensor_dl(p->t[ROLE_OFFSETS]);
    return d;
}

slat_lightning problem_lightning(const problem *p, problem_pass pass)
{
    slat_lightning l = {0};
    l.q = tensor_dl(p->t[ROLE_Q]);
    l.k = tensor_dl(p->t[ROLE_K]);
    l.v = tensor_dl(p->t[ROLE_V]);
    l.slopes = tensor_dl(p->t[ROLE_SLOPES]);
    l.scale = p->scale;
    l.slot = tensor_dl(p->t[ROLE_SLOT]);
    if (p->op == OP_LIGHTNING) {
        l.s0 = tensor_dl(p->t[ROLE_S0]); /* a step has it in st */
        l.states = tensor_dl(p->t[ROLE_STATES]);
        l.states_every = l.states ? p->states_every : 0;
    }
    if (pass == PASS_FORWARD) {
        l.o = tensor_dl(p->t[ROLE_O]);
        l.st = tensor_dl(p->t[ROLE_ST]);
        return l;
    }
    l.grad_o = tensor_dl(p->t[ROLE_DO]);
    l.grad_st = tensor_dl(p->t[ROLE_DST]);
    l.grad_q = tensor_dl(p->t[ROLE_DQ]);
    l.grad_k = tensor_dl(p->t[ROLE_DK]);
    l.grad_v = tensor_dl(p->t[ROLE_DV]);
    l.grad_s0 = tensor_dl(p->t[ROLE_DS0]);
    l.grad_slopes = tensor_dl(p->t[ROLE_DSLOPES]);
    return l;
}

static slat_status call_merge(const problem *p, problem_pass pass, const slat_exec *exec)
{
    const DLTensor *o[PROBLEM_PARTS] = {0}, *lse[PROBLEM_PARTS] = {0};
    DLTensor *grad_o[PROBLEM_PARTS] = {0}, *grad_lse[PROBLEM_PARTS] = {0};
    for (int i = 0; i < p->parts; i++) {
        o[i] = tensor_dl(p->t[problem_part(ROLE_PART_O, i)]);
        lse[i] = tensor_dl(p->t[problem_part(ROLE_PART_LSE, i)]);
        grad_o[i] = tensor_dl(p->t[problem_part(ROLE_PART_DO, i)]);
        grad_lse[i] = tensor_dl(p->t[problem_part(ROLE_PART_DLSE, i)]);
    }
    DLTensor *out = tensor_dl(p->t[ROLE_O]), *out_lse = tensor_dl(p->t[ROLE_LSE]);
    if (pass == PASS_FORWARD) return slat_merge_forward(exec, p->parts, o, lse, out, out_lse);
    return slat_merge_backward(exec, p->parts, o, lse, out, out_lse, tensor_dl(p->t[ROLE_DO]),
                               tensor_dl(p->t[ROLE_DLSE]), grad_o, grad_lse);
}

static slat_status call_lightning(const problem *p, problem_pass pass, const slat_exec *exec)
{
    const slat_lightning l = problem_lightning(p, pass);
    if (p->op == OP_LIGHTNING_STEP) return slat_lightning_step(exec, &l);
    return pass == PASS_FORWARD ? slat_lightning_forward(exec, &l) : slat_lightning_backward(exec, &l);
}

slat_status problem_call(const problem *p, problem_pass pass, const slat_exec *exec)
{
    const slat_attention a = problem_attention(p, pass);
    const slat_block_sparse blocks = p->op == OP_BLOCK_SPARSE ? problem_block_sparse(p) : (slat_block_sparse){0};
    const slat_sharded shards = p->op == OP_SHARDED ? problem_sharded(p) : (slat_sharded){0};
    const bool forward = pass == PASS_FORWARD;
    switch (p->op) {
    case OP_BLOCK_SPARSE:
        return forward ? slat_block_sparse_forward(exec, &blocks, &a) : slat_block_sparse_backward(exec, &blocks, &a);
    case OP_NEIGHBORHOOD:
        return forward ? slat_neighborhood_forward(exec, &p->neighborhood, &a)
                       : slat_neighborhood_backward(exec, &p->neighborhood, &a);
    case OP_SHARDED:
        return forward ? slat_sharded_forward(exec, &shards, &a) : slat_sharded_backward(exec, &shards, &a);
    case OP_LANDMARK:
        return forward ? slat_landmark_forward(exec, &p->landmark, &a) : slat_landmark_backward(exec, &p->landmark, &a);
    case OP_MERGE:
        return call_merge(p, pass, exec);
    default:
        return call_lightning(p, pass, exec);
    }
}
