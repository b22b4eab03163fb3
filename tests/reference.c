/* The answers once more, by the plainest sums. */
#include "reference.h"

#include <math.h>
#include <stdlib.h>

#include "harness.h"
#include "subject.h"

/* A tensor's values, row-major; NULL where it is absent. Freed when the row of tests ends. */
static double *values(const tensor *t)
{
    if (!t) return NULL;
    double *v = harness_memory(tensor_count(t) * (int64_t)sizeof *v);
    if (!tensor_read(t, v)) abort();
    return v;
}

static double *zeros(const tensor *t)
{
    double *v = t ? harness_memory(tensor_count(t) * (int64_t)sizeof *v) : NULL;
    for (int64_t n = 0; v && n < tensor_count(t); n++) v[n] = 0;
    return v;
}

static void put(tensor *t, const double *v)
{
    if (t && !tensor_write(t, v)) abort();
}

static double dot(const double *x, const double *y, int64_t n)
{
    double sum = 0;
    for (int64_t c = 0; c < n; c++) sum += x[c] * y[c];
    return sum;
}

/* Softmax over the keys that `in` marks, and over one more logit without a value (-inf: none). Returns the log-sum. */
static double softmax(const bool *in, const double *logits, int64_t n, double extra, double *p)
{
    double top = extra, sum = 0;
    for (int64_t j = 0; j < n; j++) {
        if (in[j] && logits[j] > top) top = logits[j];
    }
    for (int64_t j = 0; j < n; j++) p[j] = 0;
    if (top == -INFINITY) return -INFINITY;
    for (int64_t j = 0; j < n; j++) {
        if (in[j]) sum += exp(logits[j] - top);
    }
    sum += exp(extra - top);
    for (int64_t j = 0; j < n; j++) {
        if (in[j]) p[j] = exp(logits[j] - top) / sum;
    }
    return top + log(sum);
}

/* A row of landmark attention: own[Tk] the own bucket's probabilities, inner[Tk] each earlier block's own softmax. */
static double landmark_row(const seen_mask *m, int64_t i, const double *logits, double *own, double *inner)
{
    const int64_t block = m->landmark->block, p = i + m->tk - m->tq, b = p < 0 ? -1 : p / block;
    bool *in = harness_memory(m->tk + 1);
    double *part = harness_memory((m->tk + 1) * (int64_t)sizeof *part);
    for (int64_t j = 0; j < m->tk; j++) {
        const bool is_landmark = j % block == block - 1;
        in[j] = seen(m, 0, 0, i, j) && (is_landmark ? j / block < b : j / block == b);
        inner[j] = 0;
    }
    const double lse = softmax(in, logits, m->tk, -INFINITY, own);
    for (int64_t g = 0; g < b; g++) {
        for (int64_t j = 0; j < m->tk; j++) in[j] = j / block == g && j % block != block - 1;
        softmax(in, logits, m->tk, -INFINITY, part);
        for (int64_t j = g * block; j < (g + 1) * block; j++) inner[j] = part[j];
    }
    return lse;
}

static double sink_of(const problem *p, int64_t h)
{
    return p->t[ROLE_SINK] ? tensor_get(p->t[ROLE_SINK], h) : -INFINITY;
}

/* Weights over v, and for landmark the two softmaxes that they come from. */
static double weigh(const problem *p, const seen_mask *m, int64_t b, int64_t h, int64_t i, const double *logits,
                    double *w, double *own, double *inner)
{
    if (!m->landmark) {
        bool *in = harness_memory(m->tk + 1);
        for (int64_t j = 0; j < m->tk; j++) in[j] = seen(m, b, h, i, j);
        return softmax(in, logits, m->tk, sink_of(p, h), w);
    }
    const double lse = landmark_row(m, i, logits, own, inner);
    const int64_t block = m->landmark->block;
    for (int64_t j = 0; j < m->tk; j++) {
        const int64_t landmark = j / block * block + block - 1;
        w[j] = j == landmark ? 0 : own[j];
        if (j != landmark && landmark < m->tk && own[landmark] > 0) w[j] = own[landmark] * inner[j];
    }
    return lse;
}

void reference_weights(const problem *p, int64_t b, int64_t h, int64_t i, const double *logits, double *w, double *own,
                       double *lse)
{
    subject_descriptors storage;
    const seen_mask m = subject_mask(p, &storage);
    double *spare = harness_memory((2 * m.tk + 1) * (int64_t)sizeof *spare);
    *lse = weigh(p, &m, b, h, i, logits, w, own ? own : spare, spare + m.tk);
}

/* Everything about one query row: where its rows of q, k and v are. */
typedef struct {
    problem *p;
    seen_mask m;
    subject_descriptors storage;
    double *q, *k, *v, *o, *lse, *grad_o, *grad_lse, *dq, *dk, *dv, *dsink;
    double *logits, *w, *own, *inner;
    int64_t d, dv_width;
} row_work;

static int64_t query_row(const row_work *r, int64_t b, int64_t h, int64_t i)
{
    return (b * r->m.tq + i) * r->m.hq + h;
}

static int64_t key_row(const row_work *r, int64_t b, int64_t h, int64_t j)
{
    return (b * r->m.tk + j) * r->m.hk + h / (r->m.hq / r->m.hk);
}

/* Fills in r->m by itself: it points into r->storage. */
static void begin_rows(row_work *r, problem *p)
{
    *r = (row_work){.p = p, .d = p->extents.d, .dv_width = p->extents.dv};
    r->m = subject_mask(p, &r->storage);
    r->q = values(p->t[ROLE_Q]);
    r->k = values(p->t[ROLE_K]);
    r->v = values(p->t[ROLE_V]);
    double *rows = harness_memory((4 * r->m.tk + 1) * (int64_t)sizeof *rows);
    r->logits = rows;
    r->w = rows + r->m.tk;
    r->own = rows + 2 * r->m.tk;
    r->inner = rows + 3 * r->m.tk;
}

static double weigh_row(row_work *r, int64_t b, int64_t h, int64_t i)
{
    const double scale = problem_scale(r->p), *q = r->q + query_row(r, b, h, i) * r->d;
    for (int64_t j = 0; j < r->m.tk; j++) r->logits[j] = scale * dot(q, r->k + key_row(r, b, h, j) * r->d, r->d);
    return weigh(r->p, &r->m, b, h, i, r->logits, r->w, r->own, r->inner);
}

static void softmax_forward(problem *p)
{
    row_work r;
    begin_rows(&r, p);
    r.o = zeros(p->t[ROLE_O]);
    r.lse = zeros(p->t[ROLE_LSE]);
    for (int64_t b = 0; b < p->extents.b; b++) {
        for (int64_t i = 0; i < r.m.tq; i++) {
            for (int64_t h = 0; h < r.m.hq; h++) {
                const double lse = weigh_row(&r, b, h, i);
                double *o = r.o + query_row(&r, b, h, i) * r.dv_width;
                if (r.lse) r.lse[query_row(&r, b, h, i)] = lse;
                for (int64_t j = 0; j < r.m.tk; j++) {
                    const double *v = r.v + key_row(&r, b, h, j) * r.dv_width;
                    for (int64_t c = 0; r.w[j] != 0 && c < r.dv_width; c++) o[c] += r.w[j] * v[c];
                }
            }
        }
    }
    put(p->t[ROLE_O], r.o);
    put(p->t[ROLE_LSE], r.lse);
}

/* dS of one row into r->logits, from u_j = do.v_j in `u`. */
static void row_gradient(row_work *r, const double *u, double delta, double dlse)
{
    if (!r->m.landmark) {
        for (int64_t j = 0; j < r->m.tk; j++) r->logits[j] = r->w[j] * (u[j] - delta + dlse);
        return;
    }
    const int64_t block = r->m.landmark->block;
    for (int64_t j = 0; j < r->m.tk; j++) {
        const int64_t first = j / block * block, landmark = first + block - 1;
        double inside = 0;
        for (int64_t y = first; y < landmark && y < r->m.tk; y++) inside += r->inner[y] * u[y];
        if (j == landmark)
            r->logits[j] = r->own[j] * (inside - delta + dlse);
        else if (landmark < r->m.tk && r->own[landmark] > 0)
            r->logits[j] = r->w[j] * (u[j] - inside);
        else
            r->logits[j] = r->w[j] * (u[j] - delta + dlse);
    }
}

static void backward_row(row_work *r, int64_t b, int64_t h, int64_t i)
{
    const double lse = weigh_row(r, b, h, i), scale = problem_scale(r->p);
    const int64_t row = query_row(r, b, h, i);
    const double *grad_o = r->grad_o + row * r->dv_width, dlse = r->grad_lse ? r->grad_lse[row] : 0;
    const double delta = dot(grad_o, r->o + row * r->dv_width, r->dv_width);
    double *u = harness_memory((r->m.tk + 1) * (int64_t)sizeof *u);
    for (int64_t j = 0; j < r->m.tk; j++) u[j] = dot(grad_o, r->v + key_row(r, b, h, j) * r->dv_width, r->dv_width);
    row_gradient(r, u, delta, dlse);
    for (int64_t j = 0; j < r->m.tk; j++) {
        const int64_t key = key_row(r, b, h, j);
        for (int64_t c = 0; c < r->dv_width; c++) r->dv[key * r->dv_width + c] += r->w[j] * grad_o[c];
        for (int64_t c = 0; c < r->d; c++) {
            r->dq[row * r->d + c] += scale * r->logits[j] * r->k[key * r->d + c];
            r->dk[key * r->d + c] += scale * r->logits[j] * r->q[row * r->d + c];
        }
    }
    if (r->dsink) r->dsink[h] += exp(sink_of(r->p, h) - lse) * (dlse - delta);
}

static void softmax_backward(problem *p)
{
    row_work r;
    begin_rows(&r, p);
    r.o = values(p->t[ROLE_O]);
    r.grad_o = values(p->t[ROLE_DO]);
    r.grad_lse = values(p->t[ROLE_DLSE]);
    r.dq = zeros(p->t[ROLE_DQ]);
    r.dk = zeros(p->t[ROLE_DK]);
    r.dv = zeros(p->t[ROLE_DV]);
    r.dsink = zeros(p->t[ROLE_DSINK]);
    for (int64_t b = 0; b < p->extents.b; b++) {
        for (int64_t i = 0; i < r.m.tq; i++) {
            for (int64_t h = 0; h < r.m.hq; h++) backward_row(&r, b, h, i);
        }
    }
    put(p->t[ROLE_DQ], r.dq);
    put(p->t[ROLE_DK], r.dk);
    put(p->t[ROLE_DV], r.dv);
    put(p->t[ROLE_DSINK], r.dsink);
}

/* One token of one head: s <- lambda s + k (x) v, o = scale q s. */
static void decay_token(const problem *p, double *s, double slope, const double *q, const double *k, const double *v,
                        double *o)
{
    const int64_t d = p->extents.d, dv = p->extents.dv;
    for (int64_t c = 0; c < dv; c++) o[c] = 0;
    for (int64_t x = 0; x < d; x++) {
        for (int64_t c = 0; c < dv; c++) {
            s[x * dv + c] = exp(-slope) * s[x * dv + c] + k[x] * v[c];
            o[c] += problem_scale(p) * q[x] * s[x * dv + c];
        }
    }
}

static void lightning_forward(problem *p)
{
    const problem_extents *e = &p->extents;
    const int64_t tokens = e->tq[0], heads = e->hq, every = p->states_every, size = e->d * e->dv;
    const int64_t snapshots = p->t[ROLE_STATES] ? (tokens + every - 1) / every : 0;
    double *q = values(p->t[ROLE_Q]), *k = values(p->t[ROLE_K]), *v = values(p->t[ROLE_V]), *s0 = values(p->t[ROLE_S0]);
    double *slopes = values(p->t[ROLE_SLOPES]), *o = zeros(p->t[ROLE_O]), *states = zeros(p->t[ROLE_STATES]);
    double *st = harness_memory((e->b * heads * size + 1) * (int64_t)sizeof *st);
    for (int64_t n = 0; n < e->b * heads; n++) {
        double *s = st + n * size;
        for (int64_t x = 0; x < size; x++) s[x] = s0 ? s0[n * size + x] : 0;
        for (int64_t t = 0; t < tokens; t++) {
            const int64_t row = (n / heads * tokens + t) * heads + n % heads;
            for (int64_t x = 0; snapshots && t % every == 0 && x < size; x++)
                states[(n * snapshots + t / every) * size + x] = s[x];
            decay_token(p, s, slopes[n % heads], q + row * e->d, k + row * e->d, v + row * e->dv, o + row * e->dv);
        }
    }
    put(p->t[ROLE_O], o);
    put(p->t[ROLE_ST], st);
    put(p->t[ROLE_STATES], states);
}

static void step_forward(problem *p)
{
    const problem_extents *e = &p->extents;
    const int64_t heads = e->hq, size = e->d * e->dv;
    double *q = values(p->t[ROLE_Q]), *k = values(p->t[ROLE_K]), *v = values(p->t[ROLE_V]);
    double *slopes = values(p->t[ROLE_SLOPES]), *slot = values(p->t[ROLE_SLOT]), *o = zeros(p->t[ROLE_O]);
    double *st = values(p->t[ROLE_ST]);
    for (int64_t n = 0; n < e->b * heads; n++) {
        const int64_t state = slot ? (int64_t)slot[n / heads] : n / heads;
        if (state < 0) continue;
        decay_token(p, st + (state * heads + n % heads) * size, slopes[n % heads], q + n * e->d, k + n * e->d,
                    v + n * e->dv, o + n * e->dv);
    }
    put(p->t[ROLE_O], o);
    put(p->t[ROLE_ST], st);
}

/* Weights of a merge's row, and its log-sum. */
static double merge_weights(double *const *lse, int32_t parts, int64_t row, double *w)
{
    double logits[PROBLEM_PARTS];
    bool in[PROBLEM_PARTS];
    for (int32_t a = 0; a < parts; a++) {
        logits[a] = lse[a][row];
        in[a] = logits[a] > -INFINITY;
    }
    return softmax(in, logits, parts, -INFINITY, w);
}

static void merge(problem *p, bool backward)
{
    const int64_t dv = tensor_row_length(p->t[problem_part(ROLE_PART_O, 0)]);
    const int64_t rows = tensor_count(p->t[problem_part(ROLE_PART_LSE, 0)]);
    double *part[PROBLEM_PARTS], *lse[PROBLEM_PARTS], *grad_part[PROBLEM_PARTS], *dlse_part[PROBLEM_PARTS];
    double w[PROBLEM_PARTS], *o = zeros(p->t[ROLE_O]), *sum = zeros(p->t[ROLE_LSE]);
    double *grad_o = values(p->t[ROLE_DO]), *dlse = values(p->t[ROLE_DLSE]);
    for (int32_t a = 0; a < p->parts; a++) {
        part[a] = values(p->t[problem_part(ROLE_PART_O, a)]);
        lse[a] = values(p->t[problem_part(ROLE_PART_LSE, a)]);
        grad_part[a] = zeros(p->t[problem_part(ROLE_PART_DO, a)]);
        dlse_part[a] = zeros(p->t[problem_part(ROLE_PART_DLSE, a)]);
    }
    for (int64_t r = 0; r < rows; r++) {
        sum[r] = merge_weights(lse, p->parts, r, w);
        for (int32_t a = 0; a < p->parts; a++) {
            for (int64_t c = 0; w[a] != 0 && c < dv; c++) o[r * dv + c] += w[a] * part[a][r * dv + c];
        }
        for (int32_t a = 0; backward && a < p->parts; a++) {
            if (lse[a][r] == -INFINITY) continue;
            double inside = dlse ? dlse[r] : 0;
            for (int64_t c = 0; c < dv; c++) inside += grad_o[r * dv + c] * (part[a][r * dv + c] - o[r * dv + c]);
            for (int64_t c = 0; grad_part[a] && c < dv; c++) grad_part[a][r * dv + c] = w[a] * grad_o[r * dv + c];
            if (dlse_part[a]) dlse_part[a][r] = w[a] * inside;
        }
    }
    if (!backward) {
        put(p->t[ROLE_O], o);
        put(p->t[ROLE_LSE], sum);
    }
    for (int32_t a = 0; backward && a < p->parts; a++) {
        put(p->t[problem_part(ROLE_PART_DO, a)], grad_part[a]);
        put(p->t[problem_part(ROLE_PART_DLSE, a)], dlse_part[a]);
    }
}

void reference_forward(problem *twin)
{
    if (problem_is_softmax(twin->op)) softmax_forward(twin);
    if (twin->op == OP_LIGHTNING) lightning_forward(twin);
    if (twin->op == OP_LIGHTNING_STEP) step_forward(twin);
    if (twin->op == OP_MERGE) merge(twin, false);
}

void reference_backward(problem *twin)
{
    if (problem_is_softmax(twin->op)) softmax_backward(twin);
    if (twin->op == OP_MERGE) merge(twin, true);
}
