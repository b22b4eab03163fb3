/* Lightning attention over half a million tokens on every backend of a GPU: sampled rows of o, dq, dk and dv of one
 * head against sums in double. Tensors are one pattern of rows over and over.
 */
#include <math.h>
#include <string.h>

#include "gpu.h"
#include "harness.h"
#include "random.h"

enum { TOKENS = 524288 - 37, PERIOD = 8191, WIDTH = 128, SAMPLES = 24 };
enum { Q, K, V, GRAD_O, INPUTS, O = INPUTS, GRAD_Q, GRAD_K, GRAD_V, TENSORS };

static const double scale = 0.1;
static double slope;
static double *rows[INPUTS]; /* the patterns */

/* A number that bf16 has, and its bits. */
static uint16_t round_down(double *x)
{
    float value = (float)*x;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits &= 0xffff0000u;
    memcpy(&value, &bits, sizeof bits);
    *x = value;
    return (uint16_t)(bits >> 16);
}

static const double *row(int n, int64_t token)
{
    return rows[n] + token % PERIOD * WIDTH;
}

/* scale sum_n lambda^|n - i| (x_i.b_n) c_n over the tokens from i back to the first, or on to the last; beyond a weight
 * of e^-40 there is nothing. */
static void expected(double *want, int x, int b, int c, int64_t i, int step)
{
    memset(want, 0, WIDTH * sizeof *want);
    for (int64_t n = i; n >= 0 && n < TOKENS && fabs((double)(n - i)) * slope < 40; n += step) {
        const double *left = row(x, i), *right = row(b, n), *add = row(c, n);
        double product = 0;
        for (int e = 0; e < WIDTH; e++) product += left[e] * right[e];
        product *= scale * exp(-slope * fabs((double)(n - i)));
        for (int e = 0; e < WIDTH; e++) want[e] += product * add[e];
    }
}

static void close_row(const unsigned char *data, int64_t i, const double *want, double limit, const char *name)
{
    const memory *m = gpu_memory();
    uint16_t got[WIDTH];
    double rms = 0;
    CHECK(m->download(m, got, (unsigned char *)data + (size_t)i * sizeof got, sizeof got), "download");
    for (int e = 0; e < WIDTH; e++) rms += want[e] * want[e];
    rms = sqrt(rms / WIDTH);
    for (int e = 0; e < WIDTH; e++) {
        const uint32_t bits = (uint32_t)got[e] << 16;
        float x;
        memcpy(&x, &bits, sizeof x);
        CHECK(fabs(x - want[e]) <= 12 * limit * rms, "%s[%lld][%d]: %.9g, expected %.9g", name, (long long)i, e, x,
              want[e]);
    }
}

static void make_patterns(unsigned char *data[], size_t bytes)
{
    const int64_t count = (int64_t)PERIOD * WIDTH;
    uint16_t *bits = harness_memory(count * (int64_t)sizeof *bits);
    for (int n = 0; n < INPUTS; n++) {
        rows[n] = harness_memory(count * (int64_t)sizeof(double));
        for (int64_t e = 0; e < count; e++) {
            rows[n][e] = random_normal((uint64_t)n + 1, (uint64_t)e);
            bits[e] = round_down(&rows[n][e]);
        }
        gpu_repeat(data[n], bits, (size_t)count * sizeof *bits, bytes);
    }
}

typedef struct {
    const char *backend;
    double slope;
} row_case;

static void lightning(const void *argument)
{
    const row_case *c = argument;
    slope = c->slope;
    const memory *m = gpu_memory();
    const size_t bytes = (size_t)TOKENS * WIDTH * sizeof(uint16_t);
    int64_t shape[] = {1, TOKENS, 1, WIDTH}, one = 1;
    unsigned char *data[TENSORS], *slopes = m->allocate(m, sizeof(float));
    DLTensor t[TENSORS],
        decay = {.data = slopes, .device = {kDLCUDA, 0}, .ndim = 1, .dtype = {kDLFloat, 32, 1}, .shape = &one};
    for (int n = 0; n < TENSORS; n++) {
        data[n] = m->allocate(m, bytes);
        if (!CHECK(data[n] && slopes, "no memory on the device")) return;
        t[n] =
            (DLTensor){.data = data[n], .device = {kDLCUDA, 0}, .ndim = 4, .dtype = {kDLBfloat, 16, 1}, .shape = shape};
    }
    const float value = (float)slope;
    CHECK(m->upload(m, slopes, &value, sizeof value), "upload");
    make_patterns(data, bytes);
    const slat_lightning call = {.q = &t[Q],
                                 .k = &t[K],
                                 .v = &t[V],
                                 .slopes = &decay,
                                 .o = &t[O],
                                 .scale = scale,
                                 .grad_o = &t[GRAD_O],
                                 .grad_q = &t[GRAD_Q],
                                 .grad_k = &t[GRAD_K],
                                 .grad_v = &t[GRAD_V]};
    gpu_room room = {0};
    const slat_exec exec = gpu_exec(&room, c->backend, NULL);
    CHECK(slat_lightning_forward(&exec, &call) == SLAT_OK && gpu_room_end(&room), "forward: %s", slat_error());
    CHECK(slat_lightning_backward(&exec, &call) == SLAT_OK && gpu_room_end(&room), "backward: %s", slat_error());
    for (int64_t n = 0; n < SAMPLES; n++) { /* the first, the last, and a spread between */
        const int64_t i = n * (TOKENS - 1) / (SAMPLES - 1);
        double want[WIDTH];
        expected(want, Q, K, V, i, -1), close_row(data[O], i, want, 5e-3, "o");
        expected(want, GRAD_O, V, K, i, -1), close_row(data[GRAD_Q], i, want, 1e-2, "dq");
        expected(want, V, GRAD_O, Q, i, 1), close_row(data[GRAD_K], i, want, 1e-2, "dk");
        expected(want, K, Q, GRAD_O, i, 1), close_row(data[GRAD_V], i, want, 1e-2, "dv");
    }
    for (int n = 0; n < TENSORS; n++) m->release(m, data[n]);
    m->release(m, slopes);
}

int main(int argc, char **argv)
{
    static row_case cases[2 * GPU_BACKENDS];
    const char *names[GPU_BACKENDS];
    gpu_begin("cuda_long");
    const int32_t backends = gpu_backends(names);
    for (int32_t n = 0; n < 2 * backends; n++) {
        cases[n] = (row_case){names[n / 2], n % 2 ? 1.0 / 32 : 1.0 / 256};
        harness_add(lightning, &cases[n], "lightning 512k %s, slope 1/%g", names[n / 2], 1 / cases[n].slope);
    }
    return harness_main("cuda_long", argc, argv);
}
