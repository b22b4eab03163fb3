/* Opens the CUDA module at the first CUDA tensor: libslat_cuda.so in SLAT_MODULE_PATH, or beside libslat (in its
 * folder's `slat` or in the folder itself), never in the current folder. */
#define _GNU_SOURCE
#include "dispatch.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "libslat_cuda.so"

static struct {
    pthread_once_t once;
    const slat_module_table *table;
    char why[400];
} module = {.once = PTHREAD_ONCE_INIT};

/* The first of the module's places that exists, in `path`. */
static int32_t find(char *path, size_t size)
{
    const char *folder = secure_getenv("SLAT_MODULE_PATH");
    if (folder && *folder) {
        snprintf(path, size, "%s/%s", folder, FILE_NAME);
        if (folder[0] == '/' && access(path, F_OK) == 0) return 1;
        snprintf(module.why, sizeof module.why, "cuda: no %s in SLAT_MODULE_PATH (%s), an absolute folder", FILE_NAME,
                 folder);
        return 0;
    }
    Dl_info info;
    char self[4096];
    if (!dladdr((void *)&module, &info) || !info.dli_fname || !realpath(info.dli_fname, self)) {
        snprintf(module.why, sizeof module.why,
                 "cuda: libslat's own folder is not known; SLAT_MODULE_PATH may name that of %s", FILE_NAME);
        return 0;
    }
    *strrchr(self, '/') = 0;
    snprintf(path, size, "%s/slat/%s", self, FILE_NAME);
    if (access(path, F_OK) == 0) return 1;
    snprintf(path, size, "%s/%s", self, FILE_NAME);
    if (access(path, F_OK) == 0) return 1;
    snprintf(module.why, sizeof module.why,
             "cuda: no %s in %.200s or its folder slat; SLAT_MODULE_PATH may name another", FILE_NAME, self);
    return 0;
}

static void load(void)
{
    static const slat_host host = {SLAT_ABI, slat_fail};
    char path[4400];
    if (!find(path, sizeof path)) return;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        const char *error = dlerror();
        snprintf(module.why, sizeof module.why, "cuda: %.300s", error ? error : "dlopen failed");
        return;
    }
    slat_module_entry *entry = NULL;
    *(void **)&entry = dlsym(handle, "slat_module");
    if (!entry) {
        snprintf(module.why, sizeof module.why, "cuda: %.300s has no slat_module", path);
        dlclose(handle);
        return;
    }
    const slat_module_table *table = entry(&host);
    if (!table || table->abi != SLAT_ABI) {
        snprintf(module.why, sizeof module.why, "cuda: %.300s has ABI %u, expected %u", path, table ? table->abi : 0,
                 SLAT_ABI);
        dlclose(handle);
        return;
    }
    module.table = table;
}

const slat_module_table *slat_module(char *why, size_t size)
{
    pthread_once(&module.once, load);
    if (!module.table) snprintf(why, size, "%s", module.why);
    return module.table;
}
