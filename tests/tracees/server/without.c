/* Executes a program for which the kernel lacks something: a seccomp filter fails system calls. */
#include "server.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#ifndef __NR_pidfd_open
#define __NR_pidfd_open 434
#endif
#ifndef __NR_pidfd_getfd
#define __NR_pidfd_getfd 438
#endif
#ifndef __NR_accept /* i386 */
#define __NR_accept -1
#endif

enum { ANY = -1, MAX_CALLS = 8 };

static const struct call {
    const char *name;
    int number;
    int argument; /* which must have this value, or ANY */
    unsigned value;
} calls[] = {
    {"perf_event_open", __NR_perf_event_open, ANY, 0},
    {"ptrace", __NR_ptrace, ANY, 0},
    {"accept", __NR_accept, ANY, 0},
    {"accept4", __NR_accept4, ANY, 0},
    {"pidfd_open", __NR_pidfd_open, ANY, 0},
    {"pidfd_getfd", __NR_pidfd_getfd, ANY, 0},
    {"process_vm_readv", __NR_process_vm_readv, ANY, 0},
    {"SO_PEERNAME", __NR_getsockopt, 2, 28},
    {"PTRACE_GET_SYSCALL_INFO", __NR_ptrace, 0, 0x420e},
    {"PTRACE_PEEKDATA", __NR_ptrace, 0, 2},
    {"NETLINK_SOCK_DIAG", __NR_socket, 2, 4},
};

static const struct call *call_named(const char *name)
{
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (!strcmp(name, calls[i].name))
            return &calls[i];
    fail(name);
    return NULL;
}

static int errno_named(const char *name)
{
    if (!strcmp(name, "ENOSYS"))
        return ENOSYS;
    if (!strcmp(name, "EPERM"))
        return EPERM;
    if (!strcmp(name, "EINVAL"))
        return EINVAL;
    if (!strcmp(name, "EIO"))
        return EIO;
    if (!strcmp(name, "ENOPROTOOPT"))
        return ENOPROTOOPT;
    fail(name);
    return -1;
}

/* what: CALL,CALL:ERRNO */
int run_without(char *what, char **argv)
{
    char *colon = strchr(what, ':');
    if (!colon)
        fail(what);
    *colon = '\0';
    unsigned verdict = SECCOMP_RET_ERRNO | errno_named(colon + 1);
    struct sock_filter program[MAX_CALLS * 5 + 1];
    unsigned short n = 0;
    for (char *name = strtok(what, ","); name && n < MAX_CALLS * 5; name = strtok(NULL, ",")) {
        const struct call *call = call_named(name);
        unsigned low = offsetof(struct seccomp_data, args) + 8 * (call->argument < 0 ? 0 : call->argument);
        unsigned char skip = call->argument < 0 ? 1 : 3;
        program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
        program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call->number, 0, skip);
        if (call->argument >= 0) {
            program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, low);
            program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call->value, 0, 1);
        }
        program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, verdict);
    }
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog filter = {n, program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
        fail("seccomp");
    execv(argv[0], argv);
    fail(argv[0]);
    return 1;
}
