/* `slat run`: computes a primitive on the user's tensors, and says what ran and how fast. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "commands.h"
#include "report.h"
#include "run_tensors.h"
#include "stopwatch.h"
#include "ticker.h"
#include "visible.h"

/* One pass: what ran, and how long each time. */
typedef struct {
    slat_plan plan;
    int32_t repeats;
    double fastest, median, slowest; /* seconds */
} timing;

static void help(void)
{
    printf(
        "usage: slat run PRIMITIVE [OPTIONS] IN.safetensors -o OUT.safetensors\n\n"
        "Reads q, k and v, [B, T, H, D] or [T, H, D] (neighborhood: a grid in place of T, or --grid X,Y to see T as\n"
        "one), and where they are there sink, indptr, indices, bitmap_of, bitmaps, offsets, slopes, s0; with "
        "--backward\n"
        "also do, dlse and dst. Writes o, lse, st, states, and with --backward dq, dk, dv and the others.\n\n");
    options_help();
}

/* A call, and on a device the wait for it. */
static slat_status call(const problem *p, problem_pass pass, const slat_exec *exec)
{
    const slat_status status = problem_call(p, pass, exec);
    if (status == SLAT_OK && !memory_on_host(p->memory)) tensor_get(p->t[ROLE_Q], 0);
    return status;
}

static slat_status time_pass(const problem *p, problem_pass pass, const options *o, memory_workspace *space, timing *t)
{
    slat_exec exec = {.backend = o->backend, .threads = (int32_t)option_value(&o->threads, 0, 0), .plan = &t->plan};
    if (!memory_on_host(p->memory)) {
        exec.allocate = memory_workspace_allocate;
        exec.allocator = space;
    }
    slat_status status = problem_call(p, pass, &exec);
    if (status != SLAT_OK) return status;
    exec.plan = NULL;
    t->repeats = (int32_t)option_value(&o->repeat, 0, 1);
    double *seconds = malloc((size_t)t->repeats * sizeof *seconds);
    if (!seconds) return SLAT_NO_MEMORY;
    char what[64];
    snprintf(what, sizeof what, "%s %s", problem_op_name(p->op), problem_pass_name(pass));
    ticker *ticks = ticker_start(what);
    for (int32_t i = 0; i < t->repeats && status == SLAT_OK; i++) {
        const double start = stopwatch_now();
        status = call(p, pass, &exec);
        seconds[i] = stopwatch_now() - start;
        ticker_step(ticks, i + 1, t->repeats);
    }
    ticker_stop(ticks);
    if (status == SLAT_OK) {
        t->median = stopwatch_median(seconds, t->repeats);
        t->fastest = seconds[0];
        t->slowest = seconds[t->repeats - 1];
    }
    free(seconds);
    return status;
}

static void print_problem(const problem *p)
{
    char q[160], k[160], v[160];
    tensor_shape_text(p->t[ROLE_Q], q, sizeof q);
    tensor_shape_text(p->t[ROLE_K], k, sizeof k);
    tensor_shape_text(p->t[ROLE_V], v, sizeof v);
    printf("%s, %s: q %s, k %s, v %s\n", problem_op_name(p->op), tensor_type_name(p->extents.type), q, k, v);
}

/* Only once the library has computed: it is what checks the user's parameters and indices. */
static void print_pairs(const problem *p)
{
    char some[32], all[32];
    const int64_t pairs = visible_pairs(p), dense = visible_dense_pairs(p);
    printf("visible pairs    %s of %s of dense attention", report_grouped(pairs, some), report_grouped(dense, all));
    if (dense) printf(" (%.2f %%)", 100 * (double)pairs / (double)dense);
    printf("\n");
}

static void print_timing(const problem *p, problem_pass pass, const timing *t)
{
    char median[32], fastest[32], slowest[32], workspace[32];
    printf("%s\n  backend        %s, kernel %s\n", problem_pass_name(pass), t->plan.backend,
           t->plan.kernel ? t->plan.kernel : t->plan.backend);
    printf("  time           %s", report_seconds(t->median, median));
    if (t->repeats > 1)
        printf(" (median of %d; %s to %s)", t->repeats, report_seconds(t->fastest, fastest),
               report_seconds(t->slowest, slowest));
    printf("\n  throughput     %.3g GFLOP/s", problem_flops(p, pass) / t->median * 1e-9);
    if (problem_is_softmax(p->op))
        printf(" over visible pairs\n");
    else
        printf(", %.3g GB/s\n", problem_bytes(p, pass) / t->median * 1e-9);
    printf("  workspace      %s\n", report_bytes((double)t->plan.workspace, workspace));
}

static double tensor_bytes(const problem *p)
{
    double bytes = 0;
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++)
        if (p->t[slot]) bytes += (double)tensor_count(p->t[slot]) * (double)tensor_type_size(p->t[slot]->type);
    return bytes;
}

static void print_memory(const problem *p)
{
    struct rusage usage;
    char peak[32], tensors[32];
    getrusage(RUSAGE_SELF, &usage);
    printf("peak memory      %s of the process; inputs and outputs are %s\n",
           report_bytes(1024. * (double)usage.ru_maxrss, peak), report_bytes(tensor_bytes(p), tensors));
}

static int wrong(const char *text)
{
    fprintf(stderr, "slat run: %s\n", text);
    return 2;
}

/* Exit status of a call that the library refused. */
static int refused(slat_status status)
{
    fprintf(stderr, "slat run: %s: %s\n", slat_status_name(status), slat_error());
    return status == SLAT_INVALID || status == SLAT_NO_BACKEND ? 2 : 1;
}

/* `given` has the inputs on the host, p where the backend computes. */
static int compute(problem *p, const problem *given, const options *o, const run_shapes *shapes)
{
    timing t = {0};
    sentence why;
    print_problem(p);
    fflush(stdout);
    for (int pass = PASS_FORWARD; pass <= (int)p->pass; pass++) {
        if (!problem_allocate_outputs(p, (problem_pass)pass, LAYOUT_PLAIN, &why)) return wrong(why.text);
        memory_workspace space = {.memory = p->memory};
        const slat_status status = time_pass(p, (problem_pass)pass, o, &space, &t);
        memory_workspace_free(&space);
        if (status != SLAT_OK) return refused(status);
        if (pass == PASS_FORWARD) print_pairs(given);
        print_timing(given, (problem_pass)pass, &t);
    }
    print_memory(p);
    if (!o->output) {
        printf("no -o: the results are not kept\n");
        return 0;
    }
    if (!run_save(p, shapes, o->output, &t.plan, &why)) return wrong(why.text);
    printf("wrote            %s\n", o->output);
    return 0;
}

/* On the processor, or for a backend of a GPU on a copy there. */
static int compute_there(problem *given, const memory *m, const options *o, const run_shapes *shapes)
{
    sentence why;
    if (memory_on_host(m)) return compute(given, given, o, shapes);
    problem *p = problem_copy(given, LAYOUT_PLAIN, m, &why);
    if (!p) return wrong(why.text);
    const int status = compute(p, given, o, shapes);
    problem_free(p);
    return status;
}

int slat_run_main(int argc, char **argv)
{
    static options o;
    sentence why;
    run_shapes shapes = {0};
    if (!options_parse(&o, argc, argv, &why)) return wrong(why.text);
    if (o.help) {
        help();
        return 0;
    }
    const double threads = option_value(&o.threads, 0, 0), repeat = option_value(&o.repeat, 0, 1);
    if (threads < 0 || threads > 4096) return wrong("--threads: should be 0 to 4096");
    if (repeat < 1 || repeat > 1000000) return wrong("--repeat: should be 1 to 1000000");
    if (o.tokens.count || o.heads.count) return wrong("--tokens, --heads: the file's tensors have the shapes");
    if (o.files != 1) return wrong("give one input file (slat run --help)");
    if (o.output && !safetensors_writable(o.output, &why)) return wrong(why.text);
    const char *reason = NULL;
    const memory *m = o.backend && !strncmp(o.backend, "cuda", 4) ? memory_cuda(&reason) : memory_host();
    if (!m) return wrong(reason);
    if (o.backend && !report_backend_exists(o.backend, m->device, &why)) return wrong(why.text);
    safetensors *file = safetensors_open(o.file[0], &why);
    problem *p = file ? run_load(&o, file, &shapes, &why) : NULL;
    safetensors_close(file);
    if (!p) return wrong(why.text);
    const int status = compute_there(p, m, &o, &shapes);
    problem_free(p);
    return status;
}
