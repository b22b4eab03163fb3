/* Sharded workloads. */
#include "bench.h"

static const bench_workload workloads[] = {
    {.id = "s2-8k", .gpu = true, .passes = BENCH_SOFTMAX_PASSES,
     .parameters = {.op = OP_SHARDED, .type = TENSOR_BF16, .b = 4, .tq = {8192}, .hq = 16, .d = 128,
                    .sharded = {.block = 64, .local_blocks = 8, .stride = 16}}},
    {.id = "s2-64k", .gpu = true, .passes = BENCH_SOFTMAX_PASSES,
     .parameters = {.op = OP_SHARDED, .type = TENSOR_BF16, .b = 1, .tq = {65536}, .hq = 16, .d = 128,
                    .sharded = {.block = 64, .local_blocks = 8, .stride = 16}}},
    {.id = "s2-decode", .gpu = true, .limit = BENCH_COPY, .passes = BENCH_ONLY_FORWARD,
     .parameters = {.op = OP_SHARDED, .type = TENSOR_BF16, .b = 32, .tq = {1}, .tk = {32768}, .hq = 32, .hk = 8,
                    .d = 128, .sharded = {.block = 64, .local_blocks = 8, .stride = 16, .per_key_head = 1}}},
    {.id = "s2-cpu", .passes = BENCH_SOFTMAX_PASSES,
     .parameters = {.op = OP_SHARDED, .type = TENSOR_F32, .b = 1, .tq = {8192}, .hq = 8, .d = 128,
                    .sharded = {.block = 64, .local_blocks = 4, .stride = 8}}},
};

const bench_list bench_sharded = {workloads, sizeof workloads / sizeof *workloads};
