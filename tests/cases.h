/* The table of problems: the tests run each on every backend, pass and type against the definition. They are
 * problem_parameters, as the benchmark's workloads are: problem_new() makes both.
 */
#ifndef SLAT_TESTS_CASES_H
#define SLAT_TESTS_CASES_H
#include "problem.h"

enum {
    CASE_F64 = 1 << TENSOR_F64,
    CASE_F32 = 1 << TENSOR_F32,
    CASE_F16 = 1 << TENSOR_F16,
    CASE_BF16 = 1 << TENSOR_BF16
};

typedef struct {
    const char *id;
    int32_t types; /* CASE_...; 0: all four. The table's own `type` is not used. */
    problem_parameters p;
} case_problem;

#define BACKWARD .pass = PASS_BACKWARD
#define SEQUENCE(batch, queries, keys, query_heads, key_heads, width) \
    .b = (batch), .tq = {(queries)}, .tk = {(keys)}, .hq = (query_heads), .hk = (key_heads), .d = (width)
#define BLOCK_SPARSE .op = OP_BLOCK_SPARSE
#define NEIGHBORHOOD .op = OP_NEIGHBORHOOD
#define SHARDED .op = OP_SHARDED
#define LANDMARK .op = OP_LANDMARK
#define LIGHTNING .op = OP_LIGHTNING
#define LIGHTNING_STEP .op = OP_LIGHTNING_STEP
#define MERGE .op = OP_MERGE

static const case_problem case_problems[] = {
    /* block_sparse: one token, ragged last blocks, other blocks for queries than for keys, Tq != Tk both ways, widths
     * around every vector and tile, empty rows, bitmaps, each form of Bm and Hm, sink, dlse, far logits. */
    {"bs-one", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 1, 1, 1, 1, 1), .block_sparse = {.block_q = 8, .density = 1}}},
    {"bs-8", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(2, 37, 37, 2, 2, 8), .dlse = true,
     .block_sparse = {.block_q = 8, .causal = 1, .density = .4}}},
    {"bs-ragged", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 70, 101, 4, 2, 40), .dv = 24, .sink = true, .dlse = true,
     .block_sparse = {.block_q = 16, .block_k = 24, .causal = 1, .density = .5, .heads = 2}}},
    {"bs-wide-key-blocks", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 45, 300, 2, 1, 64), .dlse = true,
     .block_sparse = {.block_q = 8, .block_k = 256, .density = .5}}},
    {"bs-wide-query-blocks", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 270, 70, 2, 1, 16), .sink = true,
     .block_sparse = {.block_q = 256, .block_k = 8, .density = .5}}},
    {"bs-early-rows", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 90, 33, 2, 2, 3), .dlse = true,
     .block_sparse = {.block_q = 16, .causal = 1, .density = .7}}},
    {"bs-early-rows-sink", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 60, 20, 2, 1, 8), .sink = true, .dlse = true,
     .block_sparse = {.block_q = 8, .causal = 1, .density = .7}}},
    {"bs-empty-rows", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(2, 64, 90, 2, 2, 16), .dlse = true,
     .block_sparse = {.block_q = 8, .density = .05, .batches = 2, .seed = 5}}},
    {"bs-bitmaps", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 75, 90, 2, 1, 32), .sink = true, .dlse = true,
     .block_sparse = {.block_q = 24, .block_k = 40, .density = .6, .bitmaps = .6, .seed = 3}}},
    {"bs-bitmaps-causal", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 130, 130, 2, 2, 64),
     .block_sparse = {.block_q = 64, .causal = 1, .density = .8, .bitmaps = .5, .seed = 7}}},
    {"bs-layout-a-batch", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(3, 40, 40, 4, 2, 8),
     .block_sparse = {.block_q = 8, .causal = 1, .density = .3, .batches = 3, .heads = 1, .seed = 2}}},
    {"bs-layout-a-head", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(2, 48, 48, 6, 2, 8), .dlse = true,
     .block_sparse = {.block_q = 8, .density = .3, .batches = 2, .heads = 6, .seed = 4}}},
    {"bs-transposed", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(2, 72, 61, 4, 2, 16),
     .block_sparse = {.block_q = 16, .block_k = 8, .density = .4, .batches = 2, .heads = 4, .seed = 6,
      .transposed = true}}},
    {"bs-transposed-bitmaps", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 72, 61, 2, 1, 16), .sink = true, .dlse = true,
     .block_sparse = {.block_q = 16, .block_k = 8, .density = .4, .bitmaps = .5, .seed = 6, .transposed = true}}},
    {"bs-d72", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 66, 66, 2, 1, 72), .dv = 40, .scale = .11,
     .block_sparse = {.block_q = 32, .block_k = 64, .causal = 1, .density = .5}}},
    {"bs-d96", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 66, 90, 1, 1, 96), .dv = 128, .dlse = true,
     .block_sparse = {.block_q = 64, .causal = 1, .density = .5}}},
    {"bs-d128", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 150, 150, 2, 1, 128),
     .block_sparse = {.block_q = 64, .causal = 1, .density = .4}}},
    {"bs-d128-blocks-128", CASE_F32 | CASE_BF16, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 270, 270, 1, 1, 128),
     .block_sparse = {.block_q = 128, .causal = 1, .density = .4}}},
    {"bs-d256", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 40, 70, 2, 1, 256), .sink = true,
     .block_sparse = {.block_q = 16, .causal = 1, .density = .5}}},
    {"bs-d1-dv256", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 30, 30, 1, 1, 1), .dv = 256,
     .block_sparse = {.block_q = 8, .density = .5}}},
    {"bs-d256-dv1", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 30, 30, 1, 1, 256), .dv = 1,
     .block_sparse = {.block_q = 8, .density = .5}}},
    {"bs-far-logits", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 96, 96, 1, 1, 64), .spread = 25,
     .block_sparse = {.block_q = 32, .causal = 1, .density = .6}}},
    {"bs-negative-scale", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 40, 40, 2, 1, 16), .scale = -.3,
     .block_sparse = {.block_q = 16, .causal = 1, .density = .6}}},
    {"bs-o-f32", CASE_F32 | CASE_F16 | CASE_BF16, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 50, 80, 2, 1, 64), .o_f32 = true,
     .dlse = true, .block_sparse = {.block_q = 32, .causal = 1, .density = .6}}},
    {"bs-decode", 0, {BLOCK_SPARSE, SEQUENCE(3, 1, 333, 8, 2, 64),
     .block_sparse = {.block_q = 16, .causal = 1, .density = .4, .heads = 2}}},
    {"bs-decode-backward", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(2, 1, 100, 4, 2, 32), .sink = true, .dlse = true,
     .block_sparse = {.block_q = 8, .block_k = 16, .causal = 1, .density = .4, .heads = 4}}},
    {"bs-far-keys", CASE_F32 | CASE_BF16, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 40, 1100, 2, 2, 16), .dlse = true,
     .block_sparse = {.block_q = 8, .block_k = 64, .density = .1, .seed = 9}}},
    {"dense-one-head", CASE_F32 | CASE_BF16, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 90, 1100, 4, 1, 16), .sink = true,
     .dlse = true, .block_sparse = {.causal = 1}}},
    {"dense", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 70, 90, 2, 1, 48), .sink = true, .dlse = true}},
    {"dense-causal", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(2, 75, 75, 2, 2, 64), .block_sparse = {.causal = 1}}},
    {"dense-early-rows", 0, {BLOCK_SPARSE, BACKWARD, SEQUENCE(1, 40, 15, 2, 1, 16), .dlse = true,
     .block_sparse = {.causal = 1}}},
    {"dense-decode", 0, {BLOCK_SPARSE, SEQUENCE(2, 1, 200, 8, 2, 128), .block_sparse = {.causal = 1}}},

    /* neighborhood: windows that shift, fill the grid, stride, dilate with uneven groups, mixed causality, q boxes. */
    {"na1d-2", 0, {NEIGHBORHOOD, BACKWARD, SEQUENCE(1, 2, 2, 1, 1, 1), .neighborhood = {.window = {2}}}},
    {"na1d", 0, {NEIGHBORHOOD, BACKWARD, SEQUENCE(2, 75, 75, 2, 1, 32), .sink = true, .dlse = true,
     .neighborhood = {.window = {13}}}},
    {"na1d-even", 0, {NEIGHBORHOOD, BACKWARD, SEQUENCE(1, 61, 61, 4, 2, 8), .neighborhood = {.window = {10}}}},
    {"na1d-whole", 0, {NEIGHBORHOOD, BACKWARD, SEQUENCE(1, 33, 33, 2, 2, 16), .neighborhood = {.window = {33}}}},
    {"na1d-causal", 0, {NEIGHBORHOOD, BACKWARD, SEQUENCE(1, 150, 150, 2, 1, 64), .dlse = true,
     .neighborhood = {.window = {40}, .causal = {1}}}},
    {"na1d-stride", 0, {NEIGHBORHOOD, BACKWARD, SEQUENCE(1, 70, 70, 2, 1, 24), .dv = 40,
     .neighborhood = {.window = {12}, .stride = {5}}}},
    {"na1d-stride-window", 0, {NEIGHBORHOOD, BACKWARD, SEQUENCE(1, 50, 50, 1, 1, 16),
     .neighborhood = {.window = {8}, .stride = {8}}}},
    {"na1d-causal-stride-dilation", 0, {NEIGHBORHOOD, BACKWARD, SEQUENCE(1, 83, 83, 2, 2, 16), .dlse = true,
     .neighborhood = {.window = {9}, .stride = {4}, .dilation = {3}, .causal = {1}}}},
    {"na1d-dilation", 0, {NEIGHBORHOOD, BACKWARD, SEQUENCE(1, 64, 64, 2, 1, 72),
     .neighborhood = {.window = {6}, .dilation = {9}}}},
    {"na1d-d128", 0, {NEIGHBORHOOD, BACKWARD, SEQUENCE(1, 200, 200, 1, 1, 128), .neighborhood = {.window = {70}}}},
    {"na1d-decode", 0, {NEIGHBORHOOD, SEQUENCE(3, 1, 150, 8, 2, 64),
     .neighborhood = {.window = {60}, .causal = {1}, .q_start = {149}}}},
    {"na1d-box", 0, {NEIGHBORHOOD, BACKWARD, SEQUENCE(1, 20, 90, 2, 1, 32), .sink = true,
     .neighborhood = {.window = {15}, .q_start = {33}}}},
    {"na1d-far-box", CASE_F32 | CASE_BF16, {NEIGHBORHOOD, BACKWARD, SEQUENCE(1, 9, 1200, 2, 1, 16), .dlse = true,
     .neighborhood = {.window = {20}, .q_start = {600}}}},
    {"na1d-one-head", CASE_F32 | CASE_BF16, {NEIGHBORHOOD, BACKWARD, SEQUENCE(1, 1100, 1100, 2, 1, 16), .dlse = true,
     .neighborhood = {.window = {30}}}},
    {"na1d-o-f32", CASE_F16 | CASE_BF16, {NEIGHBORHOOD, BACKWARD, SEQUENCE(1, 40, 40, 2, 1, 32), .o_f32 = true,
     .neighborhood = {.window = {7}}}},
    {"na1d-tiles", CASE_F16 | CASE_BF16, {NEIGHBORHOOD, BACKWARD, SEQUENCE(1, 420, 420, 2, 1, 64), .dlse = true,
     .neighborhood = {.window = {150}, .stride = {4}}}},
    {"na1d-dilation-8", CASE_F16 | CASE_BF16, {NEIGHBORHOOD, BACKWARD, SEQUENCE(1, 403, 403, 2, 2, 128),
     .neighborhood = {.window = {20}, .dilation = {8}, .causal = {1}}}},
    {"na2d", 0, {NEIGHBORHOOD, BACKWARD, .ndim = 2, .b = 2, .tq = {11, 9}, .tk = {11, 9}, .hq = 2, .hk = 1, .d = 32,
     .sink = true, .dlse = true, .neighborhood = {.window = {5, 4}}}},
    {"na2d-mixed", 0, {NEIGHBORHOOD, BACKWARD, .ndim = 2, .b = 1, .tq = {13, 10}, .tk = {13, 10}, .hq = 2, .d = 16,
     .neighborhood = {.window = {3, 6}, .stride = {2, 5}, .dilation = {4, 1}, .causal = {1, 0}}}},
    {"na2d-whole-line", 0, {NEIGHBORHOOD, BACKWARD, .ndim = 2, .b = 1, .tq = {4, 21}, .tk = {4, 21}, .hq = 1, .d = 64,
     .neighborhood = {.window = {4, 2}, .dilation = {1, 10}}}},
    {"na2d-box", 0, {NEIGHBORHOOD, BACKWARD, .ndim = 2, .b = 1, .tq = {5, 3}, .tk = {12, 14}, .hq = 2, .hk = 1, .d = 24,
     .dlse = true, .neighborhood = {.window = {4, 5}, .q_start = {7, 2}}}},
    {"na2d-d128", 0, {NEIGHBORHOOD, BACKWARD, .ndim = 2, .b = 1, .tq = {17, 19}, .tk = {17, 19}, .hq = 1, .d = 128,
     .neighborhood = {.window = {7, 8}}}},
    {"na2d-d256", CASE_F32 | CASE_BF16, {NEIGHBORHOOD, BACKWARD, .ndim = 2, .b = 1, .tq = {9, 12}, .tk = {9, 12}, .hq = 2,
     .hk = 1, .d = 256, .dlse = true, .neighborhood = {.window = {5, 6}}}},
    {"na2d-tiles", CASE_F16 | CASE_BF16, {NEIGHBORHOOD, BACKWARD, .ndim = 2, .b = 2, .tq = {23, 37}, .tk = {23, 37},
     .hq = 2, .hk = 1, .d = 128, .dlse = true, .neighborhood = {.window = {9, 14}}}},
    {"na2d-dilation-8", CASE_F16 | CASE_BF16, {NEIGHBORHOOD, BACKWARD, .ndim = 2, .b = 1, .tq = {26, 41},
     .tk = {26, 41}, .hq = 2, .d = 64, .neighborhood = {.window = {3, 5}, .dilation = {8, 8}}}},
    {"na2d-inner-box", CASE_F16 | CASE_BF16, {NEIGHBORHOOD, BACKWARD, .ndim = 2, .b = 1, .tq = {9, 20}, .tk = {20, 50},
     .hq = 2, .hk = 1, .d = 64, .neighborhood = {.window = {5, 12}, .q_start = {6, 13}}}},
    {"na3d", 0, {NEIGHBORHOOD, BACKWARD, .ndim = 3, .b = 1, .tq = {5, 6, 7}, .tk = {5, 6, 7}, .hq = 2, .hk = 1, .d = 16,
     .sink = true, .dlse = true, .neighborhood = {.window = {3, 2, 5}}}},
    {"na3d-mixed", 0, {NEIGHBORHOOD, BACKWARD, .ndim = 3, .b = 2, .tq = {4, 7, 6}, .tk = {4, 7, 6}, .hq = 1, .d = 8,
     .neighborhood = {.window = {2, 3, 4}, .stride = {2, 1, 3}, .dilation = {2, 2, 1}, .causal = {1, 0, 1}}}},
    {"na3d-tiles", CASE_F16 | CASE_BF16, {NEIGHBORHOOD, BACKWARD, .ndim = 3, .b = 2, .tq = {6, 11, 19},
     .tk = {6, 11, 19}, .hq = 2, .hk = 1, .d = 64, .neighborhood = {.window = {3, 4, 7}, .stride = {1, 2, 3}}}},
    {"na3d-box", 0, {NEIGHBORHOOD, BACKWARD, .ndim = 3, .b = 1, .tq = {1, 3, 2}, .tk = {3, 5, 6}, .hq = 2, .hk = 1,
     .d = 16, .neighborhood = {.window = {2, 2, 3}, .causal = {1, 0, 0}, .q_start = {2, 1, 4}}}},

    /* sharded: blocks of any size, strides from 1, dense heads, prefixes, early rows. */
    {"s2-one", 0, {SHARDED, BACKWARD, SEQUENCE(1, 1, 1, 1, 1, 1),
     .sharded = {.block = 1, .local_blocks = 1, .stride = 1}}},
    {"s2", 0, {SHARDED, BACKWARD, SEQUENCE(2, 90, 90, 4, 4, 16), .sink = true, .dlse = true,
     .sharded = {.block = 8, .local_blocks = 2, .stride = 4}}},
    {"s2-block-7", 0, {SHARDED, BACKWARD, SEQUENCE(1, 65, 80, 2, 1, 40), .dv = 24,
     .sharded = {.block = 7, .local_blocks = 1, .stride = 3}}},
    {"s2-block-1", 0, {SHARDED, BACKWARD, SEQUENCE(1, 50, 50, 2, 2, 8), .dlse = true,
     .sharded = {.block = 1, .local_blocks = 5, .stride = 6}}},
    {"s2-stride-1", 0, {SHARDED, BACKWARD, SEQUENCE(1, 40, 40, 2, 1, 16),
     .sharded = {.block = 16, .local_blocks = 1, .stride = 1}}},
    {"s2-wide-block", 0, {SHARDED, BACKWARD, SEQUENCE(1, 60, 60, 2, 2, 16),
     .sharded = {.block = 100, .local_blocks = 1, .stride = 2}}},
    {"s2-dense-heads", 0, {SHARDED, BACKWARD, SEQUENCE(1, 100, 100, 8, 4, 32), .sink = true,
     .sharded = {.block = 16, .local_blocks = 2, .stride = 4, .dense_heads = 2, .per_key_head = 1}}},
    {"s2-head-offset", 0, {SHARDED, BACKWARD, SEQUENCE(1, 90, 90, 3, 3, 72), .dlse = true,
     .sharded = {.block = 8, .local_blocks = 1, .stride = 5, .head_offset = 3}}},
    {"s2-prefix", 0, {SHARDED, BACKWARD, SEQUENCE(2, 30, 141, 4, 2, 64), .dlse = true,
     .sharded = {.block = 16, .local_blocks = 2, .stride = 4, .per_key_head = 1}}},
    {"s2-early-rows", 0, {SHARDED, BACKWARD, SEQUENCE(1, 70, 31, 2, 2, 16), .sink = true, .dlse = true,
     .sharded = {.block = 8, .local_blocks = 1, .stride = 2}}},
    {"s2-decode", 0, {SHARDED, SEQUENCE(3, 1, 300, 8, 2, 64),
     .sharded = {.block = 16, .local_blocks = 3, .stride = 4, .per_key_head = 1}}},
    {"s2-d128", 0, {SHARDED, BACKWARD, SEQUENCE(1, 200, 200, 2, 1, 128),
     .sharded = {.block = 32, .local_blocks = 1, .stride = 3}}},
    {"s2-d256", CASE_F32 | CASE_BF16, {SHARDED, BACKWARD, SEQUENCE(1, 90, 90, 2, 1, 256), .dv = 200,
     .sharded = {.block = 16, .local_blocks = 1, .stride = 3}}},
    {"s2-one-head", CASE_F32 | CASE_BF16, {SHARDED, BACKWARD, SEQUENCE(1, 200, 1200, 2, 1, 16), .dlse = true,
     .sharded = {.block = 32, .local_blocks = 2, .stride = 3}}},
    {"s2-far-keys", CASE_F32 | CASE_BF16, {SHARDED, BACKWARD, SEQUENCE(1, 10, 2000, 2, 2, 16), .dlse = true,
     .sharded = {.block = 64, .local_blocks = 1, .stride = 29, .head_offset = 5}}},

    /* landmark: blocks from 2 to beyond any key tile, ragged tails, one block, prefixes, early rows. */
    {"lm-one", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 1, 1, 1, 1, 1), .landmark = {2}}},
    {"lm-2", 0, {LANDMARK, BACKWARD, SEQUENCE(2, 33, 33, 2, 1, 24), .dlse = true, .landmark = {2}}},
    {"lm-3", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 40, 50, 4, 2, 8), .dv = 16, .landmark = {3}}},
    {"lm-one-block", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 20, 20, 2, 2, 16), .dlse = true, .landmark = {50}}},
    {"lm-whole-blocks", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 64, 64, 2, 1, 32), .landmark = {16}}},
    {"lm-tail", 0, {LANDMARK, BACKWARD, SEQUENCE(2, 77, 77, 2, 1, 64), .dlse = true, .landmark = {16}}},
    {"lm-prefix", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 21, 130, 2, 2, 40), .dlse = true, .landmark = {16}}},
    {"lm-early-rows", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 50, 30, 2, 1, 16), .landmark = {8}}},
    {"lm-50", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 120, 140, 1, 1, 72), .landmark = {50}}},
    {"lm-steep", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 64, 64, 1, 1, 64), .spread = 25, .landmark = {16}}},
    {"lm-decode", 0, {LANDMARK, SEQUENCE(3, 1, 200, 8, 2, 64), .landmark = {32}}},
    {"lm-d128", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 150, 150, 2, 1, 128), .landmark = {64}}},
    {"lm-64", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 400, 400, 2, 1, 128), .dlse = true, .landmark = {64}}},
    {"lm-64-prefix", 0, {LANDMARK, BACKWARD, SEQUENCE(2, 150, 421, 4, 2, 64), .dv = 32, .landmark = {64}}},
    {"lm-64-early-rows", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 330, 210, 2, 1, 128), .dlse = true, .landmark = {64}}},
    {"lm-64-steep", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 300, 300, 1, 1, 128), .spread = 25, .landmark = {64}}},
    {"lm-48", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 260, 300, 2, 2, 96), .dv = 128, .landmark = {48}}},
    {"lm-65", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 140, 140, 2, 1, 32), .landmark = {65}}},
    {"lm-100", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 230, 230, 2, 1, 64), .dlse = true, .landmark = {100}}},
    {"lm-128", 0, {LANDMARK, BACKWARD, SEQUENCE(2, 256, 256, 1, 1, 16), .landmark = {128}}},
    {"lm-130-prefix", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 90, 405, 2, 1, 40), .dv = 24, .dlse = true,
     .landmark = {130}}},
    {"lm-200-early-rows", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 250, 230, 1, 1, 16), .dlse = true, .landmark = {200}}},
    {"lm-100-steep", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 210, 210, 1, 1, 48), .spread = 25, .landmark = {100}}},
    {"lm-96-decode", 0, {LANDMARK, SEQUENCE(2, 1, 300, 4, 2, 64), .landmark = {96}}},
    {"lm-100-d256", CASE_F32 | CASE_BF16, {LANDMARK, BACKWARD, SEQUENCE(1, 130, 150, 1, 1, 256), .dv = 256,
     .landmark = {100}}},
    {"lm-16-d256", CASE_F32 | CASE_BF16, {LANDMARK, BACKWARD, SEQUENCE(1, 70, 80, 1, 1, 256), .landmark = {16}}},
    {"lm-one-head", CASE_F32 | CASE_BF16, {LANDMARK, BACKWARD, SEQUENCE(1, 200, 1200, 2, 1, 16), .dlse = true,
     .landmark = {64}}},
    {"lm-257-prefix", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 70, 1300, 2, 1, 24), .dv = 40, .dlse = true,
     .landmark = {257}}},
    {"lm-300", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 320, 320, 2, 2, 16), .landmark = {300}}},
    {"lm-300-steep", 0, {LANDMARK, BACKWARD, SEQUENCE(1, 40, 640, 1, 1, 64), .spread = 25, .landmark = {300}}},
    {"lm-700-decode", 0, {LANDMARK, SEQUENCE(2, 1, 5000, 4, 2, 32), .landmark = {700}}},
    {"lm-o-f32", CASE_F16 | CASE_BF16, {LANDMARK, BACKWARD, SEQUENCE(1, 40, 40, 2, 1, 32), .o_f32 = true,
     .landmark = {8}}},

    /* lightning: slopes from none to steep, ragged chunks, with and without states. */
    {"la-one", 0, {LIGHTNING, BACKWARD, SEQUENCE(1, 1, 0, 1, 0, 1)}},
    {"la-token", 0, {LIGHTNING, BACKWARD, SEQUENCE(3, 1, 0, 2, 0, 24), .dv = 40,
     .lightning = {.s0 = true, .dst = true}}},
    {"la", 0, {LIGHTNING, BACKWARD, SEQUENCE(2, 77, 0, 3, 0, 32), .lightning = {.s0 = true, .dst = true}}},
    {"la-s0", 0, {LIGHTNING, BACKWARD, SEQUENCE(1, 65, 0, 2, 0, 16), .lightning = {.s0 = true}}},
    {"la-dst", 0, {LIGHTNING, BACKWARD, SEQUENCE(1, 64, 0, 2, 0, 16), .lightning = {.dst = true}}},
    {"la-steep", 0, {LIGHTNING, BACKWARD, SEQUENCE(1, 131, 0, 2, 0, 24),
     .lightning = {.slope = 30, .s0 = true, .dst = true}}},
    {"la-no-decay", 0, {LIGHTNING, BACKWARD, SEQUENCE(1, 90, 0, 1, 0, 16), .scale = .05,
     .lightning = {.no_decay = true, .s0 = true}}},
    {"la-states", 0, {LIGHTNING, BACKWARD, SEQUENCE(2, 101, 0, 2, 0, 16), .dv = 24, .scale = .2,
     .lightning = {.s0 = true, .dst = true, .states_every = 32}}},
    {"la-states-every", 0, {LIGHTNING, BACKWARD, SEQUENCE(1, 9, 0, 1, 0, 8), .lightning = {.states_every = 1}}},
    {"la-states-once", 0, {LIGHTNING, BACKWARD, SEQUENCE(1, 50, 0, 2, 0, 8),
     .lightning = {.dst = true, .states_every = 1000}}},
    {"la-d128", 0, {LIGHTNING, BACKWARD, SEQUENCE(1, 150, 0, 1, 0, 128), .scale = .08,
     .lightning = {.s0 = true, .dst = true}}},
    {"la-d256", 0, {LIGHTNING, BACKWARD, SEQUENCE(1, 20, 0, 1, 0, 256), .dv = 72, .scale = .06,
     .lightning = {.s0 = true}}},
    {"la-o-f32", CASE_F16 | CASE_BF16, {LIGHTNING, BACKWARD, SEQUENCE(1, 70, 0, 2, 0, 32), .o_f32 = true}},

    {"step-one", 0, {LIGHTNING_STEP, SEQUENCE(1, 1, 0, 1, 0, 1)}},
    {"step", 0, {LIGHTNING_STEP, SEQUENCE(5, 1, 0, 4, 0, 40), .dv = 24, .scale = .2, .lightning = {.s0 = true}}},
    {"step-slots", 0, {LIGHTNING_STEP, SEQUENCE(4, 1, 0, 2, 0, 48), .lightning = {.s0 = true, .slots = 9}}},
    {"step-d128", 0, {LIGHTNING_STEP, SEQUENCE(2, 1, 0, 2, 0, 128), .lightning = {.s0 = true}}},
    {"step-steep", 0, {LIGHTNING_STEP, SEQUENCE(2, 1, 0, 2, 0, 16), .lightning = {.slope = 30, .s0 = true}}},

    {"merge-1", 0, {MERGE, BACKWARD, SEQUENCE(1, 9, 9, 2, 2, 8), .dlse = true, .merge = {.parts = 1}}},
    {"merge-2", 0, {MERGE, BACKWARD, SEQUENCE(2, 40, 40, 3, 3, 32), .dlse = true, .merge = {.parts = 2, .empty = .2}}},
    {"merge-5", 0, {MERGE, BACKWARD, SEQUENCE(1, 33, 33, 2, 2, 72), .merge = {.parts = 5, .empty = .6}}},
    {"merge-d1", 0, {MERGE, BACKWARD, SEQUENCE(1, 21, 21, 1, 1, 1), .dlse = true, .merge = {.parts = 3}}},
    {"merge-o-f32", CASE_F16 | CASE_BF16, {MERGE, BACKWARD, SEQUENCE(1, 20, 20, 2, 2, 64), .o_f32 = true,
     .merge = {.parts = 2}}},
};

enum { CASE_PROBLEMS = sizeof case_problems / sizeof case_problems[0] };

#undef BACKWARD
#undef SEQUENCE
#undef BLOCK_SPARSE
#undef NEIGHBORHOOD
#undef SHARDED
#undef LANDMARK
#undef LIGHTNING
#undef LIGHTNING_STEP
#undef MERGE
#endif
