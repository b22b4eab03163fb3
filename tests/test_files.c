/* safetensors files: what is written comes back; malformed and hostile ones are refused with a sentence; and the rule
 * of agreement on the case files: their own answers agree, spoiled ones do not. The argument is the folder of cases. */
#define _GNU_SOURCE
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "problem.h"
#include "random.h"

/* Makes a file in a temporary place; the path is the row's memory. */
static const char *write_file(const void *bytes, size_t size)
{
    char *path = harness_memory(64);
    strcpy(path, "/tmp/slat-test-XXXXXX");
    const int descriptor = mkstemp(path);
    if (!CHECK(descriptor >= 0 && write(descriptor, bytes, size) == (ssize_t)size, "no temporary file")) return path;
    close(descriptor);
    return path;
}

/* A header, its length as the file tells it (-1: the right one), bytes of data behind it, and a word that the sentence
 * must have; NULL: the file is good. */
typedef struct {
    const char *header;
    int64_t length;
    int data;
    const char *word;
} hostile;

#define T(name, type, shape, from, to)                                                                                 \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"

static const hostile files[] = {
    {"{" T("q", "F32", "[2]", "0", "8") "}", -1, 8, NULL},
    {"{" T("q", "F32", "[2]", "0", "8") "}   ", -1, 8, NULL},
    {"{" T("q", "F32", "[]", "0", "4") "}", -1, 4, NULL},
    {"{" T("q", "F32", "[0, 9007199254740992, 9007199254740992]", "0", "0") "}", -1, 0, NULL},
    {"{\"__metadata__\":{\"a\":\"b\"}," T("q", "F8_E4M3", "[3]", "0", "3") "}", -1, 3, NULL},
    {"{}", -1, 0, NULL},
    {"{}", -1, 4, "end at byte 0"},
    {"", -1, 0, "no JSON"},
    {"[]", -1, 0, "no JSON"},
    {"{} x", -1, 0, "no JSON"},
    {"{\"q\":{}", -1, 0, "no JSON"},
    {"{\"q\":1}", -1, 0, "no JSON object"},
    {"{\"q\":{}}", -1, 0, "(none)"},
    {"{\"__metadata__\":{\"a\":1}}", -1, 0, "no string"},
    {"{\"__metadata__\":[]}", -1, 0, "__metadata__"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", -1, 0, "__metadata__"},
    {"{}", 3, 0, "cut off"},
    {"{}", INT64_MAX, 0, "cut off"},
    {"{}", -2, 0, "cut off"}, /* 2^64 - 2 */
    {"{" T("q", "F32", "[2]", "0", "8") "}", -1, 7, "file holds 7"},
    {"{" T("q", "F32", "[2]", "0", "8") "}", -1, 9, "file holds 9"},
    {"{" T("q", "F32", "[2]", "0", "4") "}", -1, 4, "takes 8 bytes"},
    {"{" T("q", "F32", "[2]", "4", "12") "}", -1, 12, "nothing lies"},
    {"{" T("q", "F32", "[1]", "8", "4") "}", -1, 8, "lies at"},
    {"{" T("q", "F32", "[1]", "-4", "0") "}", -1, 4, "data_offsets"},
    {"{" T("q", "F32", "[1]", "0", "4.5") "}", -1, 5, "data_offsets"},
    {"{" T("q", "F32", "[1]", "0", "1e300") "}", -1, 4, "data_offsets"},
    {"{" T("q", "F32", "[-1]", "0", "4") "}", -1, 4, "extent"},
    {"{" T("q", "F32", "[1.5]", "0", "4") "}", -1, 4, "extent"},
    {"{" T("q", "F32", "[\"1\"]", "0", "4") "}", -1, 4, "extent"},
    {"{" T("q", "F32", "7", "0", "4") "}", -1, 4, "no shape"},
    {"{" T("q", "F32", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", -1, 4, "more than 8"},
    {"{" T("q", "F32", "[4294967296, 4294967296]", "0", "0") "}", -1, 0, "overflows"},
    {"{" T("q", "F32", "[4611686018427387905]", "0", "4") "}", -1, 4, "extent"},
    {"{" T("q", "F33", "[1]", "0", "4") "}", -1, 4, "F33"},
    {"{" T("q", "F32", "[1]", "0", "4") "," T("q", "F32", "[1]", "4", "8") "}", -1, 8, "twice"},
    {"{" T("q", "F32", "[2]", "0", "8") "," T("k", "F32", "[2]", "4", "12") "}", -1, 12, "another one reaches"},
    {"{" T("q", "F32", "[1]", "0", "4") "," T("k", "F32", "[1]", "8", "12") "}", -1, 12, "nothing lies"},
};

static void read_hostile(const void *argument)
{
    const hostile *h = argument;
    const size_t length = strlen(h->header), size = 8 + length + (size_t)h->data;
    unsigned char *bytes = harness_memory((int64_t)size);
    memset(bytes, 0, size);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)(h->length == -1 ? (int64_t)length : h->length) >> 8 * i);
    memcpy(bytes + 8, h->header, length);
    const char *path = write_file(bytes, size);
    sentence why = {""};
    safetensors *file = safetensors_open(path, &why);
    CHECK(!file == (h->word != NULL), "%s: %s", h->header, file ? "was read" : why.text);
    if (h->word) CHECK(strstr(why.text, h->word) && strstr(why.text, path), "%s: %s", h->header, why.text);
    safetensors_close(file);
    unlink(path);
}

/* Headers too long, too deep, and files that are none. */
static void odd_files(const void *argument)
{
    (void)argument;
    sentence why;
    CHECK(!safetensors_open("/nowhere/at/all", &why) && strstr(why.text, "/nowhere"), "%s", why.text);
    CHECK(!safetensors_open("/tmp", &why) && strstr(why.text, "regular"), "%s", why.text);
    const char *path = write_file("1234567", 7);
    CHECK(!safetensors_open(path, &why) && strstr(why.text, "too short"), "%s", why.text);
    unlink(path);
    const size_t most = SAFETENSORS_HEADER_LIMIT + 1;
    unsigned char *bytes = harness_memory((int64_t)most + 8);
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(most >> 8 * i);
    memset(bytes + 8, '[', most);
    path = write_file(bytes, most + 8);
    CHECK(!safetensors_open(path, &why) && strstr(why.text, "at most"), "%s", why.text);
    unlink(path);
    const size_t deep = 100000;
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(deep >> 8 * i);
    path = write_file(bytes, deep + 8);
    CHECK(!safetensors_open(path, &why) && strstr(why.text, "no JSON"), "%s", why.text);
    unlink(path);
}

static void round_trip(const void *argument)
{
    (void)argument;
    static const int64_t shape[] = {3, 5, 4}, strides[] = {4, 12, 1};
    const char *names[TENSOR_TYPES];
    const tensor *tensors[TENSOR_TYPES];
    tensor *owned[TENSOR_TYPES];
    for (int i = 0; i < TENSOR_TYPES; i++) {
        names[i] = tensor_type_name((tensor_type)i);
        tensors[i] = owned[i] = tensor_new_strided(memory_host(), (tensor_type)i, 3, shape, strides, 0, 60);
        if (!CHECK(owned[i] && random_fill_uniform(owned[i], (uint64_t)i, 0, 200), "no memory")) return;
    }
    const safetensors_metadata about = {(char *)"who", (char *)"a \"quoted\" word"};
    const char *path = write_file("", 0);
    sentence why = {""};
    CHECK(safetensors_write(path, TENSOR_TYPES, names, tensors, 1, &about, &why), "%s", why.text);
    safetensors *file = safetensors_open(path, &why);
    if (!CHECK(file, "%s", why.text)) return;
    CHECK(!strcmp(safetensors_meta(file, "who"), about.value) && !safetensors_meta(file, "nobody"), "metadata");
    for (int i = 0; i < TENSOR_TYPES; i++) {
        const safetensors_entry *entry = safetensors_find(file, names[i]);
        tensor *t = entry ? safetensors_read(file, entry, &why) : NULL;
        if (!CHECK(t && t->type == (tensor_type)i && tensor_same_shape(t, owned[i]), "%s: %s", names[i], why.text))
            continue;
        for (int64_t n = 0; n < 60; n++)
            CHECK(tensor_get(t, n) == tensor_get(owned[i], n), "%s[%lld]", names[i], (long long)n);
        tensor_free(t);
    }
    safetensors_close(file);
    unlink(path);
    for (int i = 0; i < TENSOR_TYPES; i++) tensor_free(owned[i]);
}

/* Sets 16 x 16 elements of [.., T, H, D] to 0, in the middle of the first batch entry; false: too small, or they are 0.
 */
static bool drop_tile(double *values, const tensor *t)
{
    const int64_t width = tensor_row_length(t), heads = t->dl.ndim > 2 ? t->shape[t->dl.ndim - 2] : 1;
    const int64_t rows = tensor_count(t) / (width * heads * (t->dl.ndim > 3 ? t->shape[0] : 1));
    if (rows < 17 || width < 16) return false;
    double squares = 0;
    for (int64_t i = rows / 2 - 8; i < rows / 2 + 8; i++)
        for (int64_t c = 0; c < 16; c++) {
            double *value = &values[i * heads * width + c];
            squares += *value * *value;
            *value = 0;
        }
    return squares > 0;
}

static void spoil(const problem *p, int slot, const tensor *expected)
{
    const agree_rule rule = problem_rule(p, slot);
    const int64_t count = tensor_count(expected), row = tensor_row_length(expected);
    double *e = tensor_values(expected), *g = tensor_values(expected);
    char name[PROBLEM_NAME];
    if (!CHECK(e && g, "no memory")) return;
    problem_slot_name(slot, name);
    CHECK(agree_values(rule, g, e, count, row).score == 0, "%s: its own answer does not agree", name);
    g[count / 2] = isfinite(e[count / 2]) ? (double)NAN : 0;
    CHECK(!agree_ok(agree_values(rule, g, e, count, row)), "%s: a NaN agrees", name);
    memcpy(g, e, (size_t)count * sizeof *g);
    if (rule.kind <= AGREE_GRADIENT && rule.kind != AGREE_LSE && drop_tile(g, expected))
        CHECK(!agree_ok(agree_values(rule, g, e, count, row)), "%s: a dropped tile agrees", name);
    memcpy(g, e, (size_t)count * sizeof *g);
    if (rule.kind == AGREE_LSE && isfinite(e[0])) {
        g[0] += log(300. / 301); /* one of 300 equal keys is lost */
        CHECK(!agree_ok(agree_values(rule, g, e, count, row)), "%s: a lost key agrees", name);
    }
    free(e);
    free(g);
}

static void own_answers(const void *argument)
{
    sentence why = {""};
    safetensors *file = safetensors_open(argument, &why);
    problem *p = file ? problem_load(file, &why) : NULL;
    if (!CHECK(p, "%s", why.text)) return;
    int answers = 0;
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++) {
        tensor *expected = problem_expected(file, slot, &why);
        CHECK(expected || !*why.text, "%s", why.text);
        if (!expected) continue;
        answers++;
        spoil(p, slot, expected);
        tensor_free(expected);
    }
    CHECK(answers, "no answers");
    problem_free(p);
    safetensors_close(file);
}

static int is_case(const struct dirent *entry)
{
    const char *end = strrchr(entry->d_name, '.');
    return end && !strcmp(end, ".safetensors");
}

int main(int argc, char **argv)
{
    if (argc < 2) return fputs("usage: test_files FOLDER [-v] [WORD...]\n", stderr), 2;
    const char *folder = argv[1];
    static char *paths[4096];
    struct dirent **entries;
    const int cases = scandir(folder, &entries, is_case, alphasort);
    if (cases < 1 || cases > 4096) return printf("%s: no case files\n0 passed, 1 failed\n", folder), 1;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        harness_add(read_hostile, &files[i], "header %.60s", files[i].header);
    harness_add(odd_files, NULL, "files that are none");
    harness_add(round_trip, NULL, "written and read");
    for (int i = 0; i < cases; i++) {
        if (asprintf(&paths[i], "%s/%s", folder, entries[i]->d_name) < 0) return 3;
        harness_add(own_answers, paths[i], "answers of %s", entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    argv[1] = argv[0];
    return harness_main("files", argc - 1, argv + 1);
}
