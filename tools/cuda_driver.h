/* The CUDA driver's own library, opened at run time: tools, tests and the bench reach a GPU without linking CUDA.
 *
 * The declarations are the driver interface's, of the functions used. Every one returns 0 when it succeeds.
 */
#ifndef TOOLS_CUDA_DRIVER_H
#define TOOLS_CUDA_DRIVER_H
#include <stddef.h>
#include <stdint.h>

typedef uint64_t cuda_address;

typedef struct {
    int (*init)(unsigned);
    int (*count)(int *);
    int (*device)(int *, int);
    int (*name)(char *, int, int);
    int (*retain)(void **, int);
    int (*make_current)(void *);
    int (*synchronize)(void);
    int (*allocate)(cuda_address *, size_t);
    int (*release)(cuda_address);
    int (*upload)(cuda_address, const void *, size_t);
    int (*download)(void *, cuda_address, size_t);
    int (*copy)(cuda_address to, cuda_address from, size_t, void *stream);
    int (*fill)(cuda_address, unsigned char, size_t, void *stream);
    int (*event_create)(void **, unsigned);
    int (*event_record)(void *, void *);
    int (*event_wait)(void *);
    int (*event_time)(float *, void *, void *);
    int (*stream_create)(void **, unsigned);
    int (*stream_destroy)(void *);
    int (*stream_wait)(void *);
    int (*capture_begin)(void *, int);
    int (*capture_end)(void *, void **);
    int (*graph_make)(void **, void *, unsigned long long);
    int (*graph_launch)(void *, void *);
    int (*graph_destroy)(void *);
    int (*graph_run_destroy)(void *);
} cuda_driver;

/* The driver, with the device's primary context current to the calling thread; NULL with the reason where there is
 * none. The library is looked for once. */
const cuda_driver *cuda_driver_open(int device, const char **reason);
/* 0 without a driver. */
int cuda_driver_devices(void);

#endif
