/* What is told of launches, and the CUDA runtime's functions that the module calls. */
#include "machine.h"
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <set>
#include <string>
#include <ucontext.h>
#include <unistd.h>

namespace emulator
{

/* ---- what is told ---- */

static std::string output_of(const char *command)
{
    std::string all;
    char line[512];
    FILE *pipe = popen(command, "r");
    if (!pipe) return all;
    while (fgets(line, sizeof line, pipe)) all += line;
    pclose(pipe);
    return all;
}

/* What addr2line says of an address in this library. */
static std::string lookup(const void *address, const char *options)
{
    Dl_info found;
    if (!dladdr(address, &found)) return "";
    char command[1024];
    snprintf(command, sizeof command, "addr2line -f -C -s %s -e '%s' %#tx 2>/dev/null", options, found.dli_fname,
             (const char *)address - (const char *)found.dli_fbase);
    return output_of(command);
}

static std::string kernel_name()
{
    const std::string name = lookup(kernel_now, "");
    return name.substr(0, name.find_first_of("(\n"));
}

/* The line of a call that returns to `from`, and of those that it is inlined into. */
static void tell_place(code from)
{
    if (from) fputs(lookup((const char *)from - 1, "-p -i").c_str(), stderr);
}

void tell(code from, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    fprintf(stderr, "emulator: %s, block %d, thread %d: ", kernel_name().c_str(), here->number, self->thread);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    va_end(values);
    tell_place(from);
}

bool first_time(code from)
{
    static std::set<code> told;
    return told.insert(from).second;
}

static std::string wait_of(const fiber &f)
{
    const block *b = f.home;
    char line[200];
    switch (f.state) {
    case at_barrier:
        snprintf(line, sizeof line, "barrier at %td, parity %d: phase %d, %d of %d arrivals and %d bytes to come",
                 (const uint8_t *)f.on - b->shared, f.number, f.on->phase, f.on->pending, f.on->count, f.on->bytes);
        return line;
    case at_named:
        snprintf(line, sizeof line, "named barrier %d: %d of %d threads have come", f.number, b->named[f.number].count,
                 b->named[f.number].threads);
        return line;
    case at_warp:
        return "lanes of its warp";
    case at_group:
        return "its warp group's products";
    case at_block:
        return "the block's threads";
    case ended:
        return "ended";
    default:
        return "other blocks";
    }
}

/* Every thread's wait, once where neighbours wait alike. */
void report(const blocks &all, const char *what)
{
    fprintf(stderr, "emulator: %s in %s, %u blocks\n", what, kernel_name().c_str(), grid_size.x);
    for (const block *b : all) {
        if (!b->left) continue;
        fprintf(stderr, "block %d, %zu copies to land\n", b->number, b->loads.size());
        std::string wait_before;
        code from_before = NULL;
        for (const fiber &f : b->fibers) {
            const std::string wait = wait_of(f);
            if (wait == wait_before && f.from == from_before) continue;
            fprintf(stderr, "from thread %d: %s\n", f.thread, wait.c_str());
            if (f.state != ended) tell_place(f.from);
            wait_before = wait, from_before = f.from;
        }
    }
}

static void crashed(int signal, siginfo_t *, void *context)
{
    const code at = (code)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    if (self) {
        tell((char *)at + 1, "signal %d", signal);
        tell_place(self->from);
    }
    _exit(128 + signal);
}

/* On a stack of its own: a fiber's may be what ran out. */
void watch_signals()
{
    stack_t stack = {};
    stack.ss_size = 1 << 16;
    stack.ss_sp = malloc(stack.ss_size);
    sigaltstack(&stack, NULL);
    struct sigaction action = {};
    action.sa_sigaction = crashed;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int signal : {SIGSEGV, SIGBUS, SIGFPE}) sigaction(signal, &action, NULL);
}

} // namespace emulator

/* ---- the CUDA runtime ---- */

extern "C" {

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int)
{
    return cudaSuccess;
}

cudaError_t cudaGetLastError()
{
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t error)
{
    return error == cudaSuccess ? "no error" : "the emulated launch failed";
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t)
{
    memset(to, value, bytes);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int)
{
    *value = attribute == cudaDevAttrComputeCapabilityMajor   ? 9
             : attribute == cudaDevAttrComputeCapabilityMinor ? 0
             : attribute == cudaDevAttrMemoryClockRate        ? 3201000 /* an H200's */
             : attribute == cudaDevAttrGlobalMemoryBusWidth   ? 6016
                                                              : emulator::chosen.processors;
    return cudaSuccess;
}

/* The module asks for one function of the driver, cuTensorMapEncodeTiled. */
#if CUDART_VERSION >= 12050
cudaError_t cudaGetDriverEntryPointByVersion(const char *, void **entry, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult *result)
#else
cudaError_t cudaGetDriverEntryPoint(const char *, void **entry, unsigned long long,
                                    cudaDriverEntryPointQueryResult *result)
#endif
{
    *entry = (void *)emulator::encode_map;
    *result = cudaDriverEntryPointSuccess;
    return cudaSuccess;
}

} /* extern "C" */
