/* Connects to itself and accepts, N times in all, in the manner that argv[1] names, once a line
 * has come on standard input; says how often on standard output, and exits.
 *
 *   plain    in the first thread, by accept and accept4 in turn, with failures in between
 *   threads  N threads, one after another, each accepts once and ends
 *   nested   the same, each created by the one before
 *   forks    N child processes, each accepts once
 *   vforks   the same by vfork
 *   rushes   N child processes with six threads each, one of which ends the process while the
 *            others accept
 *   exec     in the first thread, and executes itself anew for each of them
 *   threadexec  another thread executes the program, which goes on as "plain"
 *   cloexec  children by clone3 with CLONE_CLEAR_SIGHAND
 *   blocked  in a thread that blocks all signals from before standard input is read
 *   blocks   in a thread that blocks all signals after that
 *   pending  three times with SIGURG blocked, then unblocks it, then the rest
 *   crowd    N threads at once, which are there from before standard input is read
 *   later    as pending, but all of them, and unblocks it after another line
 *   ppoll    after each, waits in ppoll with all signals blocked
 *   stopped  stops itself by SIGSTOP in between
 *   urgents  sends itself SIGURG (with a handler) in between; says "lost" if one gets lost
 *   alarms   while another thread sends it signals that it handles
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(x) do { if ((x) == -1) { perror(#x); _exit(3); } } while (0)

static int listener, count;
static struct sockaddr_in address = {.sin_family = AF_INET};

static void open_listener(void) {
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(listener = socket(AF_INET, SOCK_STREAM, 0));
    CHECK(bind(listener, (struct sockaddr *)&address, sizeof address));
    CHECK(listen(listener, 4096));
    CHECK(getsockname(listener, (struct sockaddr *)&address, &size));
}

static void once(int i) {
    int client, fd;
    CHECK(client = socket(AF_INET, SOCK_STREAM, 0));
    CHECK(connect(client, (struct sockaddr *)&address, sizeof address));
    fd = i % 2 ? accept(listener, NULL, NULL) : accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(fd);
    accept(-1, NULL, NULL);
    close(fd);
    close(client);
}

static void *one(void *arg) { once((int)(long)arg); return NULL; }

static void *nest(void *arg) {
    long left = (long)arg;
    once(left);
    pthread_t thread;
    if (left > 1) {
        if (pthread_create(&thread, NULL, nest, (void *)(left - 1))) abort();
        pthread_join(thread, NULL);
    }
    return NULL;
}

static void wait_for_go(void) { char c; CHECK(read(0, &c, 1)); }

static void all(void) { for (int i = 0; i < count; i++) once(i); }

static void block(int signal) {
    sigset_t set;
    sigfillset(&set);
    if (signal) { sigemptyset(&set); sigaddset(&set, signal); }
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void *blocked(void *arg) { block(0); *(volatile int *)arg = 1; wait_for_go(); all(); return NULL; }
static void *blocks(void *arg) { (void)arg; wait_for_go(); block(0); all(); return NULL; }

static pthread_barrier_t start;
static void *crowd(void *arg) { pthread_barrier_wait(&start); once((int)(long)arg); return NULL; }

static void *rush(void *arg) { for (;;) once((int)(long)arg); return NULL; }

static char **arguments;
static void *execute(void *arg) {
    (void)arg;
    arguments[1] = "plainly";
    execv("/proc/self/exe", arguments);
    abort();
}

static pthread_t main_thread;
static void on_usr1(int s) { (void)s; }
static void *alarm_always(void *arg) { for (;;) pthread_kill(main_thread, SIGUSR1); return arg; }

static volatile sig_atomic_t urgents;
static void on_urgent(int s) { (void)s; urgents++; }

int main(int argc, char **argv) {
    const char *how = argv[1];
    pthread_t thread;
    int status;
    arguments = argv;
    count = atoi(argv[2]);
    if (argc < 4) open_listener();
    if (!strcmp(how, "blocked")) {
        volatile int ready = 0;
        if (pthread_create(&thread, NULL, blocked, (void *)&ready)) abort();
        while (!ready) usleep(1000);
        printf("ready\n"); fflush(stdout);
        pthread_join(thread, NULL);
    } else if (!strcmp(how, "crowd")) {
        pthread_t threads[count];
        pthread_barrier_init(&start, NULL, count + 1);
        for (long i = 0; i < count; i++)
            if (pthread_create(&threads[i], NULL, crowd, (void *)i)) abort();
        printf("ready\n"); fflush(stdout);
        wait_for_go();
        pthread_barrier_wait(&start);
        for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
    } else if (!strcmp(how, "blocks")) {
        if (pthread_create(&thread, NULL, blocks, NULL)) abort();
        printf("ready\n"); fflush(stdout);
        pthread_join(thread, NULL);
    } else {
        if (!strcmp(how, "urgents")) signal(SIGURG, on_urgent);
        if (argc < 4 && strcmp(how, "plainly")) { printf("ready\n"); fflush(stdout); wait_for_go(); }
        if (!strcmp(how, "plain") || !strcmp(how, "plainly")) all();
        if (!strcmp(how, "alarms")) {
            struct sigaction action = {.sa_handler = on_usr1, .sa_flags = SA_RESTART};
            sigaction(SIGUSR1, &action, NULL);
            main_thread = pthread_self();
            if (pthread_create(&thread, NULL, alarm_always, NULL)) abort();
            all();
        }
        if (!strcmp(how, "threadexec")) {
            pthread_create(&thread, NULL, execute, NULL);
            pause();
        }
        if (!strcmp(how, "nested")) nest((void *)(long)count);
        if (!strcmp(how, "pending")) {
            sigset_t set;
            block(SIGURG);
            for (int i = 0; i < 3; i++) once(i);
            sigemptyset(&set); sigaddset(&set, SIGURG);
            pthread_sigmask(SIG_UNBLOCK, &set, NULL);
            for (int i = 3; i < count; i++) once(i);
        }
        if (!strcmp(how, "later")) {
            sigset_t set;
            block(SIGURG);
            all();
            printf("accepted\n"); fflush(stdout);
            wait_for_go();
            sigemptyset(&set); sigaddset(&set, SIGURG);
            pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        }
        for (long i = 0; i < count; i++) {
            if (!strcmp(how, "threads")) {
                if (pthread_create(&thread, NULL, one, (void *)i)) abort();
                pthread_join(thread, NULL);
            } else if (!strcmp(how, "forks")) {
                pid_t child = fork();
                CHECK(child);
                if (!child) { once(i); _exit(0); }
                CHECK(waitpid(child, &status, 0));
                if (status) { printf("child died: %x\n", status); exit(4); }
            } else if (!strcmp(how, "rushes")) {
                pid_t child = fork();
                CHECK(child);
                if (!child) {
                    for (long j = 0; j < 5; j++)
                        if (pthread_create(&thread, NULL, rush, (void *)j)) abort();
                    for (int j = 0; j < 20; j++) once(j);
                    _exit(0);
                }
                CHECK(waitpid(child, &status, 0));
                if (status) { printf("child died: %x\n", status); exit(4); }
            } else if (!strcmp(how, "vforks")) {
                pid_t child = vfork();
                CHECK(child);
                if (!child) { once(i); _exit(0); }
                CHECK(waitpid(child, &status, 0));
            } else if (!strcmp(how, "cloexec")) {
                struct clone_args args = {.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
                pid_t child = syscall(SYS_clone3, &args, sizeof args);
                CHECK(child);
                if (!child) { once(i); _exit(0); }
                CHECK(waitpid(child, &status, 0));
                if (status) { printf("child died: %x\n", status); exit(4); }
            } else if (!strcmp(how, "exec")) {
                char port[16], left[16], fd[16];
                if (argc > 3) { address.sin_port = htons(atoi(argv[3])); listener = atoi(argv[4]); address.sin_addr.s_addr = htonl(INADDR_LOOPBACK); }
                once(i);
                if (count == 1) break;
                sprintf(port, "%d", ntohs(address.sin_port)); sprintf(left, "%d", count - 1); sprintf(fd, "%d", listener);
                execl("/proc/self/exe", argv[0], "exec", left, port, fd, NULL);
                abort();
            } else if (!strcmp(how, "ppoll")) {
                sigset_t set;
                struct timespec ms = {0, 1000000};
                sigfillset(&set);
                once(i);
                if (ppoll(NULL, 0, &ms, &set) == -1 && errno != EINTR) abort();
            } else if (!strcmp(how, "stopped")) {
                once(i);
                raise(SIGSTOP);
            } else if (!strcmp(how, "urgents")) {
                once(i);
                raise(SIGURG);
                if (urgents != i + 1) { printf("lost a signal\n"); exit(4); }
            }
        }
    }
    sigset_t set;
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    printf("done%s\n", sigismember(&set, SIGURG) ? ", blocked" : "");
    return 0;
}
