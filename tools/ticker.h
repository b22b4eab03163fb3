/* A line on stderr that shows that work goes on: what is computed and for how long, once two seconds have passed. Only
 * where stderr is a terminal. */
#ifndef TOOLS_TICKER_H
#define TOOLS_TICKER_H

typedef struct ticker ticker;

ticker *ticker_start(const char *what);       /* NULL: no terminal, or no thread; the others take it */
void ticker_step(ticker *, int done, int of); /* "3 of 10" beside the seconds where `of` is over 1 */
void ticker_stop(ticker *);                   /* clears the line */

#endif
