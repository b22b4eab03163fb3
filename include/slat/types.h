/**
 * @file
 * What every call shares: the status, the execution record, the plan, the version.
 *
 * Conventions of the whole interface:
 * - Every struct may be zero-initialised: NULL or 0 means absent, or the default named at the field.
 * - `reserved` words must be 0 (else #SLAT_INVALID): later fields take their place without a new soname.
 * - A field marked [later] is declared now and answers #SLAT_UNSUPPORTED, by its name, wherever it is set.
 * - Tensors are DLPack's DLTensor. Where a call runs is their device: kDLCPU and kDLCUDAHost on the CPU, kDLCUDA and
 *   kDLCUDAManaged on that GPU. All tensors of one call live on the same side. NULL strides mean row-major, strides are
 *   counted in elements, `byte_offset` counts, any alignment of at least one element is right.
 * - Types: f64 (CPU only), f32, f16, bf16.
 * - Strides of extents of 1 are ignored. Otherwise a stride of 0 is allowed on an input only, a negative one nowhere.
 *   Outputs share no element with each other or with an input, save where a field says so.
 * - On failure nothing is written to an output, and slat_error() says which argument, what it is, what it should be.
 * - Calls are reentrant. A GPU call is enqueued on `stream`, never synchronises it, and can be captured in a CUDA
 *   graph.
 * - The environment: SLAT_BACKEND forces backends by name (a comma list, each name binds its own device type, a miss is
 *   an error; read once). SLAT_MODULE_PATH is the folder of the CUDA module, where it is not beside the library.
 */
#ifndef SLAT_TYPES_H
#define SLAT_TYPES_H
#include <dlpack/dlpack.h>
#include <stddef.h>
#include <stdint.h>

/** The version of these headers. The soname is libslat.so.MAJOR; slat_version() is the library's own. */
#define SLAT_VERSION_MAJOR 0
#define SLAT_VERSION_MINOR 1
#define SLAT_VERSION_PATCH 0

/** Marks what the library exports; everything else is hidden. */
#if defined(__GNUC__)
#define SLAT_API __attribute__((visibility("default")))
#else
#define SLAT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** What a call answers. Anything but #SLAT_OK leaves a sentence for slat_error(). */
typedef enum {
    SLAT_OK = 0,
    SLAT_INVALID,     /**< An argument is wrong: slat_error() says which, what it is and what it should be. */
    SLAT_UNSUPPORTED, /**< Right, but no backend for this device (or not the forced one) computes it. */
    SLAT_WORKSPACE,   /**< Workspace missing, too small or misaligned: the sentence says how many bytes are needed. */
    SLAT_NO_BACKEND,  /**< The forced backend does not exist on this machine or serves another device type. */
    SLAT_DEVICE,      /**< The device or its driver failed; the sentence carries the driver's. */
    SLAT_NO_MEMORY    /**< Host memory ran out, or slat_exec::allocate returned NULL. */
} slat_status;

/** What a call would do; filled where slat_exec::plan points. */
typedef struct {
    const char *backend;   /**< Name of the backend that would run; static storage. */
    const char *kernel;    /**< Name of its kernel; static storage. */
    size_t workspace;      /**< Bytes needed: the largest over every kernel that any alignment of the data could reach.
                                */
    int32_t deterministic; /**< 1: the result is the same, bit for bit, from run to run; 0: it may vary. */
    int32_t launches;      /**< Kernels launched on a GPU; 0 on a CPU. */
} slat_plan;

/** How to run a call. A NULL slat_exec is one that is all zero. */
typedef struct {
    void *stream;          /**< GPU: a cudaStream_t of the tensors' device. NULL: the legacy default stream. */
    const char *backend;   /**< Force this backend: a miss is #SLAT_NO_BACKEND or #SLAT_UNSUPPORTED. It outranks the
                                environment's SLAT_BACKEND. NULL: the best by rank for the tensors' device. */
    int32_t threads;       /**< CPU: threads, at least 0. 0: what OpenMP would use. A call starts no more than have
                                work, nor more than 256: workspace does not grow beyond that. Forward results do not
                                depend on it, nor do deterministic backward ones. */
    int32_t deterministic; /**< Backward, bit for bit: 0 the kernel's default, 1 required, -1 not needed. Forward always
                                is. Another value is #SLAT_INVALID. */
    void *workspace;       /**< On the tensors' device, 256-byte aligned (else #SLAT_WORKSPACE). The call's alone until
                                the stream has passed it; contents undefined before and after. NULL: see `allocate`. */
    size_t workspace_bytes; /**< Size of `workspace`; less than slat_plan::workspace is #SLAT_WORKSPACE. */
    /** Returns at least `bytes` bytes on the tensors' device, 256-byte aligned, or NULL (#SLAT_NO_MEMORY). Asked at
    most
     *  once a call, where `workspace` is NULL and some is needed; the memory stays the caller's to free, after the
     *  stream has passed. NULL: on a CPU the library uses memory of its own, on a GPU the call is #SLAT_WORKSPACE. */
    void *(*allocate)(void *allocator, size_t bytes);
    void *allocator;       /**< Handed to `allocate`. */
    /** CPU: runs task(ctx, 0) ... task(ctx, n - 1) on the caller's own threads, in any order, and returns when all have
     *  ended. NULL: OpenMP. */
    void (*parallel)(void *pool, int32_t n, void (*task)(void *ctx, int32_t i), void *ctx);
    void *pool;            /**< Handed to `parallel`. */
    slat_plan *plan;       /**< Set: the call checks its arguments, fills this plan, loads the kernel and computes
                                nothing. It looks at shapes, strides, types and devices, never at data or index
                                contents: data pointers may be NULL. */
    uint64_t reserved[6];  /**< 0. */
} slat_exec;

/** The library's version, "0.1.0". */
SLAT_API const char *slat_version(void);

/**
 * The i-th backend that serves `device`, best first.
 * @param i       from 0
 * @param device  as in DLTensor; loads the CUDA module when its type is a GPU's
 * @param name    receives the name, for slat_exec::backend and SLAT_BACKEND; static storage
 * @param rank    receives the rank; the highest that computes a call runs it. 0: not on this machine
 * @return #SLAT_OK; #SLAT_INVALID past the last, or where a place is NULL
 */
SLAT_API slat_status slat_backend(int32_t i, DLDevice device, const char **name, int32_t *rank);

/** One sentence about this thread's last failure, "" before the first. Valid until the thread's next failure. */
SLAT_API const char *slat_error(void);

/** The status's own name, such as "SLAT_INVALID"; "unknown status" for a value that is none. Static storage. */
SLAT_API const char *slat_status_name(slat_status status);

#ifdef __cplusplus
}
#endif
#endif
