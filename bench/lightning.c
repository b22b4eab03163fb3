/* Lightning workloads: ALiBi's slopes, scale 1/sqrt(D), no initial state. Their work is bytes on a GPU and flops on a
 * CPU; a step's is bytes everywhere. */
#include "bench.h"

#define SCALE_128 0.088388347648318447 /* 1/sqrt(128) */
/* The distance of the states that backward-states gets from forward. */
#define EVERY 256

/* 2^21 tokens of all heads together: how few heads, or many, fill a card. 32 heads of them are la-64k. */
#define SHARED_BY(total, batch, heads, tokens)                                                                         \
    {                                                                                                                  \
        .id = "la-heads-" #total, .gpu = true, .limit = BENCH_COPY,                                                    \
        .passes = 1 << BENCH_FORWARD | 1 << BENCH_BACKWARD, .parameters = {                                            \
            .op = OP_LIGHTNING,                                                                                        \
            .type = TENSOR_BF16,                                                                                       \
            .b = batch,                                                                                                \
            .tq = {tokens},                                                                                            \
            .hq = heads,                                                                                               \
            .d = 128,                                                                                                  \
            .scale = SCALE_128                                                                                         \
        }                                                                                                              \
    }

static const bench_workload workloads[] = {
    {.id = "la-8k", .gpu = true, .limit = BENCH_COPY, .passes = BENCH_LIGHTNING_PASSES,
     .parameters = {.op = OP_LIGHTNING, .type = TENSOR_BF16, .b = 8, .tq = {8192}, .hq = 32, .d = 128,
                    .scale = SCALE_128, .lightning = {.states_every = EVERY}}},
    {.id = "la-64k", .gpu = true, .limit = BENCH_COPY, .passes = BENCH_LIGHTNING_PASSES,
     .parameters = {.op = OP_LIGHTNING, .type = TENSOR_BF16, .b = 1, .tq = {65536}, .hq = 32, .d = 128,
                    .scale = SCALE_128, .lightning = {.states_every = EVERY}}},
    {.id = "la-512k", .gpu = true, .limit = BENCH_COPY, .passes = BENCH_ONLY_FORWARD,
     .parameters = {.op = OP_LIGHTNING, .type = TENSOR_BF16, .b = 1, .tq = {524288}, .hq = 32, .d = 128,
                    .scale = SCALE_128}},
    {.id = "la-step", .gpu = true, .limit = BENCH_COPY, .passes = BENCH_ONLY_FORWARD,
     .parameters = {.op = OP_LIGHTNING_STEP, .type = TENSOR_BF16, .b = 128, .tq = {1}, .hq = 32, .d = 128,
                    .scale = SCALE_128, .lightning = {.s0 = true}}},
    SHARED_BY(1, 1, 1, 2097152),
    SHARED_BY(2, 1, 2, 1048576),
    SHARED_BY(8, 1, 8, 262144),
    SHARED_BY(16, 1, 16, 131072),
    SHARED_BY(64, 1, 64, 32768),
    SHARED_BY(128, 1, 128, 16384),
    SHARED_BY(160, 1, 160, 13107),
    SHARED_BY(256, 1, 256, 8192),
    SHARED_BY(2048, 64, 32, 1024),
    {.id = "la-cpu", .passes = BENCH_LIGHTNING_PASSES,
     .parameters = {.op = OP_LIGHTNING, .type = TENSOR_F32, .b = 1, .tq = {16384}, .hq = 8, .d = 128,
                    .scale = SCALE_128, .lightning = {.states_every = EVERY}}},
    {.id = "la-step-cpu", .limit = BENCH_STREAM_COPY, .passes = BENCH_ONLY_FORWARD, .rotate = 64,
     .parameters = {.op = OP_LIGHTNING_STEP, .type = TENSOR_F32, .b = 16, .tq = {1}, .hq = 8, .d = 128,
                    .scale = SCALE_128, .lightning = {.s0 = true, .slots = 64 * 16}}},
};

const bench_list bench_lightning = {workloads, sizeof workloads / sizeof *workloads};
