/* Rows of tests over CUnit: a program adds rows, and harness_main() runs them and tells how many passed.
 *
 * A row is one function with one argument (CUnit's own tests take none). The last line printed is `N passed, N failed`,
 * counted in rows; a program without rows fails, and so does one in which CUnit itself failed.
 */
#ifndef SLAT_TESTS_HARNESS_H
#define SLAT_TESTS_HARNESS_H
#include <stdbool.h>
#include <stdint.h>

/* Adds a row; `argument` must outlive harness_main(). The rest is the row's name, as for printf. */
__attribute__((format(printf, 3, 4))) void harness_add(void (*run)(const void *argument), const void *argument,
                                                       const char *format, ...);

/* Runs the rows whose names contain every word of argv (all of them without words); -v prints each row and its time.
 * Returns what main should. */
int harness_main(const char *suite, int argc, char **argv);

/* Notes a failure of the running row where `right` is false; the sentence says what was seen. Returns `right`. Only the
 * thread that runs the row may call it. After 12 failures in a row of tests, further ones are counted, not printed. */
__attribute__((format(printf, 5, 6))) bool harness_check(bool right, const char *file, int line, const char *text,
                                                         const char *format, ...);

#define CHECK(condition, ...) harness_check((condition), __FILE__, __LINE__, #condition, __VA_ARGS__)

/* Memory of the running row, freed when it ends or by harness_release(); never NULL. */
void *harness_memory(int64_t bytes);
void harness_release(void);

/* The number of failures noted so far in the running row. */
int64_t harness_failures(void);

#endif
