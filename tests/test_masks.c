/* Masks, tested exactly. With q = 0 every visible key weighs the same: lse is the log of their number; with v one-hot
 * at j mod Dv every o is a count over that number, and with do one-hot at i mod Dv so is every dv. The counts are made
 * by brute force from the rules (seen.h). Then the examples that the rules print.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "harness.h"
#include "reference.h"
#include "subject.h"
#include "visible.h"

typedef struct {
    const case_problem *problem;
    const char *backend;
    tensor_type type;
} row;

static double limit_of(tensor_type type, bool gradient)
{
    switch (type) {
    case TENSOR_F64:
        return gradient ? 1e-11 : 1e-12;
    case TENSOR_F32:
        return gradient ? 3e-5 : 1e-5;
    case TENSOR_F16:
        return gradient ? 2e-3 : 1e-3;
    default:
        return gradient ? 1e-2 : 5e-3;
    }
}

/* t is [B, points, H, width]: element c of a row is 1 where c = point mod width, else 0. */
static void fill_one_hot(tensor *t, int64_t points, int64_t heads)
{
    const int64_t width = tensor_row_length(t), rows = tensor_count(t) / (width ? width : 1);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t point = r / heads % points;
        for (int64_t c = 0; c < width; c++) tensor_set(t, r * width + c, c == point % width);
    }
}

/* Expected o, lse and dv from weights of q = 0. */
typedef struct {
    double *o, *lse, *dv;
} counts;

static void count_row(const problem *p, const seen_mask *m, int64_t b, int64_t h, int64_t i, double *w, counts *out)
{
    const int64_t dv = p->extents.dv, at = (b * m->tq + i) * m->hq + h;
    double *logits = w + m->tk, *own = w + 2 * m->tk, lse;
    for (int64_t j = 0; j < m->tk; j++) logits[j] = 0;
    reference_weights(p, b, h, i, logits, w, own, &lse);
    int64_t count = 0;
    for (int64_t j = 0; j < m->tk; j++) {
        if (m->landmark ? own[j] > 0 : seen(m, b, h, i, j)) count++;
    }
    out->lse[at] = log((double)count);
    for (int64_t j = 0; j < m->tk; j++) {
        const int64_t key = (b * m->tk + j) * m->hk + h / (m->hq / m->hk);
        out->o[at * dv + j % dv] += w[j];
        out->dv[key * dv + i % dv] += w[j];
    }
}

static counts count(const problem *p)
{
    subject_descriptors storage;
    const seen_mask m = subject_mask(p, &storage);
    const int64_t b = p->extents.b, rows = b * m.tq * m.hq, keys = b * m.tk * m.hk, dv = p->extents.dv;
    counts out;
    out.o = harness_memory((rows * dv + rows + keys * dv + 3 * m.tk + 1) * (int64_t)sizeof(double));
    out.lse = out.o + rows * dv;
    out.dv = out.lse + rows;
    for (int64_t n = 0; n < rows * dv + rows + keys * dv; n++) out.o[n] = 0;
    double *w = out.dv + keys * dv;
    for (int64_t n = 0; n < rows; n++) count_row(p, &m, n / (m.tq * m.hq), n % m.hq, n / m.hq % m.tq, w, &out);
    return out;
}

static void check_values(const tensor *t, const double *expected, double limit, bool absolute, const char *name)
{
    for (int64_t n = 0; n < tensor_count(t); n++) {
        const double got = tensor_get(t, n), want = expected[n], bound = absolute ? limit : limit * fabs(want);
        CHECK(got == want || fabs(got - want) <= bound, "%s[%lld]: %.9g, expected %.9g", name, (long long)n, got, want);
    }
}

static problem *make(const case_problem *c, tensor_type type)
{
    problem_parameters parameters = c->p;
    parameters.type = type;
    parameters.pass = PASS_BACKWARD;
    parameters.sink = parameters.dlse = false;
    problem *p = subject_new(&parameters, LAYOUT_PLAIN);
    subject_descriptors storage;
    const seen_mask m = subject_mask(p, &storage);
    tensor_fill(p->t[ROLE_Q], 0);
    fill_one_hot(p->t[ROLE_V], m.tk, m.hk);
    fill_one_hot(p->t[ROLE_DO], m.tq, m.hq);
    return p;
}

static bool computes(problem *p, problem_pass pass, const char *backend)
{
    const slat_exec exec = {.backend = backend};
    subject_outputs(p, pass, LAYOUT_PLAIN);
    const slat_status s = subject_call(p, pass, &exec, problem_pass_name(pass));
    if (s == SLAT_UNSUPPORTED && subject_may_refuse(backend, p)) return false;
    return CHECK(s == SLAT_OK, "%s: %s, %s", problem_pass_name(pass), slat_status_name(s), slat_error());
}

static void exact_mask(const void *argument)
{
    const row *r = argument;
    problem *p = make(r->problem, r->type);
    const counts expected = count(p);
    subject_hide_unread(p);
    if (computes(p, PASS_FORWARD, r->backend)) {
        check_values(p->t[ROLE_LSE], expected.lse, r->type == TENSOR_F64 ? 1e-12 : 1e-5, true, "lse");
        /* Elsewhere every weight is 1 before it is divided, exactly; landmark's are fractions, rounded once more. */
        check_values(p->t[ROLE_O], expected.o, limit_of(r->type, p->op == OP_LANDMARK), false, "o");
        if (computes(p, PASS_BACKWARD, r->backend)) {
            check_values(p->t[ROLE_DV], expected.dv, limit_of(r->type, true), false, "dv");
        }
    }
    problem_free(p);
}

/* The oracle that pictures and rates come from, against the tests' own. */
static void oracle(const void *argument)
{
    problem *p = make(argument, TENSOR_F32);
    subject_descriptors storage;
    const seen_mask m = subject_mask(p, &storage);
    int64_t pairs = 0;
    CHECK(visible_queries(p) == m.tq && visible_keys(p) == m.tk, "%lld queries, %lld keys",
          (long long)visible_queries(p), (long long)visible_keys(p));
    for (int64_t b = 0; b < p->extents.b; b++) {
        for (int64_t h = 0; h < m.hq; h++) {
            for (int64_t i = 0; i < m.tq; i++) {
                int64_t row_pairs = 0;
                for (int64_t j = 0; j < m.tk; j++) {
                    const bool rule = seen(&m, b, h, i, j);
                    row_pairs += rule;
                    CHECK(visible(p, b, h, i, j) == rule, "b %lld h %lld i %lld j %lld: the rule says %d", (long long)b,
                          (long long)h, (long long)i, (long long)j, rule);
                }
                CHECK(visible_row(p, b, h, i) == row_pairs, "row %lld: %lld, counted %lld", (long long)i,
                      (long long)visible_row(p, b, h, i), (long long)row_pairs);
                pairs += row_pairs;
            }
        }
    }
    CHECK(visible_pairs(p) == pairs, "%lld pairs, counted %lld", (long long)visible_pairs(p), (long long)pairs);
    problem_free(p);
}

/* The set of keys with weight in each row of head h, as digits, from o with v one-hot over 8 keys. */
static void check_sets(const problem *p, int64_t h, int64_t first_row, int32_t count_of_rows, const char *const *sets)
{
    for (int64_t i = 0; i < count_of_rows; i++) {
        char set[9] = "";
        size_t n = 0;
        for (int64_t c = 0; c < 8; c++) {
            if (tensor_get(p->t[ROLE_O], ((first_row + i) * p->extents.hq + h) * 8 + c) != 0)
                set[n++] = (char)('0' + c);
        }
        CHECK(!strcmp(set, sets[i]), "head %lld row %lld sees %s, printed %s", (long long)h, (long long)(first_row + i),
              set, sets[i]);
    }
}

static const struct {
    int32_t length, window, stride, dilation, causal;
    const char *sets[8];
} neighborhoods[] = {
    {8, 3, 1, 1, 0, {"012", "012", "123", "234", "345", "456", "567", "567"}},
    {8, 4, 2, 1, 0, {"0123", "0123", "1234", "1234", "3456", "3456", "4567", "4567"}},
    {7, 2, 1, 3, 0, {"03", "14", "25", "03", "14", "25", "36"}},
    {8, 3, 2, 1, 1, {"0", "01", "12", "123", "34", "345", "56", "567"}},
    {7, 3, 2, 1, 1, {"0", "01", "12", "123", "34", "345", "456"}},
};

static void printed_neighborhoods(const void *backend)
{
    for (size_t n = 0; n < sizeof neighborhoods / sizeof *neighborhoods; n++) {
        const case_problem c = {.p = {.op = OP_NEIGHBORHOOD,
                                      .b = 1,
                                      .tq = {neighborhoods[n].length},
                                      .hq = 1,
                                      .d = 4,
                                      .dv = 8,
                                      .neighborhood = {.window = {neighborhoods[n].window},
                                                       .stride = {neighborhoods[n].stride},
                                                       .dilation = {neighborhoods[n].dilation},
                                                       .causal = {neighborhoods[n].causal}}}};
        problem *p = make(&c, TENSOR_F32);
        if (computes(p, PASS_FORWARD, backend)) check_sets(p, 0, 0, neighborhoods[n].length, neighborhoods[n].sets);
        problem_free(p);
    }
}

static void printed_shards(const void *backend)
{
    static const char *const sets[4] = {"0467", "367", "267", "1567"};
    const case_problem c = {.p = {.op = OP_SHARDED,
                                  .b = 1,
                                  .tq = {8},
                                  .hq = 4,
                                  .d = 4,
                                  .dv = 8,
                                  .sharded = {.block = 1, .local_blocks = 2, .stride = 4}}};
    problem *p = make(&c, TENSOR_F32);
    if (computes(p, PASS_FORWARD, backend)) {
        for (int64_t h = 0; h < 4; h++) check_sets(p, h, 7, 1, &sets[h]);
    }
    problem_free(p);
}

static void printed_landmarks(const void *backend)
{
    static const double exp_score[8] = {1, 2, 1, 3, 1, 4, 2, 5};
    static const double weights[8][8] = {
        [3] = {.25, .5, .25, 0}, [6] = {.075, .15, .075, 0, .1, .4, .2, 0}, [7] = {.075, .15, .075, 0, .1, .4, .2, 0}};
    const case_problem c = {
        .p = {.op = OP_LANDMARK, .b = 1, .tq = {8}, .hq = 1, .d = 1, .dv = 8, .scale = 1, .landmark = {4}}};
    problem *p = make(&c, TENSOR_F32);
    tensor_fill(p->t[ROLE_Q], 1);
    for (int64_t j = 0; j < 8; j++) tensor_set(p->t[ROLE_K], j, log(exp_score[j]));
    if (computes(p, PASS_FORWARD, backend)) {
        for (int64_t n = 0; n < 64; n++) {
            if (n / 8 != 3 && n / 8 < 6) continue;
            const double got = tensor_get(p->t[ROLE_O], n);
            CHECK(fabs(got - weights[n / 8][n % 8]) <= 1e-6, "row %lld key %lld weighs %.7f, printed %g",
                  (long long)(n / 8), (long long)(n % 8), got, weights[n / 8][n % 8]);
        }
    }
    problem_free(p);
}

int main(int argc, char **argv)
{
    static const tensor_type types[] = {TENSOR_F64, TENSOR_F32, TENSOR_F16, TENSOR_BF16};
    const char *names[SUBJECT_BACKENDS];
    const int32_t backends = subject_all_backends(names);
    static row *rows; /* the harness keeps what points into them to the end */
    rows = malloc(sizeof *rows * 4 * CASE_PROBLEMS * SUBJECT_BACKENDS);
    if (!rows) return 3;
    row *r = rows;
    for (int32_t n = 0; n < CASE_PROBLEMS; n++) {
        const case_problem *c = &case_problems[n];
        if (!problem_is_softmax(c->p.op) || c->types & CASE_GPU) continue;
        harness_add(oracle, c, "%s oracle", c->id);
        for (int32_t t = 0; t < 4; t++) {
            if (c->types && !(c->types & 1 << types[t])) continue;
            for (int32_t b = 0; b < backends; b++) {
                *r = (row){c, names[b], types[t]};
                harness_add(exact_mask, r++, "%s %s %s", c->id, names[b], tensor_type_name(types[t]));
            }
        }
    }
    for (int32_t b = 0; b < backends; b++) {
        harness_add(printed_neighborhoods, names[b], "the printed neighborhoods, %s", names[b]);
        harness_add(printed_shards, names[b], "the printed shards, %s", names[b]);
        harness_add(printed_landmarks, names[b], "the printed landmark weights, %s", names[b]);
    }
    const int result = harness_main("masks", argc, argv);
    free(rows);
    return result;
}
