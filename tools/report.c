/* Numbers as text, and options that several commands have. */
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void report_json(cJSON *document)
{
    char *text = cJSON_Print(document);
    printf("%s\n", text ? text : "null");
    free(text);
    cJSON_Delete(document);
}

bool report_whole(const char *text, int32_t *value)
{
    char *end;
    if (!text || *text < '0' || *text > '9') return false;
    errno = 0;
    const long number = strtol(text, &end, 10);
    if (*end || errno || number > INT32_MAX) return false;
    *value = (int32_t)number;
    return true;
}

bool report_backend_exists(const char *name, DLDevice device, sentence *why)
{
    char have[256] = "";
    const char *one;
    int32_t rank;
    for (int32_t i = 0; slat_backend(i, device, &one, &rank) == SLAT_OK; i++) {
        if (rank <= 0) continue;
        if (!strcmp(one, name)) return true;
        const size_t used = strlen(have);
        snprintf(have + used, sizeof have - used, "%s%s", used ? ", " : "", one);
    }
    return sentence_fail(why, "--backend: %s, but this machine has %s", name, *have ? have : slat_error());
}

const char *report_grouped(int64_t number, char text[32])
{
    char digits[32];
    const int length = snprintf(digits, sizeof digits, "%" PRId64, number);
    int used = 0;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0 && used && text[used - 1] != '-') text[used++] = ' ';
        text[used++] = digits[i];
    }
    text[used] = '\0';
    return text;
}

const char *report_bytes(double bytes, char text[32])
{
    if (bytes < 1024 * 1024)
        snprintf(text, 32, "%.1f KiB", bytes / 1024);
    else
        snprintf(text, 32, "%.1f MiB", bytes / (1024 * 1024));
    return text;
}

const char *report_seconds(double seconds, char text[32])
{
    if (seconds < 1e-3)
        snprintf(text, 32, "%.1f us", seconds * 1e6);
    else if (seconds < 1)
        snprintf(text, 32, "%.2f ms", seconds * 1e3);
    else
        snprintf(text, 32, "%.2f s", seconds);
    return text;
}
