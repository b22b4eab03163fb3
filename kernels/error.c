/* Status names and the sentence of this thread's last failure. */
#include "backend.h"
#include <stdarg.h>
#include <stdio.h>

static _Thread_local char sentence[512];

slat_status slat_fail(slat_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    return status;
}

const char *slat_error(void) { return sentence; }

const char *slat_status_name(slat_status status)
{
    switch (status) {
    case SLAT_OK: return "SLAT_OK";
    case SLAT_INVALID: return "SLAT_INVALID";
    case SLAT_UNSUPPORTED: return "SLAT_UNSUPPORTED";
    case SLAT_WORKSPACE: return "SLAT_WORKSPACE";
    case SLAT_NO_BACKEND: return "SLAT_NO_BACKEND";
    case SLAT_DEVICE: return "SLAT_DEVICE";
    case SLAT_NO_MEMORY: return "SLAT_NO_MEMORY";
    }
    return "unknown status";
}

#define TEXT(x) #x
#define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

const char *slat_version(void) { return VERSION(SLAT_VERSION_MAJOR, SLAT_VERSION_MINOR, SLAT_VERSION_PATCH); }
