/* The `slat` command: picks a subcommand. */
#include <slat/slat.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "compare.h"
#include "mask.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"check", slat_check_main, "replay case files against the expected answers"},
    {"run", slat_run_main, "compute a primitive on your own tensors"},
    {"mask", slat_mask_main, "draw what sees what"},
    {"compare", slat_compare_main, "the primitives on a model's tensors, beside dense attention"},
    {"info", slat_info_main, "show this machine, the backends and which kernel serves what"},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void help(FILE *to)
{
    fprintf(to, "slat %s: sparse and linear attention kernels\n\nusage: slat COMMAND [OPTIONS]\n\n", slat_version());
    for (int i = 0; i < COMMANDS; i++) fprintf(to, "  %-7s %s\n", commands[i].name, commands[i].help);
    fprintf(to,
            "\n`slat COMMAND --help` says more. Exit status: 0 fine, 1 the answer is no, 2 wrong usage or a file that\n"
            "cannot be read.\n");
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(name, commands[i].name)) return commands[i].run(argc - 1, argv + 1);
    if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
        help(stdout);
        return 0;
    }
    if (!strcmp(name, "--version")) {
        printf("slat %s\n", slat_version());
        return 0;
    }
    if (*name) fprintf(stderr, "slat: %s: no such %s\n", name, *name == '-' ? "option" : "command");
    help(stderr);
    return 2;
}
