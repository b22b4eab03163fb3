/* A process that has computed with threads forks, as data loaders do: the child computes too, to the same bits. On every
 * backend of this machine. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "subject.h"

enum { SECONDS = 60 }; /* a child that waits for threads which it has not got is ended */

static const problem_parameters parameters = {
    .op = OP_NEIGHBORHOOD, .type = TENSOR_F32, .b = 1, .tq = {1024}, .hq = 4, .d = 64, .neighborhood = {.window = {256}}};

static void child(problem *p, const problem *before, const slat_exec *exec)
{
    alarm(SECONDS);
    problem_reset(p, PASS_FORWARD);
    if (problem_call(p, PASS_FORWARD, exec) != SLAT_OK) _exit(2);
    for (int64_t i = 0; i < tensor_count(p->t[ROLE_O]); i++)
        if (tensor_get(p->t[ROLE_O], i) != tensor_get(before->t[ROLE_O], i)) _exit(3);
    _exit(0);
}

static void forks(const void *argument)
{
    const slat_exec exec = {.backend = argument, .threads = 2};
    problem *p = subject_new(&parameters, LAYOUT_PLAIN), *before = subject_copy(p, LAYOUT_PLAIN);
    subject_outputs(p, PASS_FORWARD, LAYOUT_PLAIN);
    subject_outputs(before, PASS_FORWARD, LAYOUT_PLAIN);
    subject_call(before, PASS_FORWARD, &exec, "before the fork");
    const pid_t pid = fork();
    if (pid == 0) child(p, before, &exec);
    int status = -1;
    if (CHECK(pid > 0, "fork failed")) waitpid(pid, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with signal %d, status %d",
          WIFSIGNALED(status) ? WTERMSIG(status) : 0, WIFEXITED(status) ? WEXITSTATUS(status) : 0);
    problem_free(p);
    problem_free(before);
}

int main(int argc, char **argv)
{
    const char *names[SUBJECT_BACKENDS];
    const int32_t backends = subject_backends(names);
    for (int32_t b = 0; b < backends; b++) harness_add(forks, names[b], "a child of a process with threads, %s", names[b]);
    return harness_main("fork", argc, argv);
}
