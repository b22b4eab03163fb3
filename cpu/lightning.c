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
 * lightning_schedule.h says how work is shared out. No result depends on it: see chunk_loop.h.
 */
#include "kernels.h"
#include "lightning_schedule.h"
#include "size.h"

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

/* Tokens before `to`, those before `from` only for the state. */
static void cut_tokens(slat_sweep *s, int64_t from, int64_t to)
{
    if (to < s->tokens) s->last.at = NULL;
    s->silent = from;
    s->tokens = to;
}

/* Heads first ... first + heads - 1 of a sequence. */
static void run_group(const job *j, char *at, const part *of, int64_t slice, int64_t b, int64_t first, int64_t heads)
{
    const slat_problem *p = j->p;
    const kind k = of->kind;
    chunk_line lines[LINES] = {0};
    for (int64_t i = 0; i < heads; i++) {
        lines[i].sweep = sweep_of(p, k, b, first + i);
        if (k == GRAD_K_AND_V) add_pair(p, &lines[i], b, first + i);
        cut_tokens(&lines[i].sweep, of->from, of->to);
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
        const part *of = j->parts + item / j->slices / j->groups / p->b;
        run_group(j, at, of, slice, b, first, slat_min(j->lines, p->hq - first));
    }
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
