/* Stands in for the CUDA driver's library (libcuda.so.1): one device whose memory is the processor's own, new memory
 * filled with 0xff. Streams do all at once; graphs are refused. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, BAD_VALUE = 1, NO_MEMORY = 2, PAGE = 4096 };

/* ---- the device ---- */

int cuInit(unsigned flags)
{
    (void)flags;
    return OK;
}

int cuDeviceGetCount(int *count)
{
    *count = 1;
    return OK;
}

int cuDeviceGet(int *device, int number)
{
    *device = number;
    return OK;
}

int cuDeviceGetName(char *name, int size, int device)
{
    (void)device;
    snprintf(name, (size_t)size, "emulated H100");
    return OK;
}

int cuDevicePrimaryCtxRetain(void **context, int device)
{
    static char primary;
    (void)device;
    *context = &primary;
    return OK;
}

int cuCtxSetCurrent(void *context)
{
    (void)context;
    return OK;
}

int cuCtxSynchronize(void)
{
    return OK;
}

/* ---- memory ---- */

int cuMemAlloc_v2(uint64_t *address, size_t bytes)
{
    const size_t all = (bytes / PAGE + 2) * PAGE;
    void *memory = aligned_alloc(PAGE, all);
    if (!memory) return NO_MEMORY;
    memset(memory, 0xff, all);
    *address = (uint64_t)(uintptr_t)memory;
    return OK;
}

int cuMemFree_v2(uint64_t address)
{
    free((void *)(uintptr_t)address);
    return OK;
}

int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes)
{
    memcpy((void *)(uintptr_t)to, from, bytes);
    return OK;
}

int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes)
{
    memcpy(to, (const void *)(uintptr_t)from, bytes);
    return OK;
}

int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream)
{
    (void)stream;
    memmove((void *)(uintptr_t)to, (const void *)(uintptr_t)from, bytes);
    return OK;
}

int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *stream)
{
    (void)stream;
    memset((void *)(uintptr_t)to, value, bytes);
    return OK;
}

/* ---- events and streams ---- */

int cuEventCreate(void **event, unsigned flags)
{
    static char any;
    (void)flags;
    *event = &any;
    return OK;
}

int cuEventRecord(void *event, void *stream)
{
    (void)event, (void)stream;
    return OK;
}

int cuEventSynchronize(void *event)
{
    (void)event;
    return OK;
}

int cuEventElapsedTime(float *milliseconds, void *from, void *to)
{
    (void)from, (void)to;
    *milliseconds = 1;
    return OK;
}

int cuStreamCreate(void **stream, unsigned flags)
{
    (void)flags;
    *stream = NULL;
    return OK;
}

int cuStreamDestroy_v2(void *stream)
{
    (void)stream;
    return OK;
}

int cuStreamSynchronize(void *stream)
{
    (void)stream;
    return OK;
}

/* ---- graphs, refused ---- */

int cuStreamBeginCapture_v2(void *stream, int mode)
{
    (void)stream, (void)mode;
    return BAD_VALUE;
}

int cuStreamEndCapture(void *stream, void **graph)
{
    (void)stream, (void)graph;
    return BAD_VALUE;
}

int cuGraphInstantiateWithFlags(void **run, void *graph, unsigned long long flags)
{
    (void)run, (void)graph, (void)flags;
    return BAD_VALUE;
}

int cuGraphLaunch(void *run, void *stream)
{
    (void)run, (void)stream;
    return BAD_VALUE;
}

int cuGraphDestroy(void *graph)
{
    (void)graph;
    return OK;
}

int cuGraphExecDestroy(void *run)
{
    (void)run;
    return OK;
}
