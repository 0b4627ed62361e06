#pragma once

#include <stdio.h>

// Says what it was asked for.
void answer(FILE *out, const char *path);
