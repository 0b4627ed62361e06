/* Put before each source file of PHP: the types, constants and declarations that WASI's libc (preview 1) leaves out. The
 * functions are in missing.c. */
#ifndef MISSING_H
#define MISSING_H
#ifndef __ASSEMBLER__

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

/* Two types of which the libc has only a part, in place of its own headers. */
#define __wasilibc___struct_sockaddr_un_h
#include <__typedef_sa_family_t.h>
struct sockaddr_un {
	sa_family_t sun_family;
	char sun_path[108];
};
#define __wasilibc___struct_rusage_h
#include <__struct_timeval.h>
struct rusage { /* the libc fills the first two */
	struct timeval ru_utime, ru_stime;
	long ru_maxrss, ru_ixrss, ru_idrss, ru_isrss, ru_minflt, ru_majflt, ru_nswap, ru_inblock, ru_oublock, ru_msgsnd,
	     ru_msgrcv, ru_nsignals, ru_nvcsw, ru_nivcsw;
};

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef PF_UNIX
#define PF_UNIX 1
#endif
#ifndef AF_UNIX
#define AF_UNIX PF_UNIX
#endif
#ifndef MSG_OOB
#define MSG_OOB 1
#endif
#ifndef POLLPRI
#define POLLPRI 0
#endif
#ifndef SOL_IP
#define SOL_IP 0
#endif
#ifndef SO_ERROR
#define SO_ERROR 4
#endif
#ifndef SOMAXCONN
#define SOMAXCONN 128
#endif
#ifndef F_RDLCK
#define F_RDLCK 0
#define F_WRLCK 1
#define F_UNLCK 2
#endif
#ifndef F_SETLK
#define F_GETLK 5
#define F_SETLK 6
#define F_SETLKW 7
#endif
#ifndef SA_RESTART
#define SA_RESTART 0x10000000
#endif
#ifndef P_tmpdir
#define P_tmpdir "/tmp"
#endif
#ifndef MAP_TRYFIXED
#define MAP_TRYFIXED 0 /* that memory cannot be extended in place is normal, and no reason for a warning */
#endif

struct sigaction {
	void (*sa_handler)(int);
	sigset_t sa_mask;
	int sa_flags;
};
int sigaction(int, const struct sigaction *, struct sigaction *);
int sigemptyset(sigset_t *);
int kill(pid_t, int);

typedef struct __ucontext {
	struct __ucontext *uc_link;
	struct {
		void *ss_sp;
		size_t ss_size;
		int ss_flags;
	} uc_stack;
} ucontext_t;
#include <ucontext.h>

pid_t setsid(void);
uid_t getuid(void);
uid_t geteuid(void);
gid_t getgid(void);
int getgroups(int, gid_t *);
int getdtablesize(void);
FILE *popen(const char *, const char *);
int pclose(FILE *);
int dup(int);
mode_t umask(mode_t);
int chown(const char *, uid_t, gid_t);
char *mktemp(char *);
ssize_t getrandom(void *, size_t, unsigned);

int socket(int, int, int);
int bind(int, const struct sockaddr *, socklen_t);
int listen(int, int);
int connect(int, const struct sockaddr *, socklen_t);
int setsockopt(int, int, int, const void *, socklen_t);
int getsockname(int, struct sockaddr *, socklen_t *);
int getpeername(int, struct sockaddr *, socklen_t *);
ssize_t sendto(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
ssize_t recvfrom(int, void *, size_t, int, struct sockaddr *, socklen_t *);

/* These are in the libc, but do less than PHP relies on. */
int wasi_fcntl(int, int, ...);
int wasi_chmod(const char *, mode_t);
void *wasi_mmap(void *, size_t, int, int, int, off_t);
int wasi_munmap(void *, size_t);
int wasi_mprotect(void *, size_t, int);
#define fcntl wasi_fcntl
#define chmod wasi_chmod
#define mmap wasi_mmap
#define munmap wasi_munmap
#define mprotect wasi_mprotect

#endif
#endif
