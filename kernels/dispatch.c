/* The one table of backends. A device's backends are ranked once, best first; a call walks down until a kernel takes
 * it. */
#include "dispatch.h"
#include "check.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKENDS 16
#define DEVICES  64 /* CUDA devices of one process */

static const slat_backend_table *const built_in[] = {
    &slat_scalar,
#ifdef SLAT_CPU
    &slat_avx2,
    &slat_avx512,
    &slat_amx,
#endif
};

/* The backends of one device, best first; those of rank 0 are not on this machine. */
typedef struct {
    int32_t count, usable;
    int32_t rank[BACKENDS];
    const slat_backend_table *backend[BACKENDS];
    char why[400]; /* usable is 0: the reason */
} record;

static record records[1 + DEVICES]; /* the CPU, then CUDA devices */
static atomic_int ready[1 + DEVICES];
static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
static const record no_device = {.why = "no backend serves this type of device"};

static void insert(record *r, const slat_backend_table *backend, DLDevice device)
{
    if (backend->abi != SLAT_ABI || backend->device != device.device_type || r->count == BACKENDS) return;
    const int32_t rank = backend->rank(device);
    int32_t at = r->count++;
    for (; at > 0 && r->rank[at - 1] < rank; at--) {
        r->rank[at] = r->rank[at - 1];
        r->backend[at] = r->backend[at - 1];
    }
    r->rank[at] = rank;
    r->backend[at] = backend;
    r->usable += rank > 0;
}

static void make(record *r, DLDevice device)
{
    for (size_t i = 0; i < sizeof built_in / sizeof *built_in; i++) insert(r, built_in[i], device);
    if (device.device_type != kDLCUDA) return;
    const slat_module_table *module = slat_module(r->why, sizeof r->why);
    for (int32_t i = 0; module && i < module->count; i++) insert(r, module->backends[i], device);
    if (module && !r->usable)
        snprintf(r->why, sizeof r->why, "cuda: no driver, or no device %d that its backends serve", device.device_id);
}

static const record *record_of(DLDevice device)
{
    int32_t slot = 0;
    if (device.device_type == kDLCUDA && device.device_id >= 0 && device.device_id < DEVICES)
        slot = 1 + device.device_id;
    else if (device.device_type != kDLCPU)
        return &no_device;
    if (!atomic_load_explicit(&ready[slot], memory_order_acquire)) {
        pthread_mutex_lock(&making);
        if (!atomic_load_explicit(&ready[slot], memory_order_relaxed)) {
            make(&records[slot], device);
            atomic_store_explicit(&ready[slot], 1, memory_order_release);
        }
        pthread_mutex_unlock(&making);
    }
    return &records[slot];
}

/* SLAT_BACKEND, read once: a comma list. Each name binds its own device type: those that a module brings begin with
 * "cuda", all others are a CPU's. */
static char forced[2][64]; /* CPU, CUDA */
static pthread_once_t forced_once = PTHREAD_ONCE_INIT;

static void read_environment(void)
{
    const char *list = getenv("SLAT_BACKEND");
    while (list && *list) {
        const size_t length = strcspn(list, ",");
        char *name = forced[strncmp(list, "cuda", 4) == 0];
        if (length && !*name) snprintf(name, sizeof *forced, "%.*s", (int)length, list);
        list += length + (list[length] == ',');
    }
}

static const char *forced_name(DLDevice device, const slat_exec *exec)
{
    if (exec && exec->backend) return exec->backend;
    pthread_once(&forced_once, read_environment);
    const char *name = forced[device.device_type == kDLCUDA];
    return *name ? name : NULL;
}

static slat_status no_backend(const record *r, const char *name)
{
    for (int32_t i = 0; i < r->count; i++)
        if (strcmp(r->backend[i]->name, name) == 0)
            return slat_fail(SLAT_NO_BACKEND, "backend '%s': not on this machine%s%s", name, *r->why ? "; " : "",
                             r->why);
    for (size_t i = 0; i < sizeof built_in / sizeof *built_in; i++)
        if (strcmp(built_in[i]->name, name) == 0)
            return slat_fail(SLAT_NO_BACKEND, "backend '%s': serves another type of device than the tensors'", name);
    char known[256] = "";
    for (int32_t i = 0; i < r->count; i++) {
        const size_t at = strlen(known);
        snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", r->backend[i]->name);
    }
    return slat_fail(SLAT_NO_BACKEND, "backend '%s': none of that name for the tensors' device, expected one of: %s",
                     name, *known ? known : r->why);
}

/* A chosen kernel and its plan. */
typedef struct {
    const slat_kernel *kernel;
    slat_plan plan;
} choice;

static slat_status choose(const record *r, const slat_problem *p, const slat_run *run, const char *name, choice *out)
{
    int32_t refused = 0;
    for (int32_t i = 0; i < r->usable; i++) {
        const slat_backend_table *backend = r->backend[i];
        if (name && strcmp(backend->name, name) != 0) continue;
        const slat_kernel *kernel = &backend->kernel[p->op][p->pass];
        refused = 1;
        slat_status status = SLAT_UNSUPPORTED;
        if (kernel->plan) {
            out->plan = (slat_plan){.backend = backend->name};
            status = kernel->plan(p, run, &out->plan);
        } else
            slat_fail(status, "backend '%s' has no kernel for this call", backend->name);
        out->kernel = kernel;
        if (status != SLAT_UNSUPPORTED) return status;
    }
    if (name && !refused) return no_backend(r, name);
    return refused ? SLAT_UNSUPPORTED : slat_fail(SLAT_UNSUPPORTED, "%s", r->why);
}

/* The plan for data of 16-byte alignment, with the largest workspace that any alignment could need. */
static slat_status report(const record *r, slat_problem *p, const slat_run *run, const char *name, slat_plan *plan)
{
    choice best, general;
    p->aligned = 1;
    SLAT_TRY(choose(r, p, run, name, &best));
    p->aligned = 0;
    const slat_status status = choose(r, p, run, name, &general);
    if (status != SLAT_OK && status != SLAT_UNSUPPORTED) return status;
    *plan = best.plan;
    if (status == SLAT_OK && general.plan.workspace > plan->workspace) plan->workspace = general.plan.workspace;
    return SLAT_OK;
}

/* Points run at the caller's workspace, at what its allocator gives, or at memory of our own (*own, to be freed). */
static slat_status find_workspace(const slat_exec *exec, const slat_problem *p, slat_run *run, size_t bytes, void **own)
{
    const char *source = "workspace";
    *own = NULL;
    if (!bytes) return SLAT_OK;
    run->workspace_bytes = bytes;
    if (exec && exec->workspace) {
        if (exec->workspace_bytes < bytes)
            return slat_fail(SLAT_WORKSPACE, "exec.workspace: %zu bytes, expected %zu", exec->workspace_bytes, bytes);
        run->workspace = exec->workspace;
    } else if (exec && exec->allocate) {
        source = "allocate";
        run->workspace = exec->allocate(exec->allocator, bytes);
        if (!run->workspace) return slat_fail(SLAT_NO_MEMORY, "exec.allocate: NULL, expected %zu bytes", bytes);
    } else if (slat_on_cpu(p)) {
        if (bytes > SIZE_MAX - 255 || !(*own = aligned_alloc(256, (bytes + 255) / 256 * 256)))
            return slat_fail(SLAT_NO_MEMORY, "no memory for a workspace of %zu bytes", bytes);
        run->workspace = *own;
    } else
        return slat_fail(SLAT_WORKSPACE, "exec.workspace: NULL, expected %zu bytes (or exec.allocate)", bytes);
    if ((uintptr_t)run->workspace % 256)
        return slat_fail(SLAT_WORKSPACE, "exec.%s: %p, expected an address that is a multiple of 256, %zu bytes long",
                         source, run->workspace, bytes);
    return SLAT_OK;
}

static slat_status dispatch(slat_problem *p, const slat_exec *exec)
{
    slat_run run = {.threads = exec ? exec->threads : 0};
    if (exec) {
        run.stream = exec->stream;
        run.deterministic = exec->deterministic;
        run.parallel = exec->parallel;
        run.pool = exec->pool;
    }
    if (!run.threads) run.threads = slat_threads();
    const record *r = record_of(p->device);
    const char *name = forced_name(p->device, exec);
    if (exec && exec->plan) return report(r, p, &run, name, exec->plan);

    choice chosen;
    void *own;
    SLAT_TRY(choose(r, p, &run, name, &chosen));
    SLAT_TRY(find_workspace(exec, p, &run, chosen.plan.workspace, &own));
    const slat_status status = chosen.kernel->run(p, &run);
    free(own);
    return status;
}

/* A rank that leaves the problem to the next one says why. Where that one takes it nothing has failed, and the thread's
 * last failure stays what it was. */
slat_status slat_dispatch(slat_problem *p, const slat_exec *exec)
{
    char before[512];
    const size_t length = strlen(slat_error());
    memcpy(before, slat_error(), length + 1);
    const slat_status status = dispatch(p, exec);
    return status == SLAT_OK && strcmp(before, slat_error()) != 0 ? slat_fail(SLAT_OK, "%s", before) : status;
}

slat_status slat_backend(int32_t i, DLDevice device, const char **name, int32_t *rank)
{
    if (!name || !rank) return slat_fail(SLAT_INVALID, "%s: NULL, expected a place for it", name ? "rank" : "name");
    if (device.device_type == kDLCUDAHost) device = (DLDevice){kDLCPU, 0};
    if (device.device_type == kDLCUDAManaged) device.device_type = kDLCUDA;
    const record *r = record_of(device);
    if (i < 0 || i >= r->count)
        return slat_fail(SLAT_INVALID, "backend %d: this device has %d%s%s", i, r->count, r->count ? "" : "; ",
                         r->count ? "" : r->why);
    *name = r->backend[i]->name;
    *rank = r->rank[i];
    return SLAT_OK;
}

#ifndef SLAT_CPU
int32_t slat_threads(void)
{
    return 1;
}
#endif
