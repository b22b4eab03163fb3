/* What the library reads once in a process (the environment, the module) is tested in processes of its own: a program
 * starts itself again under another environment and asks for one of its scenes by name. */
#ifndef SLAT_TESTS_CHILD_H
#define SLAT_TESTS_CHILD_H
#include <stdbool.h>

/* A scene plays in the child; it prints what is wrong and returns false, or returns true. */
typedef struct {
    const char *name;
    bool (*play)(void);
} child_scene;

/* In main, first of all: plays the scene if this process is a child and ends it. */
void child_main(int argc, char **argv, const child_scene *scenes, int count);

/* Plays a scene in a child whose environment has these additional settings ("NAME=value", up to a NULL; "NAME" alone
 * takes it away), and checks that it went well. */
void child_check(const char *scene, const char *const *environment);

#endif
