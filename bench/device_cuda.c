/* The first GPU, through the driver's own library, opened when it is asked for: the bench builds and runs without CUDA.
 * The declarations below are the driver API's, of the functions used here. */
#define _GNU_SOURCE
#include "device.h"
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef int result; /* CUresult: 0 is success */
typedef uint64_t device_pointer;

static struct {
    result (*init)(unsigned);
    result (*count)(int *);
    result (*device)(int *, int);
    result (*name)(char *, int, int);
    result (*retain)(void **, int);
    result (*set_current)(void *);
    result (*synchronize)(void);
    result (*allocate)(device_pointer *, size_t);
    result (*release)(device_pointer);
    result (*upload)(device_pointer, const void *, size_t);
    result (*download)(void *, device_pointer, size_t);
    result (*event_create)(void **, unsigned);
    result (*event_record)(void *, void *);
    result (*event_wait)(void *);
    result (*event_time)(float *, void *, void *);
    void *start, *stop; /* events */
} driver;

/* dlsym() returns an object pointer; POSIX lets it be copied into a function pointer. */
static bool load(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return false;
    const struct {
        const char *name;
        void *place;
    } symbols[] = {
        {"cuInit", &driver.init},
        {"cuDeviceGetCount", &driver.count},
        {"cuDeviceGet", &driver.device},
        {"cuDeviceGetName", &driver.name},
        {"cuDevicePrimaryCtxRetain", &driver.retain},
        {"cuCtxSetCurrent", &driver.set_current},
        {"cuCtxSynchronize", &driver.synchronize},
        {"cuMemAlloc_v2", &driver.allocate},
        {"cuMemFree_v2", &driver.release},
        {"cuMemcpyHtoD_v2", &driver.upload},
        {"cuMemcpyDtoH_v2", &driver.download},
        {"cuEventCreate", &driver.event_create},
        {"cuEventRecord", &driver.event_record},
        {"cuEventSynchronize", &driver.event_wait},
        {"cuEventElapsedTime", &driver.event_time},
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *symbol = dlsym(library, symbols[i].name);
        if (!symbol) return false;
        memcpy(symbols[i].place, &symbol, sizeof symbol);
    }
    return true;
}

static void *allocate(const memory *m, size_t bytes)
{
    (void)m;
    device_pointer pointer = 0;
    return driver.allocate(&pointer, bytes ? bytes : 1) == 0 ? (void *)(uintptr_t)pointer : NULL;
}

static void release(const memory *m, void *data)
{
    (void)m;
    if (data) driver.release((device_pointer)(uintptr_t)data);
}

static bool upload(const memory *m, void *to, const void *from, size_t bytes)
{
    (void)m;
    return bytes == 0 || (driver.upload((device_pointer)(uintptr_t)to, from, bytes) == 0 && driver.synchronize() == 0);
}

static bool download(const memory *m, void *to, const void *from, size_t bytes)
{
    (void)m;
    return bytes == 0 ||
           (driver.synchronize() == 0 && driver.download(to, (device_pointer)(uintptr_t)from, bytes) == 0);
}

static void begin(void) { driver.event_record(driver.start, NULL); }

/* A failed kernel shows in the next call's status; a time that cannot be read is no time. */
static double end(void)
{
    float ms = 0;
    driver.event_record(driver.stop, NULL);
    if (driver.event_wait(driver.stop) != 0 || driver.event_time(&ms, driver.start, driver.stop) != 0) return -1;
    return ms * 1e-3;
}

static const char *open_device(char *name, int size)
{
    int count = 0, device = 0;
    void *context = NULL;
    if (!load()) return "no CUDA driver (libcuda.so.1) on this machine";
    if (driver.init(0) != 0 || driver.count(&count) != 0 || count == 0) return "no CUDA device on this machine";
    if (driver.device(&device, 0) != 0 || driver.name(name, size, device) != 0 ||
        driver.retain(&context, device) != 0 || driver.set_current(context) != 0 ||
        driver.event_create(&driver.start, 0) != 0 || driver.event_create(&driver.stop, 0) != 0)
        return "the CUDA driver cannot open the first device";
    return NULL;
}

const bench_device *bench_device_gpu(const char **reason)
{
    static char name[128];
    static const memory device_memory = {.device = {kDLCUDA, 0}, .allocate = allocate, .release = release,
                                         .upload = upload, .download = download};
    static const bench_device device = {.name = name, .memory = &device_memory, .begin = begin, .end = end};
    *reason = open_device(name, sizeof name);
    return *reason ? NULL : &device;
}
