/* The counts that rates are made of, held against what is published for the random layouts. They depend on T, heads,
 * block and density, not on D: small heads of 8 stand for all. */
#include "bench.h"
#include "random.h"
#include "visible.h"
#include <inttypes.h>
#include <stdio.h>

static bool check_layout(const bench_workload *w)
{
    problem_parameters p = w->parameters;
    sentence why = {""};
    p.type = TENSOR_F32;
    p.d = 8;
    problem *made = problem_new(&p, LAYOUT_PLAIN, memory_host(), &why);
    if (!made) {
        printf("%s: %s\n", w->id, why.text);
        return false;
    }
    const int64_t blocks = made->extents.entries, pairs = visible_pairs(made);
    const bool good = blocks == w->blocks && pairs == w->pairs;
    printf("%-12s %" PRId64 " blocks, %" PRId64 " pairs: %s\n", w->id, blocks, pairs, good ? "as published" : "WRONG");
    problem_free(made);
    return good;
}

bool bench_self_check(void)
{
    const uint64_t one = random_splitmix64(1);
    bool good = one == 0x910a2dec89025cc1u;
    printf("splitmix64(1) = 0x%016" PRIx64 ": %s\n", one, good ? "as published" : "WRONG");
    for (int i = 0; i < bench_block_sparse.count; i++)
        if (bench_block_sparse.workloads[i].pairs) good = check_layout(&bench_block_sparse.workloads[i]) && good;
    return good;
}
