/* How a plan names neighborhood attention's kernel: with the boxes that the cost model chose. */
#include "neighborhood_boxes.cuh"
#include "sm90.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>

namespace sm90
{

/* Sides along x, y, z of an item's queries, then of a run of keys, as log2; dimensions that the grid has. */
struct shape_of_boxes {
    int8_t shift[6], dims;
};

/* "neighborhood_sm90 8x16 by 8x8" */
static void write_name(char *text, size_t size, const shape_of_boxes &shape)
{
    const int first = 3 - shape.dims;
    int used = snprintf(text, size, "neighborhood_sm90");
    for (int box = 0; box < 2; ++box)
        for (int d = first; d < 3; ++d)
            used += snprintf(text + used, size - used, "%s%d",
                             d > first ? "x"
                             : box     ? " by "
                                       : " ",
                             1 << shape.shift[3 * box + d]);
}

/* A name stays where it is: plans keep it. The few that a process needs are written once; if there are ever more, those
 * go without their boxes. */
static const char *name_of(const shape_of_boxes &shape)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct {
        shape_of_boxes shape;
        char text[64];
    } known[256];
    static int count;
    const int most = sizeof known / sizeof *known;
    pthread_mutex_lock(&lock);
    int n = 0;
    while (n < count && memcmp(&known[n].shape, &shape, sizeof shape)) ++n;
    if (n == count && count < most) {
        known[n].shape = shape;
        write_name(known[n].text, sizeof known[n].text, shape);
        ++count;
    }
    pthread_mutex_unlock(&lock);
    return n < most ? known[n].text : "neighborhood_sm90";
}

template <bool LINE> const char *name_boxes(const slat_problem &p, int keys)
{
    neighborhood<LINE, false> walk = {};
    choose_boxes(p, keys, keys, walk);
    shape_of_boxes shape = {};
    shape.dims = LINE ? 1 : p.window[0].length > 1 ? 3 : 2;
    for (int d = 0; d < 3; ++d) {
        shape.shift[d] = (int8_t)(walk.q_shift.v[d] + (d == walk.split));
        shape.shift[3 + d] = (int8_t)walk.k_shift.v[d];
    }
    return name_of(shape);
}

} // namespace sm90

const char *slat_sm90_neighborhood_name(const slat_problem &p)
{
    const int keys = sm90::channels_of(p) <= 128 ? sm90::tile_shape<128>::keys : sm90::tile_shape<256>::keys;
    return p.window[0].length == 1 && p.window[1].length == 1 ? sm90::name_boxes<true>(p, keys)
                                                              : sm90::name_boxes<false>(p, keys);
}
