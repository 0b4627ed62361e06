// Lua as CGI: runs the script that SCRIPT_FILENAME names. What the script prints is the answer, its header fields first.
#include <stdio.h>
#include <stdlib.h>

#include "lauxlib.h"
#include "lua.h"
#include "lualib.h"

// The message is for the log. The client may have the beginning of an answer by now, so it gets nothing more; if it has
// none, the server answers for a guest that ended without one.
static int failed(lua_State *lua) {
	const char *message = lua_tostring(lua, -1);
	fprintf(stderr, "%s\n", message ? message : "the script failed without a message");
	lua_close(lua);
	return EXIT_FAILURE;
}

// So that a message says where in the script it happened, and how it came there.
static int with_traceback(lua_State *lua) {
	luaL_traceback(lua, lua, lua_tostring(lua, 1), 1);
	return 1;
}

int main(void) {
	const char *script = getenv("SCRIPT_FILENAME");
	if (script == NULL) {
		fputs("SCRIPT_FILENAME is missing: name the scripts' folder as root in the [[route]]\n", stderr);
		return EXIT_FAILURE;
	}
	lua_State *lua = luaL_newstate();
	if (lua == NULL) {
		fputs("there is no memory for an interpreter\n", stderr);
		return EXIT_FAILURE;
	}
	luaL_openlibs(lua);
	lua_pushcfunction(lua, with_traceback);
	if (luaL_loadfile(lua, script) != LUA_OK || lua_pcall(lua, 0, 0, 1) != LUA_OK) {
		return failed(lua);
	}
	lua_close(lua);
	return EXIT_SUCCESS;
}
