/* What `slat compare` found: its table, and the chart of error against pairs. */
#include "chart.h"
#include "compare.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static void print_share(double share)
{
    if (isnan(share))
        printf("      -");
    else
        printf(" %5.1f%%", 100 * share);
}

void compare_print_head(const comparison *c)
{
    printf("%-13s %-26s %6s %6s %8s", "primitive", "setting", "pairs", "mass", "error");
    for (int b = 0; b < c->backends; b++) printf("  %20s", c->on[b].name);
    printf("\n");
}

void compare_print_row(const comparison *c, int n)
{
    const compare_setting *s = &compare_settings[n];
    const compare_result *r = &c->results[n];
    printf("%-13.*s %-26s", (int)strcspn(s->line, " "), s->line, s->words);
    print_share(r->pairs);
    print_share(r->mass);
    if (isnan(r->error))
        printf("        -");
    else
        printf(" %8.4f", r->error);
    for (int b = 0; b < c->backends; b++) {
        if (isnan(r->seconds[b]))
            printf("  %20s", "-");
        else
            printf("  %9.1f ms %6.2f x", 1e3 * r->seconds[b], c->results[0].seconds[b] / r->seconds[b]);
    }
    printf("\n");
    fflush(stdout);
}

void compare_print_notes(const comparison *c)
{
    printf("\npairs: query-key pairs computed, of dense attention's (lightning: its work, of dense attention's work)\n"
           "mass:  softmax weight of dense attention that is kept, mean over rows\n"
           "error: rms of o - dense o over rms of dense o (lightning, whose weights are not normalised: each head "
           "scaled to fit)\n"
           "time:  fastest of several calls, and the speed-up over dense attention on the same backend\n"
           "landmark and lightning are made for models that were trained with them: this one was not.\n");
    for (int b = 0; b < c->backends; b++)
        if (c->on[b].brief)
            printf("%s: one setting a primitive, dense attention alone takes %.0f s\n", c->on[b].name,
                   c->results[0].seconds[b]);
}

/* One series a primitive, and one for blocks that are not chosen by content; points from few pairs to many. */
bool compare_write_chart(const comparison *c, sentence *why)
{
    static const struct {
        const char *name, *op, *kind;
        uint32_t colour;
    } kinds[] = {{"blocks, chosen", "block_sparse", "chosen", 0x1d5fa8},
                 {"blocks, fixed", "block_sparse", "fixed", 0x63a7dc},
                 {"window", "neighborhood", "window", 0x2c8c57},
                 {"window + first", "neighborhood", "merged", 0x7dbb4e},
                 {"shards, spread", "sharded", "spread", 0xb07bd0},
                 {"shards, first", "sharded", "first", 0x7a3fa0},
                 {"landmark", "landmark", "", 0xe4702a},
                 {"lightning", "lightning", "", 0xb8901a}};
    chart drawn = {
        .title = "What is left out, and what it costs",
        .subtitle = "relative error of the output against dense attention on the same tensors; both axes logarithmic",
        .x_name = "pairs computed, % of dense attention's (lightning: work)",
        .y_name = "relative error of o",
        .series = sizeof kinds / sizeof *kinds};
    char path[1024];
    for (int k = 0; k < drawn.series; k++) {
        chart_series *s = &drawn.of[k];
        s->name = kinds[k].name;
        s->colour = kinds[k].colour;
        for (int n = 1; n < COMPARE_SETTINGS; n++) {
            const compare_setting *from = &compare_settings[n];
            const size_t length = strlen(kinds[k].op);
            if (strncmp(from->line, kinds[k].op, length) || strncmp(from->name, kinds[k].kind, strlen(kinds[k].kind)))
                continue;
            if (!(c->results[n].error > 0) || s->count == CHART_POINTS) continue;
            s->x[s->count] = 100 * c->results[n].pairs;
            s->y[s->count] = c->results[n].error;
            snprintf(s->label[s->count++], sizeof s->label[0], "%s", from->words);
        }
    }
    snprintf(path, sizeof path, "%s/error-against-pairs.png", c->folder);
    return chart_write(&drawn, path, why);
}
