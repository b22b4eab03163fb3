/* The CUDA driver's library, found once. */
#define _GNU_SOURCE
#include "cuda_driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { DEVICES = 16 };

static cuda_driver driver;
static const char *failure;
static char lacking[96];
static int devices;
static void *contexts[DEVICES]; /* primary ones, kept from when they are first asked for */
static pthread_mutex_t keeping = PTHREAD_MUTEX_INITIALIZER;

/* NULL, or what is missing. dlsym() returns an object pointer; POSIX lets it be copied into a function pointer. */
static const char *load(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return "no CUDA driver (libcuda.so.1) on this machine";
    const struct {
        const char *name;
        void *place;
    } symbols[] = {
        {"cuInit", &driver.init},
        {"cuDeviceGetCount", &driver.count},
        {"cuDeviceGet", &driver.device},
        {"cuDeviceGetName", &driver.name},
        {"cuDevicePrimaryCtxRetain", &driver.retain},
        {"cuCtxSetCurrent", &driver.make_current},
        {"cuCtxSynchronize", &driver.synchronize},
        {"cuMemAlloc_v2", &driver.allocate},
        {"cuMemFree_v2", &driver.release},
        {"cuMemcpyHtoD_v2", &driver.upload},
        {"cuMemcpyDtoH_v2", &driver.download},
        {"cuMemcpyDtoDAsync_v2", &driver.copy},
        {"cuMemsetD8Async", &driver.fill},
        {"cuEventCreate", &driver.event_create},
        {"cuEventRecord", &driver.event_record},
        {"cuEventSynchronize", &driver.event_wait},
        {"cuEventElapsedTime", &driver.event_time},
        {"cuStreamCreate", &driver.stream_create},
        {"cuStreamDestroy_v2", &driver.stream_destroy},
        {"cuStreamSynchronize", &driver.stream_wait},
        {"cuStreamBeginCapture_v2", &driver.capture_begin},
        {"cuStreamEndCapture", &driver.capture_end},
        {"cuGraphInstantiateWithFlags", &driver.graph_make},
        {"cuGraphLaunch", &driver.graph_launch},
        {"cuGraphDestroy", &driver.graph_destroy},
        {"cuGraphExecDestroy", &driver.graph_run_destroy},
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *symbol = dlsym(library, symbols[i].name);
        if (!symbol) {
            snprintf(lacking, sizeof lacking, "the CUDA driver (libcuda.so.1) has no %s: it is too old",
                     symbols[i].name);
            return lacking;
        }
        memcpy(symbols[i].place, &symbol, sizeof symbol);
    }
    return NULL;
}

static void open_driver(void)
{
    failure = load();
    if (!failure && (driver.init(0) || driver.count(&devices) || devices == 0))
        failure = "no CUDA device on this machine";
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

int cuda_driver_devices(void)
{
    pthread_once(&once, open_driver);
    return failure ? 0 : devices;
}

static void *context_of(int number)
{
    int device = 0;
    pthread_mutex_lock(&keeping);
    if (!contexts[number] && (driver.device(&device, number) || driver.retain(&contexts[number], device)))
        contexts[number] = NULL;
    pthread_mutex_unlock(&keeping);
    return contexts[number];
}

const cuda_driver *cuda_driver_open(int device, const char **reason)
{
    const int count = cuda_driver_devices();
    *reason = failure;
    if (failure) return NULL;
    *reason = "no CUDA device of this number";
    if (device < 0 || device >= count || device >= DEVICES) return NULL;
    void *context = context_of(device);
    *reason = "the CUDA driver cannot open the device";
    if (!context || driver.make_current(context)) return NULL;
    *reason = NULL;
    return &driver;
}
