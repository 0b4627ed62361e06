// Markdown to HTML, as a CGI program: POST sends Markdown and gets HTML, GET gets a page to try it on.
//
// The work is done by md4c, a C library from before WebAssembly had an interface to the outside. HTML inside the Markdown is
// taken as text, but links are left as they are: who shows what others wrote still needs a Content-Security-Policy.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "md4c-html.h"

enum { READ_AT_ONCE = 65536 };

static const char PAGE[] =
	"<!doctype html>\n<meta charset=\"utf-8\"><title>Markdown</title>\n"
	"<form><textarea name=\"text\" rows=\"12\" cols=\"60\"># Hello\n\nThis is *Markdown*.</textarea></form>\n"
	"<main></main>\n"
	"<script>\n"
	"const text = document.querySelector('textarea'), main = document.querySelector('main');\n"
	"const show = async () => main.innerHTML = await (await fetch('', { method: 'POST', body: text.value })).text();\n"
	"text.addEventListener('input', show); show();\n"
	"</script>\n";

static void put(const MD_CHAR *text, MD_SIZE length, void *out) {
	fwrite(text, 1, length, out);
}

// Standard input to its end, or NULL if there is not enough memory for it.
static char *read_all(size_t *length) {
	char *text = NULL;
	size_t room = 0, got;
	*length = 0;
	do {
		if (room - *length < READ_AT_ONCE) {
			room = 2 * room + READ_AT_ONCE;
			char *larger = realloc(text, room);
			if (larger == NULL) {
				free(text);
				return NULL;
			}
			text = larger;
		}
		got = fread(text + *length, 1, READ_AT_ONCE, stdin);
		*length += got;
	} while (got > 0);
	return text;
}

// Memory is all that the conversion can fail for.
static int too_long(void) {
	fputs("Status: 413 Content Too Large\r\nContent-Type: text/plain\r\n\r\nThe text is too long.\n", stdout);
	return EXIT_SUCCESS;
}

int main(void) {
	const char *method = getenv("REQUEST_METHOD");
	if (method == NULL || strcmp(method, "POST") != 0) {
		printf("Content-Type: text/html; charset=utf-8\r\n\r\n%s", PAGE);
		return EXIT_SUCCESS;
	}
	size_t length;
	char *text = read_all(&length);
	if (text == NULL) {
		return too_long();
	}
	// Kept back until all of it is there: what is half converted cannot be taken back.
	char *html = NULL;
	size_t html_length = 0;
	FILE *kept = open_memstream(&html, &html_length);
	int failure = kept == NULL || md_html(text, (MD_SIZE)length, put, kept, MD_DIALECT_GITHUB | MD_FLAG_NOHTML, 0);
	if (failure || fclose(kept) != 0) {
		return too_long();
	}
	fputs("Content-Type: text/html; charset=utf-8\r\n\r\n", stdout);
	fwrite(html, 1, html_length, stdout);
	return EXIT_SUCCESS;
}
