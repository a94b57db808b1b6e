/* Threads that wait in calls which a stop may end with EINTR: signal(7). None expects that but after a handler. */
#include "server.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/time.h>
#include <time.h>

enum { UPSET_STATUS = 77, WAITS = 6 };

static pthread_t waiting[WAITS];
static atomic_int waiting_count;

static _Thread_local volatile sig_atomic_t handled_here;
static void on_signal(int signal) { (void)signal, handled_here = 1; }

static long wait_by_epoll(void)
{
    struct epoll_event event;
    return epoll_wait(epoll_create1(0), &event, 1, -1);
}

static long wait_by_epoll_pwait(void)
{
    struct epoll_event event;
    sigset_t handled;
    sigemptyset(&handled);
    sigaddset(&handled, SIGUSR1);
    sigaddset(&handled, SIGUSR2);
    return epoll_pwait(epoll_create1(0), &event, 1, 3600 * 1000, &handled);
}

static long wait_by_recv(void)
{
    int pair[2];
    char byte;
    struct timeval hour = {.tv_sec = 3600};
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 ||
        setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &hour, sizeof hour) < 0)
        fail("socketpair");
    return recv(pair[0], &byte, 1, 0);
}

static long wait_by_sigtimedwait(void)
{
    sigset_t set;
    struct timespec hour = {.tv_sec = 3600};
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 5);
    return sigtimedwait(&set, NULL, &hour);
}

static long wait_by_semtimedop(void)
{
    int set = semget(IPC_PRIVATE, 1, 0600);
    struct sembuf take = {.sem_op = -1};
    struct timespec hour = {.tv_sec = 3600};
    long result = semtimedop(set, &take, 1, &hour);
    int error = errno;
    semctl(set, 0, IPC_RMID);
    errno = error;
    return result;
}

static long wait_by_inotify(void)
{
    char events[4096];
    return read(inotify_init1(0), events, sizeof events);
}

static void *wait_for_nothing(void *call)
{
    static atomic_int reserved;
    waiting[atomic_fetch_add(&reserved, 1)] = pthread_self();
    atomic_fetch_add(&waiting_count, 1);
    long result = ((long (*)(void))call)();
    fprintf(stderr, "server: a wait returned %ld: %s\n", result, strerror(errno));
    exit(UPSET_STATUS);
}

/* Waits until a handler of USR1 or USR2 has run, and ended the wait: it can run nowhere else. */
static void wait_for_handler(int signal)
{
    struct epoll_event event;
    sigset_t others;
    sigfillset(&others);
    sigdelset(&others, signal);
    static _Thread_local int epoll;
    epoll = epoll ? epoll : epoll_create1(0);
    handled_here = 0;
    long result = epoll_pwait(epoll, &event, 1, -1, &others);
    if (result >= 0 || errno != EINTR || !handled_here) {
        fprintf(stderr, "server: the wait for a handler returned %ld: %s\n", result, strerror(errno));
        exit(UPSET_STATUS);
    }
}

/* Says on stdout how often a handler has ended its wait. */
static void *wait_for_handlers(void *unused)
{
    for (int woken = 0;; woken++) {
        printf("woken %d\n", woken);
        fflush(stdout);
        wait_for_handler(SIGUSR1);
    }
    return unused;
}

/* Sends the others signals that they do not handle: only a traced thread is woken by one. */
static void *disturb(void *unused)
{
    for (int disturbed = 1;; disturbed++) {
        wait_for_handler(SIGUSR2);
        for (int i = 0; i < WAITS; i++)
            pthread_kill(waiting[i], disturbed % 2 ? SIGWINCH : SIGURG);
        printf("disturbed %d\n", disturbed);
        fflush(stdout);
    }
    return unused;
}

void run_waits(void)
{
    static long (*const calls[WAITS])(void) = {
        wait_by_epoll, wait_by_epoll_pwait, wait_by_recv, wait_by_sigtimedwait, wait_by_semtimedop, wait_by_inotify,
    };
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (size_t i = 0; i < WAITS; i++)
        start_thread(wait_for_nothing, calls[i]);
    while (atomic_load(&waiting_count) < WAITS)
        usleep(1000);
    start_thread(wait_for_handlers, NULL);
    start_thread(disturb, NULL);
}
