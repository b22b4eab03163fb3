/* Lightning attention, forward and backward, as sweeps (chunk_loop.h). With g = scale do:
 *
 *     sweep     direction  q   k   v   S
 *     o         forward    q   k   v   S0 ... S_T
 *     dq        forward    g   v   k   S0 ... transposed
 *     dk        backward   v   g   q   dS_T ... transposed
 *     dv, dS0   backward   k   q   g   dS_T ... dS0
 * Backward in time the state decays after a token is read, not before: lag is 0. Where there are many heads dk comes
 * out of the sweep for dv, as its second result (chunk_pair.h): that saves a state.
 *
 * Work is shared out by gradients, by groups of heads that take turns and, where those are fewer than threads, by
 * columns. No result depends on how: see chunk_loop.h.
 */
#include "chunk_loop.h"
#include "chunk_slopes.h"
#include "kernels.h"
#include "parallel.h"
#include "size.h"

#define MANY_HEADS 8      /* whatever the number of threads, for results must not depend on it */
#define STATES (1 << 19)  /* bytes of the states that take turns: they stay in the second-level cache */

typedef enum { FORWARD, GRAD_Q, GRAD_K, GRAD_V, GRAD_K_AND_V, GRAD_SLOPE } kind;

/* A call's work: items are numbered by kind, sequence, group of heads, slice. */
typedef struct {
    const slat_problem *p;
    kind kinds[4];
    int64_t kind_count;
    int64_t lines, groups; /* heads that take turns, and groups of so many in a sequence */
    int64_t slices;        /* ranges of columns of each */
    int32_t workers;
    size_t room_bytes, slope_bytes; /* of a worker: its lines, its slope_room */
    char *rooms;
    double *grad_slope; /* [b, h]: the terms of each sequence */
    slat_items items;
} job;

/* ---- sweeps ---- */

static token_rows rows_of(const slat_view *view, int64_t b, int64_t h, float scale)
{
    const int64_t size = (int64_t)element_size(view->type);
    if (!view->data) return (token_rows){0};
    char *at = (char *)view->data + (b * view->batch + h * view->head) * size;
    return (token_rows){at, view->token[2] * size, view->type, scale};
}

static state_rows state_of(const slat_state_view *view, int64_t b, int64_t h, int transposed)
{
    if (!view->data) return (state_rows){0};
    return (state_rows){(float *)view->data + b * view->batch + h * view->head, view->row, transposed};
}

static void turn(token_rows *rows, int64_t tokens)
{
    if (!rows->at || !tokens) return;
    rows->at += (tokens - 1) * rows->stride;
    rows->stride = -rows->stride;
}

static void turn_sweep(slat_sweep *s)
{
    turn(&s->q, s->tokens);
    turn(&s->k, s->tokens);
    turn(&s->v, s->tokens);
    turn(&s->o, s->tokens);
    s->lag = 0;
}

/* Columns first ... first + count - 1 alone. */
static void cut_columns(slat_sweep *s, int64_t first, int64_t count)
{
    s->columns = count;
    s->v.at += first * (int64_t)element_size(s->v.type);
    if (s->o.at) s->o.at += first * (int64_t)element_size(s->o.type);
    state_rows *const states[] = {&s->first, &s->last, &s->snapshots};
    for (int i = 0; i < 3; i++)
        if (states[i]->at) states[i]->at += first * (states[i]->transposed ? states[i]->row : 1);
}

static slat_sweep sweep_of(const slat_problem *p, kind k, int64_t b, int64_t h)
{
    const slat_decay *a = &p->decay;
    const float scale = (float)p->scale;
    slat_sweep s = {.tokens = p->tq, .d = p->d, .columns = p->dv, .lag = 1,
                    .slope = ((const float *)a->slopes.data)[h * a->slopes.head]};
    if (a->states.data && (k == FORWARD || k == GRAD_Q)) {
        s.snapshots = state_of(&a->states, b, h, k == GRAD_Q);
        s.snapshot = a->states.snapshot;
        s.every = a->states_every;
        s.read_snapshots = k == GRAD_Q;
    }
    switch (k) {
    case FORWARD:
    case GRAD_SLOPE:
        s.q = rows_of(&p->q, b, h, scale);
        s.k = rows_of(&p->k, b, h, 1);
        s.v = rows_of(&p->v, b, h, 1);
        s.first = state_of(&a->s0, b, h, 0);
        if (k == GRAD_SLOPE) break;
        s.o = rows_of(&p->o, b, h, 1);
        s.last = state_of(&a->st, b, h, 0);
        break;
    case GRAD_Q:
        s.d = p->dv, s.columns = p->d;
        s.q = rows_of(&p->grad_o, b, h, scale);
        s.k = rows_of(&p->v, b, h, 1);
        s.v = rows_of(&p->k, b, h, 1);
        s.o = rows_of(&p->grad_q, b, h, 1);
        s.first = state_of(&a->s0, b, h, 1);
        break;
    case GRAD_K:
        s.d = p->dv, s.columns = p->d;
        s.q = rows_of(&p->v, b, h, 1);
        s.k = rows_of(&p->grad_o, b, h, scale);
        s.v = rows_of(&p->q, b, h, 1);
        s.o = rows_of(&p->grad_k, b, h, 1);
        s.first = state_of(&a->grad_st, b, h, 1);
        turn_sweep(&s);
        break;
    case GRAD_V:
    case GRAD_K_AND_V:
        s.q = rows_of(&p->k, b, h, 1);
        s.k = rows_of(&p->q, b, h, scale);
        s.v = rows_of(&p->grad_o, b, h, 1);
        s.o = rows_of(&p->grad_v, b, h, 1);
        s.first = state_of(&a->grad_st, b, h, 0);
        s.last = state_of(&a->grad_s0, b, h, 0);
        turn_sweep(&s);
        break;
    }
    return s;
}

/* ---- sharing out ---- */

static void run_slope(const job *j, chunk_line *line, char *at, int64_t b, int64_t h)
{
    const slat_problem *p = j->p;
    const token_rows grad_o = rows_of(&p->grad_o, b, h, 1);
    const state_rows grad_st = state_of(&p->decay.grad_st, b, h, 0);
    slope_room slopes = {0};
    slope_room_of(&slopes, at, p->d, p->dv);
    j->grad_slope[b * p->hq + h] = sweep_slope(&line->room, &slopes, &line->sweep, &grad_o, &grad_st);
}

/* The second result: dk beside dv. */
static void add_pair(const slat_problem *p, chunk_line *line, int64_t b, int64_t h)
{
    line->pair.w = rows_of(&p->v, b, h, 1);
    line->pair.u = rows_of(&p->grad_k, b, h, 1);
    turn(&line->pair.w, line->sweep.tokens);
    turn(&line->pair.u, line->sweep.tokens);
}

/* Heads first ... first + heads - 1 of a sequence. */
static void run_group(const job *j, char *at, kind k, int64_t slice, int64_t b, int64_t first, int64_t heads)
{
    const slat_problem *p = j->p;
    chunk_line lines[LINES] = {0};
    for (int64_t i = 0; i < heads; i++) {
        lines[i].sweep = sweep_of(p, k, b, first + i);
        if (k == GRAD_K_AND_V) add_pair(p, &lines[i], b, first + i);
    }
    const int64_t d = lines[0].sweep.d, columns = lines[0].sweep.columns, panels = (columns + PANEL - 1) / PANEL;
    chunk_lines_of(lines, heads, at, d, columns, k == GRAD_K_AND_V);
    if (k == GRAD_SLOPE || k == GRAD_K_AND_V) { /* these need all columns */
        for (int64_t i = 0; k == GRAD_SLOPE && !slice && i < heads; i++)
            run_slope(j, &lines[i], at + j->room_bytes, b, first + i);
        if (k == GRAD_K_AND_V && !slice) run_lines(lines, heads);
        return;
    }
    const int64_t from = panels * slice / j->slices * PANEL, to = panels * (slice + 1) / j->slices * PANEL;
    for (int64_t i = 0; i < heads; i++) cut_columns(&lines[i].sweep, from, slat_min(to, columns) - from);
    if (from < to) run_lines(lines, heads);
}

static void work(void *ctx, int32_t worker)
{
    job *j = ctx;
    const slat_problem *p = j->p;
    char *at = j->rooms + (size_t)worker * (j->room_bytes + j->slope_bytes);
    for (int64_t item; (item = slat_next_item(&j->items)) >= 0;) {
        const int64_t slice = item % j->slices, group = item / j->slices % j->groups;
        const int64_t b = item / j->slices / j->groups % p->b, first = group * j->lines;
        const kind k = j->kinds[item / j->slices / j->groups / p->b];
        run_group(j, at, k, slice, b, first, slat_min(j->lines, p->hq - first));
    }
}

/* So many heads in turn, or so many slices of one, that threads are filled evenly. Turns save some time; slices repeat
 * the scores, some fifth of a sweep. No result depends on either. */
static void share_out(job *j, int32_t threads)
{
    static const double head_time[LINES + 1] = {0, 1, 0.93, 0.9, 0.88, 0.87, 0.86, 0.85, 0.84};
    const slat_problem *p = j->p;
    const int64_t d = slat_max(p->d, p->dv), panels = (d + PANEL - 1) / PANEL, all = p->b * j->kind_count;
    const int64_t most = slat_max(slat_min(LINES, STATES / (p->d * p->dv * 4)), 1);
    double least = INFINITY;
    for (int64_t lines = slat_min(most, slat_max(p->hq, 1)); lines > 0; lines--) {
        const int64_t groups = (p->hq + lines - 1) / lines;
        for (int64_t slices = 1; slices <= (lines == 1 ? panels : 1); slices++) {
            const double rounds = ceil((double)(all * groups * slices) / threads);
            const double part = slices == 1 ? 1 : 0.2 + ceil((double)panels / (double)slices) / (double)panels;
            const double time = rounds * (double)lines * head_time[lines] * part;
            if (time >= least) continue;
            least = time;
            j->lines = lines, j->groups = groups, j->slices = slices;
        }
    }
}

static job job_of(const slat_problem *p, const slat_run *run)
{
    job j = {.p = p, .rooms = run->workspace};
    const slat_decay *a = &p->decay;
    const int64_t heads = p->b * p->hq, d = slat_max(p->d, p->dv);
    const int paired = heads >= MANY_HEADS && p->grad_k.data && (p->grad_v.data || a->grad_s0.data);
    if (p->pass == SLAT_FORWARD) j.kinds[j.kind_count++] = FORWARD;
    else { /* the longest first */
        if (a->grad_slopes.data) j.kinds[j.kind_count++] = GRAD_SLOPE;
        if (paired) j.kinds[j.kind_count++] = GRAD_K_AND_V;
        if (!paired && p->grad_k.data) j.kinds[j.kind_count++] = GRAD_K;
        if (!paired && (p->grad_v.data || a->grad_s0.data)) j.kinds[j.kind_count++] = GRAD_V;
        if (p->grad_q.data) j.kinds[j.kind_count++] = GRAD_Q;
    }
    share_out(&j, slat_useful_threads(run));
    chunk_line lines[LINES];
    j.room_bytes = chunk_lines_of(lines, j.lines, NULL, d, d, paired) + 256; /* rooms of equal sizes do not alias */
    if (a->grad_slopes.data) j.slope_bytes = slope_room_of(&(slope_room){0}, NULL, d, d);
    const double sweeps = (double)(heads * j.kind_count), state = (double)p->d * p->dv;
    j.items.count = p->b * j.kind_count * j.groups * j.slices;
    j.workers = slat_workers(run, slat_max(j.items.count, 1), sweeps * state * (4 * (double)p->tq + 1),
                             j.room_bytes + j.slope_bytes);
    if (j.rooms) j.grad_slope = (double *)(j.rooms + (size_t)j.workers * (j.room_bytes + j.slope_bytes));
    return j;
}

slat_status slat_lightning_plan(const slat_problem *p, const slat_run *run, slat_plan *plan)
{
    if (p->type == SLAT_F64) return slat_fail(SLAT_UNSUPPORTED, "q: f64, expected f32, f16 or bf16");
    const job j = job_of(p, run);
    size_t bytes = (size_t)j.workers * (j.room_bytes + j.slope_bytes);
    if (p->decay.grad_slopes.data)
        bytes = size_sum(bytes, size_product(size_product((size_t)p->b, (size_t)p->hq), sizeof(double)));
    return size_plan(bytes, "lightning_chunks", plan);
}

slat_status slat_lightning_run(const slat_problem *p, const slat_run *run)
{
    job j = job_of(p, run);
    const slat_view *grad_slopes = &p->decay.grad_slopes;
    if (j.items.count) slat_parallel(run, j.workers, work, &j);
    if (!grad_slopes->data) return SLAT_OK;
    for (int32_t h = 0; h < p->hq; h++) {
        double sum = 0;
        for (int64_t b = 0; b < p->b; b++) sum += j.grad_slope[b * p->hq + h];
        ((float *)grad_slopes->data)[h * grad_slopes->head] = (float)sum;
    }
    return SLAT_OK;
}
