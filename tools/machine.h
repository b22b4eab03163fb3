/* What this machine is, as far as kernels care. */
#ifndef TOOLS_MACHINE_H
#define TOOLS_MACHINE_H
#include <stdint.h>

typedef struct {
    char model[128];
    int processors;         /* that this process may use */
    int64_t memory;         /* bytes */
    char instructions[256]; /* "avx2 fma avx512f ...": those that kernels could use; "" where unknown */
} machine;

machine machine_this(void);

#endif
