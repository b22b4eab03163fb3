/* Right problems, drawn at random. */
#include <string.h>

#include "fuzz.h"
#include "random.h"

fuzz_source fuzz_from_seed(uint64_t seed)
{
    return (fuzz_source){.state = random_splitmix64(seed)};
}

fuzz_source fuzz_from_bytes(const uint8_t *data, size_t size)
{
    return (fuzz_source){.data = data, .size = size};
}

uint64_t fuzz_bits(fuzz_source *s)
{
    if (!s->data) return random_splitmix64(++s->state);
    uint64_t bits = 0;
    const size_t taken = s->size < 2 ? s->size : 2;
    memcpy(&bits, s->data, taken);
    s->data += taken;
    s->size -= taken;
    return bits;
}

int64_t fuzz_below(fuzz_source *s, int64_t bound)
{
    return (int64_t)(fuzz_bits(s) % (uint64_t)bound);
}

bool fuzz_chance(fuzz_source *s, int32_t percent)
{
    return fuzz_below(s, 100) < percent;
}

static int32_t small(fuzz_source *s, int32_t from, int32_t to)
{
    return from + (int32_t)fuzz_below(s, to - from + 1);
}

/* Lengths around the edges of vectors and tiles. */
static int64_t tokens(fuzz_source *s)
{
    static const int64_t edges[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129};
    return fuzz_chance(s, 50) ? FUZZ_PICK(s, edges) : small(s, 1, 70);
}

static void make_blocks(fuzz_source *s, problem_parameters *p)
{
    if (fuzz_chance(s, 20)) {
        p->block_sparse.causal = small(s, 0, 1);
        return;
    }
    static const int32_t blocks[] = {8, 8, 16, 24, 32, 40, 64, 128, 256};
    p->block_sparse.block_q = FUZZ_PICK(s, blocks);
    if (fuzz_chance(s, 60)) p->block_sparse.block_k = FUZZ_PICK(s, blocks);
    p->block_sparse.causal = small(s, 0, 1);
    p->block_sparse.density = (double)small(s, 0, 10) / 10;
    p->block_sparse.batches = fuzz_chance(s, 40) ? p->b : 1;
    const int64_t heads[] = {1, p->hk, p->hq};
    p->block_sparse.heads = FUZZ_PICK(s, heads);
    p->block_sparse.bitmaps = fuzz_chance(s, 40) ? .5 : 0;
    p->block_sparse.seed = fuzz_bits(s) | 1;
    p->block_sparse.transposed = fuzz_chance(s, 30);
}

static void make_window(fuzz_source *s, problem_parameters *p)
{
    p->ndim = small(s, 1, 3);
    for (int32_t n = 0; n < p->ndim; n++) {
        const int32_t longest = p->ndim == 1 ? 90 : p->ndim == 2 ? 13 : 6, length = small(s, 2, longest);
        const int32_t dilation = small(s, 1, length / 2 < 4 ? length / 2 : 4), window = small(s, 2, length / dilation);
        p->tk[n] = p->tq[n] = length;
        p->neighborhood.window[n] = window;
        p->neighborhood.dilation[n] = dilation;
        p->neighborhood.stride[n] = fuzz_chance(s, 40) ? small(s, 1, window) : 0;
        p->neighborhood.causal[n] = small(s, 0, 1);
    }
    if (fuzz_chance(s, 60)) return;
    for (int32_t n = 0; n < p->ndim; n++) {
        p->tq[n] = small(s, 1, (int32_t)p->tk[n]);
        p->neighborhood.q_start[n] = fuzz_below(s, p->tk[n] - p->tq[n] + 1);
    }
}

static void make_linear(fuzz_source *s, problem_parameters *p)
{
    p->hk = p->hq;
    p->tk[0] = 0;
    p->sink = p->dlse = false;
    if (p->scale < 0) p->scale = .5;
    p->lightning.slope = fuzz_chance(s, 40) ? (double)small(s, 1, 30) : 0;
    p->lightning.no_decay = fuzz_chance(s, 10);
    p->lightning.s0 = fuzz_chance(s, 60);
    p->lightning.dst = fuzz_chance(s, 60);
    p->lightning.states_every = fuzz_chance(s, 40) ? small(s, 1, 40) : 0;
    if (p->op != OP_LIGHTNING_STEP) return;
    p->pass = PASS_FORWARD;
    p->tq[0] = 1;
    p->lightning.s0 = true;
    p->lightning.states_every = 0;
    p->lightning.slots = fuzz_chance(s, 50) ? p->b + small(s, 0, 4) : 0;
}

/* Multiplications of a forward pass, about. */
static double cost(const problem_parameters *p)
{
    double q = 1, k = 1;
    for (int32_t n = 0; n < (p->ndim ? p->ndim : 1); n++) {
        q *= (double)p->tq[n];
        k *= (double)(p->tk[n] ? p->tk[n] : p->tq[n]);
    }
    if (p->op == OP_LIGHTNING || p->op == OP_LIGHTNING_STEP) k = 2 * (double)p->d;
    return (double)(p->b * p->hq) * q * k * (double)(p->d + (p->dv ? p->dv : p->d));
}

static problem_parameters draw(fuzz_source *s)
{
    static const tensor_type types[] = {TENSOR_F64, TENSOR_F32, TENSOR_F32,  TENSOR_F32,
                                        TENSOR_F16, TENSOR_F16, TENSOR_BF16, TENSOR_BF16};
    static const int64_t widths[] = {1,  2,  3,  4,  5,  8,  8,  12, 16, 16,  17,  24,
                                     31, 32, 33, 40, 64, 64, 72, 96, 128, 192, 200, 256};
    static const double scales[] = {0, 0, 0, .3, -.5, 1e-3, 2};
    problem_parameters p = {.op = (problem_op)fuzz_below(s, OP_COUNT), .type = FUZZ_PICK(s, types)};
    p.pass = fuzz_chance(s, 60) ? PASS_BACKWARD : PASS_FORWARD;
    p.b = small(s, 1, 3);
    p.hk = small(s, 1, 3);
    p.hq = p.hk * small(s, 1, 3);
    p.d = FUZZ_PICK(s, widths);
    p.dv = fuzz_chance(s, 50) ? 0 : FUZZ_PICK(s, widths);
    p.tq[0] = fuzz_chance(s, 15) ? 1 : tokens(s);
    p.tk[0] = fuzz_chance(s, 40) ? p.tq[0] : tokens(s);
    p.scale = FUZZ_PICK(s, scales);
    p.spread = fuzz_chance(s, 15) ? 8 : 1;
    if (p.spread > 1 || (p.scale == 2 && p.d > 8)) p.scale = 0; /* logits stay within 80 */
    p.sink = fuzz_chance(s, 40) && p.op != OP_LANDMARK;
    p.dlse = fuzz_chance(s, 50);
    p.o_f32 = p.type != TENSOR_F64 && fuzz_chance(s, 20);
    p.seed = fuzz_bits(s);
    if (p.op == OP_BLOCK_SPARSE) make_blocks(s, &p);
    if (p.op == OP_NEIGHBORHOOD) make_window(s, &p);
    if (p.op == OP_SHARDED) {
        p.sharded.block = small(s, 1, 24);
        p.sharded.local_blocks = small(s, 1, 4);
        p.sharded.stride = small(s, 1, 6);
        p.sharded.dense_heads = fuzz_chance(s, 20);
        p.sharded.head_offset = small(s, 0, 3);
        p.sharded.per_key_head = small(s, 0, 1);
    }
    if (p.op == OP_LANDMARK) p.landmark.block = small(s, 2, 24);
    if (p.op == OP_LIGHTNING || p.op == OP_LIGHTNING_STEP) make_linear(s, &p);
    if (p.op == OP_MERGE) {
        p.hk = p.hq;
        p.tk[0] = p.tq[0];
        p.sink = false;
        p.merge.parts = small(s, 1, 5);
        p.merge.empty = fuzz_chance(s, 50) ? .3 : 0;
    }
    return p;
}

/* Leaves out what the type's digits cannot tell, however right the kernel: answers that come out of sums which cancel,
 * while the limits follow the answers. Sums in f64 of P and dS rounded to 16 bits miss the limits there too. */
static void keep_digits(problem_parameters *p)
{
    const bool half = p->type == TENSOR_F16 || p->type == TENSOR_BF16;
    const bool linear = p->op == OP_LIGHTNING || p->op == OP_LIGHTNING_STEP;
    /* One head: the limits of dsink and dslopes, sums over its rows, follow the largest head's. And o of its one token is
     * (q.k) v where nothing came before or all of it has decayed: all of o is as small as that one sum. */
    const bool sums_rows = p->pass == PASS_BACKWARD && (p->sink || linear), one_sum = linear && p->b * p->tq[0] == 1;
    if (p->type != TENSOR_F64 && p->hq == 1 && (sums_rows || one_sum)) p->hq = 2;
    /* dq and dk, as small as the scale, would lie among f16's subnormals. */
    if (p->type == TENSOR_F16 && p->pass == PASS_BACKWARD && p->scale == 1e-3) p->scale = 0;
    if (!half || !problem_is_softmax(p->op)) return;
    /* Where keys weigh alike, rows differ little: o and the gradients are made of B Hk Dv sums, and a few of them may
     * all be small. */
    const int64_t sums = p->hk * (p->dv ? p->dv : p->d), enough = 8;
    if (p->b * sums < enough) p->b = (enough + sums - 1) / sums;
    /* A row of large logits over keys of one number: its weights lie on neighbours of the largest key, so that dq, the
     * sum of dS k with the sum of dS 0, is small beside what each dS is rounded by. */
    if (p->d == 1) p->spread = 1;
}

problem_parameters fuzz_parameters(fuzz_source *s)
{
    problem_parameters p = draw(s);
    const bool narrows = fuzz_chance(s, 60);
    while (cost(&p) > 1.5e5) { /* halves what is largest; or what is not a width, as far as that goes */
        if (p.b > 1)
            p.b = 1;
        else if (narrows && p.d > 64)
            p.d /= 2;
        else if (narrows && p.dv > 64)
            p.dv /= 2;
        else if (p.hq > p.hk && p.op != OP_MERGE)
            p.hq = p.hk;
        else if (p.op != OP_NEIGHBORHOOD && (p.tq[0] > 16 || p.tk[0] > 16))
            p.tq[0] = (p.tq[0] + 1) / 2, p.tk[0] = (p.tk[0] + 1) / 2;
        else if (p.d > 8)
            p.d /= 2;
        else
            break;
    }
    keep_digits(&p);
    if (p.op == OP_BLOCK_SPARSE && p.block_sparse.block_q) {
        p.block_sparse.batches = p.block_sparse.batches > 1 ? p.b : 1;
        if (p.block_sparse.heads > p.hk || p.block_sparse.heads > p.hq) p.block_sparse.heads = p.hq;
    }
    if (p.op == OP_LIGHTNING || p.op == OP_LIGHTNING_STEP) p.hk = p.hq, p.tk[0] = 0;
    /* With a single key dq and dk are 0 but for the rounding of the sums that cancel: nothing to compare. */
    if (problem_is_softmax(p.op) && p.tk[0] * (p.ndim > 1 ? 2 : 1) < 2) p.pass = PASS_FORWARD;
    if (p.op == OP_MERGE) p.tk[0] = p.tq[0];
    return p;
}
