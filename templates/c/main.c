// A program that speaks CGI: the same program runs under Apache.
#include <stdio.h>
#include <stdlib.h>

#include "answer.h"

int main(void) {
	const char *path = getenv("PATH_INFO");
	fputs("Content-Type: text/plain; charset=utf-8\r\n\r\n", stdout);
	answer(stdout, path && *path ? path : "/");
	return EXIT_SUCCESS;
}
