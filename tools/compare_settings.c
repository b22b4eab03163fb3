/* The settings of `slat compare`, and a setting as a problem on the model's tensors. */
#define _POSIX_C_SOURCE 200809L
#include "compare.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 24 };

const compare_setting compare_settings[COMPARE_SETTINGS] = {
    {"block_sparse --causal", 0, 0, "dense", "every key", true},
    {"block_sparse --causal --block 64 --local 2 --first 1", 0, 0, "fixed-2", "first block, 2 local", false},
    {"block_sparse --causal --block 64 --local 6 --first 1", 0, 0, "fixed-6", "first block, 6 local", false},
    {"block_sparse --causal --block 64 --local 1 --first 1", 2, 0, "chosen-2", "first, local, 2 chosen", false},
    {"block_sparse --causal --block 64 --local 2 --first 1", 3, 0, "chosen-3", "first, 2 local, 3 chosen", true},
    {"block_sparse --causal --block 64 --local 2 --first 1", 8, 0, "chosen-8", "first, 2 local, 8 chosen", false},
    {"neighborhood --causal --window 128", 0, 0, "window-128", "window 128", false},
    {"neighborhood --causal --window 512", 0, 0, "window-512", "window 512", true},
    {"neighborhood --causal --window 128", 0, 64, "merged-128", "window 128 + first, merged", false},
    {"neighborhood --causal --window 512", 0, 64, "merged-512", "window 512 + first, merged", false},
    {"sharded --block 64 --local 2 --stride 8 --by-key-heads", 0, 0, "spread-8", "2 local, stride 8, spread", true},
    {"sharded --block 64 --local 4 --stride 3 --by-key-heads", 0, 0, "spread-3", "4 local, stride 3, spread", false},
    {"sharded --block 64 --local 2 --stride 16 --offsets 0", 0, 0, "first-16", "2 local, stride 16, first", false},
    {"sharded --block 64 --local 2 --stride 4 --offsets 0", 0, 0, "first-4", "2 local, stride 4, first", false},
    {"landmark --block 64", 0, 0, "block-64", "block 64", true},
    {"landmark --block 16", 0, 0, "block-16", "block 16", false},
    {"lightning", 0, 0, "alibi", "ALiBi's slopes", true},
    {"lightning --slopes 0.02", 0, 0, "slope-0.02", "slope 0.02", false},
};

static bool read_line(const char *line, options *o, sentence *why)
{
    char words[256], *argv[WORDS] = {NULL}, *rest = NULL;
    int argc = 1;
    snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok_r(words, " ", &rest); word && argc < WORDS; word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    return options_parse(o, argc, argv, why);
}

problem *compare_problem(const comparison *c, const compare_setting *s, sentence *why)
{
    options *o = malloc(sizeof *o);
    problem *p = NULL;
    bool fine = o && read_line(s->line, o, why);
    if (fine) p = problem_create(o->op, memory_host());
    if (p) {
        const bool repeat = o->op == OP_LIGHTNING;
        p->t[ROLE_Q] = compare_share(c->q);
        p->t[ROLE_K] = repeat ? compare_repeat_heads(c->k, c->q->shape[2]) : compare_share(c->k);
        p->t[ROLE_V] = repeat ? compare_repeat_heads(c->v, c->q->shape[2]) : compare_share(c->v);
        fine = p->t[ROLE_Q] && p->t[ROLE_K] && p->t[ROLE_V];
    }
    if (p && fine) {
        problem_extents *e = &p->extents;
        *e = (problem_extents){.b = 1,
                               .tq = {c->q->shape[1]},
                               .tk = {c->k->shape[1]},
                               .hq = c->q->shape[2],
                               .hk = p->t[ROLE_K]->shape[2],
                               .d = c->q->shape[3],
                               .dv = c->v->shape[3],
                               .ndim = 1,
                               .type = c->q->type,
                               .o_type = c->q->type};
        fine = (!s->chosen || compare_choose_blocks(p, o, s->chosen, why)) && options_apply(o, p, why) &&
               problem_settle(p, why) && problem_allocate_outputs(p, PASS_FORWARD, LAYOUT_PLAIN, why);
    }
    free(o);
    if (p && fine) return p;
    if (fine) sentence_fail(why, "not enough memory");
    problem_free(p);
    return NULL;
}
