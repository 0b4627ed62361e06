/* What PHP calls and WASI's libc (preview 1) has not. Most of it fails as it does where a system refuses it; memory, locks
 * and descriptors do what PHP needs of them. */
#include "missing.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define REFUSE(result) do { errno = ENOSYS; return result; } while (0)

/* Signals, processes and users. */

int sigaction(int signal, const struct sigaction *new, struct sigaction *old) {
	if (old) memset(old, 0, sizeof *old);
	return 0;
}
int sigemptyset(sigset_t *set) { memset(set, 0, sizeof *set); return 0; }
int kill(pid_t process, int signal) { REFUSE(-1); }
pid_t setsid(void) { REFUSE(-1); }
pid_t fork(void) { REFUSE(-1); }
pid_t wait(int *status) { REFUSE(-1); }
pid_t getpgrp(void) { return 1; }
FILE *popen(const char *command, const char *mode) { REFUSE(NULL); }
int pclose(FILE *file) { REFUSE(-1); }

struct passwd;
struct group;
uid_t getuid(void) { return 0; }
uid_t geteuid(void) { return 0; }
gid_t getgid(void) { return 0; }
int getgroups(int count, gid_t *groups) { return 0; }
struct passwd *getpwnam(const char *name) { REFUSE(NULL); }
struct passwd *getpwuid(uid_t user) { REFUSE(NULL); }
struct group *getgrnam(const char *name) { REFUSE(NULL); }

void openlog(const char *name, int options, int facility) {}
void closelog(void) {}
void syslog(int priority, const char *format, ...) {}

/* A fiber needs a second stack. */

extern __attribute__((noreturn)) void zend_error_noreturn(int, const char *, ...);
int getcontext(ucontext_t *context) { return 0; }
void makecontext(struct __ucontext *context, void (*entry)(), int count, ...) {}
int swapcontext(ucontext_t *from, const ucontext_t *to) {
	zend_error_noreturn(1 /* E_ERROR */, "Fibers are not supported on WASI");
}

/* Sockets and names. */

struct hostent;
int socket(int domain, int type, int protocol) { REFUSE(-1); }
int bind(int socket, const struct sockaddr *address, socklen_t length) { REFUSE(-1); }
int listen(int socket, int backlog) { REFUSE(-1); }
int connect(int socket, const struct sockaddr *address, socklen_t length) { REFUSE(-1); }
int setsockopt(int socket, int level, int option, const void *value, socklen_t length) { REFUSE(-1); }
int getsockname(int socket, struct sockaddr *address, socklen_t *length) { REFUSE(-1); }
int getpeername(int socket, struct sockaddr *address, socklen_t *length) { REFUSE(-1); }
ssize_t sendto(int socket, const void *data, size_t length, int flags, const struct sockaddr *to, socklen_t size) {
	REFUSE(-1);
}
ssize_t recvfrom(int socket, void *data, size_t length, int flags, struct sockaddr *from, socklen_t *size) {
	REFUSE(-1);
}
int getnameinfo(const struct sockaddr *address, socklen_t length, char *host, socklen_t host_length, char *service,
                socklen_t service_length, int flags) {
	return -4; /* EAI_FAIL */
}
int gethostbyname_r(const char *name, struct hostent *entry, char *buffer, size_t length, struct hostent **result,
                    int *error) {
	*result = NULL;
	*error = 3; /* NO_RECOVERY */
	return ENOSYS;
}

/* What random_bytes() and the names of sessions are made of. The libc gives up to 256 bytes at a time. */
ssize_t getrandom(void *buffer, size_t length, unsigned flags) {
	size_t part = length < 256 ? length : 256;
	return getentropy(buffer, part) == 0 ? (ssize_t)part : -1;
}

/* Files. */

/* For php://stdin and its like: the same descriptor, which nobody closes. */
int dup(int descriptor) { return descriptor; }
int getdtablesize(void) { return 1024; }
mode_t umask(mode_t mask) { return 022; }
int chown(const char *path, uid_t user, gid_t group) { REFUSE(-1); }

/* There are no permissions to change: all is well if the file is there. */
int wasi_chmod(const char *path, mode_t mode) {
	struct stat status;
	return stat(path, &status);
}

char *mktemp(char *pattern) {
	unsigned char random[16];
	size_t length = strlen(pattern), count = 0;
	while (count < length && count < sizeof random && pattern[length - 1 - count] == 'X') count++;
	getentropy(random, count);
	for (size_t i = 0; i < count; i++) {
		pattern[length - 1 - i] = "0123456789abcdefghijklmnopqrstuv"[random[i] & 31];
	}
	return pattern;
}

/* Preview 1 has no locks on files, and without them nothing that saves a file would work: they are granted to everybody.
 * Two instances that write one file at the same time are not kept apart. */
#undef fcntl
int wasi_fcntl(int descriptor, int command, ...) {
	va_list arguments;
	va_start(arguments, command);
	void *argument = va_arg(arguments, void *);
	va_end(arguments);
	if (command == F_SETLK || command == F_SETLKW) return 0;
	if (command == F_GETLK) {
		((struct flock *)argument)->l_type = F_UNLCK;
		return 0;
	}
	return fcntl(descriptor, command, (int)(intptr_t)argument);
}

/* Memory for PHP's allocator, which asks for large zeroed blocks, aligned to their 2 MiB, and to extend them in place. It
 * comes from the end of the linear memory, which never shrinks, so what is given back is kept in a list, sorted by
 * address and with neighbours joined. */

enum { PAGE = 65536, LARGE = 2 << 20 };

static struct block {
	struct block *next;
	size_t length;
} *free_blocks;

static size_t whole_pages(size_t length) { return (length + PAGE - 1) & ~(size_t)(PAGE - 1); }

static uintptr_t aligned(uintptr_t address, size_t alignment) { return (address + alignment - 1) & ~(alignment - 1); }

static void give_back(uintptr_t address, size_t length) {
	struct block **place = &free_blocks, *before = NULL;
	while (*place && (uintptr_t)*place < address) {
		before = *place;
		place = &before->next;
	}
	struct block *block = (struct block *)address;
	block->length = length;
	block->next = *place;
	*place = block;
	if (block->next && address + block->length == (uintptr_t)block->next) {
		block->length += block->next->length;
		block->next = block->next->next;
	}
	if (before && (uintptr_t)before + before->length == address) {
		before->length += block->length;
		before->next = block->next;
	}
}

/* Takes [start, start + length) out of a free block. */
static void *take(struct block **place, uintptr_t start, size_t length) {
	struct block *block = *place;
	uintptr_t begin = (uintptr_t)block, end = begin + block->length;
	*place = block->next;
	if (end > start + length) give_back(start + length, end - start - length);
	if (start > begin) give_back(begin, start - begin);
	return memset((void *)start, 0, length);
}

void *wasi_mmap(void *wanted, size_t length, int protection, int flags, int descriptor, off_t offset) {
	if (descriptor != -1 || length == 0) {
		errno = ENODEV;
		return MAP_FAILED;
	}
	length = whole_pages(length);
	size_t alignment = length >= LARGE ? LARGE : PAGE;
	uintptr_t address = (uintptr_t)wanted;
	for (struct block **place = &free_blocks; *place; place = &(*place)->next) {
		uintptr_t begin = (uintptr_t)*place, end = begin + (*place)->length;
		uintptr_t start = address ? address : aligned(begin, alignment);
		if (start >= begin && start <= end && end - start >= length) return take(place, start, length);
	}
	uintptr_t end_of_memory = (uintptr_t)sbrk(0);
	if (address && address != end_of_memory) {
		errno = EEXIST;
		return MAP_FAILED;
	}
	uintptr_t start = address ? address : aligned(end_of_memory, alignment);
	uint64_t grown = (uint64_t)start + length;
	if (grown > UINT32_MAX - PAGE || grown - end_of_memory > INT32_MAX || sbrk(grown - end_of_memory) == (void *)-1) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	if (start > end_of_memory) give_back(end_of_memory, start - end_of_memory);
	return (void *)start;
}

int wasi_munmap(void *address, size_t length) {
	give_back((uintptr_t)address, whole_pages(length));
	return 0;
}

int wasi_mprotect(void *address, size_t length, int protection) { return 0; }
int madvise(void *address, size_t length, int advice) { return 0; }
