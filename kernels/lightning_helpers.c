/* ALiBi's slopes, for any number of heads. */
#include "backend.h"
#include <math.h>

slat_status slat_lightning_slopes(float *slopes, int32_t heads)
{
    if (!slopes) return slat_fail(SLAT_INVALID, "slopes: NULL, expected memory to fill");
    if (heads < 1) return slat_fail(SLAT_INVALID, "heads: %d, expected at least 1", (int)heads);

    int32_t power = 1;
    while (power <= heads / 2) power *= 2;
    for (int32_t h = 0; h < heads; h++) {
        /* Past the power of two: the slopes of 2 * power heads that lie between those already taken. */
        const double exponent = h < power ? (h + 1.0) / power : (2.0 * (h - power) + 1.0) / (2.0 * power);
        slopes[h] = (float)exp2(-8 * exponent);
    }
    return SLAT_OK;
}
