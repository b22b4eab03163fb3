/* Rows of tests over CUnit. CUnit passes a test no argument, so one function serves every row and finds it by the test
 * that runs; and its runner returns 0 on failures, so main's answer comes from the counts. */
#define _GNU_SOURCE
#include "harness.h"

#include <CUnit/Basic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PRINTED_FAILURES = 12 };

typedef struct {
    char *name;
    void (*run)(const void *argument);
    const void *argument;
    CU_pTest test;
} row;

typedef struct block {
    struct block *next;
    _Alignas(64) unsigned char bytes[];
} block;

static row *rows;
static int32_t row_count, row_space, row_last;
static block *blocks;
static int64_t failures;
static bool verbose;

static void out_of_memory(void)
{
    fputs("the test program ran out of memory\n", stderr);
    exit(3);
}

void *harness_memory(int64_t bytes)
{
    block *b = aligned_alloc(64, (sizeof *b + (size_t)bytes + 63) / 64 * 64);
    if (!b) out_of_memory();
    b->next = blocks;
    blocks = b;
    return b->bytes;
}

void harness_release(void)
{
    while (blocks) {
        block *next = blocks->next;
        free(blocks);
        blocks = next;
    }
}

int64_t harness_failures(void)
{
    return failures;
}

bool harness_check(bool right, const char *file, int line, const char *text, const char *format, ...)
{
    if (right) return true;
    if (++failures > PRINTED_FAILURES) return false;
    char sentence[600];
    const int n = snprintf(sentence, sizeof sentence, "%s: ", text);
    va_list list;
    va_start(list, format);
    if (n >= 0 && (size_t)n < sizeof sentence) vsnprintf(sentence + n, sizeof sentence - (size_t)n, format, list);
    va_end(list);
    CU_assertImplementation(CU_FALSE, (unsigned)line, sentence, file, "", CU_FALSE);
    return false;
}

void harness_add(void (*run)(const void *argument), const void *argument, const char *format, ...)
{
    if (row_count == row_space) {
        row_space = row_space ? 2 * row_space : 64;
        rows = realloc(rows, (size_t)row_space * sizeof *rows);
        if (!rows) out_of_memory();
    }
    row *r = &rows[row_count++];
    *r = (row){.run = run, .argument = argument};
    va_list list;
    va_start(list, format);
    if (vasprintf(&r->name, format, list) < 0) out_of_memory();
    va_end(list);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void run_row(void)
{
    const CU_pTest test = CU_get_current_test();
    while (rows[row_last].test != test) row_last = (row_last + 1) % row_count;
    const row *r = &rows[row_last];
    const double start = seconds();
    failures = 0;
    r->run(r->argument);
    if (failures > PRINTED_FAILURES) printf("\n%s: %lld failures\n", r->name, (long long)failures);
    if (verbose) printf("%s %8.1f ms  %s\n", failures ? "FAIL" : "ok  ", 1e3 * (seconds() - start), r->name);
    harness_release();
}

static bool wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-v") != 0 && !strstr(name, argv[i])) return false;
    }
    return true;
}

static int run_all(const char *suite_name, int argc, char **argv)
{
    if (CU_initialize_registry() != CUE_SUCCESS) return 0;
    const CU_pSuite suite = CU_add_suite(suite_name, NULL, NULL);
    for (int32_t i = 0; suite && i < row_count; i++) {
        if (wanted(rows[i].name, argc, argv)) rows[i].test = CU_add_test(suite, rows[i].name, run_row);
    }
    CU_basic_set_mode(CU_BRM_NORMAL);
    const CU_ErrorCode code = CU_basic_run_tests();
    const unsigned failed = CU_get_number_of_tests_failed() + CU_get_number_of_suites_failed();
    unsigned passed = CU_get_number_of_tests_run() - CU_get_number_of_tests_failed();
    const bool right = code == CUE_SUCCESS && CU_get_error() == CUE_SUCCESS && passed && !failed;
    if (!right && !failed) {
        printf("%s: %s\n", suite_name, passed ? CU_get_error_msg() : "no row ran");
        printf("%u passed, 1 failed\n", passed);
    } else {
        printf("%u passed, %u failed\n", passed, failed);
    }
    CU_cleanup_registry();
    return right;
}

int harness_main(const char *suite, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) verbose |= strcmp(argv[i], "-v") == 0;
    const int right = run_all(suite, argc, argv);
    for (int32_t i = 0; i < row_count; i++) free(rows[i].name);
    free(rows);
    return right ? 0 : 1;
}
