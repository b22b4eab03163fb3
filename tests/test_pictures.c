/* Masks as pictures: what their cells count, what stands in the file, and the layouts that `slat compare` chooses.
 * Argument: the folder of cases. */
#define _GNU_SOURCE
#include <dirent.h>
#include <math.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compare.h"
#include "harness.h"
#include "mask.h"
#include "mask_cells.h"
#include "picture.h"
#include "random.h"
#include "visible.h"

static const char *cases;
static char png_path[] = "/tmp/slat-picture-XXXXXX";

enum { WORDS = 32 };

/* Splits a line of words as a shell would; argv[0] is the command's name. */
static int split(const char *line, char **argv)
{
    char *words = harness_memory((int64_t)strlen(line) + 1), *rest = NULL;
    int argc = 1;
    argv[0] = words;
    strcpy(words, line);
    for (char *word = strtok_r(words, " ", &rest); word && argc < WORDS; word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    return argc;
}

static problem *from_line(const char *line)
{
    char *argv[WORDS];
    options *o = harness_memory(sizeof *o);
    sentence why = {""};
    const int argc = split(line, argv);
    problem *p = options_parse(o, argc, argv, &why) ? options_problem(o, &why) : NULL;
    CHECK(p && mask_check(p, &why), "%s: %s", line, why.text);
    return p;
}

/* Pairs that the cells of one head hold, and those that the rows see. */
static void check_cells(const problem *p, int64_t head, int64_t q_bin, int64_t k_bin)
{
    mask_cells m;
    double cells = 0, rows = 0;
    if (!CHECK(mask_cells_count(p, NULL, head, q_bin, k_bin, &m), "no memory")) return;
    CHECK(!m.sampled, "a small mask was sampled");
    for (int64_t n = 0; n < m.rows * m.columns; n++) {
        const int64_t i = n / m.columns * q_bin, j = n % m.columns * k_bin;
        const double high = fmin((double)q_bin, (double)(m.queries - i)),
                     wide = fmin((double)k_bin, (double)(m.keys - j));
        cells += ((double)m.cells[n].token + (double)m.cells[n].landmark + (double)m.cells[n].grouped) * high * wide;
    }
    for (int64_t i = 0; i < m.queries; i++) rows += (double)visible_row(p, 0, head, i);
    CHECK(fabs(cells - rows) < 1e-3 * fmax(rows, 1), "head %d, cells of %d x %d: %g pairs, but the rows see %g",
          (int)head, (int)q_bin, (int)k_bin, cells, rows);
    mask_cells_free(&m);
}

static void case_row(const void *argument)
{
    char path[4096];
    sentence why = {""};
    snprintf(path, sizeof path, "%s/%s", cases, (const char *)argument);
    safetensors *file = safetensors_open(path, &why);
    problem *p = file ? problem_load(file, &why) : NULL;
    safetensors_close(file);
    if (CHECK(p && mask_check(p, &why), "%s", why.text)) {
        for (int64_t h = 0; p->op != OP_LIGHTNING && h < p->extents.hq; h++) {
            check_cells(p, h, 1, 1);
            check_cells(p, h, 7, 16);
        }
        CHECK(mask_write(p, NULL, NULL, png_path, &why), "%s", why.text);
    }
    problem_free(p);
}

/* Pixels of a colour in the picture that was written last. */
static int64_t count_pixels(uint32_t colour)
{
    png_image image = {.version = PNG_IMAGE_VERSION};
    int64_t count = 0;
    if (!CHECK(png_image_begin_read_from_file(&image, png_path), "%s", image.message)) return -1;
    image.format = PNG_FORMAT_RGB;
    uint8_t *rgb = harness_memory((int64_t)PNG_IMAGE_SIZE(image));
    if (!CHECK(png_image_finish_read(&image, NULL, rgb, 0, NULL), "%s", image.message)) return -1;
    for (int64_t n = 0; n < (int64_t)image.width * image.height; n++)
        count += (uint32_t)(rgb[3 * n] << 16 | rgb[3 * n + 1] << 8 | rgb[3 * n + 2]) == colour;
    return count;
}

/* A mask whose cells are drawn as squares of `side` pixels, and a square of 10 in the legend. */
typedef struct {
    const char *line;
    uint32_t colour;
    int visible, side;
} drawing;

static const drawing drawings[] = {
    {"block_sparse --causal --tokens 12", PICTURE_BLUE, 12 * 13 / 2, 21},
    {"block_sparse --tokens 4,12", PICTURE_BLUE, 4 * 12, 21},
    {"neighborhood --grid 12 --window 3 --causal", PICTURE_BLUE, 1 + 2 + 10 * 3, 21},
    {"sharded --tokens 8 --block 2 --local 1 --stride 2 --offsets 0", PICTURE_BLUE, 3 + 7 + 7 + 11, 21},
    {"landmark --tokens 8 --block 4", PICTURE_BLUE, 2 * (1 + 2 + 3 + 3), 21},
    {"landmark --tokens 8 --block 4", PICTURE_ORANGE, 4, 21},
    {"landmark --tokens 8 --block 4", PICTURE_SKY, 12, 21},
};

static void drawing_row(const void *argument)
{
    const drawing *d = argument;
    problem *p = from_line(d->line);
    sentence why = {""};
    if (p && CHECK(mask_write(p, NULL, NULL, png_path, &why), "%s", why.text)) {
        const int64_t found = count_pixels(d->colour), due = (int64_t)d->visible * d->side * d->side + 10 * 10;
        CHECK(found == due, "%d pixels of %06x, but %d cells are %d", (int)found, (unsigned)d->colour, d->visible,
              (int)due);
    }
    problem_free(p);
}

typedef struct {
    const char *line;
    int status;
} command;

static const command commands[] = {
    {"--help", 0},
    {"landmark --tokens 64 --block 16", 2},
    {"-o %", 2},
    {"merge --tokens 8 -o %", 2},
    {"landmark -o %", 2},
    {"landmark --tokens 64 --block 1 -o %", 2},
    {"landmark --tokens 0 -o %", 2},
    {"landmark --tokens 64 --window 3 -o %", 2},
    {"landmark --tokens 6x -o %", 2},
    {"landmark --tokens 64 --frob 1 -o %", 2},
    {"landmark --tokens", 2},
    {"landmark --tokens 64 -o /nowhere/mask.png", 2},
    {"landmark /nowhere/case -o %", 2},
    {"neighborhood --grid 8 -o %", 2},
    {"neighborhood --grid 8 --window 9 -o %", 2},
    {"neighborhood --grid 8 --window 4 --stride 5 -o %", 2},
    {"neighborhood --grid 8 --window 4 --dilation 3 -o %", 2},
    {"neighborhood --grid 8 --q-grid 2 --q-start 7 --window 4 -o %", 2},
    {"sharded --tokens 64 --block 0 -o %", 2},
    {"sharded --tokens 64 --heads 4 --stride 4 --offsets 1,2 -o %", 2},
    {"block_sparse --tokens 64 --heads 3,2 -o %", 2},
    {"lightning --tokens 64 --heads 3 --slopes 1,2 -o %", 2},
    {"lightning --tokens 64 --slopes -1 -o %", 2},
    {"sharded --tokens 64 --heads 65537 -o %", 2},
    {"neighborhood --grid 8 --window 3,3 -o %", 2},
    {"block_sparse --tokens 64 --density 2 -o %", 2},
    {"block_sparse --tokens 1000000 --block 7 --local 2 -o %", 2},
    {"block_sparse --tokens 1000000 --block 8 --density 0.1 -o %", 2},
    {"block_sparse --tokens 1000000 --block 8 --local 2 --causal -o %", 0},
    {"lightning --tokens 5000 --heads 12 -o %", 0},
    {"neighborhood --grid 4,6,8 --q-grid 1,2,3 --q-start 1,2,3 --window 3,3,3 --causal 1,0,0 -o %", 0},
    {"block_sparse --tokens 1,70000 --local 3 --density 0.3 --heads 4 --causal -o %", 0},
};

static void command_row(const void *argument)
{
    const command *c = argument;
    char *argv[WORDS];
    const int argc = split(c->line, argv);
    for (int n = 1; n < argc; n++)
        if (strcmp(argv[n], "%") == 0) argv[n] = png_path;
    const int status = slat_mask_main(argc, argv);
    CHECK(status == c->status, "status %d, expected %d", status, c->status);
}

static problem *random_tensors(problem_op op, int64_t tokens)
{
    sentence why = {""};
    problem_parameters x = {.op = op, .type = TENSOR_F32, .b = 1, .tq = {tokens}, .hq = 4, .hk = 2, .d = 16, .seed = 5};
    x.block_sparse.causal = 1;
    x.neighborhood.window[0] = 100;
    x.neighborhood.causal[0] = 1;
    problem *p = problem_new(&x, LAYOUT_PLAIN, memory_host(), &why);
    CHECK(p, "%s", why.text);
    return p;
}

/* Every query agrees with the keys of block 2 alone: that block is chosen, wherever it is not seen anyway. */
static void chosen_row(const void *argument)
{
    enum { BLOCK = 32, ROWS = 10, WANTED = 2 };
    (void)argument;
    sentence why = {""};
    char *argv[WORDS];
    options *o = harness_memory(sizeof *o);
    const int argc = split("block_sparse --causal --block 32 --local 2 --first 1", argv);
    problem *p = random_tensors(OP_BLOCK_SPARSE, ROWS * BLOCK - 5);
    if (!p || !CHECK(options_parse(o, argc, argv, &why), "%s", why.text)) return;
    tensor_fill(p->t[ROLE_Q], 1);
    for (int64_t n = 0; n < tensor_count(p->t[ROLE_K]); n++)
        tensor_set(p->t[ROLE_K], n, n / (2 * 16) / BLOCK == WANTED ? 1 : 0);
    if (CHECK(compare_choose_blocks(p, o, 1, &why), "%s", why.text)) {
        const int32_t *indptr = p->t[ROLE_INDPTR]->dl.data, *indices = p->t[ROLE_INDICES]->dl.data;
        for (int row = 0; row < 4 * ROWS; row++) {
            const int i = row % ROWS, at = row / ROWS * (ROWS + 1) + i, count = indptr[at + 1] - indptr[at];
            const int32_t *blocks = indices + indptr[at];
            bool found = i < WANTED, ascending = true;
            for (int n = 0; n < count; n++) found = found || blocks[n] == WANTED;
            for (int n = 1; n < count; n++) ascending = ascending && blocks[n] > blocks[n - 1];
            CHECK(count == (i < 4 ? i + 1 : 4) && ascending && blocks[0] == 0 && blocks[count - 1] == i && found,
                  "row %d: %d blocks, the last one is %d", row, count, blocks[count - 1]);
        }
        CHECK(problem_settle(p, &why) && mask_check(p, &why), "%s", why.text);
    }
    problem_free(p);
}

/* A window and what is merged into it share no pair, and every late query sees the first block. */
static void first_row(const void *argument)
{
    enum { TOKENS = 300, BLOCK = 16 };
    (void)argument;
    sentence why = {""};
    problem *window = random_tensors(OP_NEIGHBORHOOD, TOKENS);
    problem *rest = window ? compare_first_block(window, BLOCK, &why) : NULL;
    if (CHECK(rest, "%s", why.text))
        for (int64_t i = 0; i < TOKENS; i++)
            for (int64_t j = 0; j < TOKENS; j++) {
                const bool one = visible(window, 0, 0, i, j), other = visible(rest, 0, 0, i, j);
                CHECK(!(one && other), "query %d, key %d: seen twice", (int)i, (int)j);
                CHECK(one || other || i < 128 || j >= BLOCK, "query %d does not see key %d", (int)i, (int)j);
            }
    problem_free(window);
    problem_free(rest);
}

/* Known answers: twice as large is wrong by 1, but right after scaling; half the weight is a mass of .5. */
static void score_row(const void *argument)
{
    (void)argument;
    double right[12], o[12], lse[6], less[6];
    for (int n = 0; n < 12; n++) right[n] = random_normal(3, (uint64_t)n), o[n] = right[n] * (n / 2 % 3 + 2);
    for (int n = 0; n < 6; n++) lse[n] = n, less[n] = n - log(2);
    const compare_answer a = {o, less, 2, 3, 2}, b = {right, lse, 2, 3, 2}, doubled = {o, less, 2, 3, 2};
    CHECK(compare_error(&b, &b, false) == 0, "an answer differs from itself");
    CHECK(compare_error(&doubled, &b, true) < 1e-12, "scaled heads: %g", compare_error(&doubled, &b, true));
    CHECK(compare_error(&a, &b, false) > 1, "heads of 2, 3, 4 times: %g", compare_error(&a, &b, false));
    CHECK(fabs(compare_mass(&a, &b) - 0.5) < 1e-12, "mass: %g", compare_mass(&a, &b));
}

/* Adds a row a file; the names are the caller's to free. */
static int add_cases(struct dirent ***entries)
{
    const int count = scandir(cases, entries, NULL, alphasort);
    for (int n = 0; n < count; n++) {
        const char *name = (*entries)[n]->d_name;
        if (strstr(name, ".safetensors") && strncmp(name, "merge", 5) && strncmp(name, "lightning_step", 14))
            harness_add(case_row, name, "case %s", name);
    }
    return count;
}

int main(int argc, char **argv)
{
    if (argc < 2) return 2;
    cases = argv[1];
    const int file = mkstemp(png_path);
    if (file < 0) return 2;
    close(file);
    struct dirent **entries = NULL;
    const int count = add_cases(&entries);
    for (size_t n = 0; n < sizeof drawings / sizeof *drawings; n++)
        harness_add(drawing_row, &drawings[n], "drawing %s, %06x", drawings[n].line, (unsigned)drawings[n].colour);
    for (size_t n = 0; n < sizeof commands / sizeof *commands; n++)
        harness_add(command_row, &commands[n], "mask %s", commands[n].line);
    harness_add(chosen_row, NULL, "chosen blocks");
    harness_add(first_row, NULL, "first block beside a window");
    harness_add(score_row, NULL, "scores");
    const int status = harness_main("pictures", argc - 1, argv + 1);
    unlink(png_path);
    for (int n = 0; n < count; n++) free(entries[n]);
    free(entries);
    return status;
}
