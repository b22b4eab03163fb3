/* The `slat` command as a user meets it: exit statuses, sentences, and results on case files' own tensors. Arguments:
 * the command, the folder of cases. SLAT_TESTS_BACKEND names the backend of `slat run` on cases, where it is set. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "problem.h"

static const char *slat, *cases;
static char place[] = "/tmp/slat-command-XXXXXX"; /* a folder of our own */

/* %c in a line stands for the folder of cases, %t for our own. The status must be this one, and the output, both
 * streams together, must hold the word. */
typedef struct {
    const char *line;
    int status;
    const char *word;
} command;

static char *expand(const char *line)
{
    char *text = harness_memory(4096), *at = text + sprintf(text, "'%s' ", slat);
    for (; *line; line++) {
        if (*line == '%')
            at += sprintf(at, "%s", *++line == 'c' ? cases : place);
        else
            *at++ = *line;
    }
    strcpy(at, " 2>&1");
    return text;
}

/* Runs a line; returns its exit status, -1 where it ended otherwise. */
static int run(const char *line, char *output, size_t size)
{
    FILE *pipe = popen(expand(line), "r");
    size_t used = 0;
    if (!CHECK(pipe, "no shell")) return -1;
    for (size_t got = 1; got; used += got) {
        char rest[4096];
        got = used + 1 < size ? fread(output + used, 1, size - 1 - used, pipe) : fread(rest, 1, sizeof rest, pipe);
        if (used + 1 >= size && got) used -= got;
    }
    output[used] = '\0';
    const int ended = pclose(pipe);
    return WIFEXITED(ended) ? WEXITSTATUS(ended) : -1;
}

static const command commands[] = {
    {"", 2, "usage: slat COMMAND"},
    {"--help", 0, "compute a primitive on your own tensors"},
    {"--version", 0, "slat 0."},
    {"frobnicate", 2, "frobnicate: no such command"},
    {"--frob", 2, "--frob: no such option"},
    {"check --help", 0, "usage: slat check"},
    {"check", 2, "give case files"},
    {"check --frob %c", 2, "--frob: no such option"},
    {"check --backend", 2, "--backend: a value is missing"},
    {"check --threads 1x %c", 2, "--threads"},
    {"check --backend nobody %c", 2, "nobody, but this machine has"},
    {"check --backend scalar %c", 0, " passed, 0 failed, 0 skipped"},
    {"check --backend scalar --layouts %c/merge-bf16-4.safetensors", 0, "1 passed, 0 failed, 0 skipped"},
    {"check --threads 2 %c/sharded-f32.safetensors", 0, "1 passed, 0 failed, 0 skipped"},
    {"check --json %c/merge-f64.safetensors", 0, "\"outcome\":\t\"passed\""},
    {"check %t", 2, "0 passed"},
    {"check /nowhere", 2, "/nowhere: No such file"},
    {"check %t/spoiled", 1, "0 passed, 1 failed, 0 skipped"},
    {"check --json %t/spoiled", 1, "\"detail\":"},
    {"check %t/cut %c/merge-f64.safetensors", 2, "1 passed, 0 failed, 0 skipped"},
    {"check %t/cut", 2, "file holds"},
    {"check %t/plain", 2, "no case file"},
    {"info", 0, "scalar"},
    {"info --json", 0, "\"kernels\":"},
    {"info --frob", 2, "--frob: no such option"},
    {"run --help", 0, "usage: slat run"},
    {"run", 2, "a primitive comes first"},
    {"run landmark", 2, "one input file"},
    {"run landmark --frob 3 %c/landmark-f32.safetensors", 2, "--frob: no such option"},
    {"run landmark --block 16 /nowhere", 2, "/nowhere: No such file"},
    {"run landmark --block 16 %t/cut", 2, "file holds"},
    {"run landmark --block 16 %c/merge-f64.safetensors", 2, "no tensor q; it has"},
    {"run landmark --block 16 --backward %t/plain", 2, "no tensor do, which --backward needs; it has"},
    {"run landmark --block 1 %t/plain", 2, "block: 1, expected 2"},
    {"run sharded --block 0 --stride 0 %t/plain", 2, "expected at least 1"},
    {"run landmark --block 8 --backend nobody %t/plain", 2, "nobody, but this machine has"},
    {"run neighborhood --window 3 --grid 7,3 %t/plain", 2, "--grid: 21 places"},
    {"run landmark --block 8 %t/plain", 0, "visible pairs"},
    {"run landmark --block 8 --repeat 3 %t/plain", 0, "median of 3"},
    {"run landmark --block 8 %t/plain -o /nowhere/out", 2, "/nowhere/out"},
    {"run landmark --block 8 %t/plain -o %t/plain", 2, "is a file to read"},
    {"run landmark --block 8 %t/plain -o /dev/null", 2, "not a regular file"},
    {"run neighborhood --window 3,3 %t/plain", 2, "--window: 2 numbers, but the grid has 1 dimension"},
    {"run block_sparse --block 8 --density 2 %t/plain", 2, "--density: 2, expected 0 to 1"},
    {"run block_sparse --block 7 --local 2 %t/plain", 2, "--block: 7, 7, expected multiples of 8"},
    {"compare --threads 2x %t/plain", 2, "--threads: 2x, but it should be a whole number from 0 to 4096"},
    {"compare --threads 5000 %t/plain", 2, "--threads: 5000, but it should be a whole number from 0 to 4096"},
    {"compare --threads -1 %t/plain", 2, "--threads: -1, but it should be a whole number from 0 to 4096"},
    {"compare --threads 99999999999 %t/plain", 2, "--threads: 99999999999, but it should be a whole number"},
    {"compare --threads", 2, "--threads: no such option, or its value is missing"},
};

static void command_line(const void *argument)
{
    const command *c = argument;
    char output[65536];
    const int status = run(c->line, output, sizeof output);
    CHECK(status == c->status, "slat %s: status %d, not %d: %.600s", c->line, status, c->status, output);
    CHECK(strstr(output, c->word), "slat %s: no \"%s\" in %.600s", c->line, c->word, output);
}

/* `slat run` on a case's own tensors, which must give the case's answers. */
static const struct {
    const char *name, *options;
} runs[] = {
    {"block_sparse-f32-causal", "block_sparse --block 32 --causal --backward"},
    {"block_sparse-f32-bitmaps", "block_sparse --block 32,16 --backward"},
    {"block_sparse-f32-dense", "block_sparse --causal --backward"},
    {"neighborhood-f32-2d-tile", "neighborhood --window 5,6 --q-start 3,8 --backward"},
    {"neighborhood-f32-3d", "neighborhood --window 3,4,5 --stride 1,2,1 --dilation 1,2,1 --causal 1,0,0 --backward"},
    {"sharded-f32", "sharded --block 16 --local 2 --stride 4 --backward"},
    {"landmark-f32", "landmark --block 16 --backward"},
    {"lightning-f32", "lightning --backward"},
};

static void run_case(const void *argument)
{
    const int n = *(const int *)argument;
    char line[512], output[65536], path[512], word[64];
    sentence why = {""};
    int answers = 0;
    const char *backend = getenv("SLAT_TESTS_BACKEND");
    snprintf(line, sizeof line, "run %s%s%s %%c/%s.safetensors -o %%t/out", runs[n].options,
             backend ? " --backend " : "", backend ? backend : "", runs[n].name);
    if (!CHECK(run(line, output, sizeof output) == 0, "slat %s: %.600s", line, output)) return;
    snprintf(word, sizeof word, "backend        %s", backend ? backend : "");
    CHECK(strstr(output, word), "slat %s: no \"%s\" in %.600s", line, word, output);
    snprintf(path, sizeof path, "%s/%s.safetensors", cases, runs[n].name);
    safetensors *given = safetensors_open(path, &why);
    problem *p = given ? problem_load(given, &why) : NULL;
    snprintf(path, sizeof path, "%s/out", place);
    safetensors *results = safetensors_open(path, &why);
    if (!CHECK(p && results, "%s", why.text)) return;
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        char name[PROBLEM_NAME];
        tensor *expected = problem_expected(given, slot, &why);
        if (!expected) continue;
        const safetensors_entry *entry = safetensors_find(results, problem_slot_name(slot, name));
        tensor *got = entry ? safetensors_read(results, entry, &why) : NULL;
        if (CHECK(got, "%s is missing: %s", name, why.text)) {
            const agree_result r = agree_tensors(problem_rule(p, slot), got, expected);
            CHECK(agree_ok(r), "%s scores %.3g", name, r.score);
            tensor_free(got);
        }
        tensor_free(expected);
        answers++;
    }
    CHECK(answers, "no answers");
    problem_free(p);
    safetensors_close(given);
    safetensors_close(results);
}

/* A case whose last answer is spoiled, one that is cut off, and [T, H, D] tensors that are no case. */
static bool write_inputs(void)
{
    char path[512];
    unsigned char bytes[65536];
    snprintf(path, sizeof path, "%s/landmark-f32-block2.safetensors", cases);
    FILE *in = fopen(path, "rb");
    const size_t size = in ? fread(bytes, 1, sizeof bytes, in) : 0;
    if (in) fclose(in);
    if (size < 1024 || size == sizeof bytes) return false;
    snprintf(path, sizeof path, "%s/cut", place);
    FILE *out = fopen(path, "wb");
    bool ok = out && fwrite(bytes, 1, size - 100, out) == size - 100;
    ok = out && fclose(out) == 0 && ok;
    memset(bytes + size - 64, 0x42, 64); /* floats of about 48 */
    snprintf(path, sizeof path, "%s/spoiled", place);
    out = fopen(path, "wb");
    ok = out && fwrite(bytes, 1, size, out) == size && ok;
    ok = out && fclose(out) == 0 && ok;
    static const char *const names[] = {"q", "k", "v"};
    tensor *made[3];
    const tensor *tensors[3];
    for (int i = 0; i < 3; i++) {
        tensors[i] = made[i] = tensor_new(memory_host(), TENSOR_F32, 3, (const int64_t[]){20, 2, 8});
        ok = ok && made[i] && tensor_fill(made[i], .5);
    }
    snprintf(path, sizeof path, "%s/plain", place);
    ok = ok && safetensors_write(path, 3, names, tensors, 0, NULL, NULL);
    for (int i = 0; i < 3; i++) tensor_free(made[i]);
    return ok;
}

static void remove_inputs(void)
{
    static const char *const names[] = {"cut", "spoiled", "plain", "out"};
    char path[512];
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", place, names[i]);
        remove(path);
    }
    rmdir(place);
}

int main(int argc, char **argv)
{
    static int which[sizeof runs / sizeof *runs];
    if (argc < 3) return fputs("usage: test_command SLAT FOLDER [-v] [WORD...]\n", stderr), 2;
    slat = argv[1];
    cases = argv[2];
    if (!mkdtemp(place) || !write_inputs()) return puts("no inputs\n0 passed, 1 failed"), 1;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        harness_add(command_line, &commands[i], "slat %.90s", commands[i].line);
    for (int i = 0; i < (int)(sizeof runs / sizeof *runs); i++) {
        which[i] = i;
        harness_add(run_case, &which[i], "slat run on %s", runs[i].name);
    }
    argv[2] = argv[0];
    const int status = harness_main("command", argc - 2, argv + 2);
    remove_inputs();
    return status;
}
