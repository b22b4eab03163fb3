/* Block-sparse and dense workloads. */
#include "bench.h"

static const bench_workload workloads[] = {
    {.id = "bs-8k", .gpu = true, .passes = BENCH_SOFTMAX_PASSES, .blocks = 21491, .pairs = 335462400,
     .parameters = {.op = OP_BLOCK_SPARSE, .type = TENSOR_BF16, .b = 1, .tq = {8192}, .hq = 32, .d = 128,
                    .block_sparse = {.block_q = 128, .causal = 1, .density = .3}}},
    {.id = "bs-32k", .gpu = true, .passes = BENCH_SOFTMAX_PASSES, .blocks = 112654, .pairs = 1779138560,
     .parameters = {.op = OP_BLOCK_SPARSE, .type = TENSOR_BF16, .b = 1, .tq = {32768}, .hq = 32, .d = 128,
                    .block_sparse = {.block_q = 128, .causal = 1, .density = .1}}},
    {.id = "dense-8k", .gpu = true, .passes = BENCH_SOFTMAX_PASSES,
     .parameters = {.op = OP_BLOCK_SPARSE, .type = TENSOR_BF16, .b = 1, .tq = {8192}, .hq = 32, .d = 128,
                    .block_sparse = {.causal = 1}}},
    {.id = "bs-8k-d64", .gpu = true, .passes = BENCH_SOFTMAX_PASSES, .blocks = 21491, .pairs = 335462400,
     .parameters = {.op = OP_BLOCK_SPARSE, .type = TENSOR_BF16, .b = 1, .tq = {8192}, .hq = 32, .d = 64,
                    .block_sparse = {.block_q = 128, .causal = 1, .density = .3}}},
    {.id = "dense-8k-d64", .gpu = true, .passes = BENCH_SOFTMAX_PASSES,
     .parameters = {.op = OP_BLOCK_SPARSE, .type = TENSOR_BF16, .b = 1, .tq = {8192}, .hq = 32, .d = 64,
                    .block_sparse = {.causal = 1}}},
    {.id = "bs-decode", .gpu = true, .limit = BENCH_COPY, .passes = BENCH_ONLY_FORWARD,
     .parameters = {.op = OP_BLOCK_SPARSE, .type = TENSOR_BF16, .b = 32, .tq = {1}, .tk = {32768}, .hq = 32, .hk = 8,
                    .d = 128, .block_sparse = {.block_q = 64, .causal = 1, .density = .1, .heads = 8}}},
    {.id = "bs-cpu", .passes = BENCH_SOFTMAX_PASSES, .blocks = 2130, .pairs = 7692288,
     .parameters = {.op = OP_BLOCK_SPARSE, .type = TENSOR_F32, .b = 1, .tq = {4096}, .hq = 8, .d = 128,
                    .block_sparse = {.block_q = 64, .causal = 1, .density = .1}}},
    {.id = "bs-cpu-bf16", .passes = BENCH_SOFTMAX_PASSES, .blocks = 2130, .pairs = 7692288,
     .parameters = {.op = OP_BLOCK_SPARSE, .type = TENSOR_BF16, .b = 1, .tq = {4096}, .hq = 8, .d = 128,
                    .block_sparse = {.block_q = 64, .causal = 1, .density = .1}}},
    {.id = "bs-decode-cpu", .limit = BENCH_READ, .passes = BENCH_ONLY_FORWARD,
     .parameters = {.op = OP_BLOCK_SPARSE, .type = TENSOR_F32, .b = 8, .tq = {1}, .tk = {16384}, .hq = 32, .hk = 8,
                    .d = 128, .block_sparse = {.block_q = 64, .causal = 1, .density = .25, .heads = 8}}},
};

const bench_list bench_block_sparse = {workloads, sizeof workloads / sizeof *workloads};
