/* Neighborhood workloads, in one to three dimensions. */
#include "bench.h"

static const bench_workload workloads[] = {
    {.id = "na1d-32k", .gpu = true, .passes = BENCH_SOFTMAX_PASSES,
     .parameters = {.op = OP_NEIGHBORHOOD, .type = TENSOR_BF16, .b = 1, .ndim = 1, .tq = {32768}, .hq = 32, .d = 128,
                    .neighborhood = {.window = {2048}}}},
    {.id = "na2d-128", .gpu = true, .passes = BENCH_SOFTMAX_PASSES,
     .parameters = {.op = OP_NEIGHBORHOOD, .type = TENSOR_BF16, .b = 1, .ndim = 2, .tq = {128, 128}, .hq = 32, .d = 128,
                    .neighborhood = {.window = {32, 32}}}},
    {.id = "na2d-flux", .gpu = true, .passes = BENCH_ONLY_FORWARD,
     .parameters = {.op = OP_NEIGHBORHOOD, .type = TENSOR_BF16, .b = 1, .ndim = 2, .tq = {256, 256}, .hq = 24, .d = 128,
                    .neighborhood = {.window = {80, 80}}}},
    {.id = "na3d-hunyuan", .gpu = true, .passes = BENCH_ONLY_FORWARD,
     .parameters = {.op = OP_NEIGHBORHOOD, .type = TENSOR_BF16, .b = 1, .ndim = 3, .tq = {30, 48, 80}, .hq = 24,
                    .d = 128, .neighborhood = {.window = {18, 24, 24}}}},
    {.id = "na-decode", .gpu = true, .limit = BENCH_COPY, .passes = BENCH_ONLY_FORWARD,
     .parameters = {.op = OP_NEIGHBORHOOD, .type = TENSOR_BF16, .b = 32, .ndim = 1, .tq = {1}, .tk = {32768}, .hq = 32,
                    .hk = 8, .d = 128, .neighborhood = {.window = {4096}, .causal = {1}, .q_start = {32767}}}},
    {.id = "na1d-cpu", .passes = BENCH_SOFTMAX_PASSES,
     .parameters = {.op = OP_NEIGHBORHOOD, .type = TENSOR_F32, .b = 1, .ndim = 1, .tq = {8192}, .hq = 8, .d = 128,
                    .neighborhood = {.window = {512}}}},
    {.id = "na2d-cpu", .passes = BENCH_SOFTMAX_PASSES,
     .parameters = {.op = OP_NEIGHBORHOOD, .type = TENSOR_F32, .b = 1, .ndim = 2, .tq = {64, 64}, .hq = 8, .d = 64,
                    .neighborhood = {.window = {13, 13}}}},
};

const bench_list bench_neighborhood = {workloads, sizeof workloads / sizeof *workloads};
