/* One table of options, read by options_parse() and printed by options_help(). */
#include "options.h"
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    BS = 1 << OP_BLOCK_SPARSE,
    NA = 1 << OP_NEIGHBORHOOD,
    SH = 1 << OP_SHARDED,
    LM = 1 << OP_LANDMARK,
    LA = 1 << OP_LIGHTNING,
    ALL = BS | NA | SH | LM | LA
};

typedef enum { WHOLE, REAL, FLAG, FLAGS, TEXT } option_kind;

typedef struct {
    const char *name;
    option_kind kind;
    int32_t most;  /* values of a list */
    int32_t known; /* by these primitives */
    size_t at;
    const char *help;
} option;

#define AT(field) offsetof(options, field)
static const option table[] = {
    {"--block", WHOLE, 2, BS | SH | LM, AT(block), "tokens in a block; block_sparse: Q,K where they differ"},
    {"--causal", FLAGS, 3, BS | NA, AT(causal), "no key after its query; neighborhood: 0 or 1 a dimension (1,0)"},
    {"--local", WHOLE, 1, BS | SH, AT(local), "blocks next to the diagonal, it included"},
    {"--first", WHOLE, 1, BS, AT(first), "blocks at the sequence's start that every query sees"},
    {"--density", REAL, 1, BS, AT(density), "share of the other blocks, chosen at random"},
    {"--window", WHOLE, 3, NA, AT(window), "keys in a window, a number a dimension"},
    {"--stride", WHOLE, 3, NA | SH, AT(stride),
     "neighborhood: queries that share a window; sharded: blocks between two columns"},
    {"--dilation", WHOLE, 3, NA, AT(dilation), "distance of two keys of a window"},
    {"--q-start", WHOLE, 3, NA, AT(q_start), "where the queries' box begins in the grid"},
    {"--offsets", WHOLE, OPTIONS_LIST, SH, AT(offsets), "shard of each key head, or of all; -1: a dense head"},
    {"--dense-heads", WHOLE, 1, SH, AT(dense_heads), "the last key heads that see everything"},
    {"--head-offset", WHOLE, 1, SH, AT(head_offset), "added to every head's shard"},
    {"--by-key-heads", FLAG, 0, SH, AT(by_key_heads), "spread the shards over key heads, not query heads"},
    {"--slopes", REAL, OPTIONS_LIST, LA, AT(slopes), "a head's decay is exp(-slope); without it ALiBi's rule"},
    {"--states-every", WHOLE, 1, LA, AT(states_every), "keep the state before every so many tokens"},
    {"--scale", REAL, 1, ALL, AT(scale), "of q.k; 0: 1/sqrt(D), of lightning 1"},
    {"--tokens", WHOLE, 2, BS | SH | LM | LA, AT(tokens), "length of the sequence; Q,K where they differ"},
    {"--grid", WHOLE, 3, NA, AT(grid), "lengths of the keys' grid"},
    {"--q-grid", WHOLE, 3, NA, AT(q_grid), "lengths of the queries' box, where it is smaller"},
    {"--heads", WHOLE, 2, ALL, AT(heads), "query heads; Q,K where key heads are fewer"},
    {"--backward", FLAG, 0, ALL, AT(backward), "gradients too"},
    {"--threads", WHOLE, 1, ALL, AT(threads), "of the processor; 0: all"},
    {"--repeat", WHOLE, 1, ALL, AT(repeat), "run so often and report the median time"},
    {"--backend", TEXT, 0, ALL, AT(backend), "a name that `slat info` lists"},
    {"-o", TEXT, 0, ALL, AT(output), "file to write"},
};
enum { TABLE = sizeof table / sizeof *table };

double option_value(const option_list *list, int n, double missing)
{
    if (list->count == 0) return missing;
    return list->value[n < list->count ? n : list->count - 1];
}

static bool read_list(const option *known, const char *text, option_list *list)
{
    list->count = 0;
    for (const char *at = text;; at++) {
        char *end;
        errno = 0;
        const double value = strtod(at, &end);
        if (end == at || errno || !isfinite(value) || list->count == known->most) return false;
        if (known->kind != REAL && (value != floor(value) || fabs(value) > 0x1p53)) return false;
        if (known->kind == FLAGS && value != 0 && value != 1) return false;
        list->value[list->count++] = value;
        at = end;
        if (*at == 0) return true;
        if (*at != ',') return false;
    }
}

static const option *find(const char *name)
{
    for (int32_t n = 0; n < TABLE; n++)
        if (strcmp(table[n].name, name) == 0) return &table[n];
    return NULL;
}

/* Takes the option at argv[n] and its value; returns the number of arguments taken, 0 with a sentence. */
static int take(options *o, int n, int argc, char **argv, sentence *why)
{
    const option *known = find(argv[n]);
    if (!known) return sentence_fail(why, "%s: no such option", argv[n]);
    if (!(known->known >> o->op & 1))
        return sentence_fail(why, "%s: not an option of %s", argv[n], problem_op_name(o->op));
    void *field = (char *)o + known->at;
    const char *value = n + 1 < argc ? argv[n + 1] : NULL;
    if (known->kind == FLAG) return *(bool *)field = true;
    if (known->kind == FLAGS && !(value && (value[0] == '0' || value[0] == '1'))) {
        *(option_list *)field = (option_list){.count = 1, .value = {1}};
        return 1;
    }
    if (!value) return sentence_fail(why, "%s: a value is missing", argv[n]);
    if (known->kind == TEXT) {
        *(const char **)field = value;
        return 2;
    }
    if (!read_list(known, value, field))
        return sentence_fail(why, "%s: %s, but it should be %s %s%s", argv[n], value,
                             known->most == 1 ? "one" : "a comma list of",
                             known->kind == REAL ? "number" : "whole number", known->most == 1 ? "" : "s");
    return 2;
}

/* The file to write is none of those to read: they would be lost. */
static bool keeps_files(const options *o, sentence *why)
{
    struct stat in, out;
    if (!o->output || stat(o->output, &out)) return true;
    for (int n = 0; n < o->files; n++)
        if (!stat(o->file[n], &in) && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
            return sentence_fail(why, "-o: %s is a file to read", o->output);
    return true;
}

bool options_parse(options *o, int argc, char **argv, sentence *why)
{
    memset(o, 0, sizeof *o);
    for (int n = 1; n < argc; n++)
        if (strcmp(argv[n], "--help") == 0 || strcmp(argv[n], "-h") == 0) return o->help = true;
    if (argc < 2 || !problem_op_from_name(argv[1], &o->op) || o->op > OP_LIGHTNING)
        return sentence_fail(why,
                             "%s: a primitive comes first: block_sparse, neighborhood, sharded, landmark or lightning",
                             argc > 1 ? argv[1] : "nothing given");
    for (int n = 2; n < argc;) {
        if (argv[n][0] != '-') {
            if (o->files == OPTIONS_FILES) return sentence_fail(why, "%s: too many files", argv[n]);
            o->file[o->files++] = argv[n++];
            continue;
        }
        const int taken = take(o, n, argc, argv, why);
        if (!taken) return false;
        n += taken;
    }
    return keeps_files(o, why);
}

void options_help(void)
{
    printf("primitives: block_sparse neighborhood sharded landmark lightning\noptions:\n");
    for (int32_t n = 0; n < TABLE; n++) {
        printf("  %-15s %s", table[n].name, table[n].help);
        const char *before = " [";
        for (int op = 0; table[n].known != ALL && op <= OP_LIGHTNING; op++)
            if (table[n].known >> op & 1) {
                printf("%s%s", before, problem_op_name((problem_op)op));
                before = ", ";
            }
        printf("%s\n", table[n].known != ALL ? "]" : "");
    }
}
