/* Names, life and shapes of problems. */
#include "problem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const ops[OP_COUNT] = {"block_sparse", "neighborhood",   "sharded", "landmark",
                                          "lightning",    "lightning_step", "merge"};

static const char *const roles[ROLE_COUNT] = {
    "q",        "k",         "v",       "o",       "lse",    "do",      "dlse",      "dq",
    "dk",       "dv",        "sink",    "dsink",   "indptr", "indices", "bitmap_of", "bitmaps",
    "t_indptr", "t_indices", "t_entry", "offsets", "slopes", "dslopes", "s0",        "st",
    "states",   "dst",       "ds0",     "slot",    "o",      "lse",     "do",        "dlse"};

const char *problem_op_name(problem_op op)
{
    return ops[op];
}

bool problem_op_from_name(const char *name, problem_op *op)
{
    for (int i = 0; i < OP_COUNT; i++)
        if (!strcmp(name, ops[i])) {
            *op = (problem_op)i;
            return true;
        }
    return false;
}

const char *problem_pass_name(problem_pass pass)
{
    return pass == PASS_FORWARD ? "forward" : "backward";
}

const char *problem_slot_name(int slot, char name[PROBLEM_NAME])
{
    const char *role = roles[problem_slot_role(slot)];
    if (slot < ROLE_PART_O)
        snprintf(name, PROBLEM_NAME, "%s", role);
    else
        snprintf(name, PROBLEM_NAME, "%s.%d", role, (slot - ROLE_PART_O) / 4);
    return name;
}

bool problem_is_softmax(problem_op op)
{
    return op == OP_BLOCK_SPARSE || op == OP_NEIGHBORHOOD || op == OP_SHARDED || op == OP_LANDMARK;
}

bool problem_has_pass(problem_op op, problem_pass pass)
{
    return pass == PASS_FORWARD || op != OP_LIGHTNING_STEP;
}

bool problem_slot_is_output(const problem *p, int slot, problem_pass pass)
{
    const bool forward = pass == PASS_FORWARD;
    if (!problem_has_pass(p->op, pass)) return false;
    switch (problem_slot_role(slot)) {
    case ROLE_O:
        return forward;
    case ROLE_LSE:
        return forward && (problem_is_softmax(p->op) || p->op == OP_MERGE);
    case ROLE_ST:
        return forward && (p->op == OP_LIGHTNING || p->op == OP_LIGHTNING_STEP);
    case ROLE_STATES:
        return forward && p->op == OP_LIGHTNING && p->states_every > 0;
    case ROLE_DQ:
    case ROLE_DK:
    case ROLE_DV:
        return !forward && p->op != OP_MERGE;
    case ROLE_DSINK:
        return !forward && problem_is_softmax(p->op);
    case ROLE_DSLOPES:
    case ROLE_DS0:
        return !forward && p->op == OP_LIGHTNING;
    case ROLE_PART_DO:
    case ROLE_PART_DLSE:
        return !forward && p->op == OP_MERGE && (slot - ROLE_PART_O) / 4 < p->parts;
    default:
        return false;
    }
}

problem *problem_create(problem_op op, const memory *m)
{
    problem *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->op = op;
    p->memory = m;
    p->extents.ndim = 1;
    if (op == OP_NEIGHBORHOOD) p->neighborhood.ndim = 1;
    return p;
}

void problem_free(problem *p)
{
    if (!p) return;
    for (int i = 0; i < PROBLEM_SLOTS; i++) tensor_free(p->t[i]);
    for (int i = 0; i < PROBLEM_GROUPS; i++) tensor_free(p->group[i]);
    free(p);
}

/* Shape under construction. */
typedef struct {
    int64_t *shape;
    int ndim;
} shaping;

static void add(shaping *s, int64_t extent)
{
    s->shape[s->ndim++] = extent;
}

/* [B, grid..., heads] and, where it is not 0, the row. */
static bool grid(shaping *s, const problem *p, const int64_t *points, int64_t heads, int64_t row)
{
    add(s, p->extents.b);
    for (int i = 0; i < p->extents.ndim; i++) add(s, points[i]);
    add(s, heads);
    if (row) add(s, row);
    return true;
}

static bool vector(shaping *s, int64_t extent)
{
    add(s, extent);
    return true;
}

static bool merge_shape(const problem *p, problem_role role, shaping *s, tensor_type *type, tensor_type sums)
{
    const problem_extents *e = &p->extents;
    const bool sum = role == ROLE_LSE || role == ROLE_DLSE || role == ROLE_PART_LSE || role == ROLE_PART_DLSE;
    if (!sum && role != ROLE_O && role != ROLE_DO && role != ROLE_PART_O && role != ROLE_PART_DO) return false;
    if (sum)
        *type = sums;
    else
        *type = role == ROLE_O || role == ROLE_DO ? e->o_type : e->type;
    for (int i = 0; i < e->rank - sum; i++) add(s, e->shape[i]);
    return true;
}

static int64_t blocks(int64_t tokens, int64_t block)
{
    return tokens / block + (tokens % block != 0);
}

static bool layout_shape(const problem *p, problem_role role, shaping *s, tensor_type *type)
{
    const problem_extents *e = &p->extents;
    const int64_t block_q = p->block_sparse.block_q;
    const int64_t block_k = p->block_sparse.block_k ? p->block_sparse.block_k : block_q;
    if (block_q <= 0 || block_k <= 0) return false;
    *type = TENSOR_I32;
    switch (role) {
    case ROLE_INDPTR:
    case ROLE_T_INDPTR:
        add(s, e->layout_batches);
        add(s, e->layout_heads);
        add(s, 1 + (role == ROLE_INDPTR ? blocks(e->tq[0], block_q) : blocks(e->tk[0], block_k)));
        return true;
    case ROLE_BITMAPS:
        *type = TENSOR_U8;
        add(s, e->bitmaps);
        add(s, block_q);
        add(s, blocks(block_k, 8));
        return true;
    default:
        return vector(s, e->entries);
    }
}

static bool softmax_shape(const problem *p, problem_role role, shaping *s, tensor_type *type, tensor_type sums)
{
    const problem_extents *e = &p->extents;
    switch (role) {
    case ROLE_LSE:
    case ROLE_DLSE:
        *type = sums;
        return grid(s, p, e->tq, e->hq, 0);
    case ROLE_SINK:
    case ROLE_DSINK:
        *type = sums;
        return vector(s, e->hq);
    case ROLE_OFFSETS:
        *type = TENSOR_I32;
        return p->op == OP_SHARDED && vector(s, e->hk);
    case ROLE_INDPTR:
    case ROLE_INDICES:
    case ROLE_BITMAP_OF:
    case ROLE_BITMAPS:
    case ROLE_T_INDPTR:
    case ROLE_T_INDICES:
    case ROLE_T_ENTRY:
        return p->op == OP_BLOCK_SPARSE && layout_shape(p, role, s, type);
    default:
        return false;
    }
}

static bool lightning_shape(const problem *p, problem_role role, shaping *s, tensor_type *type, tensor_type sums)
{
    const problem_extents *e = &p->extents;
    *type = sums;
    switch (role) {
    case ROLE_SLOPES:
    case ROLE_DSLOPES:
        return vector(s, e->hq);
    case ROLE_SLOT:
        *type = TENSOR_I32;
        return p->op == OP_LIGHTNING_STEP && vector(s, e->b);
    case ROLE_S0:
    case ROLE_ST:
    case ROLE_DST:
    case ROLE_DS0:
    case ROLE_STATES:
        add(s, e->slots ? e->slots : e->b);
        add(s, e->hq);
        if (role == ROLE_STATES) {
            if (p->states_every <= 0) return false;
            add(s, blocks(e->tq[0], p->states_every));
        }
        add(s, e->d);
        add(s, e->dv);
        return true;
    default:
        return false;
    }
}

bool problem_slot_shape(const problem *p, int slot, tensor_type *type, int *ndim, int64_t shape[TENSOR_DIMS])
{
    const problem_extents *e = &p->extents;
    const problem_role role = problem_slot_role(slot);
    const tensor_type sums = e->type == TENSOR_F64 ? TENSOR_F64 : TENSOR_F32; /* lse, sink, slopes, states */
    shaping s = {shape, 0};
    bool there;
    *type = e->type;
    if (p->op == OP_MERGE)
        there = (slot < ROLE_PART_O || (slot - ROLE_PART_O) / 4 < p->parts) && merge_shape(p, role, &s, type, sums);
    else if (slot >= ROLE_PART_O)
        there = false;
    else if (role == ROLE_Q || role == ROLE_DQ)
        there = grid(&s, p, e->tq, e->hq, e->d);
    else if (role == ROLE_K || role == ROLE_DK)
        there = grid(&s, p, e->tk, e->hk, e->d);
    else if (role == ROLE_V || role == ROLE_DV)
        there = grid(&s, p, e->tk, e->hk, e->dv);
    else if (role == ROLE_O || role == ROLE_DO) {
        *type = e->o_type;
        there = grid(&s, p, e->tq, e->hq, e->dv);
    } else if (problem_is_softmax(p->op))
        there = softmax_shape(p, role, &s, type, sums);
    else
        there = lightning_shape(p, role, &s, type, sums);
    *ndim = s.ndim;
    return there;
}
