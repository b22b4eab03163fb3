/* splitmix64, and numbers and tensors made from it. */
#include "random.h"

uint64_t random_splitmix64(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* Seeds far apart give streams far apart. */
static uint64_t bits(uint64_t seed, uint64_t place)
{
    return random_splitmix64(seed * 0xD1342543DE82EF95u + place);
}

double random_uniform(uint64_t seed, uint64_t place)
{
    return (double)(bits(seed, place) >> 11) * 0x1p-53;
}

double random_normal(uint64_t seed, uint64_t place)
{
    const uint64_t x = bits(seed, place);
    const uint64_t sum = (x & 0xFFFF) + (x >> 16 & 0xFFFF) + (x >> 32 & 0xFFFF) + (x >> 48);
    return ((double)sum - 2 * 65535.) * (1.7320508075688772 / 65536); /* four uniforms have variance 1/3 */
}

int64_t random_below(uint64_t seed, uint64_t place, int64_t bound)
{
    return (int64_t)(bits(seed, place) % (uint64_t)bound);
}

typedef struct {
    tensor_type type;
    uint64_t seed;
    bool normal;
    double low, range;
} filling;

static void fill_run(void *context, void *first, int64_t number, int64_t count, int64_t stride)
{
    const filling *f = context;
    const size_t step = (size_t)stride * tensor_type_size(f->type);
    unsigned char *element = first;
    for (int64_t i = 0; i < count; i++, element += step) {
        const uint64_t place = (uint64_t)(number + i);
        const double x = f->normal ? random_normal(f->seed, place) : random_uniform(f->seed, place);
        tensor_store(f->type, element, f->low + f->range * x);
    }
}

bool random_fill_normal(tensor *t, uint64_t seed, double spread)
{
    filling f = {t->type, seed, true, 0, spread};
    return tensor_walk(t, true, fill_run, &f);
}

bool random_fill_uniform(tensor *t, uint64_t seed, double low, double high)
{
    filling f = {t->type, seed, false, low, high - low};
    return tensor_walk(t, true, fill_run, &f);
}

bool random_block(uint64_t seed, int64_t head, int64_t i, int64_t j, double density)
{
    const uint64_t place = ((uint64_t)head * 65536 + (uint64_t)i) * 65536 + (uint64_t)j;
    return (double)(random_splitmix64((place + 1) ^ random_splitmix64(seed) * (seed != 0)) >> 11) * 0x1p-53 < density;
}
