/* Takes one connection, in all the ways that there are. */
#include "server.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static long connections;

/* The address of a client that never comes: 10.9.9.9, port 99. */
static const struct sockaddr_in another = {
    .sin_family = AF_INET, .sin_port = 0x6300, .sin_addr.s_addr = 0x0909090a};

struct buffer {
    struct sockaddr_storage peer;
    socklen_t size;
};
static struct buffer shared;

/* Overwrites what accept writes. */
void *rewrite_address(void *unused)
{
    for (;;) {
        memcpy(&shared.peer, &another, sizeof another);
        __sync_synchronize();
    }
    return unused;
}

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
    low[1] = options.address == NONE ? 0 : base + 64;
    low[2] = options.address == NONE ? 0 : base + 32;
    if (options.address == STALE)
        memcpy(low + 16, &another, sizeof another);
    low[8] = options.address == SHORT || options.address == STALE ? 4 : sizeof(struct sockaddr_storage);
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

/* The buffer is farther above the stack pointer than usual. */
__attribute__((noinline)) static int take_deep(int fd)
{
    struct {
        volatile char below[1500];
        struct buffer buffer;
    } deep;
    deep.below[0] = 0;
    deep.buffer.size = sizeof deep.buffer.peer;
    /* The call must not be this function's last act, which would free its part of the stack. */
    int result = accept(fd, (void *)&deep.buffer.peer, &deep.buffer.size);
    deep.below[1] = (char)result;
    return result;
}

int take(int fd)
{
    if (options.address == DEEP)
        return take_deep(fd);
    static __thread struct buffer *heap;
    struct buffer stack, *buffer = &stack;
    switch (options.address) {
    case STALE:
        memcpy(&stack.peer, &another, sizeof another);
        break;
    case HEAP:
        if (!heap)
            heap = malloc(sizeof *heap);
        buffer = heap;
        break;
    case SHARED:
    case REWRITTEN:
        buffer = &shared;
        break;
    default:
        break;
    }
    buffer->size = options.address == SHORT || options.address == STALE ? 4 : sizeof buffer->peer;
    struct sockaddr *where = options.address == NONE ? NULL : (void *)&buffer->peer;
    socklen_t *length = options.address == NONE ? NULL : &buffer->size;
    if (options.bad)
        make_bad(&where, &length);
    if (options.reset_signals) {
        signal(SIGTRAP, SIG_DFL);
        signal(SIGURG, SIG_DFL);
        signal(SIGWINCH, SIG_DFL);
    }
    switch (options.call) {
    case ACCEPT:
        return accept(fd, where, length);
    case ACCEPT4:
        return accept4(fd, where, length, SOCK_CLOEXEC);
#if defined(__i386__)
    case SOCKETCALL:
    case SOCKETCALL4: {
        long args[4] = {fd, (long)where, (long)length, SOCK_CLOEXEC};
        return syscall(__NR_socketcall, options.call == SOCKETCALL ? 5 : 18, args);
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

void greet(int fd)
{
    if (!options.mute && write(fd, "ok\n", 3) != 3)
        perror("server: write");
    close(fd);
}

/* Counts one more; ends the server where it was told to. */
void counted(void)
{
    long now = __sync_add_and_fetch(&connections, 1);
    if (options.exit_after && now == options.exit_after) {
        if (options.die_of_segv)
            *(volatile int *)8 = 1;
        exit(options.exit_status);
    }
}

void accept_failed(void)
{
    if (options.bad && (errno == EFAULT || errno == EINVAL))
        return;
    if (errno != EINTR && errno != EAGAIN && errno != ECONNABORTED)
        fail("accept");
}

/* The next listener that has a client waiting, where there are several. */
int ready(void)
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

int next_client(void)
{
    for (;;) {
        int fd = take(ready());
        if (fd >= 0)
            return fd;
        accept_failed();
    }
}
