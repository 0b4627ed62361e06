// Compiled for this machine, not for WebAssembly: see README.md.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"

int main(void) {
	char got[100] = "";
	FILE *out = fmemopen(got, sizeof got, "w");
	if (out == NULL) {
		perror("fmemopen");
		return EXIT_FAILURE;
	}
	answer(out, "/there");
	fclose(out);
	const char *want = "Hello from {{name}}. You asked for /there\n";
	if (strcmp(got, want) != 0) {
		fprintf(stderr, "got:  %swant: %s", got, want);
		return EXIT_FAILURE;
	}
	puts("passed");
	return EXIT_SUCCESS;
}
