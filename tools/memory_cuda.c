/* The memory of GPUs. */
#include "cuda_driver.h"
#include "memory.h"

/* The driver, with the memory's device current to the calling thread. There is one: the memory has been handed out. */
static const cuda_driver *driver(const memory *m)
{
    const char *reason;
    return cuda_driver_open(m->device.device_id, &reason);
}

static cuda_address at(const void *data)
{
    return (cuda_address)(uintptr_t)data;
}

static void *allocate(const memory *m, size_t bytes)
{
    cuda_address data = 0;
    return driver(m)->allocate(&data, bytes ? bytes : 1) ? NULL : (void *)(uintptr_t)data;
}

static void release(const memory *m, void *data)
{
    if (data) driver(m)->release(at(data));
}

static bool upload(const memory *m, void *to, const void *from, size_t bytes)
{
    return bytes == 0 || (!driver(m)->upload(at(to), from, bytes) && !driver(m)->synchronize());
}

static bool download(const memory *m, void *to, const void *from, size_t bytes)
{
    return bytes == 0 || (!driver(m)->synchronize() && !driver(m)->download(to, at(from), bytes));
}

/* Each copy doubles what is there. */
static bool repeat(const memory *m, void *data, size_t period, size_t bytes)
{
    const cuda_driver *d = driver(m);
    bool right = true;
    for (size_t done = period; right && done < bytes; done *= 2)
        right = !d->copy(at(data) + done, at(data), done < bytes - done ? done : bytes - done, NULL);
    return right && !d->synchronize();
}

#define GPU(number)                                                                                                    \
    {                                                                                                                  \
        {kDLCUDA, number}, NULL, allocate, release, upload, download, repeat                                           \
    }

const memory *memory_cuda_of(int device, const char **reason)
{
    static const memory gpus[] = {GPU(0), GPU(1), GPU(2), GPU(3), GPU(4), GPU(5), GPU(6), GPU(7)};
    if (!cuda_driver_open(device, reason)) return NULL;
    if (device < (int)(sizeof gpus / sizeof *gpus)) return &gpus[device];
    *reason = "this program knows eight CUDA devices";
    return NULL;
}

const memory *memory_cuda(const char **reason)
{
    return memory_cuda_of(0, reason);
}
