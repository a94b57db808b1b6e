/* Accepts N connections of its own (argv[2]) in a thread whose creator, and the creator of that
 * one, have both ended. A line on standard input says that a tracer is attached. The tracer sees
 * the stops in an unlikely order:
 *
 *   a grandparent creates a parent, which creates a child and ends. The tracer sees the clone stop
 *   of the grandparent last, after the clone stop of the parent and the end of the parent.
 *
 * wait(2) reports the youngest tracee first. So a crowd of threads that are younger than the
 * grandparent, and that stop repeatedly for signals, delays its stop. The tracer is stopped while
 * the child is created, so that the stops of the child and of its creator wait together.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHECK(x) do { if ((x) == -1) { perror(#x); _exit(3); } } while (0)

enum { CROWD = 24, GRANDPARENTS = 40, LONGEST_MS = 20000 };

static int times;
static volatile int noisy;

/* A grandparent with its descendants. */
static struct family {
    volatile pid_t grandparent, parent, child;
    volatile int go, may_create, created, elder_may_end, child_may_accept, child_may_end, accepted;
} families[GRANDPARENTS];

#define WAIT_FOR(condition) do { \
        int ms = 0; \
        for (; !(condition) && ms < LONGEST_MS; ms++) usleep(1000); \
        if (ms == LONGEST_MS) { fprintf(stderr, "in vain: %s\n", #condition); _exit(4); } \
    } while (0)

static void start(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, argument))
        abort();
    pthread_detach(thread);
}

static void accept_all(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof to;
    int listener, client, fd;
    CHECK(listener = socket(AF_INET, SOCK_STREAM, 0));
    CHECK(bind(listener, (struct sockaddr *)&to, sizeof to));
    CHECK(listen(listener, 16));
    CHECK(getsockname(listener, (struct sockaddr *)&to, &size));
    for (int i = 0; i < times; i++) {
        CHECK(client = socket(AF_INET, SOCK_STREAM, 0));
        CHECK(connect(client, (struct sockaddr *)&to, sizeof to));
        CHECK(fd = accept(listener, NULL, NULL));
        close(fd);
        close(client);
    }
}

static void *child(void *of)
{
    struct family *family = of;
    family->child = gettid();
    while (!family->child_may_accept && !family->child_may_end)
        usleep(1000);
    if (family->child_may_accept) {
        accept_all();
        family->accepted = 1;
    }
    return NULL;
}

static void *parent(void *of)
{
    struct family *family = of;
    family->parent = gettid();
    /* It must not sleep: the tracer would be idle for a moment. */
    while (!family->may_create)
        ;
    start(child, family);
    return NULL;
}

static void *grandparent(void *of)
{
    struct family *family = of;
    family->grandparent = gettid();
    while (!family->go)
        usleep(1000);
    start(parent, family);
    family->created = 1;
    while (!family->elder_may_end)
        usleep(1000);
    return NULL;
}

static void *stop_always(void *unused)
{
    for (;;) {
        while (!noisy)
            usleep(1000);
        raise(SIGUSR1);
    }
    return unused;
}

static void on_signal(int signal) { (void)signal; }

/* The third field of /proc/self/task/TID/stat; 0 if there is no such thread. */
static char state_of(const char *path)
{
    char line[256] = "";
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    if (!fgets(line, sizeof line, file))
        line[0] = 0;
    fclose(file);
    char *name = strrchr(line, ')');
    return name ? name[2] : 0;
}

static int exists(pid_t tid)
{
    char path[64];
    sprintf(path, "/proc/self/task/%d/stat", tid);
    return state_of(path) != 0;
}

/* How many threads a tracer's stop holds. */
static int held(void)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    int n = 0;
    while ((entry = readdir(tasks))) {
        char path[300];
        sprintf(path, "/proc/self/task/%s/stat", entry->d_name);
        n += entry->d_name[0] != '.' && state_of(path) == 't';
    }
    closedir(tasks);
    return n;
}

static pid_t tracer(void)
{
    char line[256];
    int pid = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, file))
        sscanf(line, "TracerPid: %d", &pid);
    fclose(file);
    if (!pid)
        abort();
    return pid;
}

/* Whether the tracer has learnt of it in the order that was meant. */
static int let_it_be(struct family *family)
{
    char of_tracer[64];
    sprintf(of_tracer, "/proc/%d/stat", tracer());
    noisy = 1;
    family->go = 1;
    WAIT_FOR(family->parent);
    CHECK(kill(tracer(), SIGSTOP));
    WAIT_FOR(state_of(of_tracer) == 'T');
    WAIT_FOR(held() == CROWD + !family->created);
    family->may_create = 1;
    WAIT_FOR(held() == CROWD + !family->created + 2);
    CHECK(kill(tracer(), SIGCONT));
    WAIT_FOR(!exists(family->parent));
    int in_order = !family->created;
    noisy = 0;
    WAIT_FOR(family->created && family->child);
    return in_order;
}

int main(int argc, char **argv)
{
    char c;
    (void)argc;
    times = atoi(argv[2]);
    signal(SIGUSR1, on_signal);
    for (int i = 0; i < GRANDPARENTS; i++)
        start(grandparent, &families[i]);
    WAIT_FOR(families[GRANDPARENTS - 1].grandparent);
    for (int i = 0; i < CROWD; i++)
        start(stop_always, NULL);
    printf("ready\n");
    fflush(stdout);
    CHECK(read(0, &c, 1));
    for (struct family *family = families; family < families + GRANDPARENTS; family++) {
        if (!let_it_be(family)) {
            family->child_may_end = family->elder_may_end = 1;
            WAIT_FOR(!exists(family->child));
            continue;
        }
        family->elder_may_end = 1;
        WAIT_FOR(!exists(family->grandparent));
        family->child_may_accept = 1;
        WAIT_FOR(family->accepted);
        printf("done\n");
        return 0;
    }
    printf("it was never so\n");
    return 5;
}
