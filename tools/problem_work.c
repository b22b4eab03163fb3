/* How answers are held against expectations, and how much work a problem is. */
#include <math.h>
#include <stdlib.h>

#include "problem.h"
#include "visible.h"

double problem_scale(const problem *p)
{
    if (p->scale != 0) return p->scale;
    return problem_is_softmax(p->op) ? 1 / sqrt((double)p->extents.d) : 1;
}

static double rms_of(const tensor *t)
{
    double *values = t ? tensor_values(t) : NULL;
    const double rms = values ? agree_rms(values, tensor_count(t)) : 0;
    free(values);
    return rms;
}

agree_rule problem_rule(const problem *p, int slot)
{
    const problem_role role = problem_slot_role(slot);
    agree_rule rule = {AGREE_GRADIENT, p->extents.type, 0};
    const double part = 1e-2 * rms_of(p->t[ROLE_DO]); /* of dv and merge's gradients */
    switch (role) {
    case ROLE_LSE:
        rule.kind = AGREE_LSE;
        break;
    case ROLE_O:
    case ROLE_ST:
    case ROLE_STATES:
        rule.kind = AGREE_OUTPUT;
        break;
    case ROLE_DSLOPES:
        rule.kind = AGREE_DSLOPES;
        break;
    case ROLE_DSINK:
        rule.kind = AGREE_DSINK;
        break;
    case ROLE_DS0:
        break;
    case ROLE_DQ:
    case ROLE_DK:
        rule.floor = part * rms_of(p->t[ROLE_V]) * rms_of(p->t[role == ROLE_DQ ? ROLE_K : ROLE_Q]) *
                     fabs(problem_scale(p)) * sqrt((double)p->extents.dv);
        break;
    default:
        rule.floor = part;
        break;
    }
    return rule;
}

static double lightning_flops(const problem *p, problem_pass pass)
{
    const problem_extents *e = &p->extents;
    const double token = 64. * (double)(e->d + e->dv) + 4. * (double)e->d * (double)e->dv;
    return (double)e->b * (double)e->tq[0] * (double)e->hq * token * (pass == PASS_FORWARD ? 1 : 2.5);
}

double problem_flops(const problem *p, problem_pass pass)
{
    const double d = (double)p->extents.d, dv = (double)p->extents.dv;
    if (p->op == OP_MERGE) return 0;
    if (!problem_is_softmax(p->op)) return lightning_flops(p, pass);
    return (double)visible_pairs(p) * 2 * (pass == PASS_FORWARD ? d + dv : 3 * d + 2 * dv);
}

/* Bytes of a slot's tensor by the extents, whether or not it is allocated. */
static double slot_bytes(const problem *p, int slot)
{
    tensor_type type;
    int ndim;
    int64_t shape[TENSOR_DIMS];
    if (!problem_slot_shape(p, slot, &type, &ndim, shape)) return 0;
    double bytes = (double)tensor_type_size(type);
    for (int i = 0; i < ndim; i++) bytes *= (double)shape[i];
    return bytes;
}

static double merge_bytes(const problem *p, problem_pass pass)
{
    double parts = 0;
    for (int i = 0; i < p->parts; i++)
        parts += slot_bytes(p, problem_part(ROLE_PART_O, i)) + slot_bytes(p, problem_part(ROLE_PART_LSE, i));
    const double whole = slot_bytes(p, ROLE_O) + slot_bytes(p, ROLE_LSE);
    return pass == PASS_FORWARD ? parts + whole
                                : 2 * parts + whole + (p->t[ROLE_DLSE] ? whole : slot_bytes(p, ROLE_DO));
}

double problem_bytes(const problem *p, problem_pass pass)
{
    const problem_extents *e = &p->extents;
    const double inputs = slot_bytes(p, ROLE_Q) + slot_bytes(p, ROLE_K) + slot_bytes(p, ROLE_V);
    if (p->op == OP_MERGE) return merge_bytes(p, pass);
    if (p->op == OP_LIGHTNING_STEP) { /* the states of B rows, read and written */
        const double sums = e->type == TENSOR_F64 ? 8 : 4;
        return 2 * sums * (double)e->b * (double)e->hq * (double)e->d * (double)e->dv;
    }
    if (p->op == OP_LIGHTNING) return (pass == PASS_FORWARD ? inputs : 2 * inputs) + slot_bytes(p, ROLE_O);
    const double size = (double)tensor_type_size(e->type);
    return (double)visible_pairs(p) * (double)e->hk / (double)e->hq * (double)(e->d + e->dv) * size;
}
