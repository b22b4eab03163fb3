/* The same fuzzer guided by coverage: tests/fuzz builds it with clang's libFuzzer and runs it. SLAT_FUZZ_BACKEND names
 * the backend; without it the library chooses. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_source s = fuzz_from_bytes(data, size);
    fuzz_count counts = {0};
    char why[FUZZ_WHY] = "";
    if (!fuzz_one(&s, getenv("SLAT_FUZZ_BACKEND"), &counts, why)) {
        fprintf(stderr, "%s\n", why);
        abort();
    }
    return 0;
}
