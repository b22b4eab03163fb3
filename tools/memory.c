/* The host's memory. */
#define _POSIX_C_SOURCE 200809L
#include "memory.h"

#include <stdlib.h>
#include <string.h>

static void *host_allocate(const memory *m, size_t bytes)
{
    (void)m;
    void *data = NULL;
    return posix_memalign(&data, 256, bytes ? bytes : 1) ? NULL : data;
}

static void host_release(const memory *m, void *data)
{
    (void)m;
    free(data);
}

static bool host_upload(const memory *m, void *to, const void *from, size_t bytes)
{
    (void)m;
    if (bytes) memcpy(to, from, bytes);
    return true;
}

static bool host_download(const memory *m, void *to, const void *from, size_t bytes)
{
    return host_upload(m, to, from, bytes);
}

static bool host_repeat(const memory *m, void *data, size_t period, size_t bytes)
{
    (void)m;
    unsigned char *to = data;
    for (size_t done = period; done < bytes; done += period)
        memcpy(to + done, to, period < bytes - done ? period : bytes - done);
    return true;
}

const memory *memory_host(void)
{
    static const memory host = {{kDLCPU, 0}, NULL, host_allocate, host_release, host_upload, host_download, host_repeat};
    return &host;
}

bool memory_on_host(const memory *m)
{
    return m->device.device_type != kDLCUDA;
}

void *memory_workspace_allocate(void *space, size_t bytes)
{
    memory_workspace *w = space;
    if (bytes > w->bytes) {
        w->memory->release(w->memory, w->data);
        w->data = w->memory->allocate(w->memory, bytes);
        w->bytes = w->data ? bytes : 0;
    }
    return w->data;
}

void memory_workspace_free(memory_workspace *w)
{
    w->memory->release(w->memory, w->data);
    *w = (memory_workspace){.memory = w->memory};
}
