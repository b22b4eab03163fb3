/* The tools that the other tests stand on: numbers, layouts, watches, the rule of agreement, and what sees what. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "random.h"
#include "visible.h"
#include "watch.h"

/* Every half but the NaNs comes back from double; halves between two neighbours go to the even one. */
static void halves(const void *argument)
{
    const tensor_type type = *(const tensor_type *)argument;
    const uint32_t infinity = type == TENSOR_F16 ? 0x7C00 : 0x7F80;
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        const uint16_t half = (uint16_t)bits;
        uint16_t back, after, between;
        const double value = tensor_load(type, &half);
        tensor_store(type, &back, value);
        if ((bits & 0x7FFF) > infinity) {
            CHECK(isnan(value) && isnan(tensor_load(type, &back)), "%04x is a NaN", bits);
            continue;
        }
        CHECK(back == half, "%04x is %g, which becomes %04x", bits, value, back);
        if ((bits & 0x7FFF) + 1 >= infinity) continue;
        after = (uint16_t)(bits + 1);
        const double next = tensor_load(type, &after), middle = (value + next) / 2;
        tensor_store(type, &between, middle);
        CHECK(between == (bits & 1 ? after : half), "between %04x and the next: %04x", bits, between);
        tensor_store(type, &between, nextafter(middle, next));
        CHECK(between == after, "beyond the middle of %04x and the next: %04x", bits, between);
    }
    uint16_t half;
    tensor_store(type, &half, 1e39);
    CHECK(half == infinity, "1e39 becomes %04x", half);
    tensor_store(type, &half, -1e-60);
    CHECK(half == 0x8000, "-1e-60 becomes %04x", half);
}

static void numbers(const void *argument)
{
    (void)argument;
    CHECK(random_splitmix64(1) == 0x910a2dec89025cc1u, "splitmix64(1) is %llx",
          (unsigned long long)random_splitmix64(1));
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < 100000; i++) {
        const double x = random_normal(7, i), u = random_uniform(7, i);
        CHECK(u >= 0 && u < 1, "uniform %g", u);
        sum += x;
        squares += x * x;
    }
    CHECK(fabs(sum / 100000) < .02 && fabs(squares / 100000 - 1) < .02, "mean %g, variance %g", sum / 100000,
          squares / 100000);
}

/* Tensors that are filled and copied in threads: each element is its own number's, gaps between rows stay poison. */
static void large_tensors(const void *argument)
{
    (void)argument;
    enum { ROWS = 1543, HEADS = 3, WIDTH = 1000, PAD = 8 };
    const int64_t shape[3] = {ROWS, HEADS, WIDTH}, strides[3] = {WIDTH, (WIDTH + PAD) * ROWS, 1};
    const int64_t elements = HEADS * (WIDTH + PAD) * (int64_t)ROWS, count = (int64_t)ROWS * HEADS * WIDTH;
    tensor *plain = tensor_new(memory_host(), TENSOR_BF16, 3, shape),
           *turned = tensor_new_strided(memory_host(), TENSOR_BF16, 3, shape, strides, 0, elements),
           *back = tensor_new(memory_host(), TENSOR_BF16, 3, shape);
    CHECK(count > 1 << 22, "%lld elements are few", (long long)count);
    CHECK(plain && turned && back && random_fill_normal(turned, 5, 2) && tensor_copy(plain, turned) &&
              tensor_repoison(turned) && tensor_copy(turned, plain) && tensor_copy(back, turned),
          "no memory");
    double *values = tensor_values(back);
    for (int64_t n = 0; n < count; n++) {
        uint16_t half;
        tensor_store(TENSOR_BF16, &half, 2 * random_normal(5, (uint64_t)n));
        if (!CHECK(values[n] == tensor_load(TENSOR_BF16, &half), "element %lld is %g", (long long)n, values[n])) break;
    }
    const uint16_t *gap = (const uint16_t *)turned->dl.data + (int64_t)ROWS * WIDTH;
    for (int64_t n = 0; n < PAD * ROWS; n++) CHECK(gap[n] == TENSOR_POISON, "gap %lld: %x", (long long)n, gap[n]);
    CHECK(tensor_guards_ok(plain) && tensor_guards_ok(turned) && tensor_guards_ok(back), "a red zone");
    free(values);
    tensor_free(plain), tensor_free(turned), tensor_free(back);
}

static problem *make(const problem_parameters *x, layout kind)
{
    sentence why;
    problem *p = problem_new(x, kind, memory_host(), &why);
    CHECK(p, "%s", why.text);
    return p;
}

/* Small problems of every primitive with ragged ends, grouped heads and all that is optional. */
static const problem_parameters small[] = {
    {.op = OP_BLOCK_SPARSE,
     .pass = PASS_BACKWARD,
     .type = TENSOR_F32,
     .b = 2,
     .tq = {50},
     .tk = {75},
     .hq = 4,
     .hk = 2,
     .d = 5,
     .dv = 3,
     .sink = true,
     .dlse = true,
     .block_sparse = {.block_q = 16, .block_k = 8, .causal = 1, .density = .4, .batches = 2, .bitmaps = .5}},
    {.op = OP_BLOCK_SPARSE,
     .type = TENSOR_F32,
     .b = 1,
     .tq = {40},
     .hq = 2,
     .d = 4,
     .block_sparse = {.block_q = 8, .density = .3, .heads = 1, .bitmaps = .5}},
    {.op = OP_BLOCK_SPARSE,
     .type = TENSOR_BF16,
     .b = 1,
     .tq = {70},
     .tk = {50},
     .hq = 2,
     .d = 8,
     .block_sparse = {.causal = 1}},
    {.op = OP_NEIGHBORHOOD,
     .pass = PASS_BACKWARD,
     .type = TENSOR_F64,
     .b = 1,
     .ndim = 2,
     .tq = {7, 5},
     .tk = {14, 13},
     .hq = 2,
     .hk = 1,
     .d = 6,
     .neighborhood = {.window = {5, 6}, .stride = {2, 1}, .dilation = {1, 2}, .causal = {0, 1}, .q_start = {3, 8}}},
    {.op = OP_NEIGHBORHOOD,
     .type = TENSOR_F16,
     .b = 2,
     .ndim = 3,
     .tq = {5, 4, 9},
     .hq = 1,
     .d = 16,
     .neighborhood = {.window = {3, 4, 2}, .stride = {3, 2, 1}, .dilation = {1, 1, 3}}},
    {.op = OP_SHARDED,
     .pass = PASS_BACKWARD,
     .type = TENSOR_F32,
     .b = 1,
     .tq = {60},
     .tk = {90},
     .hq = 4,
     .hk = 4,
     .d = 8,
     .sharded = {.block = 7, .local_blocks = 2, .stride = 3, .dense_heads = 1}},
    {.op = OP_SHARDED,
     .type = TENSOR_F32,
     .b = 1,
     .tq = {90},
     .tk = {33},
     .hq = 2,
     .d = 8,
     .sharded = {.block = 4, .local_blocks = 1, .stride = 5, .per_key_head = 1}},
    {.op = OP_LANDMARK,
     .pass = PASS_BACKWARD,
     .type = TENSOR_F32,
     .b = 1,
     .tq = {61},
     .tk = {47},
     .hq = 2,
     .d = 8,
     .landmark = {.block = 6}},
    {.op = OP_LIGHTNING,
     .pass = PASS_BACKWARD,
     .type = TENSOR_F32,
     .b = 2,
     .tq = {20},
     .hq = 3,
     .d = 4,
     .dv = 6,
     .lightning = {.s0 = true, .dst = true, .states_every = 7}},
    {.op = OP_LIGHTNING_STEP, .type = TENSOR_BF16, .b = 3, .tq = {1}, .hq = 2, .d = 4, .lightning = {.slots = 5}},
    {.op = OP_MERGE,
     .pass = PASS_BACKWARD,
     .type = TENSOR_F32,
     .b = 2,
     .tq = {9},
     .hq = 3,
     .d = 4,
     .dlse = true,
     .merge = {.parts = 3, .empty = .3}},
};
enum { SMALL = sizeof small / sizeof *small };

static void pairs(const void *argument)
{
    problem *p = make(argument, LAYOUT_PLAIN);
    if (!p) return;
    int64_t all = 0;
    for (int64_t b = 0; b < p->extents.b; b++)
        for (int64_t h = 0; h < p->extents.hq; h++)
            for (int64_t i = 0; i < visible_queries(p); i++) {
                int64_t row = 0;
                for (int64_t j = 0; j < visible_keys(p); j++) row += visible(p, b, h, i, j);
                CHECK(row == visible_row(p, b, h, i), "b %lld h %lld i %lld: %lld keys, counted %lld", (long long)b,
                      (long long)h, (long long)i, (long long)row, (long long)visible_row(p, b, h, i));
                all += row;
            }
    CHECK(all == visible_pairs(p), "%lld pairs, counted %lld", (long long)all, (long long)visible_pairs(p));
    CHECK(all <= visible_dense_pairs(p), "%lld pairs of %lld", (long long)all, (long long)visible_dense_pairs(p));
    problem_free(p);
}

/* The blocks and pairs of the standard workloads; their widths do not matter here. */
static const struct {
    const char *id;
    int64_t t, heads;
    int32_t block;
    double density;
    int64_t entries, pairs;
} workloads[] = {
    {"bs-8k", 8192, 32, 128, .3, 21491, 335462400},
    {"bs-32k", 32768, 32, 128, .1, 112654, 1779138560},
    {"bs-cpu", 4096, 8, 64, .1, 2130, 7692288},
};

static void workload(const void *argument)
{
    const int n = *(const int *)argument;
    const problem_parameters x = {
        .op = OP_BLOCK_SPARSE,
        .type = TENSOR_BF16,
        .b = 1,
        .tq = {workloads[n].t},
        .hq = workloads[n].heads,
        .d = 1,
        .block_sparse = {.block_q = workloads[n].block, .causal = 1, .density = workloads[n].density}};
    problem *p = make(&x, LAYOUT_PLAIN);
    if (!p) return;
    CHECK(p->extents.entries == workloads[n].entries, "%lld blocks", (long long)p->extents.entries);
    CHECK(visible_pairs(p) == workloads[n].pairs, "%lld pairs", (long long)visible_pairs(p));
    problem_free(p);
}

static void same_values(const tensor *t, const tensor *plain, const char *name)
{
    for (int64_t i = 0; i < tensor_count(t); i++) {
        const double a = tensor_get(t, i), b = tensor_get(plain, i);
        CHECK(a == b || (isnan(a) && isnan(b)), "%s: %g is not %g", name, a, b);
    }
}

/* Fills every tensor with a number of its own: nothing else of the buffers changes, and each keeps its number. */
static void own_places(problem *p, const char *kind)
{
    char name[PROBLEM_NAME];
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        tensor *t = p->t[slot];
        if (!t) continue;
        watch *w = watch_begin(p->t, PROBLEM_SLOTS);
        CHECK(w && tensor_fill(t, slot + 1), "no memory");
        CHECK(w && watch_unchanged(w, &t, 1, NULL), "%s in %s leaves its place", problem_slot_name(slot, name), kind);
        CHECK(tensor_guards_ok(t), "%s in %s: guards", problem_slot_name(slot, name), kind);
        watch_free(w);
    }
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++)
        for (int64_t i = 0; p->t[slot] && i < tensor_count(p->t[slot]); i++)
            CHECK(tensor_get(p->t[slot], i) == slot + 1, "%s in %s shares elements", problem_slot_name(slot, name),
                  kind);
}

/* Any layout holds the same values, and no two elements share a place. */
static void layouts(const void *argument)
{
    problem *plain = make(argument, LAYOUT_PLAIN);
    if (!plain) return;
    for (int kind = 0; kind < LAYOUTS; kind++) {
        problem *p = problem_copy(plain, (layout)kind, memory_host(), NULL);
        if (!CHECK(p, "%s: no memory", layout_name((layout)kind))) break;
        CHECK(problem_allocate_outputs(p, PASS_FORWARD, (layout)kind, NULL), "forward");
        if (p->pass == PASS_BACKWARD) CHECK(problem_allocate_outputs(p, PASS_BACKWARD, (layout)kind, NULL), "backward");
        for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
            char name[PROBLEM_NAME];
            if (plain->t[slot]) same_values(p->t[slot], plain->t[slot], problem_slot_name(slot, name));
        }
        own_places(p, layout_name((layout)kind));
        problem_free(p);
    }
    problem_free(plain);
}

static void watches(const void *argument)
{
    (void)argument;
    tensor *t =
        tensor_new_strided(memory_host(), TENSOR_F32, 2, (const int64_t[]){3, 4}, (const int64_t[]){6, 1}, 0, 18);
    tensor *none = NULL;
    sentence why;
    watch *w = t ? watch_begin(&t, 1) : NULL;
    if (!CHECK(w, "no memory")) return;
    float *data = t->dl.data;
    const float zero = 0, kept = data[4];
    CHECK(watch_unchanged(w, &none, 1, &why), "untouched: %s", why.text);
    tensor_set(t, 5, 2);
    CHECK(watch_unchanged(w, &t, 1, &why), "an element: %s", why.text);
    CHECK(!watch_unchanged(w, &none, 1, &why), "an element of an input");
    memcpy(&data[4], &zero, sizeof zero);
    CHECK(!watch_unchanged(w, &t, 1, &why), "a gap between rows");
    memcpy(&data[4], &kept, sizeof kept);
    CHECK(watch_unchanged(w, &t, 1, &why) && tensor_guards_ok(t), "mended: %s", why.text);
    memcpy(&data[18], &zero, sizeof zero);
    CHECK(!watch_unchanged(w, &t, 1, &why) && !tensor_guards_ok(t), "behind the buffer");
    watch_free(w);
    tensor_free(t);
}

static agree_result held(agree_kind kind, tensor_type type, double floor, const double *got, const double *expected)
{
    return agree_values((agree_rule){kind, type, floor}, got, expected, 8, 4);
}

/* Two rows of four; each limit met from both sides. */
static void agreement(const void *argument)
{
    (void)argument;
    const double e[8] = {1, -1, 1, -1, 3, -3, 3, -3}, zero[8] = {0}, nothing = -(double)INFINITY;
    const double x = 1e-5, rms = sqrt(5);
    double g[8];
    memcpy(g, e, sizeof g);
    CHECK(held(AGREE_OUTPUT, TENSOR_F32, 0, g, e).score == 0, "equal");
    g[1] += 11 * x * rms / 8;
    CHECK(agree_ok(held(AGREE_OUTPUT, TENSOR_F32, 0, g, e)), "a small error");
    g[1] = e[1] + 12.5 * x * rms; /* rms of the error is 4.4 x rms */
    CHECK(!agree_ok(held(AGREE_OUTPUT, TENSOR_F32, 0, g, e)), "an element beyond 12 x");
    CHECK(agree_ok(held(AGREE_OUTPUT, TENSOR_F32, 100, g, e)), "under the floor");
    for (int i = 0; i < 8; i++) g[i] = e[i] + (i % 2 ? 1.1 : -1.1) * x * rms;
    CHECK(!agree_ok(held(AGREE_OUTPUT, TENSOR_F32, 0, g, e)) && held(AGREE_OUTPUT, TENSOR_F32, 0, g, e).where == -1,
          "the rms");
    CHECK(agree_ok(held(AGREE_GRADIENT, TENSOR_F32, 0, g, e)), "gradients have three times the room");
    memcpy(g, zero, sizeof g);
    g[7] = 1e-300;
    CHECK(!agree_ok(held(AGREE_OUTPUT, TENSOR_BF16, 0, g, zero)), "an expected 0 is met exactly");
    CHECK(agree_ok(held(AGREE_OUTPUT, TENSOR_BF16, 1, g, zero)), "an expected 0 with a floor");
    const double l[8] = {nothing, 0, 100, -50, nothing, 1, 2, 3};
    memcpy(g, l, sizeof g);
    CHECK(held(AGREE_LSE, TENSOR_F32, 0, g, l).score == 0, "-inf matches -inf");
    g[2] += .9e-3;
    CHECK(agree_ok(held(AGREE_LSE, TENSOR_F32, 0, g, l)), "x times |lse|");
    g[1] += 1.1e-5;
    CHECK(!agree_ok(held(AGREE_LSE, TENSOR_F32, 0, g, l)), "x where |lse| is small");
    static const double wrong[] = {0, (double)NAN, (double)INFINITY};
    for (int i = 0; i < 3; i++) {
        memcpy(g, l, sizeof g);
        g[0] = wrong[i];
        CHECK(!agree_ok(held(AGREE_LSE, TENSOR_BF16, 0, g, l)), "%g for -inf", wrong[i]);
        memcpy(g, e, sizeof g);
        g[3] = i ? wrong[i] : nothing;
        CHECK(!agree_ok(held(AGREE_OUTPUT, TENSOR_BF16, 1e9, g, e)), "%g for a number", g[3]);
    }
    memcpy(g, e, sizeof g);
    g[0] += 1e-4 * 1 + .9e-5 * 3;
    CHECK(agree_ok(held(AGREE_DSLOPES, TENSOR_F32, 0, g, e)), "dslopes: y of its own and 1e-5 of the largest");
    CHECK(agree_ok(held(AGREE_DSINK, TENSOR_F32, 0, g, e)), "dsink: y of the largest");
    g[0] = e[0] + 1e-4 * 3;
    CHECK(!agree_ok(held(AGREE_DSLOPES, TENSOR_F32, 0, g, e)), "dslopes: head by head");
    CHECK(agree_ok(held(AGREE_DSINK, TENSOR_F32, 0, g, e)), "dsink: y and 1e-5");
    g[0] = e[0] + 1.2e-4 * 3;
    CHECK(!agree_ok(held(AGREE_DSINK, TENSOR_F32, 0, g, e)), "dsink");
}

int main(int argc, char **argv)
{
    static const tensor_type narrow[] = {TENSOR_F16, TENSOR_BF16};
    static const int which[] = {0, 1, 2};
    for (int i = 0; i < 2; i++) harness_add(halves, &narrow[i], "every %s", tensor_type_name(narrow[i]));
    harness_add(numbers, NULL, "random numbers");
    harness_add(large_tensors, NULL, "large tensors");
    for (int i = 0; i < SMALL; i++) {
        harness_add(pairs, &small[i], "visible pairs of %s, %d", problem_op_name(small[i].op), i);
        harness_add(layouts, &small[i], "layouts of %s, %d", problem_op_name(small[i].op), i);
    }
    for (int i = 0; i < 3; i++) harness_add(workload, &which[i], "blocks and pairs of %s", workloads[i].id);
    harness_add(watches, NULL, "watches");
    harness_add(agreement, NULL, "the rule of agreement");
    return harness_main("tools", argc, argv);
}
