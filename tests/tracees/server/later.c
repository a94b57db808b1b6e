/* What a server does at SIGUSR1, when somebody watches it already. */
#include "server.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup 425
#endif

enum { STACK = 128 << 10 };

static const char *what;

static int accept_as_child(void *parent)
{
    sigset_t none;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != (pid_t)(long)parent)
        _exit(1);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    run_loop();
    return 0;
}

void start_process(int flags)
{
    char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED || clone(accept_as_child, stack + STACK, flags, (void *)(long)getpid()) < 0)
        fail("clone");
}

static long set_up_io_uring(void)
{
    static char params[120];
    return syscall(__NR_io_uring_setup, 4, params);
}

static void set_up_io_uring_in_child(void)
{
    int status;
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0)
        _exit(set_up_io_uring() >= 0);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    printf("io_uring: %s\n", WEXITSTATUS(status) ? "yes" : "refused");
}

static void on_usr1(int unused)
{
    (void)unused;
    if (!strcmp(what, "int80"))
        options.call = INT80;
    else if (!strcmp(what, "undumpable"))
        prctl(PR_SET_DUMPABLE, 0);
    else if (!strcmp(what, "vm"))
        start_process(CLONE_VM | SIGCHLD);
    else if (!strcmp(what, "vmquiet"))
        start_process(CLONE_VM);
    else if (!strcmp(what, "untraced"))
        start_process(CLONE_UNTRACED | SIGCHLD);
    else if (!strcmp(what, "uring")) {
        long fd = set_up_io_uring();
        printf("io_uring: %s\n", fd >= 0 ? "yes" : "refused");
        if (fd >= 0)
            close(fd);
    } else if (!strcmp(what, "urings"))
        set_up_io_uring_in_child();
    else if (!upset(what))
        fail(what);
    printf("done: %s\n", what);
    fflush(stdout);
}

void do_later(const char *action)
{
    struct sigaction sa = {.sa_handler = on_usr1, .sa_flags = SA_RESTART};
    what = action;
    sigaction(SIGUSR1, &sa, NULL);
}

/* Processes that share the memory of this one, and nothing else. */
void run_vm(long processes, int flags)
{
    for (long i = 0; i < processes; i++)
        start_process(flags);
    run_loop();
}
