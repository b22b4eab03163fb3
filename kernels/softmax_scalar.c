/* The definition of softmax attention, forward and backward, row by row.
 *
 * Forward, over the keys j that row i sees:
 *     s_j = scale q.k_j     lse = log(exp(sink) + sum_j exp(s_j))     w_j = exp(s_j - lse)     o = sum_j w_j v_j
 * Backward, from do, dlse and what forward wrote:
 *     delta = do.o     u_j = do.v_j     dS_j = w_j (u_j - delta + dlse)
 *     dq = scale sum_j dS_j k_j     dk_j = scale sum_i dS_ij q_i     dv_j = sum_i w_ij do_i
 *     dsink = sum_i exp(sink - lse_i) (dlse_i - delta_i)
 * A row without a visible key and without a sink has o = 0, lse = -inf and no gradient. Keys that a row does not see
 * are never read. Every sum is kept in double and rounded once, when it is written.
 */
#include "softmax_scalar.h"

#include <math.h>
#include <stdbool.h>

#include "arena.h"
#include "number.h"
#include "scalar.h"

/* The workspace; absent arrays are NULL. q, k, v, o and their gradients hold the row at hand. */
typedef struct {
    slat_row row;
    double *q, *k, *v, *o, *grad_o, *grad_q;
    double *grad_ks, *grad_vs; /* [Tk, D], [Tk, Dv]: the sums of one key head */
    double *grad_sinks;        /* [Hq] */
} room;

/* No row sees more keys than this. */
static int64_t most_keys(const slat_problem *p)
{
    if (p->op != SLAT_OP_NEIGHBORHOOD) return p->tk;
    return (int64_t)p->window[0].window * p->window[1].window * p->window[2].window;
}

static room cut(const slat_problem *p, slat_arena *arena)
{
    const int64_t most = p->b ? most_keys(p) : 0, keys = p->b ? p->tk : 0; /* no sequence needs no room */
    const size_t one = sizeof(double);
    room r = {.row.sink = -INFINITY};
    r.row.keys = slat_take(arena, most, sizeof *r.row.keys);
    r.row.logit = slat_take(arena, most, one);
    r.row.weight = slat_take(arena, most, one);
    r.q = slat_take(arena, p->d, one);
    r.k = slat_take(arena, p->d, one);
    r.v = slat_take(arena, p->dv, one);
    r.o = slat_take(arena, p->dv, one);
    if (p->pass == SLAT_FORWARD) return r;
    r.row.score = slat_take(arena, most, one);
    r.row.grad_logit = slat_take(arena, most, one);
    r.grad_o = slat_take(arena, p->dv, one);
    r.grad_q = slat_take(arena, p->d, one);
    if (p->grad_k.data) r.grad_ks = slat_take(arena, keys, (size_t)p->d * one);
    if (p->grad_v.data) r.grad_vs = slat_take(arena, keys, (size_t)p->dv * one);
    if (p->grad_sink.data) r.grad_sinks = slat_take(arena, p->hq, one);
    return r;
}

slat_status slat_softmax_scalar_plan(const slat_problem *p, const slat_run *run, slat_plan *plan)
{
    static const char *const names[] = {
        [SLAT_OP_BLOCK_SPARSE] = "block_sparse_scalar",
        [SLAT_OP_NEIGHBORHOOD] = "neighborhood_scalar",
        [SLAT_OP_SHARDED] = "sharded_scalar",
        [SLAT_OP_LANDMARK] = "landmark_scalar",
    };
    slat_arena arena = {0};
    (void)run;
    cut(p, &arena);
    return slat_plan_scalar(&arena, names[p->op], plan);
}

static double dot(const double *x, const double *y, int32_t n)
{
    double sum[4] = {0}; /* four chains: an addition need not wait for the one before */
    int32_t c = 0;
    for (; c + 4 <= n; c += 4)
        for (int32_t lane = 0; lane < 4; ++lane) sum[lane] += x[c + lane] * y[c + lane];
    for (; c < n; ++c) sum[0] += x[c] * y[c];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* sum += a x */
static void add(double *sum, double a, const double *x, int32_t n)
{
    for (int32_t c = 0; c < n; ++c) sum[c] += a * x[c];
}

static void clear(double *x, int64_t n)
{
    for (int64_t c = 0; c < n; ++c) x[c] = 0;
}

/* A landmark's value is never read. */
static bool has_value(const slat_problem *p, slat_point key)
{
    return p->op != SLAT_OP_LANDMARK || !slat_is_landmark(p->landmark_block, key.z);
}

double slat_log_sum(const double *x, int64_t n, double initial)
{
    double top = initial;
    for (int64_t j = 0; j < n; ++j)
        if (x[j] > top) top = x[j];
    if (top == -INFINITY) top = 0; /* every term is 0 or NaN */
    double sum = exp(initial - top);
    for (int64_t j = 0; j < n; ++j) sum += exp(x[j] - top);
    return top + log(sum);
}

void slat_weigh(const slat_problem *p, slat_row *row)
{
    (void)p;
    row->lse = slat_log_sum(row->logit, row->count, row->sink);
    for (int64_t j = 0; j < row->count; ++j) row->weight[j] = row->lse == -INFINITY ? 0 : exp(row->logit[j] - row->lse);
}

void slat_unweigh(const slat_problem *p, slat_row *row)
{
    (void)p;
    for (int64_t j = 0; j < row->count; ++j) {
        row->weight[j] = exp(row->logit[j] - row->lse);
        row->grad_logit[j] = row->weight[j] * (row->score[j] - row->delta + row->grad_lse);
    }
}

/* Reads the row's query, lists its keys and computes their logits. */
static void read_row(const slat_problem *p, room *r, const slat_softmax *rule, int64_t b, int32_t h, slat_point query)
{
    slat_view_load(r->q, &p->q, b, query, h, p->d);
    r->row.sink = p->sink.data ? slat_load(p->sink.data, p->sink.type, h * p->sink.head) : -INFINITY;
    r->row.count = rule->visible(p, b, h, query, r->row.keys);
    for (int64_t j = 0; j < r->row.count; ++j) {
        slat_view_load(r->k, &p->k, b, r->row.keys[j], slat_key_head(p, h), p->d);
        r->row.logit[j] = p->scale * dot(r->q, r->k, p->d);
    }
}

static void forward_row(const slat_problem *p, room *r, const slat_softmax *rule, int64_t b, int32_t h,
                        slat_point query)
{
    slat_row *row = &r->row;
    read_row(p, r, rule, b, h, query);
    clear(r->o, p->dv);
    if (row->count == 0)
        row->lse = row->sink;
    else
        rule->weigh(p, row);
    for (int64_t j = 0; j < row->count; ++j) {
        if (!has_value(p, row->keys[j])) continue;
        slat_view_load(r->v, &p->v, b, row->keys[j], slat_key_head(p, h), p->dv);
        add(r->o, row->weight[j], r->v, p->dv);
    }
    slat_view_store(&p->o, b, query, h, p->dv, r->o);
    if (p->lse.data) slat_view_store(&p->lse, b, query, h, 1, &row->lse);
}

/* What one row adds to its dq, to its key head's dk and dv and to its head's dsink. */
static void backward_row(const slat_problem *p, room *r, const slat_softmax *rule, int64_t b, int32_t h,
                         slat_point query)
{
    slat_row *row = &r->row;
    const slat_point grid = slat_key_grid(p);
    slat_view_load(&row->lse, &p->lse, b, query, h, 1);
    if (row->lse == -INFINITY) return;
    slat_view_load(r->grad_o, &p->grad_o, b, query, h, p->dv);
    slat_view_load(r->o, &p->o, b, query, h, p->dv);
    row->delta = dot(r->grad_o, r->o, p->dv);
    row->grad_lse = 0;
    if (p->grad_lse.data) slat_view_load(&row->grad_lse, &p->grad_lse, b, query, h, 1);

    read_row(p, r, rule, b, h, query);
    for (int64_t j = 0; j < row->count; ++j) {
        row->score[j] = 0;
        if (!has_value(p, row->keys[j])) continue;
        slat_view_load(r->v, &p->v, b, row->keys[j], slat_key_head(p, h), p->dv);
        row->score[j] = dot(r->grad_o, r->v, p->dv);
    }
    rule->unweigh(p, row);

    for (int64_t j = 0; j < row->count; ++j) {
        const int64_t key = slat_index(grid, row->keys[j]);
        const double grad = p->scale * row->grad_logit[j];
        if (p->grad_q.data) {
            slat_view_load(r->k, &p->k, b, row->keys[j], slat_key_head(p, h), p->d);
            add(r->grad_q, grad, r->k, p->d);
        }
        if (r->grad_ks) add(r->grad_ks + key * p->d, grad, r->q, p->d);
        if (r->grad_vs && has_value(p, row->keys[j])) add(r->grad_vs + key * p->dv, row->weight[j], r->grad_o, p->dv);
    }
    if (r->grad_sinks) r->grad_sinks[h] += exp(row->sink - row->lse) * (row->grad_lse - row->delta);
}

slat_status slat_softmax_scalar_forward(const slat_problem *p, const slat_run *run, const slat_softmax *rule)
{
    slat_arena arena = {.base = run->workspace};
    room r = cut(p, &arena);
    const slat_point box = slat_query_box(p);
    for (int64_t b = 0; b < p->b; ++b)
        for (int32_t h = 0; h < p->hq; ++h)
            for (int64_t x = 0; x < box.x; ++x)
                for (int64_t y = 0; y < box.y; ++y)
                    for (int64_t z = 0; z < box.z; ++z) forward_row(p, &r, rule, b, h, slat_at(x, y, z));
    return SLAT_OK;
}

/* Every row of query head h. */
static void backward_head(const slat_problem *p, room *r, const slat_softmax *rule, int64_t b, int32_t h)
{
    const slat_point box = slat_query_box(p);
    for (int64_t x = 0; x < box.x; ++x)
        for (int64_t y = 0; y < box.y; ++y)
            for (int64_t z = 0; z < box.z; ++z) {
                clear(r->grad_q, p->d);
                backward_row(p, r, rule, b, h, slat_at(x, y, z));
                if (p->grad_q.data) slat_view_store(&p->grad_q, b, slat_at(x, y, z), h, p->d, r->grad_q);
            }
}

/* Rounds the sums of one key head. */
static void write_keys(const slat_problem *p, const room *r, int64_t b, int32_t head)
{
    const slat_point grid = slat_key_grid(p);
    for (int64_t x = 0; x < grid.x; ++x)
        for (int64_t y = 0; y < grid.y; ++y)
            for (int64_t z = 0; z < grid.z; ++z) {
                const slat_point key = slat_at(x, y, z);
                const int64_t at = slat_index(grid, key);
                if (r->grad_ks) slat_view_store(&p->grad_k, b, key, head, p->d, r->grad_ks + at * p->d);
                if (r->grad_vs) slat_view_store(&p->grad_v, b, key, head, p->dv, r->grad_vs + at * p->dv);
            }
}

slat_status slat_softmax_scalar_backward(const slat_problem *p, const slat_run *run, const slat_softmax *rule)
{
    slat_arena arena = {.base = run->workspace};
    room r = cut(p, &arena);
    if (r.grad_sinks) clear(r.grad_sinks, p->hq);
    for (int64_t b = 0; b < p->b; ++b)
        for (int32_t head = 0; head < p->hk; ++head) {
            const int32_t group = p->hq / p->hk;
            if (r.grad_ks) clear(r.grad_ks, p->tk * p->d);
            if (r.grad_vs) clear(r.grad_vs, p->tk * p->dv);
            for (int32_t h = head * group; h < (head + 1) * group; ++h) backward_head(p, &r, rule, b, h);
            if (r.grad_ks || r.grad_vs) write_keys(p, &r, b, head);
        }
    for (int32_t h = 0; r.grad_sinks && h < p->hq; ++h)
        slat_store(p->grad_sink.data, p->grad_sink.type, h * p->grad_sink.head, r.grad_sinks[h]);
    return SLAT_OK;
}
