/* Where tensors live: the host, or a device that somebody plugs in by filling this table. */
#ifndef TOOLS_MEMORY_H
#define TOOLS_MEMORY_H
#include <stdbool.h>
#include <stddef.h>

#include <dlpack/dlpack.h>

typedef struct memory memory;
struct memory {
    DLDevice device;
    void *context;                                                                       /* the implementation's own */
    void *(*allocate)(const memory *, size_t bytes);                                     /* 256-byte aligned, or NULL */
    void (*release)(const memory *, void *data);                                         /* NULL data is fine */
    bool (*upload)(const memory *, void *device_data, const void *host, size_t bytes);   /* done when it returns */
    bool (*download)(const memory *, void *host, const void *device_data, size_t bytes); /* waits for earlier work */
    bool (*repeat)(const memory *, void *device_data, size_t period, size_t bytes); /* the first bytes, over and over */
};

const memory *memory_host(void);
/* The first GPU's, through the driver's own library, opened when it is first asked for; its context becomes current to
 * the calling thread. NULL with the reason where there is none. */
const memory *memory_cuda(const char **reason);
const memory *memory_cuda_of(int device, const char **reason); /* likewise of another GPU */

/* True where the processor can read and write the data directly. */
bool memory_on_host(const memory *);

/* Workspace for calls, kept from one to the next and made larger when asked. Zero but for `memory`. The function is
 * slat_exec's allocate, the workspace its allocator. */
typedef struct {
    const memory *memory;
    void *data;
    size_t bytes;
} memory_workspace;

void *memory_workspace_allocate(void *space, size_t bytes);
void memory_workspace_free(memory_workspace *);

#endif
