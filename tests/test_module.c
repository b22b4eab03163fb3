/* The module with the backends of another device: found, loaded, held against its ABI number, and every way in which
 * that fails. The module is a fake that needs no GPU; each scene has a process of its own, for a process loads once.
 *
 * usage: test_module GOOD WRONG_ABI NO_ENTRY NO_DRIVER NO_TABLE (paths of the fakes)
 */
#define _GNU_SOURCE
#include <slat/slat.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "harness.h"

static int64_t shape[4] = {1, 4, 1, 8}, lse_shape[3] = {1, 4, 1}, one[1] = {1};
static float q_data[32], o_data[32], lse_data[4], slopes_data[1];
static int32_t offsets_data[1];

static const DLDataType f32 = {kDLFloat, 32, 1}, i32 = {kDLInt, 32, 1};
static DLDevice device = {kDLCUDA, 0};

static DLTensor tensor_of(void *data, DLDataType type, int ndim, int64_t *extents)
{
    return (DLTensor){.data = data, .device = device, .ndim = ndim, .dtype = type, .shape = extents};
}

typedef enum { LANDMARK, SHARDED, LIGHTNING, DENSE, NEIGHBORHOOD, LANDMARK_BACKWARD } primitive;

/* A small call of a primitive on `device`. */
static slat_status call(primitive which, const slat_exec *exec)
{
    DLTensor q = tensor_of(q_data, f32, 4, shape), o = tensor_of(o_data, f32, 4, shape);
    DLTensor lse = tensor_of(lse_data, f32, 3, lse_shape), slopes = tensor_of(slopes_data, f32, 1, one);
    DLTensor offsets = tensor_of(offsets_data, i32, 1, one);
    const slat_attention t = {.q = &q, .k = &q, .v = &q, .o = &o, .lse = &lse, .grad_o = &q};
    const slat_landmark landmark = {.block = 2};
    const slat_sharded sharded = {.block = 2, .local_blocks = 1, .stride = 2, .offsets = &offsets};
    const slat_block_sparse dense = {.causal = 1};
    const slat_neighborhood window = {.ndim = 1, .window = {2}};
    const slat_lightning lightning = {.q = &q, .k = &q, .v = &q, .slopes = &slopes, .o = &o};
    memset(o_data, 0, sizeof o_data);
    switch (which) {
    case LANDMARK:
        return slat_landmark_forward(exec, &landmark, &t);
    case LANDMARK_BACKWARD:
        return slat_landmark_backward(exec, &landmark, &t);
    case SHARDED:
        return slat_sharded_forward(exec, &sharded, &t);
    case LIGHTNING:
        return slat_lightning_forward(exec, &lightning);
    case NEIGHBORHOOD:
        return slat_neighborhood_forward(exec, &window, &t);
    default:
        return slat_block_sparse_forward(exec, &dense, &t);
    }
}

/* True where the call answers this status and stamp (o[1]), and its sentence has the word. */
static bool answers(primitive which, const slat_exec *exec, slat_status status, float stamp, const char *word)
{
    const slat_status got = call(which, exec);
    if (got == status && o_data[1] == stamp && (!got || strstr(slat_error(), word))) return true;
    printf("call %d: %s, stamp %g: %s\n", (int)which, slat_status_name(got), (double)o_data[1],
           got ? slat_error() : "");
    return false;
}

static bool lists(int32_t i, const char *name, int32_t rank)
{
    const char *got = "";
    int32_t is = -1;
    const slat_status s = slat_backend(i, device, &got, &is);
    if (name ? s == SLAT_OK && !strcmp(got, name) && is == rank : s == SLAT_INVALID) return true;
    printf("backend %d: %s, %s, rank %d\n", i, slat_status_name(s), got, is);
    return false;
}

static void *give(void *context, size_t bytes)
{
    static _Alignas(256) unsigned char memory[4096];
    *(size_t *)context = bytes;
    return memory;
}

static bool good(void)
{
    bool right = lists(0, "cuda-fake", 90) && lists(1, "cuda-fake-slow", 10) && lists(2, NULL, 0);
    right &= answers(LANDMARK, NULL, SLAT_OK, 42, "");
    right &= answers(DENSE, NULL, SLAT_OK, 43, ""); /* the first rank refuses, the next takes it */
    right &= answers(LIGHTNING, NULL, SLAT_DEVICE, 0, "the driver says 700"); /* a failure is no reason to go on */
    right &= answers(NEIGHBORHOOD, NULL, SLAT_UNSUPPORTED, 0, "cuda-fake");
    right &= answers(LANDMARK_BACKWARD, NULL, SLAT_UNSUPPORTED, 0, "cuda-fake");
    slat_plan plan = {0};
    slat_exec exec = {.plan = &plan};
    right &= answers(LANDMARK, &exec, SLAT_OK, 0, "");
    if (!plan.backend || strcmp(plan.backend, "cuda-fake") || strcmp(plan.kernel, "stamp") || plan.launches != 3) {
        printf("plan: %s %s\n", plan.backend ? plan.backend : "", plan.kernel ? plan.kernel : "");
        right = false;
    }
    device.device_type = kDLCUDAManaged;
    right &= answers(LANDMARK, NULL, SLAT_OK, 42, "");
    device = (DLDevice){kDLCUDA, 1};
    right &= answers(LANDMARK, NULL, SLAT_OK, 42, "");
    device.device_id = 7;
    right &= answers(LANDMARK, NULL, SLAT_UNSUPPORTED, 0, "7");
    device.device_id = 1000;
    right &= answers(LANDMARK, NULL, SLAT_UNSUPPORTED, 0, "device");
    device.device_id = -1;
    return answers(LANDMARK, NULL, SLAT_UNSUPPORTED, 0, "device") && right;
}

static bool forced(void)
{
    slat_exec exec = {.backend = "cuda-fake-slow"};
    bool right = answers(LANDMARK, &exec, SLAT_OK, 43, "");
    exec.backend = "cuda-fake";
    right &= answers(DENSE, &exec, SLAT_UNSUPPORTED, 0, "not this one");
    exec.backend = "scalar";
    right &= answers(LANDMARK, &exec, SLAT_NO_BACKEND, 0, "scalar");
    exec.backend = "cuda-old";
    right &= answers(LANDMARK, &exec, SLAT_NO_BACKEND, 0, "cuda-old");
    device = (DLDevice){kDLCPU, 0};
    exec.backend = "cuda-fake";
    return answers(LANDMARK, &exec, SLAT_NO_BACKEND, 0, "cuda-fake") && right;
}

static bool by_environment(void)
{
    slat_exec exec = {.backend = "cuda-fake"};
    bool right = answers(LANDMARK, NULL, SLAT_OK, 43, "") && answers(LANDMARK, &exec, SLAT_OK, 42, "");
    right &= answers(SHARDED, NULL, SLAT_UNSUPPORTED, 0, "cuda-fake-slow");
    device = (DLDevice){kDLCPU, 0};
    slat_plan plan = {0};
    exec = (slat_exec){.plan = &plan};
    return answers(LANDMARK, &exec, SLAT_OK, 0, "") && !strcmp(plan.backend, "scalar") && right;
}

/* The library never allocates on a device: workspace is the caller's. */
static bool device_workspace(void)
{
    size_t asked = 0;
    slat_exec exec = {.allocate = NULL};
    bool right = answers(SHARDED, &exec, SLAT_WORKSPACE, 0, "1000");
    exec.allocate = give;
    exec.allocator = &asked;
    right &= answers(SHARDED, &exec, SLAT_OK, 42, "") && asked == 1000 && o_data[0] == 1000;
    static _Alignas(256) unsigned char memory[1280];
    exec = (slat_exec){.workspace = memory, .workspace_bytes = 999};
    right &= answers(SHARDED, &exec, SLAT_WORKSPACE, 0, "999");
    exec.workspace_bytes = 1000;
    right &= answers(SHARDED, &exec, SLAT_OK, 42, "");
    exec.workspace = memory + 128;
    return answers(SHARDED, &exec, SLAT_WORKSPACE, 0, "256") && right;
}

static bool mixed(void)
{
    DLTensor q = tensor_of(q_data, f32, 4, shape), o = tensor_of(o_data, f32, 4, shape), k = q;
    k.device = (DLDevice){kDLCPU, 0};
    const slat_attention t = {.q = &q, .k = &k, .v = &q, .o = &o};
    const slat_landmark landmark = {.block = 2};
    return slat_landmark_forward(NULL, &landmark, &t) == SLAT_INVALID && strstr(slat_error(), "k: device");
}

/* What every module that cannot be used has in common, and its own word. */
static bool useless(const char *word)
{
    bool right =
        answers(LANDMARK, NULL, SLAT_UNSUPPORTED, 0, word) && answers(LANDMARK, NULL, SLAT_UNSUPPORTED, 0, "cuda");
    const slat_exec exec = {.backend = "cuda-fake"};
    right &= answers(LANDMARK, &exec, SLAT_NO_BACKEND, 0, "cuda-fake");
    device = (DLDevice){kDLCPU, 0};
    slat_plan plan = {0};
    const slat_exec on_cpu = {.plan = &plan};
    return answers(LANDMARK, &on_cpu, SLAT_OK, 0, "") && right; /* the CPU goes on */
}

static bool wrong_abi(void)
{
    return lists(0, NULL, 0) && strstr(slat_error(), "ABI") && useless("ABI 42");
}

static bool no_entry(void)
{
    return lists(0, NULL, 0) && useless("slat_module");
}

static bool no_table(void)
{
    return lists(0, NULL, 0) && useless("ABI");
}

static bool no_driver(void)
{
    return lists(0, "cuda-fake-slow", 0) && lists(1, "cuda-fake", 0) && useless("driver");
}

static bool missing(void)
{
    return lists(0, NULL, 0) && useless("libslat_cuda.so");
}

static bool relative(void)
{
    return lists(0, NULL, 0) && useless("absolute");
}

static bool no_library(void)
{
    return lists(0, NULL, 0) && useless("libslat_cuda.so");
}

/* In a folder with a good module, which the environment does not name. */
static bool current_folder(void)
{
    const char *folder = getenv("FAKE_FOLDER"), *name = "";
    int32_t rank = 0;
    if (!folder || chdir(folder) != 0) return printf("no folder\n"), false;
    const slat_status s = slat_backend(0, device, &name, &rank);
    return s == SLAT_INVALID || strncmp(name, "cuda-fake", 9) != 0;
}

static const child_scene scenes[] = {
    {"good", good},
    {"forced", forced},
    {"by environment", by_environment},
    {"workspace", device_workspace},
    {"mixed", mixed},
    {"wrong abi", wrong_abi},
    {"no entry", no_entry},
    {"no driver", no_driver},
    {"no table", no_table},
    {"missing", missing},
    {"relative", relative},
    {"no library", no_library},
    {"current folder", current_folder},
};

enum { MODULES = 5 };
static char *modules[MODULES];

typedef struct {
    const char *scene;
    int module;              /* -1: an empty folder; -2: a file that is no library */
    const char *path, *more; /* SLAT_MODULE_PATH where it is not the folder; another setting */
} row;

static const row rows[] = {
    {"good", 0, NULL, NULL},
    {"forced", 0, NULL, NULL},
    {"by environment", 0, NULL, "SLAT_BACKEND=cuda-fake-slow,scalar"},
    {"workspace", 0, NULL, NULL},
    {"mixed", 0, NULL, NULL},
    {"wrong abi", 1, NULL, NULL},
    {"no entry", 2, NULL, NULL},
    {"no driver", 3, NULL, NULL},
    {"no table", 4, NULL, NULL},
    {"missing", -1, NULL, NULL},
    {"missing", -1, "SLAT_MODULE_PATH=/nowhere/at/all", NULL},
    {"relative", 0, "SLAT_MODULE_PATH=.", NULL},
    {"no library", -2, NULL, NULL},
    {"current folder", 0, "SLAT_MODULE_PATH", NULL},
};

static void play(const void *argument)
{
    const row *r = argument;
    char folder[] = "/tmp/slat-module-XXXXXX", file[64], path[64], fake[64];
    if (!CHECK(mkdtemp(folder), "no folder")) return;
    snprintf(file, sizeof file, "%s/libslat_cuda.so", folder);
    snprintf(path, sizeof path, "SLAT_MODULE_PATH=%s", folder);
    snprintf(fake, sizeof fake, "FAKE_FOLDER=%s", folder);
    if (r->module >= 0) CHECK(symlink(modules[r->module], file) == 0, "no link");
    if (r->module == -2) {
        FILE *text = fopen(file, "w");
        if (CHECK(text, "no file")) fclose(text);
    }
    const char *const settings[] = {r->path ? r->path : path, fake, r->more ? r->more : "SLAT_BACKEND", NULL};
    child_check(r->scene, settings);
    unlink(file);
    rmdir(folder);
}

int main(int argc, char **argv)
{
    child_main(argc, argv, scenes, sizeof scenes / sizeof *scenes);
    if (argc < 1 + MODULES) return fputs("usage: test_module GOOD WRONG_ABI NO_ENTRY NO_DRIVER NO_TABLE\n", stderr), 2;
    for (int n = 0; n < MODULES; n++) modules[n] = realpath(argv[1 + n], NULL);
    for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
        harness_add(play, &rows[n], "%s%s%s", rows[n].scene, rows[n].path ? ", " : "",
                    rows[n].path ? rows[n].path : "");
    }
    argv[MODULES] = argv[0];
    const int result = harness_main("module", argc - MODULES, argv + MODULES);
    for (int n = 0; n < MODULES; n++) free(modules[n]);
    return result;
}
