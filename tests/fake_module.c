/* A module that needs no GPU: its kernels stamp the output, which lies in host memory whatever its device says. FAKE
 * chooses what is wrong with it.
 */
#include "backend.h"

#define GOOD      0
#define WRONG_ABI 1
#define NO_ENTRY  2
#define NO_DRIVER 3
#define NO_TABLE  4

#if FAKE != NO_ENTRY
static const slat_host *host;

static slat_status plan(const slat_problem *p, const slat_run *run, slat_plan *out)
{
    (void)run;
    out->kernel = "stamp";
    out->workspace = p->op == SLAT_OP_SHARDED ? 1000 : 0;
    out->deterministic = 1;
    out->launches = 3;
    return SLAT_OK;
}

static slat_status refuse(const slat_problem *p, const slat_run *run, slat_plan *out)
{
    (void)p;
    (void)run;
    (void)out;
    return host->fail(SLAT_UNSUPPORTED, "fake: not this one");
}

static slat_status fail(const slat_problem *p, const slat_run *run)
{
    (void)p;
    (void)run;
    return host->fail(SLAT_DEVICE, "fake: the driver says %d", 700);
}

static slat_status stamp(const slat_problem *p, const slat_run *run)
{
    ((float *)p->o.data)[0] = run->workspace_bytes >= 1000 ? 1000.0f : (float)run->deterministic;
    ((float *)p->o.data)[1] = 42;
    return SLAT_OK;
}

static slat_status stamp_slow(const slat_problem *p, const slat_run *run)
{
    (void)run;
    ((float *)p->o.data)[1] = 43;
    return SLAT_OK;
}

static int32_t rank_fast(DLDevice device)
{
    return FAKE != NO_DRIVER && device.device_type == kDLCUDA && device.device_id < 2 ? 90 : 0;
}

static int32_t rank_slow(DLDevice device)
{
    return FAKE != NO_DRIVER && device.device_id < 2 ? 10 : 0;
}

static int32_t rank_high(DLDevice device)
{
    (void)device;
    return 1000;
}

static const slat_backend_table fast = {
    .abi = SLAT_ABI,
    .name = "cuda-fake",
    .device = kDLCUDA,
    .rank = rank_fast,
    .kernel = {[SLAT_OP_LANDMARK] = {{plan, stamp}},
               [SLAT_OP_SHARDED] = {{plan, stamp}},
               [SLAT_OP_LIGHTNING] = {{plan, fail}},
               [SLAT_OP_MERGE] = {{refuse, stamp}},
               [SLAT_OP_BLOCK_SPARSE] = {{refuse, stamp}}},
};
static const slat_backend_table slow = {
    .abi = SLAT_ABI,
    .name = "cuda-fake-slow",
    .device = kDLCUDA,
    .rank = rank_slow,
    .kernel = {[SLAT_OP_LANDMARK] = {{plan, stamp_slow}},
               [SLAT_OP_LIGHTNING] = {{plan, stamp_slow}},
               [SLAT_OP_BLOCK_SPARSE] = {{plan, stamp_slow}}},
};
static const slat_backend_table old = {.abi = SLAT_ABI + 1, .name = "cuda-old", .device = kDLCUDA, .rank = rank_high};

static const slat_backend_table *const backends[] = {&slow, &old, &fast};
static const slat_module_table table = {FAKE == WRONG_ABI ? SLAT_ABI + 41 : SLAT_ABI, 3, backends};

__attribute__((visibility("default"))) slat_module_entry slat_module;

const slat_module_table *slat_module(const slat_host *from)
{
    host = from;
    return FAKE == NO_TABLE || from->abi != SLAT_ABI ? NULL : &table;
}
#else
__attribute__((visibility("default"))) extern const int slat_nothing;
const int slat_nothing = 0;
#endif
