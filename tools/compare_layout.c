/* Which key blocks a query block should see: an estimate of softmax mass from averaged queries and keys; and the first
 * block for queries whose window has left it. */
#include "compare.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 16 }; /* tokens that are averaged */

/* Averages over pieces of [B, T, H, D], of one head of entry 0: [pieces, D]. */
static void average(const double *values, int64_t tokens, int64_t heads, int64_t head, int64_t d, double *pieces)
{
    for (int64_t t0 = 0; t0 < tokens; t0 += PIECE, pieces += d) {
        const int64_t t1 = t0 + PIECE < tokens ? t0 + PIECE : tokens;
        memset(pieces, 0, (size_t)d * sizeof *pieces);
        for (int64_t t = t0; t < t1; t++)
            for (int64_t c = 0; c < d; c++) pieces[c] += values[(t * heads + head) * d + c] / (double)(t1 - t0);
    }
}

typedef struct {
    problem *p;
    const options *o;
    int chosen;
    int64_t tokens, block, blocks, pieces, d, heads, key_heads;
    double *q, *k;             /* all of them, as doubles */
    double *q_piece, *k_piece; /* of one head */
    double *score;             /* of one query piece, per key piece */
    double *mass;              /* of one query block, per key block */
    int32_t *row;              /* the blocks that it sees */
} chooser;

/* Adds to c->mass what one query piece gives to each key block. */
static void add_mass(const chooser *c, int64_t piece)
{
    const double *q = c->q_piece + piece * c->d;
    double top = -INFINITY, sum = 0;
    for (int64_t n = 0; n <= piece; n++) {
        double dot = 0;
        for (int64_t x = 0; x < c->d; x++) dot += q[x] * c->k_piece[n * c->d + x];
        c->score[n] = dot * problem_scale(c->p);
        top = fmax(top, c->score[n]);
    }
    for (int64_t n = 0; n <= piece; n++) sum += exp(c->score[n] - top);
    for (int64_t n = 0; n <= piece; n++) c->mass[n * PIECE / c->block] += exp(c->score[n] - top) / sum;
}

static int ascending(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* The key blocks of query block i in c->row; returns how many. */
static int64_t choose_row(const chooser *c, int64_t i)
{
    const int64_t local = (int64_t)option_value(&c->o->local, 0, 1), first = (int64_t)option_value(&c->o->first, 0, 0);
    int64_t count = 0;
    memset(c->mass, 0, (size_t)c->blocks * sizeof *c->mass);
    for (int64_t n = i * c->block / PIECE; n < c->pieces && n * PIECE < (i + 1) * c->block; n++) add_mass(c, n);
    for (int64_t j = 0; j <= i; j++) {
        if (j >= first && j <= i - local) continue;
        c->row[count++] = (int32_t)j;
        c->mass[j] = -1;
    }
    for (int n = 0; n < c->chosen; n++) {
        int64_t best = 0;
        for (int64_t j = 1; j <= i; j++)
            if (c->mass[j] > c->mass[best]) best = j;
        if (c->mass[best] < 0) break;
        c->row[count++] = (int32_t)best;
        c->mass[best] = -1;
    }
    qsort(c->row, (size_t)count, sizeof *c->row, ascending);
    return count;
}

/* Fills `indices` head after head; without it only counts. */
static int64_t choose(const chooser *c, tensor *indptr, int32_t *indices)
{
    int64_t entries = 0;
    for (int64_t h = 0; h < c->heads; h++) {
        average(c->q, c->tokens, c->heads, h, c->d, c->q_piece);
        average(c->k, c->tokens, c->key_heads, h / (c->heads / c->key_heads), c->d, c->k_piece);
        for (int64_t i = 0; i <= c->blocks; i++) {
            tensor_set(indptr, h * (c->blocks + 1) + i, (double)entries);
            if (i == c->blocks) break;
            const int64_t count = choose_row(c, i);
            memcpy(indices + entries, c->row, (size_t)count * sizeof *indices);
            entries += count;
        }
    }
    return entries;
}

static bool build(chooser *c, sentence *why)
{
    problem_extents *e = &c->p->extents;
    const int64_t most = option_value(&c->o->local, 0, 1) + option_value(&c->o->first, 0, 0) + c->chosen;
    int32_t *indices = malloc((size_t)(c->heads * c->blocks * most) * sizeof *indices);
    e->layout_batches = 1;
    e->layout_heads = c->heads;
    bool fine = indices && problem_allocate(c->p, ROLE_INDPTR, LAYOUT_PLAIN);
    if (fine) {
        e->entries = choose(c, c->p->t[ROLE_INDPTR], indices);
        fine = problem_allocate(c->p, ROLE_INDICES, LAYOUT_PLAIN);
        for (int64_t n = 0; fine && n < e->entries; n++) tensor_set(c->p->t[ROLE_INDICES], n, indices[n]);
    }
    free(indices);
    return fine || sentence_fail(why, "not enough memory for a block layout");
}

bool compare_choose_blocks(problem *p, const options *o, int chosen, sentence *why)
{
    const problem_extents *e = &p->extents;
    const int64_t block = (int64_t)option_value(&o->block, 0, 64);
    if (e->tq[0] != e->tk[0] || block % PIECE) return sentence_fail(why, "blocks can be chosen for Tq = Tk alone");
    p->block_sparse = (slat_block_sparse){.block_q = (int32_t)block, .block_k = (int32_t)block, .causal = 1};
    chooser c = {p,
                 o,
                 chosen,
                 e->tk[0],
                 block,
                 (e->tk[0] + block - 1) / block,
                 (e->tk[0] + PIECE - 1) / PIECE,
                 e->d,
                 e->hq,
                 e->hk,
                 tensor_values(p->t[ROLE_Q]),
                 tensor_values(p->t[ROLE_K]),
                 NULL,
                 NULL,
                 NULL,
                 NULL,
                 NULL};
    c.q_piece = malloc((size_t)(c.pieces * c.d) * sizeof *c.q_piece);
    c.k_piece = malloc((size_t)(c.pieces * c.d) * sizeof *c.k_piece);
    c.score = malloc((size_t)c.pieces * sizeof *c.score);
    c.mass = malloc((size_t)c.blocks * sizeof *c.mass);
    c.row = malloc((size_t)(c.blocks + chosen) * sizeof *c.row);
    const bool room = c.q && c.k && c.q_piece && c.k_piece && c.score && c.mass && c.row;
    const bool fine = room ? build(&c, why) : sentence_fail(why, "not enough memory for a block layout");
    free(c.q), free(c.k), free(c.q_piece), free(c.k_piece), free(c.score), free(c.mass), free(c.row);
    return fine;
}

tensor *compare_share(const tensor *t)
{
    const int64_t offset = (int64_t)t->dl.byte_offset / (int64_t)tensor_type_size(t->type);
    return tensor_new_view(t, t->dl.ndim, t->shape, t->strides, offset);
}

/* Row i lists block 0 from row `from` on. */
static bool first_block_layout(problem *p, int64_t from, sentence *why)
{
    problem_extents *e = &p->extents;
    const int64_t rows = (e->tq[0] + p->block_sparse.block_q - 1) / p->block_sparse.block_q;
    e->layout_batches = e->layout_heads = 1;
    e->entries = rows > from ? rows - from : 0;
    if (!problem_allocate(p, ROLE_INDPTR, LAYOUT_PLAIN) || !problem_allocate(p, ROLE_INDICES, LAYOUT_PLAIN))
        return sentence_fail(why, "not enough memory for a block layout");
    for (int64_t i = 0; i <= rows; i++) tensor_set(p->t[ROLE_INDPTR], i, i > from ? (double)(i - from) : 0);
    return tensor_fill(p->t[ROLE_INDICES], 0);
}

problem *compare_first_block(const problem *window, int block, sentence *why)
{
    const int64_t reach = window->neighborhood.window[0];
    problem *p = problem_create(OP_BLOCK_SPARSE, window->memory);
    if (!p) return NULL;
    p->extents = window->extents;
    p->block_sparse = (slat_block_sparse){.block_q = block, .block_k = block, .causal = 1};
    for (int role = ROLE_Q; role <= ROLE_V; role++) p->t[role] = compare_share(window->t[role]);
    /* query i sees keys from i - reach + 1 on: row r is clear of the block when r * block - reach + 1 >= block */
    const bool fine = p->t[ROLE_Q] && p->t[ROLE_K] && p->t[ROLE_V] &&
                      first_block_layout(p, (block + reach - 1 + block - 1) / block, why) && problem_settle(p, why) &&
                      problem_allocate_outputs(p, PASS_FORWARD, LAYOUT_PLAIN, why);
    if (fine) return p;
    problem_free(p);
    return NULL;
}
