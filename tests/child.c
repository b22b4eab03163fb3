/* Scenes in processes of their own. */
#define _GNU_SOURCE
#include "child.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

static const char play[] = "--play";

void child_main(int argc, char **argv, const child_scene *scenes, int count)
{
    if (argc != 3 || strcmp(argv[1], play) != 0) return;
    for (int n = 0; n < count; n++) {
        if (strcmp(scenes[n].name, argv[2]) != 0) continue;
        const bool right = scenes[n].play();
        fflush(stdout);
        exit(right ? 0 : 1);
    }
    printf("no scene %s\n", argv[2]);
    exit(1);
}

static void become(const char *scene, const char *const *environment, int output)
{
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    for (int n = 0; environment && environment[n]; n++) {
        char *setting = strdup(environment[n]), *value = setting ? strchr(setting, '=') : NULL;
        if (!setting) _exit(3);
        if (!value)
            unsetenv(setting);
        else
            *value = 0, setenv(setting, value + 1, 1);
    }
    char self[4096];
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0) _exit(3);
    self[length] = 0;
    execl(self, self, play, scene, (char *)NULL);
    _exit(3);
}

void child_check(const char *scene, const char *const *environment)
{
    int ends[2];
    fflush(stdout);
    if (!CHECK(pipe(ends) == 0, "no pipe")) return;
    const pid_t pid = fork();
    if (pid == 0) become(scene, environment, ends[1]);
    close(ends[1]);
    char said[600] = "";
    size_t filled = 0;
    char piece[256];
    for (ssize_t n; (n = read(ends[0], piece, sizeof piece)) > 0;) {
        for (ssize_t i = 0; i < n && filled < sizeof said - 1; i++) said[filled++] = piece[i];
    }
    said[filled] = 0;
    close(ends[0]);
    int status = 0;
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid, "no child");
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: status %d: %s", scene, status, said);
}
