/* The module: its entry, and the table of the backend `cuda`, which supports everything on a GPU. */
#include "session.h"

namespace
{

struct entry {
    const char *name;
    void (*enqueue)(slat_session &);
};

const entry entries[SLAT_OPS] = {
    {"block_sparse_cuda", slat_cuda_block_sparse},
    {"neighborhood_cuda", slat_cuda_neighborhood},
    {"sharded_cuda", slat_cuda_sharded},
    {"landmark_cuda", slat_cuda_landmark},
    {"lightning_cuda", slat_cuda_lightning},
    {"lightning_step_cuda", slat_cuda_lightning_step},
    {"merge_cuda", slat_cuda_merge},
    {"transpose_cuda", slat_cuda_transpose},
};

slat_status plan(const slat_problem *p, const slat_run *run, slat_plan *plan)
{
    if (p->op != SLAT_OP_TRANSPOSE && p->type == SLAT_F64)
        return slat_cuda_host->fail(SLAT_UNSUPPORTED, "backend 'cuda': f64 tensors, expected f32, f16 or bf16");
    plan->kernel = entries[p->op].name;
    slat_session session(p, run, true);
    entries[p->op].enqueue(session);
    return session.finish(plan);
}

slat_status run(const slat_problem *p, const slat_run *run)
{
    slat_session session(p, run, false);
    entries[p->op].enqueue(session);
    return session.finish(NULL);
}

/* Needs a driver, the device, and compute capability 8.0: for older ones there is no code in this module. */
int32_t rank(DLDevice device)
{
    int count = 0, major = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || device.device_id < 0 || device.device_id >= count) {
        cudaGetLastError();
        return 0;
    }
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device.device_id) != cudaSuccess) {
        cudaGetLastError();
        return 0;
    }
    return major >= 8 ? 10 : 0;
}

constexpr slat_kernel both = {plan, run}, none = {NULL, NULL};

const slat_backend_table cuda = {
    SLAT_ABI,
    "cuda",
    kDLCUDA,
    rank,
    {{both, both}, {both, both}, {both, both}, {both, both}, {both, both}, {both, none}, {both, both}, {both, none}},
};

const slat_backend_table *const backends[] = {&cuda, &slat_sm90_table};
const slat_module_table table = {SLAT_ABI, 2, backends};

} // namespace

extern "C" __attribute__((visibility("default"))) const slat_module_table *slat_module(const slat_host *host)
{
    if (host->abi != SLAT_ABI) return &table; /* it looks at the number and goes no further */
    slat_cuda_host = host;
    return &table;
}
