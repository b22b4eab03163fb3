/* Reentrancy: many threads call at once, with different problems, backends and thread counts, some of them wrongly. The
 * first row's calls are the first of the process, so that whatever is made once is made in a race. Meant for
 * ThreadSanitizer, and checked without it: answers are those of a lone thread, sentences are each thread's own.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "harness.h"
#include "subject.h"

enum { THREADS = 8, ROUNDS = 3, WORK = 6 };

/* One per op at least; small, for ThreadSanitizer is slow. */
static const char *const ids[] = {"bs-8", "bs-bitmaps", "dense",      "na1d",    "na2d",      "s2",
                                  "lm-2", "la",         "step-slots", "merge-2", "bs-decode", "lm-decode"};
enum { IDS = sizeof ids / sizeof *ids };

typedef struct {
    pthread_t thread;
    pthread_barrier_t *start;
    int32_t number;
    problem *work[WORK];
    const char *backends[SUBJECT_BACKENDS];
    int32_t backend_count; /* 0: the library's choice */
    int32_t wrong;         /* calls that went wrong */
    char why[600];
} worker;

static void note(worker *w, const char *text)
{
    if (!w->wrong++) snprintf(w->why, sizeof w->why, "%s", text);
}

/* A refused call leaves its own sentence, whatever the others do. */
static void refuse(worker *w)
{
    char word[40];
    snprintf(word, sizeof word, "[%d] is no backend", w->number);
    const slat_exec exec = {.backend = word};
    const slat_status s = problem_call(w->work[0], PASS_FORWARD, &exec);
    if (s != SLAT_NO_BACKEND || !strstr(slat_error(), word)) note(w, slat_error());
}

static void *run(void *argument)
{
    worker *w = argument;
    pthread_barrier_wait(w->start);
    for (int32_t round = 0; round < ROUNDS; round++) {
        for (int32_t n = 0; n < WORK; n++) {
            problem *p = w->work[n];
            const char *backend = w->backend_count ? w->backends[(n + w->number + round) % w->backend_count] : NULL;
            slat_exec exec = {.backend = backend, .threads = (w->number + n) % 3, .deterministic = 1};
            for (problem_pass pass = PASS_FORWARD; pass <= p->pass; pass++) {
                if (problem_call(p, pass, &exec) != SLAT_OK) note(w, slat_error());
            }
            if (p->op == OP_LIGHTNING_STEP) tensor_copy(p->t[ROLE_ST], p->t[ROLE_S0]); /* a step moves its state */
            refuse(w);
        }
        const char *name;
        int32_t rank;
        if (slat_backend(0, (DLDevice){kDLCPU, 0}, &name, &rank) != SLAT_OK) note(w, slat_error());
        slat_backend(w->number % 2, (DLDevice){kDLCUDA, 0}, &name, &rank); /* loads the module, where there is one */
    }
    return NULL;
}

static problem *make(int32_t n)
{
    const case_problem *c = case_problems;
    while (strcmp(c->id, ids[n % IDS]) != 0) c++;
    problem_parameters parameters = c->p;
    parameters.type = n % 2 ? TENSOR_BF16 : TENSOR_F32;
    parameters.seed = (uint64_t)n;
    problem *p = subject_new(&parameters, LAYOUT_PLAIN);
    for (problem_pass pass = PASS_FORWARD; pass <= p->pass; pass++) subject_outputs(p, pass, LAYOUT_PLAIN);
    return p;
}

/* The answers of a lone thread. */
static void check_answers(const worker *w)
{
    for (int32_t n = 0; n < WORK; n++) {
        problem *got = w->work[n], *twin = subject_twin(got);
        const slat_exec exec = {.backend = "scalar"};
        for (problem_pass pass = PASS_FORWARD; pass <= got->pass && got->op != OP_LIGHTNING_STEP; pass++) {
            subject_outputs(twin, pass, LAYOUT_PLAIN);
            CHECK(problem_call(twin, pass, &exec) == SLAT_OK, "%s", slat_error());
            subject_agree(got, twin, pass, problem_op_name(got->op));
        }
        problem_free(twin);
    }
}

static void at_once(const void *argument)
{
    const bool first = argument == NULL;
    static worker workers[THREADS];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, THREADS);
    for (int32_t n = 0; n < THREADS; n++) {
        worker *w = &workers[n];
        *w = (worker){.start = &start, .number = n};
        for (int32_t i = 0; i < WORK; i++) w->work[i] = make(n * WORK + i);
        if (!first) w->backend_count = subject_backends(w->backends);
    }
    for (int32_t n = 0; n < THREADS; n++)
        CHECK(pthread_create(&workers[n].thread, NULL, run, &workers[n]) == 0, "no thread");
    for (int32_t n = 0; n < THREADS; n++) pthread_join(workers[n].thread, NULL);
    pthread_barrier_destroy(&start);
    for (int32_t n = 0; n < THREADS; n++) {
        CHECK(workers[n].wrong == 0, "thread %d: %d calls went wrong: %s", n, workers[n].wrong, workers[n].why);
        check_answers(&workers[n]);
        for (int32_t i = 0; i < WORK; i++) problem_free(workers[n].work[i]);
    }
}

/* Threads that share their inputs, each with outputs of its own. */
static void *share(void *argument)
{
    worker *w = argument;
    pthread_barrier_wait(w->start);
    for (int32_t round = 0; round < ROUNDS; round++) {
        for (problem_pass pass = PASS_FORWARD; pass <= PASS_BACKWARD; pass++) {
            if (problem_call(w->work[0], pass, NULL) != SLAT_OK) note(w, slat_error());
        }
    }
    return NULL;
}

static void shared_inputs(const void *argument)
{
    (void)argument;
    worker workers[THREADS];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, THREADS);
    problem *common = make(0), *mine[THREADS];
    for (int32_t n = 0; n < THREADS; n++) {
        workers[n] = (worker){.start = &start, .number = n};
        mine[n] = make(0);
        for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
            if (!mine[n]->t[slot] || slot == ROLE_O || slot == ROLE_LSE ||
                problem_slot_is_output(mine[n], slot, PASS_BACKWARD))
                continue;
            tensor_free(mine[n]->t[slot]);
            mine[n]->t[slot] = common->t[slot];
        }
        workers[n].work[0] = mine[n];
    }
    for (int32_t n = 0; n < THREADS; n++)
        CHECK(pthread_create(&workers[n].thread, NULL, share, &workers[n]) == 0, "no thread");
    for (int32_t n = 0; n < THREADS; n++) pthread_join(workers[n].thread, NULL);
    pthread_barrier_destroy(&start);
    for (int32_t n = 0; n < THREADS; n++) {
        CHECK(workers[n].wrong == 0, "thread %d: %s", n, workers[n].why);
        CHECK(subject_same(mine[n], mine[0], PASS_FORWARD) && subject_same(mine[n], mine[0], PASS_BACKWARD),
              "thread %d: other bits", n);
    }
    for (int32_t n = 0; n < THREADS; n++) {
        for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
            if (mine[n]->t[slot] == common->t[slot]) mine[n]->t[slot] = NULL;
        }
        problem_free(mine[n]);
    }
    problem_free(common);
}

int main(int argc, char **argv)
{
    static const int again = 1;
    harness_add(at_once, NULL, "the first calls, at once");
    harness_add(at_once, &again, "every backend, at once");
    harness_add(shared_inputs, NULL, "shared inputs");
    return harness_main("threads", argc, argv);
}
