/* Reads /proc/cpuinfo and asks the system. */
#define _GNU_SOURCE
#include "machine.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static const char *const relevant[] = {"avx2",        "fma",         "f16c",     "avx512f",  "avx512bw", "avx512vl",
                                       "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8"};

/* The text after ": " of a line that begins with `key`. */
static const char *value_of(const char *line, const char *key)
{
    const char *colon = strchr(line, ':');
    if (strncmp(line, key, strlen(key)) || !colon) return NULL;
    return colon[1] == ' ' ? colon + 2 : colon + 1;
}

static void keep_relevant(const char *flags, machine *m)
{
    char padded[8192];
    snprintf(padded, sizeof padded, " %s ", flags);
    for (size_t i = 0; i < sizeof relevant / sizeof *relevant; i++) {
        char word[32];
        const size_t used = strlen(m->instructions);
        snprintf(word, sizeof word, " %s ", relevant[i]);
        if (strstr(padded, word))
            snprintf(m->instructions + used, sizeof m->instructions - used, "%s%s", used ? " " : "", relevant[i]);
    }
}

machine machine_this(void)
{
    machine m = {0};
    char line[8192];
    struct utsname name;
    cpu_set_t set;
    if (uname(&name) == 0) snprintf(m.model, sizeof m.model, "%s", name.machine);
    FILE *info = fopen("/proc/cpuinfo", "r");
    bool flags = false;
    while (info && fgets(line, sizeof line, info)) {
        line[strcspn(line, "\n")] = '\0';
        const char *model = value_of(line, "model name"), *found = value_of(line, "flags");
        if (model) snprintf(m.model, sizeof m.model, "%.120s", model);
        if (found && !flags) keep_relevant(found, &m);
        flags |= found != NULL;
    }
    if (info) fclose(info);
    m.processors = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    m.memory = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    return m;
}
