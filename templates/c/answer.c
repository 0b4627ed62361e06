#include "answer.h"

void answer(FILE *out, const char *path) {
	fprintf(out, "Hello from {{name}}. You asked for %s\n", path);
}
