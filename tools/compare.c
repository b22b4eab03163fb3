/* `slat compare`: runs every setting on every backend and draws its mask. */
#define _POSIX_C_SOURCE 200809L
#include "compare.h"
#include "mask.h"
#include "report.h"
#include "visible.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SHORTEST = 512, MOST_THREADS = 4096 }; /* tokens: the widest window of the settings */
static const double slow = 15, apart = 0.02;  /* seconds of dense attention; error between backends */

static void progress(int setting, const char *doing, const char *on)
{
    if (!isatty(STDERR_FILENO)) return;
    if (!doing)
        fprintf(stderr, "\r\033[K");
    else
        fprintf(stderr, "\r\033[K[%d/%d] %s: %s", setting + 1, COMPARE_SETTINGS, doing, on);
    fflush(stderr);
}

static bool read_tensors(comparison *c, sentence *why)
{
    safetensors *file = safetensors_open(c->file, why);
    if (!file) return false;
    tensor **to[] = {&c->q, &c->k, &c->v};
    const char *const names[] = {"q", "k", "v"};
    bool fine = true;
    for (int n = 0; fine && n < 3; n++) {
        const safetensors_entry *entry = safetensors_find(file, names[n]);
        if (!entry)
            fine = sentence_fail(why, "%s: no tensor %s", c->file, names[n]);
        else if (!(*to[n] = safetensors_read(file, entry, why)))
            fine = false;
        else if (entry->ndim != 4)
            fine = sentence_fail(why, "%s: %s should be [B, T, H, D]", c->file, names[n]);
    }
    safetensors_close(file);
    if (!fine) return false;
    const int64_t *q = c->q->shape, *k = c->k->shape, *v = c->v->shape;
    if (q[0] != 1 || k[0] != 1 || q[1] != k[1] || q[1] < SHORTEST)
        return sentence_fail(why, "%s: one sequence of at least %d tokens is compared, with as many queries as keys",
                             c->file, SHORTEST);
    if (k[2] > 0 && q[2] > 0 && q[2] % k[2] == 0 && v[2] == k[2] && q[3] > 0) return true;
    return sentence_fail(why, "%s: %lld query, %lld key and %lld value heads do not go together", c->file,
                         (long long)q[2], (long long)k[2], (long long)v[2]);
}

static void find_backends(comparison *c)
{
    const char *name, *reason;
    const memory *memories[] = {memory_host(), memory_cuda(&reason)};
    int32_t rank;
    for (int m = 0; m < 2; m++)
        for (int32_t i = 0; memories[m] && c->backends < COMPARE_BACKENDS; i++) {
            if (slat_backend(i, memories[m]->device, &name, &rank) != SLAT_OK) break;
            if (rank <= 0 || (c->backend && strcmp(name, c->backend))) continue;
            c->on[c->backends].name = name;
            c->on[c->backends++].memory = memories[m];
        }
}

/* A setting under way: the problem, and what is merged into it or NULL. */
typedef struct {
    const compare_setting *setting;
    problem *p, *rest;
} task;

static void free_task(task *t)
{
    problem_free(t->p);
    problem_free(t->rest);
}

static bool make_task(const comparison *c, const compare_setting *s, task *t, sentence *why)
{
    *t = (task){.setting = s, .p = compare_problem(c, s, why)};
    if (t->p && s->first) t->rest = compare_first_block(t->p, s->first, why);
    return t->p && (t->rest || !s->first);
}

/* The same on a device, outputs allocated. */
static bool copy_task(const task *from, const memory *to, task *t, sentence *why)
{
    *t = (task){.setting = from->setting, .p = problem_copy(from->p, LAYOUT_PLAIN, to, why)};
    if (t->p && from->rest) t->rest = problem_copy(from->rest, LAYOUT_PLAIN, to, why);
    return t->p && (t->rest || !from->rest) && problem_allocate_outputs(t->p, PASS_FORWARD, LAYOUT_PLAIN, why) &&
           (!t->rest || problem_allocate_outputs(t->rest, PASS_FORWARD, LAYOUT_PLAIN, why));
}

/* Time on one backend, and the answer; an answer without o: the backend does not compute this. */
static bool run_task(const comparison *c, const task *t, int backend, compare_answer *answer, double *seconds,
                     sentence *why)
{
    memory_workspace space = {.memory = c->on[backend].memory};
    const bool host = memory_on_host(space.memory);
    const slat_exec exec = {.backend = c->on[backend].name,
                            .threads = c->threads,
                            .allocate = host ? NULL : memory_workspace_allocate,
                            .allocator = &space};
    const slat_status status = compare_time(t->p, t->rest, &exec, seconds);
    bool fine = status == SLAT_OK || status == SLAT_UNSUPPORTED;
    if (!fine) sentence_fail(why, "%s on %s: %s", t->setting->words, exec.backend, slat_error());
    if (status == SLAT_OK && !compare_read(t->p, answer)) fine = sentence_fail(why, "not enough memory");
    memory_workspace_free(&space);
    return fine;
}

static bool run_backend(comparison *c, const task *t, int backend, compare_answer *answer, double *seconds,
                        sentence *why)
{
    const memory *where = c->on[backend].memory;
    if (memory_on_host(where)) return run_task(c, t, backend, answer, seconds, why);
    task copy;
    const bool fine = copy_task(t, where, &copy, why) && run_task(c, &copy, backend, answer, seconds, why);
    free_task(&copy);
    return fine;
}

/* Every backend; `first` is the first one's answer, others are held against it. */
static bool run_backends(comparison *c, int n, const task *t, compare_answer *first, sentence *why)
{
    compare_result *r = &c->results[n];
    for (int b = 0; b < c->backends; b++) {
        if (c->on[b].brief && !t->setting->brief) continue;
        compare_answer answer = {0};
        progress(n, t->setting->words, c->on[b].name);
        const bool fine = run_backend(c, t, b, &answer, &r->seconds[b], why);
        if (n == 0 && r->seconds[b] > slow) c->on[b].brief = true;
        if (fine && answer.o && first->o) r->spread = fmax(r->spread, compare_error(&answer, first, false));
        if (fine && !first->o)
            *first = answer;
        else
            compare_answer_free(&answer);
        if (!fine) return false;
    }
    return true;
}

static double share_of_pairs(const task *t)
{
    const problem_extents *e = &t->p->extents;
    const double dense = (double)visible_dense_pairs(t->p);
    if (t->p->op == OP_LIGHTNING) return problem_flops(t->p, PASS_FORWARD) / (2 * (double)(e->d + e->dv) * dense);
    return (double)(visible_pairs(t->p) + (t->rest ? visible_pairs(t->rest) : 0)) / dense;
}

static bool draw_task(const comparison *c, const task *t, sentence *why)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s-%s.png", c->folder, problem_op_name(t->p->op), t->setting->name);
    return mask_write(t->p, t->rest, t->p->op == OP_LIGHTNING ? NULL : t->setting->words, path, why);
}

static bool run_setting(comparison *c, int n, sentence *why)
{
    compare_result *r = &c->results[n];
    *r = (compare_result){.pairs = 1, .mass = NAN, .error = NAN};
    for (int b = 0; b < COMPARE_BACKENDS; b++) r->seconds[b] = NAN;
    progress(n, compare_settings[n].words, "preparing");
    task t;
    compare_answer first = {0};
    bool fine = make_task(c, &compare_settings[n], &t, why) && run_backends(c, n, &t, &first, why);
    const compare_answer *dense = n ? &c->dense : &first;
    if (fine && first.o && dense->o) {
        r->error = compare_error(&first, dense, t.p->op == OP_LIGHTNING);
        if (first.lse && t.p->op != OP_LANDMARK) r->mass = compare_mass(&first, dense);
    }
    if (fine) {
        progress(n, compare_settings[n].words, "drawing its mask");
        r->pairs = share_of_pairs(&t);
        fine = draw_task(c, &t, why);
    }
    if (fine && n == 0)
        c->dense = first;
    else
        compare_answer_free(&first);
    free_task(&t);
    progress(n, NULL, NULL);
    return fine;
}

static bool compare(comparison *c, sentence *why)
{
    if (!read_tensors(c, why)) return false;
    find_backends(c);
    if (!c->backends) return sentence_fail(why, "%s: no such backend on this machine", c->backend);
    if (mkdir(c->folder, 0777) && errno != EEXIST) return sentence_fail(why, "%s: %s", c->folder, strerror(errno));
    printf("%s: %lld tokens, %lld query heads on %lld key heads of %lld, %s\n\n", c->file, (long long)c->q->shape[1],
           (long long)c->q->shape[2], (long long)c->k->shape[2], (long long)c->q->shape[3],
           tensor_type_name(c->q->type));
    compare_print_head(c);
    bool agree = true;
    for (int n = 0; n < COMPARE_SETTINGS; n++) {
        if (!run_setting(c, n, why)) return false;
        compare_print_row(c, n);
        agree = agree && c->results[n].spread < apart;
    }
    compare_print_notes(c);
    if (!compare_write_chart(c, why)) return false;
    printf("\npictures: %s/ (a mask a setting, and error-against-pairs.png)\n", c->folder);
    return agree || sentence_fail(why, "backends give different answers to the same setting");
}

static bool read_arguments(comparison *c, int argc, char **argv, sentence *why)
{
    c->folder = "compare";
    for (int n = 1; n < argc; n++) {
        const char *value = n + 1 < argc ? argv[n + 1] : NULL;
        if (argv[n][0] != '-') {
            if (c->file) return sentence_fail(why, "%s: one file is compared", argv[n]);
            c->file = argv[n];
            continue;
        }
        if (!value) return sentence_fail(why, "%s: no such option, or its value is missing", argv[n]);
        if (strcmp(argv[n], "-o") == 0)
            c->folder = value;
        else if (strcmp(argv[n], "--backend") == 0)
            c->backend = value;
        else if (strcmp(argv[n], "--threads") != 0)
            return sentence_fail(why, "%s %s: no such option", argv[n], value);
        else if (!report_whole(value, &c->threads) || c->threads > MOST_THREADS)
            return sentence_fail(why, "--threads: %s, but it should be a whole number from 0 to %d", value,
                                 MOST_THREADS);
        n++;
    }
    return c->file || sentence_fail(why, "a safetensors file with q, k and v is missing");
}

int slat_compare_main(int argc, char **argv)
{
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        printf("usage: slat compare FILE.safetensors [-o FOLDER] [--backend NAME] [--threads N]\n"
               "Runs each primitive on q, k and v [1, T, H, D] of a file, beside causal dense attention on every "
               "backend;\n"
               "prints a table and writes a picture of each mask and a chart of error against pairs.\n");
        return 0;
    }
    comparison *c = calloc(1, sizeof *c);
    sentence why = {"not enough memory"};
    const bool right = c && read_arguments(c, argc, argv, &why);
    const bool fine = right && compare(c, &why);
    if (!fine) fprintf(stderr, "slat compare: %s\n", why.text);
    if (c) {
        tensor_free(c->q), tensor_free(c->k), tensor_free(c->v);
        compare_answer_free(&c->dense);
    }
    free(c);
    return fine ? 0 : right ? 1 : 2;
}
