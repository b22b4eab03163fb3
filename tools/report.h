/* What the commands share when they read options and print. */
#ifndef TOOLS_REPORT_H
#define TOOLS_REPORT_H
#include <cjson/cJSON.h>
#include <slat/slat.h>

#include "sentence.h"

/* Prints a JSON document and deletes it. */
void report_json(cJSON *document);
/* A whole number from 0 to 2^31 - 1; NULL text is none. */
bool report_whole(const char *text, int32_t *value);
/* True when this machine has the backend for this device; else the sentence names those it has. */
bool report_backend_exists(const char *name, DLDevice device, sentence *why);
/* "1 234 567" */
const char *report_grouped(int64_t number, char text[32]);
/* "12.3 MiB" */
const char *report_bytes(double bytes, char text[32]);
/* "1.23 ms" */
const char *report_seconds(double seconds, char text[32]);

#endif
