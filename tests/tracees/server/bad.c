/* Arguments that accept(2) refuses, or that tell little or wrong things. */
#include "server.h"

#include <limits.h>
#include <netinet/in.h>
#include <sys/mman.h>

/* Another client's address and any length: 10.9.9.9, port 99. */
static const struct sockaddr_in another = {
    .sin_family = AF_INET, .sin_port = 0x6300, .sin_addr.s_addr = 0x0909090a};

static struct {
    struct sockaddr_storage peer;
    socklen_t length;
} shared;

/* Two pages, of which the second may be read and not written, or is not there. */
static char *page_before(int protection)
{
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages + 4096, 4096, protection) < 0)
        fail("mmap");
    return pages;
}

static void *rewrite(void *unused)
{
    static const socklen_t lengths[] = {0, 1, 4, 8, 16, 28, 128, -1, INT_MAX};
    for (unsigned i = 0;; i++) {
        memcpy(&shared.peer, &another, sizeof another);
        *(volatile socklen_t *)&shared.length = lengths[i % (sizeof lengths / sizeof *lengths)];
    }
    return unused;
}

static socklen_t own;

/* An address that is bad in itself. */
static struct sockaddr *bad_place(const char *bad)
{
    static char *gone, *fixed, *written;
    if (!gone) {
        gone = page_before(PROT_NONE);
        fixed = page_before(PROT_READ);
        written = page_before(PROT_READ | PROT_WRITE);
    }
    if (!strcmp(bad, "unmapped"))
        return (void *)(gone + 4096);
    if (!strcmp(bad, "readonly"))
        return (void *)(fixed + 4096);
    if (!strcmp(bad, "kernel"))
        return (void *)(-4096L * 1024);
    if (!strcmp(bad, "edge"))
        return (void *)(gone + 4096 - 6);
    if (!strcmp(bad, "across"))
        return (void *)(written + 4096 - 6);
    fail(bad);
    return NULL;
}

static void make_bad_by(const char *bad, struct sockaddr **where, socklen_t **length)
{
    own = sizeof(struct sockaddr_storage);
    *length = &own;
    if (!strcmp(bad, "racing")) {
        *where = (void *)&shared.peer;
        *length = &shared.length;
    } else if (!strcmp(bad, "nolength"))
        *length = (void *)bad_place("unmapped");
    else if (!strcmp(bad, "rolength"))
        *length = (void *)bad_place("readonly");
    else if (!strcmp(bad, "zero"))
        own = 0;
    else if (!strcmp(bad, "one"))
        own = 1;
    else if (!strcmp(bad, "negative"))
        own = -1;
    else if (!strcmp(bad, "huge"))
        own = INT_MAX;
    else
        *where = bad_place(bad);
}

/* Replaces the arguments of every second call, by one of options.bad after the other:
 *   zero, one, negative, huge   as the length
 *   unmapped, readonly, kernel  where the address is to go
 *   edge, across                an address that begins before a page that is not there; the same
 *                               with a page that is
 *   nolength, rolength          a length that is not there, that cannot be written
 *   racing                      another thread rewrites address and length at full speed
 */
void make_bad(struct sockaddr **where, socklen_t **length)
{
    static char *names[16];
    static int count;
    static long calls;
    if (!count) {
        char *left = strdup(options.bad), *name;
        while (count < 15 && (name = strsep(&left, ",")))
            names[count++] = name;
        if (strstr(options.bad, "racing"))
            start_thread(rewrite, NULL);
    }
    long call = __sync_fetch_and_add(&calls, 1);
    if (call % 2 == 1)
        make_bad_by(names[call / 2 % count], where, length);
}
