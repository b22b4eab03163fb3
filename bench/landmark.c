/* Landmark workloads. */
#include "bench.h"

static const bench_workload workloads[] = {
    {.id = "lm-8k", .gpu = true, .passes = BENCH_SOFTMAX_PASSES,
     .parameters = {.op = OP_LANDMARK, .type = TENSOR_BF16, .b = 1, .tq = {8192}, .hq = 32, .d = 128,
                    .landmark = {.block = 64}}},
    {.id = "lm-decode", .gpu = true, .limit = BENCH_COPY, .passes = BENCH_ONLY_FORWARD,
     .parameters = {.op = OP_LANDMARK, .type = TENSOR_BF16, .b = 32, .tq = {1}, .tk = {32768}, .hq = 32, .hk = 8,
                    .d = 128, .landmark = {.block = 64}}},
    {.id = "lm-cpu", .passes = BENCH_SOFTMAX_PASSES,
     .parameters = {.op = OP_LANDMARK, .type = TENSOR_F32, .b = 1, .tq = {4096}, .hq = 8, .d = 128,
                    .landmark = {.block = 64}}},
};

const bench_list bench_landmark = {workloads, sizeof workloads / sizeof *workloads};
