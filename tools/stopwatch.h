/* Wall-clock time, for everything that reports some. */
#ifndef TOOLS_STOPWATCH_H
#define TOOLS_STOPWATCH_H
#include <stdint.h>

/* Seconds on a clock that only runs forward. */
double stopwatch_now(void);
/* Sorts the times; the middle one, or the mean of the two in the middle. count > 0. */
double stopwatch_median(double *seconds, int32_t count);

#endif
