/* Executes a program for which the kernel lacks something: a seccomp filter fails system calls. What a filter cannot
 * see, since it is in memory, another process looks at: seccomp_unotify(2). */
#include "server.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

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

/* Fields of perf_event_attr, by their bit behind read_format. */
static const struct field {
    const char *name;
    unsigned bit;
} fields[] = {
    {"inherit_thread", 35},
    {"sigtrap", 37},
};

static unsigned long long field_named(const char *name)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (!strcmp(name, fields[i].name))
            return 1ULL << fields[i].bit;
    return 0;
}

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

/* Answers calls of perf_event_open until no process has the filter: fails those that ask for one of these fields. */
static void answer(int listener, unsigned long long refused, int error)
{
    struct seccomp_notif call;
    struct seccomp_notif_resp response;
    for (;;) {
        struct pollfd state = {listener, POLLIN, 0};
        if (poll(&state, 1, -1) == 1 && !(state.revents & POLLIN))
            _exit(0);
        memset(&call, 0, sizeof call);
        /* Fails if the caller has been interrupted meanwhile. */
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
            continue;
        unsigned long long bits = 0;
        struct iovec to = {&bits, sizeof bits};
        struct iovec from = {(char *)(uintptr_t)call.data.args[0] + offsetof(struct perf_event_attr, read_format) + 8, sizeof bits};
        int is_read = process_vm_readv(call.pid, &to, 1, &from, 1, 0) == sizeof bits;
        memset(&response, 0, sizeof response);
        response.id = call.id;
        if (is_read && bits & refused)
            response.error = -error;
        else
            response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
    }
}

/* A process that is nobody's child, so that the program has no child that it does not know. It does not have the filter:
 * it ends with the last process that has. It gets the descriptor as soon as its number comes. */
static int start_answering(unsigned long long refused, int error)
{
    int ends[2], number;
    pid_t caller = getpid();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        fail("socketpair");
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child > 0) {
        waitpid(child, NULL, 0);
        close(ends[1]);
        return ends[0];
    }
    setsid();
    if (fork())
        _exit(0);
    for (int fd = 0; fd < 1024; fd++)
        if (fd != ends[1])
            close(fd);
    if (read(ends[1], &number, sizeof number) != sizeof number)
        _exit(0);
    int listener = syscall(__NR_pidfd_getfd, syscall(__NR_pidfd_open, caller, 0), number, 0);
    if (listener < 0)
        _exit(1);
    write(ends[1], "", 1);
    close(ends[1]);
    answer(listener, refused, error);
    return -1;
}

static int install(struct sock_fprog *filter, unsigned flags)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        fail("no_new_privs");
    int listener = syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, filter);
    if (listener < 0)
        fail("seccomp");
    return listener;
}

static void give_listener(int other, int listener)
{
    char done;
    if (write(other, &listener, sizeof listener) < 0 || read(other, &done, 1) != 1)
        fail("the process that answers");
    close(other);
    close(listener);
}

/* Another process allows each accept. */
void ask_at_accept(void)
{
    int other = start_answering(0, 0);
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_accept4, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)__NR_accept, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {5, program};
    give_listener(other, install(&filter, SECCOMP_FILTER_FLAG_NEW_LISTENER));
}

/* what: CALL,CALL:ERRNO; in place of CALL a field of perf_event_attr */
int run_without(char *what, char **argv)
{
    char *colon = strchr(what, ':');
    if (!colon)
        fail(what);
    *colon = '\0';
    unsigned verdict = SECCOMP_RET_ERRNO | errno_named(colon + 1);
    struct sock_filter program[MAX_CALLS * 5 + 4];
    unsigned short n = 0;
    unsigned long long refused = 0;
    for (char *name = strtok(what, ","); name && n < MAX_CALLS * 5; name = strtok(NULL, ",")) {
        if (field_named(name)) {
            refused |= field_named(name);
            continue;
        }
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
    if (refused) {
        program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
        program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_perf_event_open, 0, 1);
        program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    }
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog filter = {n, program};
    unsigned flags = refused ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0;
    int other = refused ? start_answering(refused, errno_named(colon + 1)) : -1;
    int listener = install(&filter, flags);
    if (refused)
        give_listener(other, listener);
    execv(argv[0], argv);
    fail(argv[0]);
    return 1;
}
