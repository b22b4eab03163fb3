/* The fuzzer from deterministic seeds: test_fuzz [--count N] [--seed S] [--backend NAME]. Problem n has the seed S + n,
 * so that `--count 1 --seed S` repeats one. SLAT_FUZZ in the environment is another default of the count. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "harness.h"

#ifndef FUZZ_COUNT
#define FUZZ_COUNT 20000
#endif
enum { ROW = 500 };

static const char *backend;
static uint64_t first_seed = 1;
static int64_t total = FUZZ_COUNT;
static fuzz_count counts;

static void fuzz(const void *argument)
{
    const int64_t from = *(const int64_t *)argument, to = from + ROW < total ? from + ROW : total;
    for (int64_t n = from; n < to; n++) {
        char why[FUZZ_WHY] = "";
        fuzz_source s = fuzz_from_seed(first_seed + (uint64_t)n);
        const bool right = fuzz_one(&s, backend, &counts, why);
        CHECK(right, "--seed %llu: %s", (unsigned long long)first_seed + (unsigned long long)n, why);
    }
}

/* Most draws are computed, many are refused: the fuzzer does not fool itself. */
static void balance(const void *argument)
{
    (void)argument;
    printf("%lld right, %lld refused, %lld planned only, of %lld\n", (long long)counts.right, (long long)counts.refused,
           (long long)counts.planned, (long long)total);
    const int64_t part = backend && strcmp(backend, "amx") == 0 ? 100 : 3; /* it leaves most to others */
    CHECK(total < ROW || counts.right * part > total, "only %lld of %lld were computed", (long long)counts.right,
          (long long)total);
    CHECK(total < ROW || backend || counts.refused * 10 > total, "only %lld of %lld were refused",
          (long long)counts.refused, (long long)total);
}

int main(int argc, char **argv)
{
    const char *wish = getenv("SLAT_FUZZ");
    if (wish && *wish) total = strtoll(wish, NULL, 10);
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--count"))
            total = strtoll(argv[i + 1], NULL, 10);
        else if (!strcmp(argv[i], "--seed"))
            first_seed = strtoull(argv[i + 1], NULL, 10);
        else if (!strcmp(argv[i], "--backend"))
            backend = argv[i + 1];
        else
            argc = 0;
    }
    if (argc % 2 == 0) return fputs("usage: test_fuzz [--count N] [--seed S] [--backend NAME]\n", stderr), 2;
    const int64_t rows = (total + ROW - 1) / ROW;
    int64_t *from = malloc((size_t)(rows + 1) * sizeof *from);
    if (!from) return 3;
    for (int64_t n = 0; n < rows; n++) {
        from[n] = n * ROW;
        harness_add(fuzz, &from[n], "problems from seed %llu",
                    (unsigned long long)first_seed + (unsigned long long)(n * ROW));
    }
    harness_add(balance, NULL, "the balance of right and refused");
    const int result = harness_main("fuzz", 1, argv);
    free(from);
    return result;
}
