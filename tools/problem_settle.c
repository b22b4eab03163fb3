/* Extents from the tensors that are there, and every tensor held against them. */
#include <stdio.h>
#include <string.h>

#include "problem.h"

static bool is_float(tensor_type type)
{
    return type == TENSOR_F64 || type == TENSOR_F32 || type == TENSOR_F16 || type == TENSOR_BF16;
}

static bool require(const problem *p, int slot, sentence *why)
{
    char name[PROBLEM_NAME];
    if (p->t[slot]) return true;
    return sentence_fail(why, "%s needs the tensor %s", problem_op_name(p->op), problem_slot_name(slot, name));
}

static bool require_rank(const problem *p, int slot, int rank, sentence *why)
{
    char name[PROBLEM_NAME];
    if (!require(p, slot, why)) return false;
    if (p->t[slot]->dl.ndim == rank) return true;
    return sentence_fail(why, "%s: %d dimensions, but %s of this kind takes %d", problem_slot_name(slot, name),
                         p->t[slot]->dl.ndim, problem_op_name(p->op), rank);
}

static bool settle_merge(problem *p, sentence *why)
{
    problem_extents *e = &p->extents;
    const int first = problem_part(ROLE_PART_O, 0);
    if (p->parts < 1 || p->parts > PROBLEM_PARTS)
        return sentence_fail(why, "parts: %d, but merge takes 1 to %d here", p->parts, PROBLEM_PARTS);
    for (int i = 0; i < p->parts; i++)
        if (!require(p, problem_part(ROLE_PART_O, i), why) || !require(p, problem_part(ROLE_PART_LSE, i), why))
            return false;
    const tensor *o = p->t[first];
    if (o->dl.ndim < 2) return sentence_fail(why, "o.0: %d dimensions, but merge takes at least 2", o->dl.ndim);
    e->rank = o->dl.ndim;
    memcpy(e->shape, o->shape, sizeof e->shape);
    e->dv = o->shape[e->rank - 1];
    e->type = o->type;
    return true;
}

static void settle_layout(problem *p)
{
    problem_extents *e = &p->extents;
    const tensor *indptr = p->t[ROLE_INDPTR];
    if (!indptr) return;
    e->layout_batches = indptr->dl.ndim == 3 ? indptr->shape[0] : 1;
    e->layout_heads = indptr->dl.ndim == 3 ? indptr->shape[1] : 1;
    e->entries = p->t[ROLE_INDICES] ? tensor_count(p->t[ROLE_INDICES]) : 0;
    e->bitmaps = p->t[ROLE_BITMAPS] && p->t[ROLE_BITMAPS]->dl.ndim ? p->t[ROLE_BITMAPS]->shape[0] : 0;
}

static bool settle_attention(problem *p, sentence *why)
{
    problem_extents *e = &p->extents;
    e->ndim = p->op == OP_NEIGHBORHOOD ? p->neighborhood.ndim : 1;
    if (e->ndim < 1 || e->ndim > 3) return sentence_fail(why, "ndim: %d, but a grid has 1 to 3 dimensions", e->ndim);
    for (int slot = ROLE_Q; slot <= ROLE_V; slot++)
        if (!require_rank(p, slot, e->ndim + 3, why)) return false;
    const tensor *q = p->t[ROLE_Q], *k = p->t[ROLE_K], *v = p->t[ROLE_V];
    e->type = q->type;
    e->b = q->shape[0];
    for (int i = 0; i < e->ndim; i++) {
        e->tq[i] = q->shape[1 + i];
        e->tk[i] = k->shape[1 + i];
    }
    e->hq = q->shape[1 + e->ndim];
    e->d = q->shape[2 + e->ndim];
    e->hk = k->shape[1 + e->ndim];
    e->dv = v->shape[2 + e->ndim];
    settle_layout(p);
    const bool slots = p->op == OP_LIGHTNING_STEP && p->t[ROLE_SLOT] && p->t[ROLE_S0] && p->t[ROLE_S0]->dl.ndim;
    e->slots = slots ? p->t[ROLE_S0]->shape[0] : 0;
    if (e->d < 1 || e->hk < 1) return sentence_fail(why, "k: a head count or a head's width of 0");
    return true;
}

static bool has_the_rest(const problem *p, sentence *why)
{
    if (p->op == OP_BLOCK_SPARSE && p->t[ROLE_INDPTR]) return require(p, ROLE_INDICES, why);
    if (p->op == OP_SHARDED) return require(p, ROLE_OFFSETS, why);
    if (p->op == OP_LIGHTNING || p->op == OP_LIGHTNING_STEP) return require(p, ROLE_SLOPES, why);
    return true;
}

static bool fits(const problem *p, int slot, sentence *why)
{
    const tensor *t = p->t[slot];
    char name[PROBLEM_NAME], is[160], should[160];
    tensor right = {0};
    problem_slot_name(slot, name);
    if (!problem_slot_shape(p, slot, &right.type, &right.dl.ndim, right.shape))
        return sentence_fail(why, "%s: no tensor of %s with these parameters", name, problem_op_name(p->op));
    if (t->type == right.type && tensor_same_shape(t, &right)) return true;
    tensor_shape_text(t, is, sizeof is);
    tensor_shape_text(&right, should, sizeof should);
    return sentence_fail(why, "%s: %s %s, but should be %s %s", name, tensor_type_name(t->type), is,
                         tensor_type_name(right.type), should);
}

bool problem_measure(problem *p, sentence *why)
{
    problem_extents *e = &p->extents;
    if (!(p->op == OP_MERGE ? settle_merge(p, why) : settle_attention(p, why))) return false;
    if (!is_float(e->type))
        return sentence_fail(why, "%s: %s, but should be f64, f32, f16 or bf16", p->op == OP_MERGE ? "o.0" : "q",
                             tensor_type_name(e->type));
    if (e->dv < 1) return sentence_fail(why, "%s: a value's width of 0", p->op == OP_MERGE ? "o.0" : "v");
    const tensor *o = p->t[ROLE_DO] ? p->t[ROLE_DO] : p->t[ROLE_O];
    e->o_type = o && o->type == TENSOR_F32 ? TENSOR_F32 : e->type;
    return true;
}

bool problem_settle(problem *p, sentence *why)
{
    if (!problem_measure(p, why) || !has_the_rest(p, why)) return false;
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++)
        if (p->t[slot] && !fits(p, slot, why)) return false;
    return true;
}
