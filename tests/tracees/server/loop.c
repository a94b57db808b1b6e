/* One thread. */
#include "server.h"

#include <fcntl.h>

void run_loop(void)
{
    for (;;) {
        greet(next_client());
        counted();
    }
}

void run_exec(long every)
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
    for (char **old = options.arguments; *old; old++)
        if (strchr(*old, '=') ? strncmp(*old, "fd=", 3) != 0 : !strpbrk(*old, "0123456789"))
            argv[n++] = *old;
    execv("/proc/self/exe", argv);
    fail("exec");
}

void run_dup(void)
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
