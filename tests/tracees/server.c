/*
 * A server to trace. It greets each client with "ok\n" and closes the connection; how it comes by
 * its connections is what the arguments are about, in any order:
 *
 *   PORT, 6:PORT, d:PORT    listen there: IPv4, IPv6 alone, both (dual-stack)
 *   fd=N                    N is a listener already (handed on by exec)
 *   unix=PATH               listen on a unix socket too
 *
 *   call=accept             accept(2) of the C library (the default)
 *   call=accept4            accept4(2)
 *   call=socketcall         i386: socketcall(SYS_ACCEPT)
 *   call=socketcall4        i386: socketcall(SYS_ACCEPT4)
 *   call=int80              x86-64: socketcall(SYS_ACCEPT) by int 0x80
 *   address=null            ask for no address
 *   address=short           ask for the first 4 bytes of it
 *   mute                    close at once, without the greeting
 *
 *   loop                    one thread, poll(2) where there are several listeners (the default)
 *   pool=N                  N threads that block in accept
 *   storm=N                 N threads that all wake for each connection; one gets it
 *   thread                  a thread per connection
 *   churn=N                 N threads that block in accept; each ends after 5 connections, and
 *                           another takes its place
 *   fork                    a process per connection
 *   vfork                   a vforked and executed process per connection
 *   prefork=N               N processes that block in accept
 *   dup                     accept on duplicates of the listener, move the new descriptor about
 *   pass                    another process accepts: it is sent the listeners over a unix socket
 *   exec=N                  every N connections, execute this program again
 *
 *   idle=N                  N more threads, which sleep
 *   undumpable              forbid others to look into the process
 *   reuse                   share the ports with other processes (SO_REUSEPORT)
 *   block                   threads block all signals
 *   signals                 send oneself SIGTRAP, SIGURG, real-time signals and timers all the
 *                           time; at SIGTERM, compare what was sent with what came, and exit 0
 *                           if nothing is missing
 *   uring                   try io_uring_setup; the first line of stdout says how it went
 *   after=N                 after N connections, exit with the status given by
 *   status=N                this, or by default 0
 *   segv                    instead of the exit, die of SIGSEGV
 *   child=PROGRAM           run PROGRAM with the arguments that follow, as a child, and wait
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup 425
#endif

enum { MAX_LISTENERS = 16 };

static int listeners[MAX_LISTENERS];
static int listener_count;

static enum { ACCEPT, ACCEPT4, SOCKETCALL, SOCKETCALL4, INT80 } call = ACCEPT;
static enum { FULL, NONE, SHORT } address = FULL;
static int mute, reuse_port, block_signals, die_of_segv, exit_status;
static long exit_after, connections;
static char **arguments;

static void fail(const char *what)
{
    fprintf(stderr, "server: %s: %s\n", what, strerror(errno));
    exit(70);
}

/* --- listening ------------------------------------------------------------------------------ */

static void add_listener(int fd)
{
    if (listener_count == MAX_LISTENERS)
        fail("too many listeners");
    listeners[listener_count++] = fd;
}

static void listen_tcp(int family, int v6only, int port)
{
    int fd = socket(family, SOCK_STREAM, 0), one = 1;
    if (fd < 0)
        fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (reuse_port)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    struct sockaddr_storage to = {0};
    socklen_t size;
    if (family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only);
        struct sockaddr_in6 *in6 = (void *)&to;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(port);
        size = sizeof *in6;
    } else {
        struct sockaddr_in *in = (void *)&to;
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        size = sizeof *in;
    }
    if (bind(fd, (void *)&to, size) < 0 || listen(fd, 4096) < 0)
        fail("listen");
    add_listener(fd);
}

static void listen_unix(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strncpy(to.sun_path, path, sizeof to.sun_path - 1);
    if (fd < 0 || bind(fd, (void *)&to, sizeof to) < 0 || listen(fd, 64) < 0)
        fail(path);
    add_listener(fd);
}

/* --- accepting ------------------------------------------------------------------------------ */

#if defined(__x86_64__)
/* What int 0x80 points to must lie below 4 GiB. */
static int accept_int80(int fd)
{
    static __thread uint32_t *low;
    if (!low) {
        low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
        if (low == MAP_FAILED)
            fail("mmap");
    }
    uint32_t base = (uint32_t)(uintptr_t)low;
    low[0] = fd;
    low[1] = address == NONE ? 0 : base + 64;
    low[2] = address == NONE ? 0 : base + 32;
    low[8] = address == SHORT ? 4 : sizeof(struct sockaddr_storage);
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(102L), "b"(5L), "c"((long)base)
                     : "memory", "r8", "r9", "r10", "r11");
    if ((int)result < 0) {
        errno = -(int)result;
        return -1;
    }
    return (int)result;
}
#endif

static int take(int fd)
{
    struct sockaddr_storage peer;
    socklen_t size = address == SHORT ? 4 : sizeof peer;
    struct sockaddr *where = address == NONE ? NULL : (void *)&peer;
    socklen_t *length = address == NONE ? NULL : &size;
    switch (call) {
    case ACCEPT:
        return accept(fd, where, length);
    case ACCEPT4:
        return accept4(fd, where, length, SOCK_CLOEXEC);
#if defined(__i386__)
    case SOCKETCALL:
    case SOCKETCALL4: {
        long args[4] = {fd, (long)where, (long)length, SOCK_CLOEXEC};
        return syscall(__NR_socketcall, call == SOCKETCALL ? 5 : 18, args);
    }
#endif
#if defined(__x86_64__)
    case INT80:
        return accept_int80(fd);
#endif
    default:
        errno = ENOSYS;
        fail("this call on this architecture");
        return -1;
    }
}

static void greet(int fd)
{
    if (!mute && write(fd, "ok\n", 3) != 3)
        perror("server: write");
    close(fd);
}

/* Counts one more; ends the server where it was told to. */
static void counted(void)
{
    long now = __sync_add_and_fetch(&connections, 1);
    if (exit_after && now == exit_after) {
        if (die_of_segv)
            *(volatile int *)8 = 1;
        exit(exit_status);
    }
}

static void accept_failed(void)
{
    if (errno != EINTR && errno != EAGAIN && errno != ECONNABORTED)
        fail("accept");
}

/* --- one thread ----------------------------------------------------------------------------- */

/* The next listener that has a client waiting, where there are several. */
static int ready(void)
{
    if (listener_count == 1)
        return listeners[0];
    struct pollfd polled[MAX_LISTENERS];
    for (;;) {
        for (int i = 0; i < listener_count; i++)
            polled[i] = (struct pollfd){.fd = listeners[i], .events = POLLIN};
        if (poll(polled, listener_count, -1) < 0) {
            if (errno == EINTR)
                continue;
            fail("poll");
        }
        for (int i = 0; i < listener_count; i++)
            if (polled[i].revents)
                return polled[i].fd;
    }
}

static int next_client(void)
{
    for (;;) {
        int fd = take(ready());
        if (fd >= 0)
            return fd;
        accept_failed();
    }
}

static void run_loop(void)
{
    for (;;) {
        greet(next_client());
        counted();
    }
}

static void run_exec(long every)
{
    for (long i = 0; i < every; i++) {
        greet(next_client());
        counted();
    }
    char **argv = calloc(MAX_LISTENERS + 64, sizeof *argv);
    int n = 0;
    argv[n++] = "server";
    for (int i = 0; i < listener_count; i++)
        asprintf(&argv[n++], "fd=%d", listeners[i]);
    for (char **old = arguments; *old; old++)
        if (strchr(*old, '=') ? strncmp(*old, "fd=", 3) != 0 : !strpbrk(*old, "0123456789"))
            argv[n++] = *old;
    execv("/proc/self/exe", argv);
    fail("exec");
}

static void run_dup(void)
{
    for (;;) {
        int from = dup(ready());
        int high = fcntl(from, F_DUPFD, 100 + rand() % 400);
        close(from);
        int fd = take(high);
        close(high);
        if (fd < 0) {
            accept_failed();
            continue;
        }
        int moved = fcntl(fd, F_DUPFD, 600 + rand() % 200);
        close(fd);
        int again = dup2(moved, fd);
        close(moved);
        greet(again);
        counted();
    }
}

/* --- threads -------------------------------------------------------------------------------- */

static void start_thread(void *(*body)(void *), void *argument)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 128 << 10);
    sigset_t all, before;
    sigfillset(&all);
    if (block_signals)
        pthread_sigmask(SIG_BLOCK, &all, &before);
    pthread_t thread;
    int error;
    /* A machine that is short of threads for a moment is no reason to end. */
    while ((error = pthread_create(&thread, &attributes, body, argument)) == EAGAIN)
        usleep(1000);
    if (error) {
        errno = error;
        fail("thread");
    }
    if (block_signals)
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

static void take_and_greet(int listener)
{
    int fd = take(listener);
    if (fd < 0) {
        accept_failed();
        return;
    }
    greet(fd);
    counted();
}

static void *pool_thread(void *listener)
{
    for (;;)
        take_and_greet((int)(intptr_t)listener);
    return NULL;
}

static void *churn_thread(void *listener)
{
    for (int i = 0; i < 5; i++)
        take_and_greet((int)(intptr_t)listener);
    start_thread(churn_thread, listener);
    return NULL;
}

static void *storm_thread(void *unused)
{
    (void)unused;
    for (;;)
        take_and_greet(ready());
    return NULL;
}

static void *greeter_thread(void *fd)
{
    greet((int)(intptr_t)fd);
    counted();
    return NULL;
}

static void *idle_thread(void *unused)
{
    for (;;)
        pause();
    return unused;
}

static void each_listener(void *(*body)(void *), long threads)
{
    for (long i = 0; i < threads; i++)
        start_thread(body, (void *)(intptr_t)listeners[i % listener_count]);
}

/* --- processes ------------------------------------------------------------------------------ */

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

static void run_fork(void)
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

static void run_vfork(void)
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

static void run_prefork(long processes)
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

static void run_pass(void)
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

/* --- signals -------------------------------------------------------------------------------- */

/* sigqueue(3) counts each signal with its value; the standard ones among them may merge while
 * they are pending, so the sender waits for one to arrive before it sends the next. */
static volatile sig_atomic_t traps, urgents, alarms, ticks, real_times, wrong_values;
static volatile sig_atomic_t ending;

static void on_trap(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    if (info->si_code != SI_TKILL)
        wrong_values++;
    traps++;
}
static void on_urgent(int signal) { (void)signal, urgents++; }
static void on_alarm(int signal) { (void)signal, alarms++; }
static void on_tick(int signal) { (void)signal, ticks++; }
static void on_term(int signal) { (void)signal, ending = 1; }
static void on_real_time(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    /* Each carries its own number: none lost, none twice, in order. */
    if (info->si_code != SI_QUEUE || info->si_value.sival_int != real_times)
        wrong_values++;
    real_times++;
}

static void handle(int signal, void (*simple)(int), void (*informed)(int, siginfo_t *, void *))
{
    struct sigaction action = {.sa_flags = SA_RESTART | (informed ? SA_SIGINFO : 0)};
    if (informed)
        action.sa_sigaction = informed;
    else
        action.sa_handler = simple;
    if (sigaction(signal, &action, NULL) < 0)
        fail("sigaction");
}

static void *no_signals(void *body)
{
    ((void (*)(void))body)();
    return NULL;
}

/* The main thread plays with signals, another one accepts. */
static void run_signals(void)
{
    handle(SIGTRAP, NULL, on_trap);
    handle(SIGURG, on_urgent, NULL);
    handle(SIGALRM, on_alarm, NULL);
    handle(SIGTERM, on_term, NULL);
    handle(SIGRTMIN + 1, NULL, on_real_time);
    handle(SIGRTMIN + 2, on_tick, NULL);
    block_signals = 1;
    start_thread(no_signals, run_loop);

    struct itimerval every = {{0, 3000}, {0, 3000}};
    setitimer(ITIMER_REAL, &every, NULL);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 2};
    struct itimerspec often = {{0, 2000000}, {0, 2000000}};
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0)
        fail("timer_create");
    timer_settime(timer, 0, &often, NULL);

    long sent = 0;
    struct timespec pause_time = {0, 500000};
    while (!ending) {
        union sigval value = {.sival_int = (int)sent};
        pthread_kill(pthread_self(), SIGTRAP);
        pthread_kill(pthread_self(), SIGURG);
        if (sigqueue(getpid(), SIGRTMIN + 1, value) < 0)
            fail("sigqueue");
        sent++;
        while ((traps < sent || urgents < sent || real_times < sent) && !ending)
            nanosleep(&pause_time, NULL);
        nanosleep(&pause_time, NULL);
    }
    /* The last ones may be under way. */
    for (int i = 0; i < 2000 && (traps < sent || urgents < sent || real_times < sent); i++)
        nanosleep(&pause_time, NULL);
    int good = traps == sent && urgents == sent && real_times == sent && wrong_values == 0 &&
               alarms > 0 && ticks > 0;
    printf("sent %ld, traps %ld, urgents %ld, real-time %ld, wrong %ld, alarms %ld, ticks %ld\n",
           sent, (long)traps, (long)urgents, (long)real_times, (long)wrong_values, (long)alarms,
           (long)ticks);
    fflush(stdout);
    _exit(good ? 0 : 71);
}

/* --- the command line ----------------------------------------------------------------------- */

static void try_io_uring(void)
{
    char params[120] = {0};
    long fd = syscall(__NR_io_uring_setup, 4, params);
    printf("io_uring: %s\n", fd >= 0 ? "yes" : errno == ENOSYS ? "ENOSYS" : "refused");
    fflush(stdout);
    if (fd >= 0)
        close(fd);
}

static int run_child(char **argv)
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

static const char *value(const char *argument, const char *name)
{
    size_t length = strlen(name);
    return strncmp(argument, name, length) == 0 && argument[length] == '=' ? argument + length + 1 : NULL;
}

int main(int argc, char **argv)
{
    const char *mode = "loop", *given;
    long count = 0, idle = 0;
    arguments = argv + 1;
    signal(SIGPIPE, SIG_IGN);
    for (int i = 1; i < argc; i++)
        reuse_port |= !strcmp(argv[i], "reuse");
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (a[0] == '6' && a[1] == ':')
            listen_tcp(AF_INET6, 1, atoi(a + 2));
        else if (a[0] == 'd' && a[1] == ':')
            listen_tcp(AF_INET6, 0, atoi(a + 2));
        else if (a[0] >= '0' && a[0] <= '9')
            listen_tcp(AF_INET, 0, atoi(a));
        else if ((given = value(a, "fd")))
            add_listener(atoi(given));
        else if ((given = value(a, "unix")))
            listen_unix(given);
        else if ((given = value(a, "call")))
            call = !strcmp(given, "accept4")       ? ACCEPT4
                   : !strcmp(given, "socketcall")  ? SOCKETCALL
                   : !strcmp(given, "socketcall4") ? SOCKETCALL4
                   : !strcmp(given, "int80")       ? INT80
                                                   : ACCEPT;
        else if ((given = value(a, "address")))
            address = !strcmp(given, "null") ? NONE : !strcmp(given, "short") ? SHORT : FULL;
        else if ((given = value(a, "after")))
            exit_after = atol(given);
        else if ((given = value(a, "status")))
            exit_status = atoi(given);
        else if ((given = value(a, "idle")))
            idle = atol(given);
        else if ((given = value(a, "child")))
            return argv[i] += strlen("child="), run_child(argv + i);
        else if (!strcmp(a, "mute"))
            mute = 1;
        else if (!strcmp(a, "block"))
            block_signals = 1;
        else if (!strcmp(a, "reuse"))
            continue;
        else if (!strcmp(a, "undumpable"))
            prctl(PR_SET_DUMPABLE, 0);
        else if (!strcmp(a, "segv"))
            die_of_segv = 1;
        else if (!strcmp(a, "uring"))
            try_io_uring();
        else if (!strcmp(a, "nothing"))
            return 0;
        else {
            mode = a;
            given = strchr(a, '=');
            count = given ? atol(given + 1) : 0;
        }
    }
    if (listener_count == 0) {
        fprintf(stderr, "server: nothing to listen on\n");
        return 64;
    }
    for (long i = 0; i < idle; i++)
        start_thread(idle_thread, NULL);

    if (!strncmp(mode, "pool", 4))
        each_listener(pool_thread, count);
    else if (!strncmp(mode, "churn", 5))
        each_listener(churn_thread, count);
    else if (!strncmp(mode, "storm", 5)) {
        for (int i = 0; i < listener_count; i++)
            fcntl(listeners[i], F_SETFL, O_NONBLOCK);
        /* A second listener makes them poll. */
        if (listener_count == 1)
            add_listener(listeners[0]);
        for (long i = 0; i < count; i++)
            start_thread(storm_thread, NULL);
    } else if (!strcmp(mode, "thread"))
        for (;;)
            start_thread(greeter_thread, (void *)(intptr_t)next_client());
    else if (!strcmp(mode, "fork"))
        run_fork();
    else if (!strcmp(mode, "vfork"))
        run_vfork();
    else if (!strncmp(mode, "prefork", 7))
        run_prefork(count);
    else if (!strcmp(mode, "dup"))
        run_dup();
    else if (!strcmp(mode, "pass"))
        run_pass();
    else if (!strncmp(mode, "exec", 4))
        run_exec(count);
    else if (!strcmp(mode, "signals"))
        run_signals();
    else if (!strcmp(mode, "loop"))
        run_loop();
    else {
        fprintf(stderr, "server: what is %s?\n", mode);
        return 64;
    }
    for (;;)
        pause();
}
