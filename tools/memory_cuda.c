/* The memory of the first GPU, through the driver's own library, opened at run time: nothing here links CUDA. The
 * declarations are the driver interface's, of the functions used. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "memory.h"

typedef int outcome; /* CUresult: 0 is success */
typedef uint64_t address;

static struct {
    outcome (*init)(unsigned);
    outcome (*count)(int *);
    outcome (*device)(int *, int);
    outcome (*retain)(void **, int);
    outcome (*make_current)(void *);
    outcome (*synchronize)(void);
    outcome (*allocate)(address *, size_t);
    outcome (*release)(address);
    outcome (*upload)(address, const void *, size_t);
    outcome (*download)(void *, address, size_t);
} driver;

static void *context;
static const char *failure;

/* dlsym() returns an object pointer; POSIX lets it be copied into a function pointer. */
static bool load(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    const struct {
        const char *name;
        void *place;
    } symbols[] = {
        {"cuInit", &driver.init},
        {"cuDeviceGetCount", &driver.count},
        {"cuDeviceGet", &driver.device},
        {"cuDevicePrimaryCtxRetain", &driver.retain},
        {"cuCtxSetCurrent", &driver.make_current},
        {"cuCtxSynchronize", &driver.synchronize},
        {"cuMemAlloc_v2", &driver.allocate},
        {"cuMemFree_v2", &driver.release},
        {"cuMemcpyHtoD_v2", &driver.upload},
        {"cuMemcpyDtoH_v2", &driver.download},
    };
    for (size_t i = 0; library && i < sizeof symbols / sizeof *symbols; i++) {
        void *symbol = dlsym(library, symbols[i].name);
        if (!symbol) return false;
        memcpy(symbols[i].place, &symbol, sizeof symbol);
    }
    return library != NULL;
}

static void open_device(void)
{
    int count = 0, device = 0;
    if (!load())
        failure = "no CUDA driver (libcuda.so.1) on this machine";
    else if (driver.init(0) || driver.count(&count) || count == 0)
        failure = "no CUDA device on this machine";
    else if (driver.device(&device, 0) || driver.retain(&context, device))
        failure = "the CUDA driver cannot open the first device";
}

static void *allocate(const memory *m, size_t bytes)
{
    (void)m;
    address data = 0;
    return driver.allocate(&data, bytes ? bytes : 1) ? NULL : (void *)(uintptr_t)data;
}

static void release(const memory *m, void *data)
{
    (void)m;
    if (data) driver.release((address)(uintptr_t)data);
}

static bool upload(const memory *m, void *to, const void *from, size_t bytes)
{
    (void)m;
    return bytes == 0 || (!driver.upload((address)(uintptr_t)to, from, bytes) && !driver.synchronize());
}

static bool download(const memory *m, void *to, const void *from, size_t bytes)
{
    (void)m;
    return bytes == 0 || (!driver.synchronize() && !driver.download(to, (address)(uintptr_t)from, bytes));
}

const memory *memory_cuda(const char **reason)
{
    static const memory gpu = {{kDLCUDA, 0}, NULL, allocate, release, upload, download};
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_device);
    *reason = failure;
    if (failure) return NULL;
    driver.make_current(context);
    return &gpu;
}
