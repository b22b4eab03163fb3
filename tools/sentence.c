/* Sentences of failure. */
#include "sentence.h"

#include <stdarg.h>
#include <stdio.h>

bool sentence_fail(sentence *why, const char *format, ...)
{
    if (!why) return false;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why->text, sizeof why->text, format, arguments);
    va_end(arguments);
    return false;
}
