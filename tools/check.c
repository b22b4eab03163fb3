/* `slat check`: replays case files and folders of them. */
#define _GNU_SOURCE
#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "check_case.h"
#include "commands.h"
#include "report.h"

typedef struct {
    check_options options;
    bool json;
    cJSON *cases; /* where json */
    int count[3]; /* by outcome */
    int unreadable, layouts_skipped;
} session;

static const char *const outcomes[] = {"passed", "failed", "skipped"};

static void help(void)
{
    printf(
        "usage: slat check [OPTIONS] PATH...\n\n"
        "Replays case files, and the *.safetensors of folders: computes every case and holds each answer against the\n"
        "expected one. A line a case tells its worst error as a multiple of its limit.\n\n"
        "  --backend NAME  force a backend; what it need not serve is skipped and named\n"
        "  --layouts       in four layouts: plain, heads first, interleaved, rows padded\n"
        "  --threads N     of the processor; 0: all\n"
        "  --json          print one JSON object\n\n"
        "Exit status: 0 all passed or skipped, 1 a case failed, 2 a file cannot be read or wrong usage.\n");
}

static void add_json(session *s, const char *path, const check_result *r)
{
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "path", path);
    cJSON_AddStringToObject(item, "outcome", outcomes[r->outcome]);
    if (r->answer[0]) {
        cJSON_AddNumberToObject(item, "score", r->score); /* infinity becomes null */
        cJSON_AddStringToObject(item, "answer", r->answer);
        cJSON_AddStringToObject(item, "layout", layout_name(r->kind));
    }
    if (r->kernels[0]) cJSON_AddStringToObject(item, "kernels", r->kernels);
    cJSON_AddNumberToObject(item, "layouts_skipped", r->skipped);
    if (r->detail.text[0]) cJSON_AddStringToObject(item, "detail", r->detail.text);
    cJSON_AddItemToArray(s->cases, item);
}

static void print_line(const session *s, const char *path, const check_result *r)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    printf("%-7s  %-44.*s", outcomes[r->outcome], (int)strcspn(name, "\n"), name);
    if (r->answer[0]) printf("  %6.3f of the limit at %s", r->score, r->answer);
    if (r->answer[0] && s->options.layouts) printf(", %s", layout_name(r->kind));
    if (r->kernels[0]) printf("  [%s]", r->kernels);
    if (r->outcome == CHECK_PASSED && r->skipped) printf("  %d layouts skipped: ", r->skipped);
    if (r->detail.text[0]) printf("%s%s", r->outcome == CHECK_PASSED ? "" : "  ", r->detail.text);
    printf("\n");
    fflush(stdout);
}

static void check_file(session *s, const char *path)
{
    sentence why = {""};
    check_result result;
    safetensors *file = safetensors_open(path, &why);
    const bool read = file && check_case(file, &s->options, &result, &why);
    safetensors_close(file);
    if (!read) {
        fprintf(stderr, "slat check: %s\n", why.text);
        s->unreadable++;
        return;
    }
    s->count[result.outcome]++;
    if (result.outcome == CHECK_PASSED) s->layouts_skipped += result.skipped;
    if (s->json)
        add_json(s, path, &result);
    else
        print_line(s, path, &result);
}

static int is_case_name(const struct dirent *entry)
{
    const size_t length = strlen(entry->d_name);
    return length > 12 && !strcmp(entry->d_name + length - 12, ".safetensors");
}

static void check_folder(session *s, const char *path)
{
    struct dirent **entries = NULL;
    const int count = scandir(path, &entries, is_case_name, alphasort);
    if (count <= 0) {
        fprintf(stderr, "slat check: %s: %s\n", path, count < 0 ? strerror(errno) : "no *.safetensors in this folder");
        s->unreadable++;
    }
    for (int i = 0; i < count; i++) {
        char *full = NULL;
        if (asprintf(&full, "%s/%s", path, entries[i]->d_name) < 0) abort();
        check_file(s, full);
        free(full);
        free(entries[i]);
    }
    free(entries);
}

static int finish(session *s)
{
    const int status = s->unreadable ? 2 : s->count[CHECK_FAILED] ? 1 : 0;
    if (!s->json) {
        if (s->layouts_skipped) printf("%d layouts of passed cases skipped\n", s->layouts_skipped);
        printf("%d passed, %d failed, %d skipped\n", s->count[CHECK_PASSED], s->count[CHECK_FAILED],
               s->count[CHECK_SKIPPED]);
        return status;
    }
    cJSON *report = cJSON_CreateObject();
    cJSON_AddItemToObject(report, "cases", s->cases);
    for (int i = 0; i < 3; i++) cJSON_AddNumberToObject(report, outcomes[i], s->count[i]);
    cJSON_AddNumberToObject(report, "unreadable", s->unreadable);
    cJSON_AddNumberToObject(report, "layouts_skipped", s->layouts_skipped);
    report_json(report);
    return status;
}

/* The memory that the forced backend's tensors live in. */
static bool choose_memory(session *s, sentence *why)
{
    const char *list = getenv("SLAT_BACKEND"), *reason = NULL;
    check_options *o = &s->options;
    o->allowance = o->backend ? o->backend : list && *list && !strchr(list, ',') ? list : NULL;
    const bool gpu = o->allowance && !strncmp(o->allowance, "cuda", 4);
    o->memory = gpu ? memory_cuda(&reason) : memory_host();
    if (!o->memory) return sentence_fail(why, "backend %s: %s", o->allowance, reason);
    return !o->backend || report_backend_exists(o->backend, o->memory->device, why);
}

static int wrong(const char *text)
{
    fprintf(stderr, "slat check: %s\n", text);
    return 2;
}

int slat_check_main(int argc, char **argv)
{
    session s = {0};
    sentence why;
    int first = 1;
    for (; first < argc && argv[first][0] == '-'; first++) {
        const char *name = argv[first], *value = first + 1 < argc ? argv[first + 1] : NULL;
        if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
            help();
            return 0;
        }
        if (!strcmp(name, "--layouts"))
            s.options.layouts = true;
        else if (!strcmp(name, "--json"))
            s.json = true;
        else if (!strcmp(name, "--backend") && value)
            s.options.backend = argv[++first];
        else if (!strcmp(name, "--threads") && report_whole(value, &s.options.threads))
            first++;
        else {
            const bool known = !strcmp(name, "--backend") || !strcmp(name, "--threads");
            sentence_fail(&why, "%s: %s", name, known ? "a value is missing or no whole number" : "no such option");
            return wrong(why.text);
        }
    }
    if (first == argc) return wrong("give case files or folders (slat check --help)");
    if (!choose_memory(&s, &why)) return wrong(why.text);
    s.cases = s.json ? cJSON_CreateArray() : NULL;
    for (; first < argc; first++) {
        struct stat about;
        if (!stat(argv[first], &about) && S_ISDIR(about.st_mode))
            check_folder(&s, argv[first]);
        else
            check_file(&s, argv[first]);
    }
    return finish(&s);
}
