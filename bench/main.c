/* slat-bench: the standard workloads on every backend of this machine, beside the machine's own ceilings.
 *
 *   slat-bench [--full] [--scaling] [--self-check] [--ceilings] [Google Benchmark's flags: --benchmark_filter=REGEX,
 *              --benchmark_format=json, --benchmark_list_tests ...]
 */
#include "bench.h"
#include <omp.h>
#include <stdio.h>
#include <string.h>

bench_settings bench_set;

static const char usage[] =
    "usage: slat-bench [options] [--benchmark_filter=REGEX] [--benchmark_format=json] [--benchmark_list_tests] ...\n"
    "  --full        rows of scalar at full size (minutes), not one head and some rows\n"
    "  --scaling     rows of the CPU also with 1, 2, 4 ... threads, beside the FMA loop with as many\n"
    "  --self-check  only hold the layouts' block and pair counts against the published ones\n"
    "  --ceilings    only measure what the machine can do\n"
    "Rows are ID/BACKEND/PASS. Threads: OMP_NUM_THREADS. --benchmark_min_time=0.01 measures each row once: at least 5\n"
    "calls, or 1 second.\n";

static const bench_list *const lists[] = {&bench_block_sparse, &bench_neighborhood, &bench_sharded,
                                          &bench_landmark,     &bench_lightning,    &bench_small};
static const char *const pass_names[BENCH_PASSES] = {"forward", "backward", "backward-deterministic",
                                                     "backward-states"};

/* Google Benchmark keeps their addresses. */
static bench_row rows[1024];
static size_t row_count;

/* Rows that the filter takes, by device. */
static struct {
    int cpu, gpu, absent;
    bool broken; /* the filter is no regular expression */
} taken;

static void count_taken(const bench_row *row, const char *name)
{
    const int takes = shim_takes(name);
    taken.broken |= takes < 0;
    if (takes <= 0) return;
    if (!row->device)
        taken.absent++;
    else if (row->device == bench_device_cpu())
        taken.cpu++;
    else
        taken.gpu++;
}

static void add_rows(const bench_workload *w, const char *backend, int32_t rank, const bench_device *device,
                     const char *absent)
{
    for (int pass = 0; pass < BENCH_PASSES; pass++) {
        if (!(w->passes & 1u << pass)) continue;
        if (row_count == sizeof rows / sizeof *rows) return;
        bench_row *row = &rows[row_count++];
        *row = (bench_row){w, device, absent, backend, rank, (bench_pass)pass};
        char name[128];
        snprintf(name, sizeof name, "%s/%s/%s", w->id, backend, pass_names[pass]);
        shim_register(name, w->unit ? w->unit : "ms", bench_row_run, row);
        count_taken(row, name);
    }
}

static void add_workload(const bench_workload *w, const bench_device *gpu, const char *no_gpu)
{
    const bench_device *device = w->gpu ? gpu : bench_device_cpu();
    if (!device) {
        add_rows(w, "cuda", 0, NULL, no_gpu);
        return;
    }
    const char *name;
    int32_t rank, count = 0;
    for (; slat_backend(count, device->memory->device, &name, &rank) == SLAT_OK; count++)
        add_rows(w, name, rank, device, NULL);
    if (count == 0) add_rows(w, "cuda", 0, NULL, "libslat has no backend for this device");
}

static void add_cpu_ceilings(void)
{
    char text[200];
    const char *reason;
    const bench_ceilings *c = bench_ceilings_of(bench_device_cpu(), &reason);
    if (!c) {
        shim_context("ceilings", reason);
        return;
    }
    shim_context("blas", c->library);
    snprintf(text, sizeof text, "%.4f TFLOP/s (one thread %.4f)", c->fma, c->fma_one);
    shim_context("fma_peak", text);
    snprintf(text, sizeof text, "%.4f TFLOP/s", c->matrix);
    shim_context("sgemm_2048", text);
    if (c->matrix_bf16 > 0) {
        snprintf(text, sizeof text, "%.4f TFLOP/s", c->matrix_bf16);
        shim_context("sbgemm_2048", text);
    }
    if (c->tiles > 0) {
        snprintf(text, sizeof text, "%.4f TFLOP/s", c->tiles);
        shim_context("bf16_tile_peak", text);
    }
    snprintf(text, sizeof text, "copy %.1f, non-temporal copy %.1f, read %.1f GB/s", c->copy, c->stream_copy, c->read);
    shim_context("memory", text);
}

static void add_gpu_ceilings(const bench_device *gpu)
{
    char text[200];
    const char *reason;
    const bench_ceilings *c = bench_ceilings_of(gpu, &reason);
    shim_context("gpu", gpu->name);
    if (!c || c->matrix <= 0) shim_context("gpu_ceilings", reason);
    if (!c) return;
    snprintf(text, sizeof text, "%s, bf16 product of 8192^3 %.1f TFLOP/s; copy of 2 GiB %.1f GB/s", c->library,
             c->matrix, c->copy);
    shim_context("gpu_ceilings", text);
}

/* Ceilings of the devices whose rows will run. */
static void add_context(const bench_device *gpu)
{
    char text[200];
    snprintf(text, sizeof text, "%s", slat_version());
    shim_context("slat", text);
    snprintf(text, sizeof text, "%d", bench_set.threads);
    shim_context("threads", text);
    shim_context("instruction_set", bench_instruction_set());
    if (taken.cpu) add_cpu_ceilings();
    if (taken.gpu) add_gpu_ceilings(gpu);
}

static void print_ceilings(const bench_device *device, const char *absent)
{
    const char *reason = absent;
    const bench_ceilings *c = device ? bench_ceilings_of(device, &reason) : NULL;
    if (!c) {
        printf("%s: %s\n", device ? device->name : "gpu", reason);
        return;
    }
    printf("%s: matrix product %.4f TFLOP/s (%s)", device->name, c->matrix, c->library);
    if (c->matrix_bf16 > 0) printf(", in bf16 %.4f", c->matrix_bf16);
    if (c->tiles > 0) printf(", bf16 tile peak %.4f", c->tiles);
    if (c->fma > 0)
        printf(", FMA peak %.4f TFLOP/s (%s; one thread %.4f)", c->fma, bench_instruction_set(), c->fma_one);
    printf("; copy %.1f GB/s", c->copy);
    if (c->stream_copy > 0) printf(", non-temporal copy %.1f, read %.1f", c->stream_copy, c->read);
    printf("\n");
}

/* Takes an own flag out of the arguments. */
static bool take_flag(int *argc, char **argv, const char *flag)
{
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], flag) != 0) continue;
        memmove(argv + i, argv + i + 1, (size_t)(*argc - i) * sizeof *argv);
        --*argc;
        return true;
    }
    return false;
}

/* True where Google Benchmark will only list names. */
static bool lists_only(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--benchmark_list_tests", 22) == 0 && !strstr(argv[i], "=false")) return true;
    return false;
}

int main(int argc, char **argv)
{
    if (take_flag(&argc, argv, "--help")) {
        fputs(usage, stdout);
        return 0;
    }
    bench_set.threads = omp_get_max_threads();
    bench_set.full = take_flag(&argc, argv, "--full");
    bench_set.scaling = take_flag(&argc, argv, "--scaling");
    if (take_flag(&argc, argv, "--self-check")) return bench_self_check() ? 0 : 1;
    const char *no_gpu = NULL;
    const bench_device *gpu = bench_device_gpu(&no_gpu);
    if (take_flag(&argc, argv, "--ceilings")) {
        printf("%d threads\n", bench_set.threads);
        print_ceilings(bench_device_cpu(), NULL);
        print_ceilings(gpu, no_gpu);
        return 0;
    }
    const bool list = lists_only(argc, argv);
    if (!shim_initialize(&argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++)
        for (int i = 0; i < lists[l]->count; i++) add_workload(&lists[l]->workloads[i], gpu, no_gpu);
    if (taken.broken || taken.cpu + taken.gpu + taken.absent == 0) {
        fprintf(stderr, "slat-bench: --benchmark_filter=%s: %s; --benchmark_list_tests names the rows\n", shim_filter(),
                taken.broken ? "not a regular expression" : "no row has such a name");
        return 2;
    }
    if (!list) add_context(gpu);
    shim_run();
    bench_subject_release();
    return bench_failed() ? 1 : 0;
}
