/* The standard workloads and how a row of the bench is measured.
 *
 * A workload is a problem (tools/problem.h) with an id; each of its passes, on each backend, is a row ID/BACKEND/PASS.
 * block_sparse.c, neighborhood.c, sharded.c, landmark.c and lightning.c hold the workloads of their primitive; small.c
 * those that measure the cost beside the arithmetic. row.c measures a row, subject.c makes what it measures.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H
#include "ceilings.h"
#include "device.h"
#include "problem.h"
#include "shim.h"

typedef enum {
    BENCH_FORWARD,
    BENCH_BACKWARD,
    BENCH_DETERMINISTIC, /* backward with slat_exec.deterministic 1 */
    BENCH_STATES,        /* lightning's backward from forward's states */
    BENCH_PASSES
} bench_pass;

/* Sets of passes. */
enum {
    BENCH_ONLY_FORWARD = 1 << BENCH_FORWARD,
    BENCH_SOFTMAX_PASSES = 1 << BENCH_FORWARD | 1 << BENCH_BACKWARD | 1 << BENCH_DETERMINISTIC,
    BENCH_LIGHTNING_PASSES = 1 << BENCH_FORWARD | 1 << BENCH_BACKWARD | 1 << BENCH_STATES
};

typedef struct bench_row bench_row;

typedef struct {
    const char *id;
    bool gpu;
    bench_limit limit;      /* matrix product: work is counted in flops; else in bytes */
    unsigned passes;        /* bits 1 << bench_pass */
    int64_t blocks, pairs;  /* published counts of a random layout, 0: none; a row is refused where they differ */
    int32_t rotate;         /* lightning_step: so many sets of states take turns; 0: one set */
    problem_parameters parameters;
    void (*run)(const bench_row *, shim_state *); /* NULL: bench_measure() */
    const char *unit;       /* of the row's time; NULL: "ms" */
} bench_workload;

typedef struct {
    const bench_workload *workloads;
    int count;
} bench_list;

extern const bench_list bench_block_sparse, bench_neighborhood, bench_sharded, bench_landmark, bench_lightning,
    bench_small;

struct bench_row {
    const bench_workload *workload;
    const bench_device *device; /* NULL: there is none, see `absent` */
    const char *absent;
    const char *backend;
    int32_t rank;               /* 0: the backend is not for this machine */
    bench_pass pass;
};

typedef struct {
    int threads;
    bool full;    /* rows of `scalar` at full size */
    bool scaling; /* bench_scaling() behind every row of the CPU */
} bench_settings;

extern bench_settings bench_set;

/* subject.c: the problem of a row in both layouts, with outputs, workspace and (for backward) forward's answers. */
typedef struct {
    problem *p[2];          /* LAYOUT_PLAIN and LAYOUT_HEADS_FIRST; p[1] is NULL where both are the same */
    int layouts;
    bool reduced;
    char part[64];          /* what a reduced problem holds, in words */
    double work[PASS_COUNT]; /* of a pass: TFLOP where the limit is the matrix product, else GB */
    problem_pass pass;
    slat_exec exec;         /* with workspace */
    slat_plan plan;         /* of the layout that needs more workspace */
    double peak_bytes;      /* beyond inputs and outputs: the plan's workspace, and the growth of the process in a first
                               call; negative: unknown */
} bench_subject;

/* The subject of a row, kept for the next call with that row; its tensors are kept for other rows of the same workload.
 * NULL: the row has been skipped or failed, with the reason. */
bench_subject *bench_subject_of(const bench_row *, shim_state *);
/* One call in layout `i`. Moves to the next set of states first, outside of what a caller times with device->begin. */
void bench_subject_turn(const bench_row *, bench_subject *, int i);
slat_status bench_subject_call(const bench_subject *, int i);
void bench_subject_release(void);

/* inputs.c: the problem on the host; with `narrow` its q, k, v and states stand for wider ones, of which only the extents
 * tell. The same on a device, with tensors of the real width, filled at random. NULL with the sentence. */
problem *bench_host_problem(const problem_parameters *parameters, bool narrow, sentence *why);
problem *bench_device_problem(const problem *host, layout kind, const memory *device, sentence *why);

/* row.c */
void bench_row_run(void *row, shim_state *);
bool bench_runnable(const bench_row *, shim_state *); /* false: skipped, with the reason */
/* The row went wrong, and so does the process: printf-like. */
void bench_fail(shim_state *, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool bench_failed(void);

/* steady.c. Ceilings of a row's device, as valid now: measured anew where the FMA loop has drifted by over 5 % since.
 * Where the loop, beside the ceilings, before the row and after it, differs by over 5 %, the row was not steady and has
 * no share. */
typedef struct {
    const bench_ceilings *ceilings; /* NULL: none */
    double fma_before, fma_after;
    bool steady;
    bool hopeless; /* the machine would not keep still for ceilings a moment ago: no use to try the row again */
} bench_watch;

void bench_watch_begin(bench_watch *, const bench_device *);
bool bench_watch_end(bench_watch *, const bench_device *); /* steady? */
/* Prints rate, ceiling and share; without a ceiling, or where the machine was not steady, says so in `note`, which it
 * appends to. The watch has ended. */
void bench_report(shim_state *, const bench_workload *, const bench_watch *, double rate, char *note, size_t size);
const bench_ceilings *bench_ceilings_of(const bench_device *, const char **reason);

/* scaling.c: counters rate_N, gain_N = rate_N / rate_1 and gain_fma_N, the FMA loop's, for N = 1, 2, 4 ... threads; and
 * `scaling`, the last gain over the loop's. Rows that the matrix product does not limit, and those of a part of their
 * problem, have none. */
void bench_scaling(const bench_row *, const bench_subject *, shim_state *);

/* selfcheck.c: the published counts. True when all agree; says each on stdout. */
bool bench_self_check(void);
#endif
