/* Every gradient against central differences of the forward pass, in f64, by the definition (scalar).
 *
 * The loss is sum(o * do) + sum(lse * dlse), for lightning sum(o * do) + sum(st * dst). Every element of every input
 * that has a gradient is moved by itself.
 */
#include <math.h>
#include <stdlib.h>

#include "harness.h"
#include "subject.h"

static const slat_exec on_scalar = {.backend = "scalar"};

typedef struct {
    const char *id;
    problem_parameters p;
} row;

#define GENERAL .type = TENSOR_F64, .pass = PASS_BACKWARD
#define SEQUENCE(batch, queries, keys, query_heads, key_heads, width, value_width)                                     \
    .b = (batch), .tq = {(queries)}, .tk = {(keys)}, .hq = (query_heads), .hk = (key_heads), .d = (width),             \
    .dv = (value_width)

static const row rows[] = {
    {"block_sparse",
     {.op = OP_BLOCK_SPARSE,
      GENERAL,
      SEQUENCE(2, 19, 19, 2, 1, 3, 2),
      .sink = true,
      .dlse = true,
      .block_sparse = {.block_q = 8, .causal = 1, .density = .5}}},
    {"block_sparse, bitmaps",
     {.op = OP_BLOCK_SPARSE,
      GENERAL,
      SEQUENCE(1, 21, 27, 2, 2, 3, 4),
      .dlse = true,
      .block_sparse = {.block_q = 8, .block_k = 16, .density = .6, .bitmaps = 1, .seed = 3}}},
    {"block_sparse, empty rows and a sink",
     {.op = OP_BLOCK_SPARSE,
      GENERAL,
      SEQUENCE(1, 24, 12, 2, 1, 2, 2),
      .sink = true,
      .dlse = true,
      .block_sparse = {.block_q = 8, .causal = 1, .density = .5}}},
    {"block_sparse, transposed",
     {.op = OP_BLOCK_SPARSE,
      GENERAL,
      SEQUENCE(2, 17, 20, 4, 2, 2, 3),
      .scale = -.7,
      .block_sparse = {.block_q = 8, .density = .5, .batches = 2, .heads = 4, .seed = 2, .transposed = true}}},
    {"dense",
     {.op = OP_BLOCK_SPARSE,
      GENERAL,
      SEQUENCE(1, 7, 11, 2, 1, 3, 2),
      .sink = true,
      .dlse = true,
      .block_sparse = {.causal = 1}}},
    {"neighborhood 1-D",
     {.op = OP_NEIGHBORHOOD,
      GENERAL,
      SEQUENCE(2, 13, 13, 2, 1, 3, 2),
      .sink = true,
      .dlse = true,
      .neighborhood = {.window = {4}, .stride = {3}, .dilation = {2}, .causal = {1}}}},
    {"neighborhood 1-D, a box",
     {.op = OP_NEIGHBORHOOD,
      GENERAL,
      SEQUENCE(1, 5, 16, 2, 2, 3, 2),
      .dlse = true,
      .neighborhood = {.window = {5}, .q_start = {6}}}},
    {"neighborhood 2-D",
     {.op = OP_NEIGHBORHOOD,
      GENERAL,
      .ndim = 2,
      .b = 1,
      .tq = {5, 6},
      .tk = {5, 6},
      .hq = 2,
      .hk = 1,
      .d = 2,
      .dv = 3,
      .sink = true,
      .dlse = true,
      .neighborhood = {.window = {3, 2}, .stride = {1, 2}, .dilation = {1, 2}, .causal = {0, 1}}}},
    {"neighborhood 3-D",
     {.op = OP_NEIGHBORHOOD,
      GENERAL,
      .ndim = 3,
      .b = 1,
      .tq = {2, 3, 3},
      .tk = {3, 4, 3},
      .hq = 1,
      .d = 2,
      .dlse = true,
      .neighborhood = {.window = {2, 3, 2}, .causal = {1, 0, 0}, .q_start = {1, 1, 0}}}},
    {"sharded",
     {.op = OP_SHARDED,
      GENERAL,
      SEQUENCE(2, 17, 22, 4, 2, 2, 3),
      .sink = true,
      .dlse = true,
      .sharded = {.block = 3, .local_blocks = 1, .stride = 3, .dense_heads = 1}}},
    {"sharded, early rows",
     {.op = OP_SHARDED,
      GENERAL,
      SEQUENCE(1, 20, 9, 2, 2, 2, 2),
      .dlse = true,
      .sharded = {.block = 2, .local_blocks = 1, .stride = 2}}},
    {"landmark", {.op = OP_LANDMARK, GENERAL, SEQUENCE(2, 18, 18, 2, 1, 3, 2), .dlse = true, .landmark = {4}}},
    {"landmark, blocks of 2",
     {.op = OP_LANDMARK, GENERAL, SEQUENCE(1, 9, 12, 2, 2, 2, 2), .dlse = true, .landmark = {2}}},
    {"landmark, early rows", {.op = OP_LANDMARK, GENERAL, SEQUENCE(1, 14, 9, 1, 1, 2, 2), .landmark = {3}}},
    {"lightning",
     {.op = OP_LIGHTNING,
      GENERAL,
      SEQUENCE(2, 11, 0, 3, 0, 3, 2),
      .scale = .4,
      .lightning = {.slope = .2, .s0 = true, .dst = true}}},
    {"lightning, ALiBi, states",
     {.op = OP_LIGHTNING,
      GENERAL,
      SEQUENCE(1, 13, 0, 2, 0, 2, 3),
      .lightning = {.s0 = true, .dst = true, .states_every = 4}}},
    {"lightning, no states", {.op = OP_LIGHTNING, GENERAL, SEQUENCE(1, 9, 0, 2, 0, 2, 3), .lightning = {.slope = .5}}},
    {"lightning, dst alone",
     {.op = OP_LIGHTNING, GENERAL, SEQUENCE(1, 9, 0, 1, 0, 2, 2), .lightning = {.slope = 1, .dst = true}}},
    {"lightning, one token",
     {.op = OP_LIGHTNING, GENERAL, SEQUENCE(2, 1, 0, 2, 0, 2, 2), .lightning = {.slope = .3, .s0 = true, .dst = true}}},
    {"merge",
     {.op = OP_MERGE, GENERAL, SEQUENCE(1, 6, 6, 2, 2, 3, 3), .dlse = true, .merge = {.parts = 3, .empty = .2}}},
    {"merge, one part", {.op = OP_MERGE, GENERAL, SEQUENCE(1, 4, 4, 1, 1, 2, 2), .dlse = true, .merge = {.parts = 1}}},
};

static double weighted(const tensor *answer, const tensor *weight)
{
    if (!answer || !weight) return 0;
    double sum = 0;
    for (int64_t n = 0; n < tensor_count(answer); n++) {
        const double x = tensor_get(answer, n), w = tensor_get(weight, n);
        if (isfinite(x)) sum += x * w; /* an lse of -inf carries no gradient */
    }
    return sum;
}

static double loss(problem *p)
{
    const slat_status s = problem_call(p, PASS_FORWARD, &on_scalar);
    CHECK(s == SLAT_OK, "%s", slat_error());
    return weighted(p->t[ROLE_O], p->t[ROLE_DO]) + weighted(p->t[ROLE_LSE], p->t[ROLE_DLSE]) +
           weighted(p->t[ROLE_ST], p->t[ROLE_DST]);
}

/* Five-point differences: their own error is about 1e-10 here. */
static double difference(problem *p, tensor *t, int64_t n)
{
    const double x = tensor_get(t, n), step = 1e-3;
    static const double weight[4] = {1. / 12, -2. / 3, 2. / 3, -1. / 12};
    double sum = 0;
    for (int32_t i = 0; i < 4; i++) {
        tensor_set(t, n, x + step * (i < 2 ? i - 2 : i - 1));
        sum += weight[i] * loss(p);
    }
    tensor_set(t, n, x);
    return sum / step;
}

static void check_gradient(problem *p, int input, int gradient)
{
    tensor *t = p->t[input];
    if (!t || !p->t[gradient]) return;
    double *got = tensor_values(p->t[gradient]), largest = 0;
    double *want = harness_memory(tensor_count(t) * (int64_t)sizeof *want);
    for (int64_t n = 0; n < tensor_count(t); n++) {
        const double x = tensor_get(t, n);
        want[n] = isfinite(x) ? difference(p, t, n) : 0; /* a part with lse = -inf is not read */
        largest = fmax(largest, fabs(want[n]));
    }
    for (int64_t n = 0; n < tensor_count(t); n++) {
        CHECK(fabs(got[n] - want[n]) <= 1e-8 * (1 + largest), "%s[%lld]: %.12g, by differences %.12g",
              SLOT_NAME(gradient), (long long)n, got[n], want[n]);
    }
    CHECK(largest > 0, "%s: nothing moves the loss", SLOT_NAME(gradient));
    free(got);
}

static void differences(const void *argument)
{
    const row *r = argument;
    problem *p = subject_new(&r->p, LAYOUT_PLAIN);
    subject_outputs(p, PASS_FORWARD, LAYOUT_PLAIN);
    loss(p);
    subject_outputs(p, PASS_BACKWARD, LAYOUT_PLAIN);
    const slat_status s = subject_call(p, PASS_BACKWARD, &on_scalar, "backward");
    if (CHECK(s == SLAT_OK, "%s", slat_error())) {
        static const int pairs[][2] = {{ROLE_Q, ROLE_DQ},       {ROLE_K, ROLE_DK},   {ROLE_V, ROLE_DV},
                                       {ROLE_SINK, ROLE_DSINK}, {ROLE_S0, ROLE_DS0}, {ROLE_SLOPES, ROLE_DSLOPES}};
        for (size_t n = 0; n < sizeof pairs / sizeof *pairs; n++) check_gradient(p, pairs[n][0], pairs[n][1]);
        for (int part = 0; part < p->parts; part++) {
            check_gradient(p, problem_part(ROLE_PART_O, part), problem_part(ROLE_PART_DO, part));
            check_gradient(p, problem_part(ROLE_PART_LSE, part), problem_part(ROLE_PART_DLSE, part));
        }
    }
    problem_free(p);
}

/* dS0 asked for without S0: the gradient at S0 = 0. */
static void initial_state_absent(const void *argument)
{
    (void)argument;
    const problem_parameters parameters = {.op = OP_LIGHTNING,
                                           GENERAL,
                                           SEQUENCE(1, 6, 0, 2, 0, 2, 3),
                                           .lightning = {.slope = .3, .s0 = true, .dst = true}};
    problem *with = subject_new(&parameters, LAYOUT_PLAIN);
    tensor_fill(with->t[ROLE_S0], 0);
    problem *without = subject_copy(with, LAYOUT_PLAIN);
    subject_outputs(with, PASS_BACKWARD, LAYOUT_PLAIN);
    subject_outputs(without, PASS_BACKWARD, LAYOUT_PLAIN);
    tensor_free(without->t[ROLE_S0]);
    without->t[ROLE_S0] = NULL;
    CHECK(subject_call(with, PASS_BACKWARD, &on_scalar, "with s0") == SLAT_OK, "%s", slat_error());
    CHECK(subject_call(without, PASS_BACKWARD, &on_scalar, "without s0") == SLAT_OK, "%s", slat_error());
    CHECK(subject_same(without, with, PASS_BACKWARD), "the gradients differ");
    problem_free(with);
    problem_free(without);
}

int main(int argc, char **argv)
{
    for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) harness_add(differences, &rows[n], "%s", rows[n].id);
    harness_add(initial_state_absent, NULL, "lightning, dS0 without S0");
    return harness_main("gradients", argc, argv);
}
