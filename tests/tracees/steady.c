/* Notices when somebody else has touched its registers, its stack or its system calls.
 *
 * The first thread computes a sequence whose values are known, in general, floating point and
 * vector registers at once, between short waits of several kinds; a second thread accepts
 * connections at the port in argv[1] and answers each with a byte. Anything unexpected: exit 3,
 * with a line that says what. argv[2]: "deep" lets the first thread use much stack at times,
 * "signals" sends itself signals all the time, "busy" makes no system calls.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef int32_t vec __attribute__((vector_size(32)));

static void fail(const char *what) {
    fprintf(stderr, "steady: %s\n", what);
    _exit(3);
}

static void *serve(void *arg) {
    int listener = *(int *)arg;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd == -1) fail("accept");
        if (write(fd, "x", 1) != 1) fail("write");
        close(fd);
    }
    return NULL;
}

__attribute__((noinline)) static uint64_t compute(int rounds) {
    register uint64_t a = 1, b = 2, c = 3, d = 4, e = 5, f = 6;
    vec v = {1, 2, 3, 4, 5, 6, 7, 8}, w = {9, 10, 11, 12, 13, 14, 15, 16};
    double x = 1.0;
    for (int i = 0; i < rounds; i++) {
        a = a * 6364136223846793005u + b;
        b ^= a >> 7;
        c += b * 31;
        d = (d << 5 | d >> 59) ^ c;
        e += d;
        f ^= e * 17;
        v = v * 1664525 + w;
        w += v ^ (v >> 15);
        /* Keeps the compiler from knowing any of it, and all of it in registers. */
        __asm__ volatile("" : "+x"(v), "+x"(w), "+x"(x), "+r"(a), "+r"(b), "+r"(c), "+r"(d));
        x = x * 1.0000001 + 0.5;
        if (x > 1e6) x -= 1e6;
    }
    return a ^ b ^ c ^ d ^ e ^ f ^ v[0] ^ v[1] ^ v[6] ^ v[7] ^ w[3] ^ (uint64_t)(x * 1024);
}

static volatile sig_atomic_t signals;
static void on_signal(int signal) {
    (void)signal;
    signals++;
}

static unsigned deep(unsigned n) {
    volatile char page[4096];
    page[0] = n;
    page[4095] = n >> 8;
    unsigned below = n ? deep(n - 1) : 0;
    if (page[0] != (char)n || page[4095] != (char)(n >> 8)) fail("stack");
    return below + page[0];
}

int main(int argc, char **argv) {
    const char *mode = argc > 2 ? argv[2] : "";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64))
        fail("listen");
    socklen_t size = sizeof address;
    getsockname(listener, (struct sockaddr *)&address, &size);
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve, &listener)) fail("pthread_create");
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    action.sa_flags = SA_RESTART;
    sigaction(SIGRTMIN + 3, &action, NULL);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    uint64_t expected = compute(20000);
    int nothing[2];
    if (pipe(nothing)) fail("pipe");
    for (unsigned i = 0;; i++) {
        if (compute(20000) != expected) fail("registers");
        if (!strcmp(mode, "busy")) continue;
        if (!strcmp(mode, "signals")) {
            int before = signals;
            kill(getpid(), SIGUSR1);
            syscall(SYS_tgkill, getpid(), getpid(), SIGRTMIN + 3);
            while (signals < before + 2) sched_yield();
        }
        if (!strcmp(mode, "deep") && i % 64 == 0) deep(100);
        struct timespec t0, t1, wait = {0, 200000};
        clock_gettime(CLOCK_MONOTONIC, &t0);
        struct pollfd fd = {.fd = nothing[0], .events = POLLIN};
        int r = i % 3 == 0 ? nanosleep(&wait, NULL) : i % 3 == 1 ? poll(&fd, 1, 1) : 0;
        if (r == -1 && errno != EINTR) fail("wait");
        if (r > 0) fail("poll of nothing");
        clock_gettime(CLOCK_MONOTONIC, &t1);
        long long ns = (t1.tv_sec - t0.tv_sec) * 1000000000LL + t1.tv_nsec - t0.tv_nsec;
        if (r == 0 && i % 3 == 0 && ns < 200000) fail("slept too short");
        if (getenv("STEADY_NO_EINTR") && r == -1) fail("EINTR");
    }
}
