/* Problems from parameters, with random inputs. */
#include <math.h>
#include <string.h>

#include "block_layout.h"
#include "problem.h"
#include "random.h"

static uint64_t seed_of(const problem_parameters *x, int slot)
{
    return x->seed * PROBLEM_SLOTS + (uint64_t)slot + 1;
}

static void set_extents(problem *p, const problem_parameters *x)
{
    problem_extents *e = &p->extents;
    e->b = x->b;
    e->ndim = x->ndim ? x->ndim : 1;
    for (int i = 0; i < e->ndim; i++) {
        e->tq[i] = x->tq[i];
        e->tk[i] = x->tk[i] ? x->tk[i] : x->tq[i];
    }
    e->hq = x->hq;
    e->hk = x->hk ? x->hk : x->hq;
    e->d = x->d;
    e->dv = x->dv ? x->dv : x->d;
    e->type = x->type;
    e->o_type = x->o_f32 ? TENSOR_F32 : x->type;
    e->slots = x->lightning.slots;
    p->pass = x->pass;
    p->scale = x->scale;
}

static void set_descriptor(problem *p, const problem_parameters *x)
{
    switch (p->op) {
    case OP_BLOCK_SPARSE:
        p->block_sparse.block_q = x->block_sparse.block_q;
        p->block_sparse.block_k = x->block_sparse.block_k;
        p->block_sparse.causal = x->block_sparse.causal;
        break;
    case OP_NEIGHBORHOOD:
        p->neighborhood.ndim = p->extents.ndim;
        memcpy(p->neighborhood.window, x->neighborhood.window, sizeof p->neighborhood.window);
        memcpy(p->neighborhood.stride, x->neighborhood.stride, sizeof p->neighborhood.stride);
        memcpy(p->neighborhood.dilation, x->neighborhood.dilation, sizeof p->neighborhood.dilation);
        memcpy(p->neighborhood.causal, x->neighborhood.causal, sizeof p->neighborhood.causal);
        memcpy(p->neighborhood.q_start, x->neighborhood.q_start, sizeof p->neighborhood.q_start);
        break;
    case OP_SHARDED:
        p->sharded.block = x->sharded.block;
        p->sharded.local_blocks = x->sharded.local_blocks;
        p->sharded.stride = x->sharded.stride;
        break;
    case OP_LANDMARK:
        p->landmark.block = x->landmark.block;
        break;
    case OP_MERGE:
        p->parts = x->merge.parts ? x->merge.parts : 2;
        p->extents.rank = 4;
        p->extents.shape[0] = p->extents.b;
        p->extents.shape[1] = p->extents.tq[0];
        p->extents.shape[2] = p->extents.hq;
        p->extents.shape[3] = p->extents.d;
        p->extents.dv = p->extents.d;
        break;
    default:
        p->states_every = x->lightning.states_every;
        break;
    }
}

static bool normal(problem *p, const problem_parameters *x, int slot, layout kind, double spread)
{
    return problem_allocate(p, slot, kind) && random_fill_normal(p->t[slot], seed_of(x, slot), spread);
}

static bool fill_attention(problem *p, const problem_parameters *x, layout kind)
{
    bool ok = normal(p, x, ROLE_Q, kind, x->spread != 0 ? x->spread : 1) && normal(p, x, ROLE_K, kind, 1) &&
              normal(p, x, ROLE_V, kind, 1);
    if (x->pass == PASS_BACKWARD) ok = ok && normal(p, x, ROLE_DO, kind, 1);
    if (!problem_is_softmax(p->op)) return ok;
    if (x->pass == PASS_BACKWARD && x->dlse) ok = ok && normal(p, x, ROLE_DLSE, kind, 1);
    if (x->sink) ok = ok && normal(p, x, ROLE_SINK, kind, 1);
    return ok;
}

static bool fill_offsets(problem *p, const problem_parameters *x)
{
    if (!problem_allocate(p, ROLE_OFFSETS, LAYOUT_PLAIN)) return false;
    return slat_sharded_offsets(p->t[ROLE_OFFSETS]->dl.data, (int32_t)p->extents.hq, (int32_t)p->extents.hk,
                                x->sharded.stride, x->sharded.dense_heads, x->sharded.head_offset,
                                x->sharded.per_key_head) == SLAT_OK;
}

static bool fill_slopes(problem *p, const problem_parameters *x, layout kind)
{
    float alibi[1024];
    if (p->extents.hq > 1024 || slat_lightning_slopes(alibi, (int32_t)p->extents.hq) != SLAT_OK) return false;
    if (!problem_allocate(p, ROLE_SLOPES, kind)) return false;
    for (int64_t h = 0; h < p->extents.hq; h++) {
        const double slope = x->lightning.slope > 0 ? x->lightning.slope : (double)alibi[h];
        tensor_set(p->t[ROLE_SLOPES], h, x->lightning.no_decay ? 0 : slope);
    }
    return true;
}

static bool fill_lightning(problem *p, const problem_parameters *x, layout kind)
{
    const bool step = p->op == OP_LIGHTNING_STEP;
    if (!fill_slopes(p, x, kind)) return false;
    if ((step || x->lightning.s0) && !normal(p, x, ROLE_S0, kind, 1)) return false;
    if (x->pass == PASS_BACKWARD && x->lightning.dst && !normal(p, x, ROLE_DST, kind, 1)) return false;
    if (!step || !x->lightning.slots) return true;
    if (x->lightning.slots < p->extents.b || !problem_allocate(p, ROLE_SLOT, kind)) return false;
    for (int64_t b = 0; b < p->extents.b; b++) tensor_set(p->t[ROLE_SLOT], b, (double)(x->lightning.slots - 1 - b));
    return true;
}

/* Rows that a part did not see: lse of -inf, and a NaN in o, which must not be read. */
static bool empty_rows(tensor *o, tensor *lse, uint64_t seed, double share)
{
    const int64_t width = tensor_row_length(o);
    for (int64_t r = 0; r < tensor_count(lse); r++) {
        if (random_uniform(seed, (uint64_t)r) >= share) continue;
        tensor_set(lse, r, -(double)INFINITY);
        for (int64_t c = 0; c < width; c++) tensor_set(o, r * width + c, (double)NAN);
    }
    return true;
}

static bool raise(tensor *t, double by)
{
    for (int64_t i = 0; i < tensor_count(t); i++) tensor_set(t, i, tensor_get(t, i) + by);
    return true;
}

static bool fill_merge(problem *p, const problem_parameters *x, layout kind)
{
    for (int i = 0; i < p->parts; i++) {
        const int o = problem_part(ROLE_PART_O, i), lse = problem_part(ROLE_PART_LSE, i);
        if (!normal(p, x, o, kind, 1) || !normal(p, x, lse, kind, 1) || !raise(p->t[lse], 3) ||
            !empty_rows(p->t[o], p->t[lse], seed_of(x, o) + 1, x->merge.empty))
            return false;
    }
    if (x->pass == PASS_BACKWARD && !normal(p, x, ROLE_DO, kind, 1)) return false;
    return x->pass == PASS_FORWARD || !x->dlse || normal(p, x, ROLE_DLSE, kind, 1);
}

static bool fill(problem *p, const problem_parameters *x, layout kind, sentence *why)
{
    if (p->op == OP_MERGE) return fill_merge(p, x, kind);
    if (!fill_attention(p, x, kind)) return false;
    switch (p->op) {
    case OP_BLOCK_SPARSE:
        return !x->block_sparse.block_q || block_layout_random(p, x, why);
    case OP_SHARDED:
        return fill_offsets(p, x);
    case OP_LIGHTNING:
    case OP_LIGHTNING_STEP:
        return fill_lightning(p, x, kind);
    default:
        return true;
    }
}

problem *problem_new(const problem_parameters *x, layout kind, const memory *m, sentence *why)
{
    sentence detail = {"no memory for the inputs, or parameters that the library's helpers refuse"};
    const bool host = memory_on_host(m);
    if (x->op == OP_MERGE && x->merge.parts > PROBLEM_PARTS) {
        sentence_fail(why, "parts: %d, at most %d", x->merge.parts, PROBLEM_PARTS);
        return NULL;
    }
    problem *p = problem_create(x->op, host ? m : memory_host());
    if (p) {
        set_extents(p, x);
        set_descriptor(p, x);
    }
    if (!p || !fill(p, x, host ? kind : LAYOUT_PLAIN, &detail)) {
        problem_free(p);
        sentence_fail(why, "%s: %s", problem_op_name(x->op), detail.text);
        return NULL;
    }
    if (host) return p;
    problem *copy = problem_copy(p, kind, m, why);
    problem_free(p);
    return copy;
}
