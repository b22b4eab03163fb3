/* The ticker: a thread that sleeps a second at a time. */
#define _POSIX_C_SOURCE 200809L
#include "ticker.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct ticker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ended;
    int done, of;
    char what[64];
};

static void *tick(void *argument)
{
    ticker *t = argument;
    struct timespec next;
    clock_gettime(CLOCK_REALTIME, &next);
    pthread_mutex_lock(&t->lock);
    for (int seconds = 1; !t->ended; seconds++) {
        next.tv_sec++;
        while (!t->ended && pthread_cond_timedwait(&t->changed, &t->lock, &next) == 0) continue;
        if (t->ended || seconds < 2) continue;
        fprintf(stderr, "\r%s: %d s", t->what, seconds);
        if (t->of > 1) fprintf(stderr, ", %d of %d", t->done, t->of);
        fflush(stderr);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

ticker *ticker_start(const char *what)
{
    ticker *t = isatty(STDERR_FILENO) ? calloc(1, sizeof *t) : NULL;
    if (!t) return NULL;
    snprintf(t->what, sizeof t->what, "%s", what);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    if (pthread_create(&t->thread, NULL, tick, t) == 0) return t;
    free(t);
    return NULL;
}

void ticker_step(ticker *t, int done, int of)
{
    if (!t) return;
    pthread_mutex_lock(&t->lock);
    t->done = done;
    t->of = of;
    pthread_mutex_unlock(&t->lock);
}

void ticker_stop(ticker *t)
{
    if (!t) return;
    pthread_mutex_lock(&t->lock);
    t->ended = true;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    fprintf(stderr, "\r%-60s\r", "");
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->changed);
    free(t);
}
