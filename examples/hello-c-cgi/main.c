// A C program that speaks CGI: GET is greeted, POST gets its body back. Nothing in it knows of WebAssembly.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
	const char *method = getenv("REQUEST_METHOD");
	fputs("Content-Type: text/plain\r\n\r\n", stdout);
	if (method == NULL || strcmp(method, "POST") != 0) {
		fputs("Hello, world!\n", stdout);
		return 0;
	}
	static char buffer[65536];
	size_t length;
	while ((length = fread(buffer, 1, sizeof buffer, stdin)) > 0) {
		fwrite(buffer, 1, length, stdout);
	}
	return 0;
}
