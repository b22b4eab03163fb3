/* Extents far beyond any memory, which a plan must count without overflow: it is refused with SLAT_NO_MEMORY, or names
 * a workspace that is no smaller than that of a short sequence. And more threads than any machine has: the workspace
 * stays small. On every backend of this machine. */
#include <stdio.h>
#include <string.h>

#include "harness.h"
#include "subject.h"

#define SHORT ((int64_t)1 << 10)
#define MOST_WORKSPACE ((size_t)160 << 20) /* for however many threads */

enum { DENSE, WINDOW, SHARDS, LANDMARKS, SHAPES };
static const char *const names[] = {"dense", "neighborhood", "sharded", "landmark"};

typedef struct {
    const char *backend;
    int shape;
    problem_pass pass;
} row;

typedef struct {
    int64_t b, tq, tk;
    int32_t h, d, threads;
} extents;

/* A plan of tensors without data. Inputs lie on one row, which makes every extent addressable; outputs are compact, in
 * 16 bits, which the fast backends sum elsewhere. */
static slat_status plan(const row *r, const extents *e, slat_plan *plan)
{
    const DLDevice cpu = {kDLCPU, 0};
    const DLDataType half = {kDLBfloat, 16, 1}, f32 = {kDLFloat, 32, 1}, i32 = {kDLInt, 32, 1};
    int64_t queries[4] = {e->b, e->tq, e->h, e->d}, keys[4] = {e->b, e->tk, e->h, e->d}, heads[1] = {e->h};
    int64_t one_row[4] = {0, 0, 0, 1}, none[3] = {0, 0, 0};
    DLTensor q = {NULL, cpu, 4, half, queries, one_row, 0}, k = {NULL, cpu, 4, half, keys, one_row, 0}, v = k, o = q;
    DLTensor lse = {NULL, cpu, 3, f32, queries, none, 0}, grad_o = q;
    DLTensor grad_q = {NULL, cpu, 4, half, queries, NULL, 0};
    DLTensor grad_k = {NULL, cpu, 4, half, keys, NULL, 0}, grad_v = grad_k;
    DLTensor offsets = {NULL, cpu, 1, i32, heads, NULL, 0};
    slat_exec exec = {.backend = r->backend, .threads = e->threads, .plan = plan};
    slat_attention a = {.q = &q, .k = &k, .v = &v, .o = &o, .lse = &lse};
    const bool backward = r->pass == PASS_BACKWARD;
    if (backward)
        a.grad_o = &grad_o, a.grad_q = &grad_q, a.grad_k = &grad_k, a.grad_v = &grad_v;
    else
        o.strides = lse.strides = NULL;
    const slat_block_sparse dense = {.causal = 1};
    const slat_neighborhood window = {.ndim = 1, .window = {16}, .q_start = {e->tk - e->tq}};
    const slat_sharded shards = {.block = 64, .local_blocks = 4, .stride = 8, .offsets = &offsets};
    const slat_landmark landmark = {.block = 512};
    switch (r->shape) {
    case DENSE: return (backward ? slat_block_sparse_backward : slat_block_sparse_forward)(&exec, &dense, &a);
    case WINDOW: return (backward ? slat_neighborhood_backward : slat_neighborhood_forward)(&exec, &window, &a);
    case SHARDS: return (backward ? slat_sharded_backward : slat_sharded_forward)(&exec, &shards, &a);
    default: return (backward ? slat_landmark_backward : slat_landmark_forward)(&exec, &landmark, &a);
    }
}

static void huge(const void *argument)
{
    const row *r = argument;
    for (int32_t threads = 1; threads <= 16; threads *= 16)
        for (int side = 0; side < 2; side++) /* many keys; many of both */
            for (int power = 40; power <= 58; power++) {
                const int64_t tokens = (int64_t)1 << power;
                const extents small = {1, side ? SHORT : 1, SHORT, 1, 1, threads};
                const extents large = {1, side ? tokens : 1, tokens, 1, 1, threads};
                slat_plan short_plan = {0}, long_plan = {0};
                const slat_status s = plan(r, &small, &short_plan);
                CHECK(s == SLAT_OK, "%s", slat_error());
                const slat_status status = plan(r, &large, &long_plan);
                if (status == SLAT_OK)
                    CHECK(long_plan.workspace >= short_plan.workspace, "2^%d keys, %d threads: %zu bytes, %zu for 2^10",
                          power, threads, long_plan.workspace, short_plan.workspace);
                else
                    CHECK(status == SLAT_NO_MEMORY && strstr(slat_error(), "workspace"), "2^%d keys, %d threads: %s",
                          power, threads, slat_error());
            }
}

/* Nothing to compute needs nothing, whatever the other extents are. */
static void empty(const void *argument)
{
    const row *r = argument;
    const extents e = {0, 1, (int64_t)1 << 58, 1, 1, 4};
    slat_plan p = {0};
    const slat_status s = plan(r, &e, &p);
    CHECK(s == SLAT_OK, "B 0: %s", slat_error());
}

static void many_threads(const void *argument)
{
    const row *r = argument;
    for (int32_t h = 1; h <= 64; h *= 8) {
        const extents few = {1, 1 << 20, 1 << 20, h, 128, 1}, many = {1, 1 << 20, 1 << 20, h, 128, INT32_MAX};
        slat_plan one = {0}, all = {0};
        if (!CHECK(plan(r, &few, &one) == SLAT_OK && plan(r, &many, &all) == SLAT_OK, "%s", slat_error())) return;
        CHECK(all.workspace <= MOST_WORKSPACE || all.workspace <= one.workspace,
              "%d heads: %zu bytes for 2^31 - 1 threads, %zu for one", h, all.workspace, one.workspace);
    }
}

int main(int argc, char **argv)
{
    static row rows[SUBJECT_BACKENDS * SHAPES * 2];
    const char *backends[SUBJECT_BACKENDS];
    row *r = rows;
    const int32_t count = subject_backends(backends);
    for (int32_t b = 0; b < count; b++) {
        if (!strcmp(backends[b], "amx")) continue; /* declines few rows */
        for (int shape = 0; shape < SHAPES; shape++)
            for (problem_pass pass = PASS_FORWARD; pass <= PASS_BACKWARD; pass++, r++) {
                *r = (row){backends[b], shape, pass};
                harness_add(huge, r, "huge %s %s %s", names[shape], backends[b], problem_pass_name(pass));
                harness_add(empty, r, "empty %s %s %s", names[shape], backends[b], problem_pass_name(pass));
                harness_add(many_threads, r, "threads %s %s %s", names[shape], backends[b], problem_pass_name(pass));
            }
    }
    return harness_main("sizes", argc, argv);
}
