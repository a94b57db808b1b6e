/* Listens. */
#include "server.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

int listeners[MAX_LISTENERS];
int listener_count;

void add_listener(int fd)
{
    if (listener_count == MAX_LISTENERS)
        fail("too many listeners");
    listeners[listener_count++] = fd;
}

void listen_tcp(int family, int v6only, int port)
{
    int fd = socket(family, SOCK_STREAM, 0), one = 1;
    if (fd < 0)
        fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (options.reuse_port)
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

void listen_unix(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strncpy(to.sun_path, path, sizeof to.sun_path - 1);
    if (fd < 0 || bind(fd, (void *)&to, sizeof to) < 0 || listen(fd, 64) < 0)
        fail(path);
    add_listener(fd);
}
