/* Long sequences on a GPU: sampled rows of o, lse, dq, dk, dv against sums in double over all keys (or queries), T from
 * 4k to 64k; and one tensor of more than 2^31 elements.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gpu.h"
#include "harness.h"
#include "random.h"
#include "seen.h"
#include "subject.h"

static const char *backend;

typedef struct {
    const char *id;
    problem_parameters p;
} large;

#define LONG(tokens, query_heads, key_heads, width)                                                                    \
    .pass = PASS_BACKWARD, .b = 1, .tq = {(tokens)}, .tk = {(tokens)}, .hq = (query_heads), .hk = (key_heads),         \
    .d = (width)

static const large problems[] = {
    {"block_sparse 4k",
     {.op = OP_BLOCK_SPARSE,
      .type = TENSOR_F32,
      LONG(4096, 2, 1, 64),
      .block_sparse = {.block_q = 64, .causal = 1, .density = .2}}},
    {"block_sparse 16k",
     {.op = OP_BLOCK_SPARSE,
      .type = TENSOR_BF16,
      LONG(16384, 2, 2, 128),
      .block_sparse = {.block_q = 128, .causal = 1, .density = .1}}},
    {"block_sparse 64k",
     {.op = OP_BLOCK_SPARSE,
      .type = TENSOR_F16,
      LONG(65536, 1, 1, 64),
      .block_sparse = {.block_q = 128, .causal = 1, .density = .02}}},
    {"dense 16k", {.op = OP_BLOCK_SPARSE, .type = TENSOR_F32, LONG(16384, 1, 1, 128), .block_sparse = {.causal = 1}}},
    {"neighborhood 64k",
     {.op = OP_NEIGHBORHOOD,
      .type = TENSOR_F32,
      LONG(65536, 2, 1, 64),
      .neighborhood = {.window = {1000}, .dilation = {3}}}},
    {"neighborhood 128x128",
     {.op = OP_NEIGHBORHOOD,
      .type = TENSOR_BF16,
      .pass = PASS_BACKWARD,
      .ndim = 2,
      .b = 1,
      .tq = {128, 128},
      .tk = {128, 128},
      .hq = 2,
      .hk = 2,
      .d = 64,
      .neighborhood = {.window = {32, 31}}}},
    {"sharded 16k",
     {.op = OP_SHARDED,
      .type = TENSOR_BF16,
      LONG(16461, 8, 4, 128),
      .sharded = {.block = 64, .local_blocks = 2, .stride = 4, .dense_heads = 1, .per_key_head = 1}}},
    {"sharded 64k",
     {.op = OP_SHARDED,
      .type = TENSOR_F32,
      LONG(65536, 2, 2, 64),
      .sharded = {.block = 64, .local_blocks = 8, .stride = 16}}},
};
enum { PROBLEMS = sizeof problems / sizeof *problems };

/* Host copies, as doubles, of what a sampled row needs. */
typedef struct {
    const problem *given;
    seen_mask mask;
    double scale;
    double *q, *k, *v, *grad_o, *o, *lse;
} values;

static double dot(const double *x, const double *y, int64_t n)
{
    double sum = 0;
    for (int64_t c = 0; c < n; c++) sum += x[c] * y[c];
    return sum;
}

/* Row (i, h) of a [T, H, width] tensor. */
static const double *at(const double *t, int64_t i, int64_t h, int64_t heads, int64_t width)
{
    return t + (i * heads + h) * width;
}

static void close_row(const tensor *got, int64_t row, const double *want, double limit, double floor, const char *name)
{
    const int64_t width = tensor_row_length(got);
    double rms = 0;
    for (int64_t c = 0; c < width; c++) rms += want[c] * want[c];
    rms = fmax(sqrt(rms / (double)width), floor);
    for (int64_t c = 0; c < width; c++) {
        const double x = tensor_get(got, row * width + c);
        CHECK(fabs(x - want[c]) <= 12 * limit * rms, "%s row %lld[%lld]: %.9g, expected %.9g", name, (long long)row,
              (long long)c, x, want[c]);
    }
}

static double limit_of(tensor_type type, bool gradient)
{
    const double limits[] = {[TENSOR_F32] = 1e-5, [TENSOR_F16] = 1e-3, [TENSOR_BF16] = 5e-3};
    return limits[type] * (!gradient ? 1 : type == TENSOR_F32 ? 3 : 2);
}

/* o, lse and dq of row (i, h). */
static void check_query(const problem *p, const values *x, int64_t i, int64_t h)
{
    const problem_extents *e = &x->given->extents;
    const int64_t key_head = h / (e->hq / e->hk), tk = x->mask.tk, row = i * e->hq + h;
    const double *q = at(x->q, i, h, e->hq, e->d), *grad_o = at(x->grad_o, i, h, e->hq, e->dv),
                 *o = at(x->o, i, h, e->hq, e->dv);
    double *logits = harness_memory(tk * (int64_t)sizeof *logits),
           *want_o = harness_memory(e->dv * (int64_t)sizeof *want_o);
    double *want_q = harness_memory(e->d * (int64_t)sizeof *want_q), top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < tk; j++) {
        logits[j] =
            seen(&x->mask, 0, h, i, j) ? x->scale * dot(q, at(x->k, j, key_head, e->hk, e->d), e->d) : -INFINITY;
        top = fmax(top, logits[j]);
    }
    for (int64_t j = 0; j < tk; j++) sum += exp(logits[j] - top);
    const double lse = top + log(sum), delta = dot(grad_o, o, e->dv), used = x->lse[row];
    memset(want_o, 0, (size_t)e->dv * sizeof *want_o);
    memset(want_q, 0, (size_t)e->d * sizeof *want_q);
    for (int64_t j = 0; j < tk; j++) {
        if (logits[j] == -INFINITY) continue;
        const double *v = at(x->v, j, key_head, e->hk, e->dv), *k = at(x->k, j, key_head, e->hk, e->d);
        const double grad = x->scale * exp(logits[j] - used) * (dot(grad_o, v, e->dv) - delta);
        for (int64_t c = 0; c < e->dv; c++) want_o[c] += exp(logits[j] - lse) * v[c];
        for (int64_t c = 0; c < e->d; c++) want_q[c] += grad * k[c];
    }
    CHECK(fabs(used - lse) <= (e->type == TENSOR_F32 ? 1e-5 : 1e-4) * fmax(1, fabs(lse)),
          "lse[%lld]: %.9g, expected %.9g", (long long)row, used, lse);
    close_row(p->t[ROLE_O], row, want_o, limit_of(e->type, false), 0, "o");
    close_row(p->t[ROLE_DQ], row, want_q, limit_of(e->type, true), 1e-2 * x->scale * sqrt((double)e->dv), "dq");
}

/* dk and dv of row (j, key_head). */
static void check_key(const problem *p, const values *x, int64_t j, int64_t key_head)
{
    const problem_extents *e = &x->given->extents;
    const int64_t group = e->hq / e->hk;
    const double *k = at(x->k, j, key_head, e->hk, e->d), *v = at(x->v, j, key_head, e->hk, e->dv);
    double *want_k = harness_memory(e->d * (int64_t)sizeof *want_k),
           *want_v = harness_memory(e->dv * (int64_t)sizeof *want_v);
    memset(want_k, 0, (size_t)e->d * sizeof *want_k);
    memset(want_v, 0, (size_t)e->dv * sizeof *want_v);
    for (int64_t n = 0; n < x->mask.tq * group; n++) {
        const int64_t i = n / group, h = key_head * group + n % group;
        if (!seen(&x->mask, 0, h, i, j)) continue;
        const double *q = at(x->q, i, h, e->hq, e->d), *grad_o = at(x->grad_o, i, h, e->hq, e->dv);
        const double weight = exp(x->scale * dot(q, k, e->d) - x->lse[i * e->hq + h]);
        const double delta = dot(grad_o, at(x->o, i, h, e->hq, e->dv), e->dv);
        const double grad = x->scale * weight * (dot(grad_o, v, e->dv) - delta);
        for (int64_t c = 0; c < e->d; c++) want_k[c] += grad * q[c];
        for (int64_t c = 0; c < e->dv; c++) want_v[c] += weight * grad_o[c];
    }
    const int64_t row = j * e->hk + key_head;
    close_row(p->t[ROLE_DK], row, want_k, limit_of(e->type, true), 1e-2 * x->scale * sqrt((double)e->dv), "dk");
    close_row(p->t[ROLE_DV], row, want_v, limit_of(e->type, true), 1e-2, "dv");
}

static void sampled(const void *argument)
{
    const large *l = argument;
    problem *given = gpu_host_problem(&l->p, l->p.type), *p = gpu_problem(given, PASS_BACKWARD, LAYOUT_HEADS_FIRST);
    gpu_room room = {0};
    const slat_exec exec = gpu_exec(&room, backend, NULL);
    for (problem_pass pass = PASS_FORWARD; pass <= PASS_BACKWARD; pass++) {
        const slat_status s = problem_call(p, pass, &exec);
        CHECK(s == SLAT_OK && gpu_room_end(&room), "%s: %s", problem_pass_name(pass), slat_error());
    }
    subject_descriptors storage;
    values x = {.given = given, .mask = subject_mask(given, &storage), .scale = problem_scale(given)};
    const problem_role roles[] = {ROLE_Q, ROLE_K, ROLE_V, ROLE_DO};
    double **arrays[] = {&x.q, &x.k, &x.v, &x.grad_o};
    for (int n = 0; n < 4; n++) *arrays[n] = tensor_values(given->t[roles[n]]);
    x.o = tensor_values(p->t[ROLE_O]);
    x.lse = tensor_values(p->t[ROLE_LSE]);
    enum { SAMPLES = 24 };
    for (int64_t n = 0; n < SAMPLES; n++) { /* the first, the last, and a spread between */
        const int64_t i = n * (x.mask.tq - 1) / (SAMPLES - 1), j = n * (x.mask.tk - 1) / (SAMPLES - 1);
        check_query(p, &x, i, n % given->extents.hq);
        check_key(p, &x, j, n % given->extents.hk);
        harness_release();
    }
    for (int n = 0; n < 4; n++) free(*arrays[n]);
    free(x.o), free(x.lse);
    problem_free(p);
    problem_free(given);
}

/* More than 2^31 elements: q, k, v are one pattern of rows over and over, so that row i is known without the host
 * having ever held the tensor. */
enum { PERIOD = 8191, WIDTH = 256, WINDOW = 5 };
static const int64_t tokens = (int64_t)8 * 1024 * 1024 + 4100;

static void huge(const void *argument)
{
    (void)argument;
    const memory *m = gpu_memory();
    const size_t bytes = (size_t)tokens * WIDTH * sizeof(float);
    unsigned char *data[4];
    float *rows[3];
    int64_t shape[4] = {1, tokens, 1, WIDTH};
    DLTensor t[4];
    for (int n = 0; n < 4; n++) {
        data[n] = m->allocate(m, bytes);
        if (!CHECK(data[n], "no %zu bytes on the device", bytes)) return;
        t[n] =
            (DLTensor){.data = data[n], .device = {kDLCUDA, 0}, .ndim = 4, .dtype = {kDLFloat, 32, 1}, .shape = shape};
    }
    for (int n = 0; n < 3; n++) {
        rows[n] = harness_memory((int64_t)PERIOD * WIDTH * (int64_t)sizeof(float));
        for (int64_t e = 0; e < (int64_t)PERIOD * WIDTH; e++)
            rows[n][e] = (float)random_normal((uint64_t)n + 1, (uint64_t)e);
        gpu_repeat(data[n], rows[n], (size_t)PERIOD * WIDTH * sizeof(float), bytes);
    }
    const slat_neighborhood window = {.ndim = 1, .window = {WINDOW}};
    const slat_attention a = {.q = &t[0], .k = &t[1], .v = &t[2], .o = &t[3]};
    gpu_room room = {0};
    const slat_exec exec = gpu_exec(&room, backend, NULL);
    CHECK(slat_neighborhood_forward(&exec, &window, &a) == SLAT_OK && gpu_room_end(&room), "%s", slat_error());
    for (int64_t n = 0; n < 64; n++) {
        const int64_t i = n * (tokens - 1) / 63;
        int64_t first = i - WINDOW / 2;
        first = first < 0 ? 0 : first > tokens - WINDOW ? tokens - WINDOW : first;
        double logits[WINDOW], sum = 0, top = -INFINITY;
        float got[WIDTH];
        for (int j = 0; j < WINDOW; j++) {
            logits[j] = 0;
            for (int c = 0; c < WIDTH; c++)
                logits[j] +=
                    (double)rows[0][i % PERIOD * WIDTH + c] * rows[1][(first + j) % PERIOD * WIDTH + c] / sqrt(WIDTH);
            top = fmax(top, logits[j]);
        }
        for (int j = 0; j < WINDOW; j++) sum += exp(logits[j] - top);
        CHECK(m->download(m, got, data[3] + (size_t)i * sizeof got, sizeof got), "download");
        for (int c = 0; c < WIDTH; c++) {
            double want = 0;
            for (int j = 0; j < WINDOW; j++)
                want += exp(logits[j] - top) / sum * rows[2][(first + j) % PERIOD * WIDTH + c];
            CHECK(fabs(got[c] - want) <= 1e-4, "o[%lld][%d]: %.9g, expected %.9g", (long long)i, c, got[c], want);
        }
    }
    for (int n = 0; n < 4; n++) m->release(m, data[n]);
}

int main(int argc, char **argv)
{
    const char *names[GPU_BACKENDS];
    gpu_begin("cuda_large");
    const int32_t backends = gpu_backends(names);
    backend = names[backends - 1];
    for (int n = 0; n < PROBLEMS; n++) harness_add(sampled, &problems[n], "%s", problems[n].id);
    harness_add(huge, NULL, "more than 2^31 elements");
    return harness_main("cuda_large", argc, argv);
}
