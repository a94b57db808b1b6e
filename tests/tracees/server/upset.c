/* What a server may do to itself while it is watched. */
#include "server.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <grp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* Under a filter that kills at what a server has no use for, as systemd's and container engines' do. */
static void enter_filter(void)
{
    static const int denied[] = {__NR_ptrace, __NR_process_vm_readv, __NR_perf_event_open, __NR_unshare};
    struct sock_filter program[4 + sizeof denied / sizeof *denied] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    int n = 1, count = sizeof denied / sizeof *denied;
    for (int i = 0; i < count; i++, n++)
        program[n] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, denied[i], count - i, 0);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog filter = {n, program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
        fail("seccomp");
}

/* A filter that leaves a call to a tracer: without one it fails, and so it must with one that has not asked for it. */
void leave_call_to_tracer(unsigned data)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | data),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {4, program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
        fail("seccomp");
    errno = 0;
    if (syscall(__NR_getppid) != -1 || errno != ENOSYS) {
        fprintf(stderr, "server: a call that its filter does not allow was executed\n");
        exit(72);
    }
}

static void run_out_of_memory(void)
{
    struct rlimit limit = {64 << 20, 64 << 20};
    setrlimit(RLIMIT_AS, &limit);
    for (;;) {
        char *more = malloc(1 << 20);
        if (!more)
            abort();
        memset(more, 1, 1 << 20);
    }
}

/* The child goes on where this was; the first process ends. */
static void become_daemon(void)
{
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child > 0)
        _exit(0);
}

int upset(const char *what)
{
    if (!strcmp(what, "close"))
        close_range(3, ~0u, 0);
    else if (!strcmp(what, "filter"))
        enter_filter();
    else if (!strcmp(what, "setuid")) {
        if (setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0)
            fail("setuid");
    } else if (!strcmp(what, "chroot")) {
        if (chroot("/proc/self/fdinfo") < 0 || chdir("/") < 0)
            fail("chroot");
    } else if (!strcmp(what, "namespaces")) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC) < 0)
            fail("unshare");
    } else if (!strcmp(what, "leader")) {
        printf("done: %s\n", what);
        fflush(stdout);
        pthread_exit(NULL);
    } else if (!strcmp(what, "memory"))
        run_out_of_memory();
    else if (!strcmp(what, "daemon"))
        become_daemon();
    else
        return 0;
    return 1;
}
