/* How calls on a GPU behave: the same bits from run to run and in another layout, and several threads at once, each
 * with a stream of its own, on one device and on several.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "gpu.h"
#include "harness.h"
#include "subject.h"

typedef struct {
    const case_problem *problem;
    const char *backend; /* NULL: what dispatch picks */
    tensor_type type;
} row;

enum { STREAM_OWN = 1 }; /* CU_STREAM_NON_BLOCKING */

static bool call_passes(problem *p, problem_pass last, const slat_exec *exec)
{
    for (problem_pass pass = PASS_FORWARD; pass <= last; pass++) {
        const slat_status s = problem_call(p, pass, exec);
        if (!CHECK(s == SLAT_OK, "%s: %s, %s", problem_pass_name(pass), slat_status_name(s), slat_error()))
            return false;
    }
    return true;
}

static bool same(const problem *a, const problem *b, problem_pass last)
{
    return subject_same(a, b, PASS_FORWARD) && (last == PASS_FORWARD || subject_same(a, b, PASS_BACKWARD));
}

static void repeats(const void *argument)
{
    const row *r = argument;
    problem *given = gpu_host_problem(&r->problem->p, r->type);
    const problem_pass last = given->pass;
    problem *a = gpu_problem(given, last, LAYOUT_PLAIN), *b = gpu_problem(given, last, LAYOUT_PADDED);
    gpu_room room = {0};
    slat_exec exec = gpu_exec(&room, r->backend, NULL);
    exec.deterministic = 1;
    if (call_passes(a, last, &exec) && call_passes(b, last, &exec))
        CHECK(gpu_room_end(&room) && same(a, b, last), "other bits in the second run");
    problem_free(a);
    problem_free(b);
    problem_free(given);
}

/* A thread with a stream of its own, on any device. */
typedef struct {
    problem *p;
    problem_pass last;
    const char *backend;
    bool right;
} worker;

static void *work(void *argument)
{
    worker *w = argument;
    const char *reason;
    const cuda_driver *d = cuda_driver_open(w->p->memory->device.device_id, &reason);
    void *stream = NULL;
    gpu_room room = {.memory = w->p->memory};
    w->right = d && !d->stream_create(&stream, STREAM_OWN);
    for (int n = 0; w->right && n < 8; n++) {
        slat_exec exec = gpu_exec(&room, w->backend, stream);
        exec.deterministic = 1;
        for (problem_pass pass = PASS_FORWARD; pass <= w->last; pass++)
            w->right &= problem_call(w->p, pass, &exec) == SLAT_OK;
        w->right &= !d->stream_wait(stream);
    }
    w->right &= gpu_room_end(&room);
    if (stream) d->stream_destroy(stream);
    return NULL;
}

/* Each row's problem in a thread of its own, the devices in turn; all at once give the bits of one at a time. */
static void together(const row *rows, int devices)
{
    enum { WORKERS = 6 };
    worker w[WORKERS];
    problem *want[WORKERS];
    pthread_t thread[WORKERS];
    for (int n = 0; n < WORKERS; n++) {
        const char *reason;
        problem *given = gpu_host_problem(&rows[n].problem->p, rows[n].type);
        const memory *m = memory_cuda_of(n % devices, &reason);
        if (!CHECK(m, "device %d: %s", n % devices, reason)) return;
        w[n] = (worker){gpu_problem_on(m, given, given->pass, LAYOUT_PLAIN), given->pass, rows[n].backend, false};
        want[n] = gpu_problem(given, given->pass, LAYOUT_PLAIN);
        gpu_room room = {0};
        slat_exec exec = gpu_exec(&room, rows[n].backend, NULL);
        exec.deterministic = 1;
        call_passes(want[n], given->pass, &exec);
        gpu_room_end(&room);
        problem_free(given);
    }
    for (int n = 0; n < WORKERS; n++) pthread_create(&thread[n], NULL, work, &w[n]);
    for (int n = 0; n < WORKERS; n++) pthread_join(thread[n], NULL);
    for (int n = 0; n < WORKERS; n++) {
        CHECK(w[n].right && same(w[n].p, want[n], w[n].last), "%s: a call failed, or gave other bits",
              rows[n].problem->id);
        problem_free(w[n].p);
        problem_free(want[n]);
    }
}

static void threads(const void *argument)
{
    together(argument, 1);
}

static void devices(const void *argument)
{
    together(argument, cuda_driver_devices());
}

static const char *const chosen[] = {"bs-ragged",  "bs-bitmaps", "bs-d128", "dense",     "na1d",    "na2d",
                                     "s2",         "lm-tail",    "la",      "la-states", "la-d128", "step",
                                     "step-slots", "merge-2",    "merge-5", "bs-d256",   "lm-50",   "lm-16-d256"};
enum { CHOSEN = sizeof chosen / sizeof *chosen };

int main(int argc, char **argv)
{
    static row rows[CHOSEN * 2];
    const char *names[GPU_BACKENDS];
    gpu_begin("cuda_calls");
    const int32_t backends = gpu_backends(names);
    for (int32_t b = 0; b < (backends > 1 ? 2 : 1); b++) { /* the general backend; what dispatch picks, if others are */
        const char *backend = b ? NULL : names[backends - 1], *name = b ? "any" : backend;
        row *first = rows + b * CHOSEN;
        for (int n = 0; n < CHOSEN; n++) {
            const case_problem *c = case_problems;
            while (c < case_problems + CASE_PROBLEMS && strcmp(c->id, chosen[n]) != 0) c++;
            if (c == case_problems + CASE_PROBLEMS) return 3;
            first[n] = (row){c, backend, n % 2 ? TENSOR_BF16 : TENSOR_F32};
            harness_add(repeats, &first[n], "bits %s %s", c->id, name);
        }
        harness_add(threads, first, "threads %s", name);
        if (cuda_driver_devices() > 1) harness_add(devices, first, "devices %s", name);
    }
    return harness_main("cuda_calls", argc, argv);
}
