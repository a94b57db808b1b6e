/* Processes. */
#include "server.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <linux/sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Forks a process that ends with its parent. */
static pid_t fork_bound(void)
{
    pid_t parent = getpid(), child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
    }
    return child;
}

void run_fork(void)
{
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int fd = next_client();
        pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child == 0) {
            greet(fd);
            _exit(0);
        }
        close(fd);
        counted();
    }
}

void run_postmaster(void)
{
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        sigprocmask(SIG_SETMASK, &none, NULL);
        int listener = ready();
        sigprocmask(SIG_SETMASK, &all, NULL);
        int fd = take(listener);
        if (fd < 0) {
            accept_failed();
            continue;
        }
        if (fork_bound() == 0) {
            char byte;
            if (options.move) {
                if (dup2(fd, 0) < 0)
                    fail("dup2");
                close(fd);
                fd = 0;
            }
            if (write(fd, "ok\n", 3) == 3)
                while (read(fd, &byte, 1) > 0)
                    ;
            _exit(0);
        }
        close(fd);
        counted();
    }
}

void run_vfork(void)
{
    for (;;) {
        int fd = next_client();
        pid_t child = vfork();
        if (child < 0)
            fail("vfork");
        if (child == 0) {
            execl("/proc/self/exe", "server", "nothing", NULL);
            _exit(1);
        }
        int status;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
        if (status != 0)
            fail("the vforked child");
        greet(fd);
        counted();
    }
}

/* Gives a listener the number of the first one, which an exec does not close then. */
static void swap(int listener)
{
    int moved = dup(listener);
    if (moved < 0 || dup2(moved, listeners[0]) < 0)
        fail("dup2");
    close(moved);
}

/* One process that accepts one connection. */
static pid_t start_oneshot(int listener, int executes)
{
    pid_t child = fork_bound();
    if (child != 0)
        return child;
    if (executes) {
        char fd[16];
        if (options.swap)
            swap(listener);
        snprintf(fd, sizeof fd, "fd=%d", options.swap ? listeners[0] : listener);
        char *argv[8] = {"server", fd, "after=1", "loop"};
        int n = 4;
        if (options.reset_signals)
            argv[n++] = "reset";
        if (options.regain) {
            argv[n++] = "regain";
            if (setegid(65534) < 0)
                fail("setegid");
        }
        execv("/proc/self/exe", argv);
        fail("exec");
    }
    greet(take(listener));
    _exit(0);
}

void run_oneshot(long processes, int executes)
{
    pid_t *children = calloc(processes, sizeof *children);
    if (!children)
        fail("calloc");
    for (int i = 0; options.swap && i < listener_count; i++)
        if (fcntl(listeners[i], F_SETFD, FD_CLOEXEC) < 0)
            fail("fcntl");
    for (long i = 0; i < processes; i++)
        children[i] = start_oneshot(listeners[i % listener_count], executes);
    for (;;) {
        int status;
        pid_t ended = wait(&status);
        if (ended < 0) {
            if (errno == EINTR)
                continue;
            fail("wait");
        }
        if (status != 0) {
            fprintf(stderr, "server: a child was killed: status %#x\n", status);
            exit(72);
        }
        /* The next one has the same listener, so that none is left without anybody. */
        for (long i = 0; i < processes; i++)
            if (children[i] == ended)
                children[i] = start_oneshot(listeners[i % listener_count], executes);
    }
}

void run_prefork(long processes)
{
    for (long i = 0; i < processes; i++) {
        if (fork_bound() == 0) {
            listeners[0] = listeners[i % listener_count];
            listener_count = 1;
            run_loop();
        }
    }
    for (;;)
        pause();
}

void run_leaderless(long threads)
{
    if (fork_bound() == 0) {
        run_pool(threads);
        pthread_exit(NULL);
    }
    /* Nobody else has the port. */
    for (int i = 0; i < listener_count; i++)
        close(listeners[i]);
    for (;;)
        pause();
}

void run_pass(void)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
        fail("socketpair");
    pid_t child = fork_bound();
    char byte = 0, space[CMSG_SPACE(sizeof(int) * MAX_LISTENERS)] = {0};
    struct iovec io = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &io, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    if (child) {
        message.msg_controllen = CMSG_SPACE(sizeof(int) * listener_count);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int) * listener_count);
        memcpy(CMSG_DATA(rights), listeners, sizeof(int) * listener_count);
        if (sendmsg(pair[0], &message, 0) != 1)
            fail("sendmsg");
        for (;;)
            pause();
    }
    /* It forgets what it inherited: the listeners come over the socket, under other numbers. */
    for (int i = 0; i < listener_count; i++)
        close(listeners[i]);
    int none = open("/dev/null", O_RDONLY);
    (void)none;
    if (recvmsg(pair[1], &message, 0) != 1)
        fail("recvmsg");
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    listener_count = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(listeners, CMSG_DATA(rights), sizeof(int) * listener_count);
    run_loop();
}

int run_child(char **argv)
{
    pid_t child = fork_bound();
    if (child == 0) {
        execv(argv[0], argv);
        fail(argv[0]);
    }
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#ifndef __NR_clone3
#define __NR_clone3 435
#endif

/* clone(2) as inline assembler has it, which may rely on the registers of the arguments. */
static long clone_untraced(void)
{
    unsigned long flags = CLONE_UNTRACED | SIGCHLD, after = flags;
    long result;
#if defined(__x86_64__)
    register long r10 __asm__("r10") = 0, r8 __asm__("r8") = 0;
    __asm__ volatile("syscall"
                     : "=a"(result), "+D"(after)
                     : "a"((long)__NR_clone), "S"(0L), "d"(0L), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
#else
    result = syscall(__NR_clone, flags, 0, 0, 0, 0);
#endif
    if (after != flags) {
        fprintf(stderr, "server: the flags of clone have become %lx\n", after);
        _exit(72);
    }
    return result;
}

static long clone3_untraced(const struct clone_args *arguments)
{
    long result = syscall(__NR_clone3, arguments, sizeof *arguments);
    if (arguments->flags != CLONE_UNTRACED) {
        fprintf(stderr, "server: the flags of clone3 have become %llx\n", arguments->flags);
        _exit(72);
    }
    return result;
}

void run_untraced(const char *how)
{
    static const struct clone_args fixed = {.flags = CLONE_UNTRACED, .exit_signal = SIGCHLD};
    struct clone_args arguments = fixed;
    pid_t parent = getpid();
    long child = !strcmp(how, "untraced3")    ? clone3_untraced(&arguments)
                 : !strcmp(how, "untracedro") ? clone3_untraced(&fixed)
                                              : clone_untraced();
    if (child < 0)
        fail("clone");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        run_loop();
    }
    for (;;)
        pause();
}

void run_daemon(void)
{
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child) {
        /* Its group is another by the time that the command has ended. */
        setpgid(child, child);
        _exit(0);
    }
    setpgid(0, 0);
    run_loop();
}
