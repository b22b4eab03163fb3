/* How lightning's sweeps are shared out, and the workspace.
 *
 * Work is shared out by gradients, by groups of heads that take turns and, where those are fewer than threads, by
 * columns or by ranges of tokens.
 */
#ifndef SLAT_CPU_LIGHTNING_SCHEDULE_H
#define SLAT_CPU_LIGHTNING_SCHEDULE_H
#include "chunk_loop.h"
#include "chunk_slopes.h"
#include "parallel.h"

#define MANY_HEADS 8      /* whatever the number of threads, for results must not depend on it */
#define STATES (1 << 19)  /* bytes of the states that take turns: they stay in the second-level cache */
#define KINDS 4           /* of sweeps of a call, at most */
#define PARTS 4           /* of a sweep, at most */
#define LEAST_TOKENS 1024 /* of a sweep that is worth cutting, and */
#define MOST_THREADS 64   /* threads that it is weighed for */
#define STATE_TIME 0.4    /* what a sweep for the state alone takes */

typedef enum { FORWARD, GRAD_Q, GRAD_K, GRAD_V, GRAD_K_AND_V, GRAD_SLOPE } kind;

/* A sweep's tokens from ... to - 1, in its direction; those before `from` are read for the state alone. */
typedef struct {
    kind kind;
    int64_t from, to;
    double time; /* of a head, in forward's sweeps */
} part;

/* A call's work: items are numbered by part, sequence, group of heads, slice. */
typedef struct {
    const slat_problem *p;
    kind kinds[KINDS];
    part parts[KINDS * PARTS];
    int64_t kind_count, part_count;
    int64_t lines, groups; /* heads that take turns, and groups of so many in a sequence */
    int64_t slices;        /* ranges of columns of each */
    int32_t workers;
    size_t room_bytes, slope_bytes; /* of a worker: its lines, its slope_room */
    char *rooms;
    double *grad_slope; /* [b, h]: the terms of each sequence */
    slat_items items;
} job;

static const double kind_time[] = {[FORWARD] = 1,         [GRAD_Q] = 1, [GRAD_K] = 1, [GRAD_V] = 1,
                                   [GRAD_K_AND_V] = 1.75, [GRAD_SLOPE] = 2.2};

/* When all is done, if heads take turns by `lines` and are cut into `slices`, `share` of a sweep each: no sooner than
 * some thread has its part of the kinds so far, the longest first, and of their number. */
static double end_of_items(const job *j, int64_t lines, int64_t slices, double share, int32_t threads)
{
    static const double head_time[LINES + 1] = {0, 1, 0.93, 0.9, 0.88, 0.87, 0.86, 0.85, 0.84};
    const double items = (double)(j->p->b * ((j->p->hq + lines - 1) / lines) * slices);
    double count = 0, sum = 0, end = 0;
    for (int64_t i = 0; i < j->kind_count; i++) {
        const double time = kind_time[j->kinds[i]] * (double)lines * head_time[lines] * share;
        count += items, sum += items * time;
        end = fmax(end, fmax(ceil(count / threads) * time, sum / threads));
    }
    return end;
}

/* So many heads in turn, or so many slices of one, that threads are filled evenly. Turns save some time; slices repeat
 * the scores, some tenth of a sweep. No result depends on either. */
static double share_out(job *j, int32_t threads)
{
    const slat_problem *p = j->p;
    const int64_t d = slat_max(p->d, p->dv), panels = (d + PANEL - 1) / PANEL;
    const int64_t most = slat_max(slat_min(LINES, STATES / (p->d * p->dv * 4)), 1);
    double least = INFINITY;
    for (int64_t lines = slat_min(most, slat_max(p->hq, 1)); lines > 0; lines--) {
        for (int64_t slices = 1; slices <= (lines == 1 ? panels : 1); slices++) {
            const double share = slices == 1 ? 1 : 0.1 + ceil((double)panels / (double)slices) / (double)panels;
            const double end = end_of_items(j, lines, slices, share, threads);
            if (end >= least) continue;
            least = end;
            j->lines = lines, j->groups = (p->hq + lines - 1) / lines, j->slices = slices;
        }
    }
    return least;
}

/* A kind's sweep in parts of which none takes longer than `most`, where that can be. */
static void cut_sweep(job *j, kind k, double most)
{
    const slat_problem *p = j->p;
    const int stored = p->decay.states.data && (k == FORWARD || k == GRAD_Q);
    const double tokens = (double)slat_max(p->tq, 1), whole = kind_time[k],
                 state = stored && k == GRAD_Q ? 0 : STATE_TIME;
    const int64_t unit = stored ? p->decay.states_every : CHUNK;
    for (int64_t n = 1, from = 0, to = 0; n == 1 || from < p->tq; n++, from = to) {
        const double some = (most * tokens - state * (double)from) / whole;
        const int all = k == GRAD_SLOPE || n == PARTS || some >= (double)(p->tq - from);
        const int64_t units = all ? 0 : (int64_t)(some / (double)unit);
        to = units > 0 ? from + units * unit : p->tq;
        const double time = (state * (double)from + whole * (double)(to - from)) / tokens;
        int64_t i = j->part_count++;
        for (; i > 0 && j->parts[i - 1].time < time; i--) j->parts[i] = j->parts[i - 1];
        j->parts[i] = (part){k, from, to, time};
    }
}

static void cut_all(job *j, double most)
{
    j->part_count = 0;
    for (int64_t i = 0; i < j->kind_count; i++) cut_sweep(j, j->kinds[i], most);
}

/* When all parts of so many heads are done, if each is taken by the thread that is free first. */
static double end_of_parts(const job *j, int64_t heads, int32_t threads)
{
    double busy[MOST_THREADS] = {0}, end = 0;
    for (int64_t i = 0; i < j->part_count * heads; i++) {
        int32_t first = 0;
        for (int32_t t = 1; t < threads; t++)
            if (busy[t] < busy[first]) first = t;
        busy[first] += j->parts[i / heads].time;
        end = fmax(end, busy[first]);
    }
    return end;
}

/* Few heads' sweeps are cut in time where that ends sooner than slices of columns do: what stands before a part is read
 * again for the state, which takes less than half a sweep. */
static void cut_sweeps(job *j, int32_t threads, double least)
{
    const slat_problem *p = j->p;
    const int64_t heads = p->b * p->hq;
    double best = INFINITY, sum = 0;
    cut_all(j, INFINITY);
    if (!heads || p->tq < LEAST_TOKENS || threads > MOST_THREADS || heads * j->kind_count > 2 * threads) return;
    for (int64_t i = 0; i < j->part_count; i++) sum += (double)heads * j->parts[i].time;
    const double whole = end_of_parts(j, heads, threads), longest = j->parts[0].time;
    double most = INFINITY;
    for (double time = sum / threads; time > 0 && time < longest; time *= 1.04) {
        cut_all(j, time);
        const double end = end_of_parts(j, heads, threads);
        if (end < best) best = end, most = time;
    }
    const int cut = best < 0.97 * (j->slices > 1 ? fmin(least, whole) : whole);
    cut_all(j, cut ? most : INFINITY);
    if (cut) j->lines = 1, j->groups = p->hq, j->slices = 1;
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
    cut_sweeps(&j, slat_useful_threads(run), share_out(&j, slat_useful_threads(run)));
    chunk_line lines[LINES];
    j.room_bytes = chunk_lines_of(lines, j.lines, NULL, d, d, paired) + 256; /* rooms of equal sizes do not alias */
    if (a->grad_slopes.data) j.slope_bytes = slope_room_of(&(slope_room){0}, NULL, d, d);
    const double sweeps = (double)(heads * j.kind_count), state = (double)p->d * p->dv;
    j.items.count = p->b * j.part_count * j.groups * j.slices;
    j.workers = slat_workers(run, slat_max(j.items.count, 1), sweeps * state * (4 * (double)p->tq + 1),
                             j.room_bytes + j.slope_bytes);
    if (j.rooms) j.grad_slope = (double *)(j.rooms + (size_t)j.workers * (j.room_bytes + j.slope_bytes));
    return j;
}
#endif
