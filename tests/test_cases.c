/* Replay of every case file, on every backend of this machine, in four layouts. The argument is the folder. */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "subject.h"

typedef struct {
    const char *path, *backend;
    layout l;
} row;

static void replay_pass(const row *r, problem *p, problem_pass pass, const safetensors *file)
{
    sentence why = {""};
    const slat_exec exec = {.backend = r->backend};
    subject_outputs(p, pass, r->l);
    const slat_status s = subject_call(p, pass, &exec, problem_pass_name(pass));
    if (s == SLAT_UNSUPPORTED && subject_may_refuse(r->backend, p)) return;
    if (!CHECK(s == SLAT_OK, "%s: %s, %s", problem_pass_name(pass), slat_status_name(s), slat_error())) return;
    int32_t answers = 0;
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        if (!p->t[slot] || !problem_slot_is_output(p, slot, pass)) continue;
        tensor *expected = problem_expected(file, slot, &why);
        CHECK(expected || !*why.text, "%s", why.text);
        if (!expected) continue;
        answers++;
        const agree_result a = agree_tensors(problem_rule(p, slot), p->t[slot], expected);
        CHECK(agree_ok(a), "%s scores %.3g at %lld: got %.9g, expected %.9g", SLOT_NAME(slot), a.score,
              (long long)a.where, a.got, a.expected);
        tensor_free(expected);
    }
    CHECK(answers, "%s: the file has no answer", problem_pass_name(pass));
}

static void replay(const void *argument)
{
    const row *r = argument;
    sentence why = {""};
    safetensors *file = safetensors_open(r->path, &why);
    if (!CHECK(file, "%s", why.text)) return;
    problem *plain = problem_load(file, &why);
    if (CHECK(plain, "%s", why.text)) {
        problem *p = subject_copy(plain, r->l);
        for (problem_pass pass = PASS_FORWARD; pass <= plain->pass; pass++) replay_pass(r, p, pass, file);
        problem_free(p);
    }
    problem_free(plain);
    safetensors_close(file);
}

static int is_case(const struct dirent *entry)
{
    const char *end = strrchr(entry->d_name, '.');
    return end && !strcmp(end, ".safetensors");
}

int main(int argc, char **argv)
{
    if (argc < 2) return fputs("usage: test_cases FOLDER [-v] [WORD...]\n", stderr), 2;
    struct dirent **entries;
    const int files = scandir(argv[1], &entries, is_case, alphasort);
    if (files < 1) return printf("%s: no case files\n0 passed, 1 failed\n", argv[1]), 1;
    const char *names[SUBJECT_BACKENDS];
    const int32_t backends = subject_all_backends(names);
    static row *rows; /* the harness keeps what points into them to the end */
    rows = malloc(sizeof *rows * (size_t)files * LAYOUTS * SUBJECT_BACKENDS);
    if (!rows) return 3;
    row *r = rows;
    for (int f = 0; f < files; f++) {
        char *path = malloc(strlen(argv[1]) + strlen(entries[f]->d_name) + 2);
        if (!path) return 3;
        sprintf(path, "%s/%s", argv[1], entries[f]->d_name);
        for (int32_t b = 0; b < backends; b++) {
            for (layout l = LAYOUT_PLAIN; l < LAYOUTS; l++) {
                *r = (row){path, names[b], l};
                harness_add(replay, r++, "%s %s %s", entries[f]->d_name, names[b], layout_name(l));
            }
        }
        free(entries[f]);
    }
    free(entries);
    argv[1] = argv[0];
    return harness_main("cases", argc - 1, argv + 1);
}
