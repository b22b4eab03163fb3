/* `slat info`: this machine, its backends, and which kernel serves which primitive, pass and type. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "machine.h"
#include "problem.h"
#include "report.h"

enum { TYPES = 4, CUDA_DEVICES = 16, CELL = 52 };

static const tensor_type types[TYPES] = {TENSOR_F32, TENSOR_BF16, TENSOR_F16, TENSOR_F64};

static void help(void)
{
    printf(
        "usage: slat info [--json]\n\n"
        "Shows this machine, the backends of each device with their ranks (the highest that can computes; rank 0 is "
        "not\n"
        "on this machine), and which kernel would serve each primitive, pass and type at a representative shape, with "
        "one\n"
        "query, with 256 channels and with bitmaps.\n");
}

/* What the library plans for one cell of the table. */
typedef struct {
    slat_status status;
    slat_plan plan;
    bool general; /* by the backend that serves everything */
} cell;

typedef enum { USUAL, ONE_QUERY, WIDE, BITMAPS } variant;

/* 4 heads of width 128, 512 tokens (or a grid of 16 x 32), or a variant of that. */
static problem_parameters representative(problem_op op, problem_pass pass, tensor_type type, variant v)
{
    problem_parameters x = {.op = op, .pass = pass, .type = type, .b = 1, .tq = {512}, .hq = 4, .d = 128};
    const bool decode = v == ONE_QUERY;
    if (v == WIDE) x.d = 256;
    switch (op) {
    case OP_BLOCK_SPARSE:
        x.block_sparse.block_q = 64;
        x.block_sparse.causal = 1;
        x.block_sparse.density = .3;
        x.block_sparse.bitmaps = v == BITMAPS ? .5 : 0;
        break;
    case OP_NEIGHBORHOOD:
        x.ndim = decode ? 1 : 2;
        x.tq[0] = decode ? 512 : 16;
        x.tq[1] = 32;
        x.neighborhood.window[0] = decode ? 64 : 7;
        x.neighborhood.window[1] = 7;
        x.neighborhood.causal[0] = decode;
        break;
    case OP_SHARDED:
        x.sharded.block = 64;
        x.sharded.local_blocks = 2;
        x.sharded.stride = 4;
        break;
    case OP_LANDMARK:
        x.landmark.block = 64;
        break;
    default:
        x.tq[0] = op == OP_LIGHTNING_STEP ? 1 : 512;
        break;
    }
    if (decode) {
        x.tk[0] = 512;
        x.tq[0] = 1;
        x.neighborhood.q_start[0] = 511;
    }
    return x;
}

/* A plan looks at shapes alone: tensors that claim to lie on the device will do. */
static void claim_device(problem *p, DLDevice device)
{
    for (int slot = 0; slot < PROBLEM_SLOTS; slot++)
        if (p->t[slot]) p->t[slot]->dl.device = device;
}

static const char *general_backend(DLDevice device)
{
    return device.device_type == kDLCPU ? "scalar" : "cuda";
}

static cell plan_cell(const problem_parameters *x, problem_pass pass, DLDevice device)
{
    cell c = {.status = SLAT_NO_MEMORY};
    slat_exec exec = {.plan = &c.plan};
    problem *p = problem_new(x, LAYOUT_PLAIN, memory_host(), NULL);
    if (p && problem_allocate_outputs(p, PASS_FORWARD, LAYOUT_PLAIN, NULL) &&
        (pass == PASS_FORWARD || problem_allocate_outputs(p, pass, LAYOUT_PLAIN, NULL))) {
        claim_device(p, device);
        c.status = problem_call(p, pass, &exec);
    }
    problem_free(p);
    c.general = c.status == SLAT_OK && !strcmp(c.plan.backend, general_backend(device));
    return c;
}

/* The kernel's name, and the backend's where the name does not say it. */
static void cell_text(const cell *c, char text[CELL])
{
    const char *star = c->general ? "*" : "", *kernel = c->plan.kernel ? c->plan.kernel : c->plan.backend;
    if (c->status != SLAT_OK)
        snprintf(text, CELL, "%s", c->status == SLAT_UNSUPPORTED ? "-" : slat_status_name(c->status));
    else if (strstr(kernel, c->plan.backend))
        snprintf(text, CELL, "%s%s", kernel, star);
    else
        snprintf(text, CELL, "%s: %s%s", c->plan.backend, kernel, star);
}

typedef struct {
    problem_op op;
    problem_pass pass;
    variant variant;
} line;

enum { LINES = 6 * OP_COUNT };

/* The rows of the table: every primitive and pass, and the variants of those that have them. */
static int table_lines(line *lines)
{
    int count = 0;
    for (int op = 0; op < OP_COUNT; op++)
        for (int v = USUAL; v <= BITMAPS; v++)
            for (problem_pass pass = PASS_FORWARD; pass <= PASS_BACKWARD; pass++) {
                const bool has =
                    v == USUAL || (v == BITMAPS ? op == OP_BLOCK_SPARSE : problem_is_softmax((problem_op)op));
                if (!has || !problem_has_pass((problem_op)op, pass) || (v == ONE_QUERY && pass == PASS_BACKWARD))
                    continue;
                lines[count++] = (line){(problem_op)op, pass, (variant)v};
            }
    return count;
}

static const char *line_name(const line *l)
{
    static const char *const names[][2] = {{"forward", "backward"},
                                           {"one query", ""},
                                           {"D 256 forward", "D 256 backward"},
                                           {"bitmaps forward", "bitmaps backward"}};
    return names[l->variant][l->pass == PASS_BACKWARD];
}

static void print_table(DLDevice device)
{
    line lines[LINES];
    static char text[LINES][TYPES][CELL];
    int width[TYPES] = {0};
    const int count = table_lines(lines);
    for (int i = 0; i < count * TYPES; i++) {
        const line *l = &lines[i / TYPES];
        const problem_parameters x = representative(l->op, l->pass, types[i % TYPES], l->variant);
        const cell c = plan_cell(&x, l->pass, device);
        cell_text(&c, text[i / TYPES][i % TYPES]);
        const int length = (int)strlen(text[i / TYPES][i % TYPES]);
        if (length > width[i % TYPES]) width[i % TYPES] = length;
    }
    printf("\n  %-14s  %-16s", "primitive", "pass");
    for (int t = 0; t < TYPES; t++) printf("  %-*s", t + 1 < TYPES ? width[t] : 0, tensor_type_name(types[t]));
    for (int i = 0; i < count; i++) {
        printf("\n  %-14s  %-16s", problem_op_name(lines[i].op), line_name(&lines[i]));
        for (int t = 0; t < TYPES; t++) printf("  %-*s", t + 1 < TYPES ? width[t] : 0, text[i][t]);
    }
    printf("\n  * the general backend, which serves whatever the others leave; - not served\n");
}

static cJSON *json_table(DLDevice device)
{
    line lines[LINES];
    const int count = table_lines(lines);
    cJSON *table = cJSON_CreateArray();
    for (int i = 0; i < count * TYPES; i++) {
        const line *l = &lines[i / TYPES];
        const problem_parameters x = representative(l->op, l->pass, types[i % TYPES], l->variant);
        const cell c = plan_cell(&x, l->pass, device);
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "primitive", problem_op_name(l->op));
        cJSON_AddStringToObject(item, "pass", line_name(l));
        cJSON_AddStringToObject(item, "type", tensor_type_name(types[i % TYPES]));
        cJSON_AddStringToObject(item, "status", slat_status_name(c.status));
        if (c.status == SLAT_OK) {
            cJSON_AddStringToObject(item, "backend", c.plan.backend);
            cJSON_AddStringToObject(item, "kernel", c.plan.kernel ? c.plan.kernel : c.plan.backend);
            cJSON_AddBoolToObject(item, "general", c.general);
            cJSON_AddBoolToObject(item, "deterministic", c.plan.deterministic);
            cJSON_AddNumberToObject(item, "workspace", (double)c.plan.workspace);
        }
        cJSON_AddItemToArray(table, item);
    }
    return table;
}

/* True when a backend of the device is on this machine. */
static bool usable(DLDevice device)
{
    const char *name;
    int32_t rank;
    for (int32_t i = 0; slat_backend(i, device, &name, &rank) == SLAT_OK; i++)
        if (rank > 0) return true;
    return false;
}

static void print_device(DLDevice device, const char *name)
{
    const char *backend;
    int32_t rank;
    printf("\n%s\n", name);
    for (int32_t i = 0; slat_backend(i, device, &backend, &rank) == SLAT_OK; i++)
        printf("  %-12s %s %d\n", backend, rank > 0 ? "rank" : "not on this machine, rank", rank);
    if (usable(device)) print_table(device);
}

static void json_device(cJSON *devices, DLDevice device, const char *name)
{
    const char *backend;
    int32_t rank;
    cJSON *item = cJSON_CreateObject(), *backends = cJSON_CreateArray();
    cJSON_AddStringToObject(item, "device", name);
    for (int32_t i = 0; slat_backend(i, device, &backend, &rank) == SLAT_OK; i++) {
        cJSON *one = cJSON_CreateObject();
        cJSON_AddStringToObject(one, "name", backend);
        cJSON_AddNumberToObject(one, "rank", rank);
        cJSON_AddItemToArray(backends, one);
    }
    cJSON_AddItemToObject(item, "backends", backends);
    if (usable(device)) cJSON_AddItemToObject(item, "kernels", json_table(device));
    cJSON_AddItemToArray(devices, item);
}

/* Why device 0 has no usable backend, in the library's words. */
static const char *no_cuda(void)
{
    const problem_parameters x = representative(OP_BLOCK_SPARSE, PASS_FORWARD, TENSOR_F32, USUAL);
    const cell c = plan_cell(&x, PASS_FORWARD, (DLDevice){kDLCUDA, 0});
    return c.status == SLAT_OK ? "" : slat_error();
}

/* The environment's choice of backends, which the tables obey; "" where there is none. */
static const char *forced(void)
{
    const char *list = getenv("SLAT_BACKEND");
    return list ? list : "";
}

static void print_all(const machine *m)
{
    char size[32], name[32];
    printf("slat %s\n%s, %d processors, %s\n", slat_version(), m->model, m->processors,
           report_bytes((double)m->memory, size));
    printf("instruction sets: %s\n", *m->instructions ? m->instructions : "none that kernels use, or unknown");
    if (*forced()) printf("SLAT_BACKEND forces %s\n", forced());
    print_device((DLDevice){kDLCPU, 0}, "CPU");
    for (int32_t i = 0; i < CUDA_DEVICES && (i == 0 || usable((DLDevice){kDLCUDA, i})); i++) {
        snprintf(name, sizeof name, "CUDA device %d", i);
        print_device((DLDevice){kDLCUDA, i}, name);
        if (i == 0 && !usable((DLDevice){kDLCUDA, 0})) printf("  %s\n", no_cuda());
    }
}

static void json_all(const machine *m)
{
    char name[32];
    cJSON *report = cJSON_CreateObject(), *cpu = cJSON_AddObjectToObject(report, "machine");
    cJSON_AddStringToObject(report, "version", slat_version());
    if (*forced()) cJSON_AddStringToObject(report, "forced", forced());
    cJSON_AddStringToObject(cpu, "model", m->model);
    cJSON_AddNumberToObject(cpu, "processors", m->processors);
    cJSON_AddNumberToObject(cpu, "memory", (double)m->memory);
    cJSON_AddStringToObject(cpu, "instructions", m->instructions);
    cJSON *devices = cJSON_AddArrayToObject(report, "devices");
    json_device(devices, (DLDevice){kDLCPU, 0}, "CPU");
    for (int32_t i = 0; i < CUDA_DEVICES && usable((DLDevice){kDLCUDA, i}); i++) {
        snprintf(name, sizeof name, "CUDA device %d", i);
        json_device(devices, (DLDevice){kDLCUDA, i}, name);
    }
    if (!usable((DLDevice){kDLCUDA, 0})) cJSON_AddStringToObject(report, "no_cuda", no_cuda());
    report_json(report);
}

int slat_info_main(int argc, char **argv)
{
    bool json = false;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            help();
            return 0;
        }
        if (strcmp(argv[i], "--json")) {
            fprintf(stderr, "slat info: %s: no such option\n", argv[i]);
            return 2;
        }
        json = true;
    }
    const machine m = machine_this();
    (json ? json_all : print_all)(&m);
    return 0;
}
