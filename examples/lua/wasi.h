/* Put before each source file of Lua: what WASI preview 1 has not, and what Lua then says of it. */
#include <errno.h>
#include <stdio.h>

static inline FILE *no_temporary_file(void) { errno = ENOSYS; return NULL; }
static inline int no_shell(const char *command) { errno = ENOSYS; return command ? -1 : 0; }

#define tmpfile no_temporary_file
#define system no_shell
#define lua_tmpnam(buffer, failed) { (void)(buffer); failed = 1; }
#define LUA_TMPNAMBUFSIZE 32
