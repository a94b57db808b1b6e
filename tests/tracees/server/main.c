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
 *   address=stale           the same into a buffer that holds another client's address
 *   address=heap            into a buffer on the heap, one per thread
 *   address=shared          into one buffer for all threads
 *   address=rewritten       into a buffer that another thread overwrites all the time
 *   address=deep            into a buffer 1,500 bytes above the stack pointer, by accept(2)
 *   bad=WHAT,WHAT...        every second call gets arguments that bad.c lists
 *   mute                    close at once, without the greeting
 *
 *   loop                    one thread, poll(2) where there are several listeners (the default)
 *   pool=N                  N threads that block in accept
 *   storm=N                 N threads that all wake for each connection; one gets it
 *   thread                  a thread per connection
 *   relay=N                 N threads; each accepts one connection, and another takes its place
 *   churn=N                 N threads that block in accept; each ends after 5 connections, and
 *                           another takes its place
 *   fork                    a process per connection
 *   postmaster              a process per connection, until the client leaves; the first process
 *                           blocks all signals but while it waits (PostgreSQL up to 15)
 *   move                    with postmaster: each process moves its connection to descriptor 0 (inetd)
 *   vfork                   a vforked and executed process per connection
 *   oneshot=N               N processes; each accepts one connection, and another takes its place
 *   oneexec=N               the same, and each executes this program before it accepts
 *   regain                  with oneexec: at the exec they have another effective group, which they
 *                           give up before they accept
 *   swap                    with oneexec: an exec closes all listeners, save the one that each has, which
 *                           is at the number of the first one
 *   prefork=N               N processes that block in accept
 *   leaderless=N            a process whose first thread ends, with N threads that block in accept
 *   dup                     accept on duplicates of the listener, move the new descriptor about
 *   untraced                a process made by clone(CLONE_UNTRACED) accepts
 *   untraced3               the same by clone3
 *   untracedro              the same by clone3 with its arguments in read-only memory
 *   daemon                  another process accepts, in a process group of its own, and the first
 *                           one exits
 *   vm=N, vmquiet=N         N processes that share this one's memory (CLONE_VM) and accept as it does;
 *                           with SIGCHLD at their end, and without
 *   activated               listen on the sockets that systemd has passed (sd_listen_fds(3))
 *   pass                    another process accepts: it is sent the listeners over a unix socket
 *   exec=N                  every N connections, execute this program again
 *
 *   idle=N                  N more threads, which sleep
 *   waits                   more threads, which wait in calls that a stop may end with EINTR, and end
 *                           the server if one does
 *   undumpable              forbid others to look into the process
 *   reuse                   share the ports with other processes (SO_REUSEPORT)
 *   reset                   before each accept, set SIGTRAP, SIGURG and SIGWINCH to their defaults
 *   block                   threads block all signals
 *   signals                 send oneself SIGTRAP, SIGURG, real-time signals and timers all the
 *                           time; at SIGTERM, compare what was sent with what came, and exit 0
 *                           if nothing is missing
 *   uring                   try io_uring_setup; the first line of stdout says how it went
 *   keepuring               the same, and keep what it gives
 *   later=WHAT              at SIGUSR1: int80 (accept by it from then on), undumpable, vm, vmquiet
 *                           or untraced (another process of this kind accepts too), uring (set one
 *                           up and close it), urings (the same in a child that ends), or one of
 *                           those that upset.c lists
 *   after=N                 after N connections, exit with the status given by
 *   status=N                this, or by default 0
 *   segv                    instead of the exit, die of SIGSEGV
 *   tracer=DATA             enter a seccomp filter that returns RET_TRACE with DATA for getppid, which
 *                           must fail with ENOSYS; the exit status is 72 if it does not
 *   ask                     enter a seccomp filter by which another process allows each accept
 *   child=PROGRAM           run PROGRAM with the arguments that follow, as a child, and wait
 *   without=CALLS:ERRNO=PROGRAM  as the only argument but those of PROGRAM: execute it where these
 *                           system calls (without.c) fail, as in many containers, or perf_event_open with
 *                           a field that older kernels do not know
 */
#include "server.h"

#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup 425
#endif

struct options options;

void fail(const char *what)
{
    fprintf(stderr, "server: %s: %s\n", what, strerror(errno));
    exit(70);
}

static void try_io_uring(int keep)
{
    char params[120] = {0};
    long fd = syscall(__NR_io_uring_setup, 4, params);
    printf("io_uring: %s\n", fd >= 0 ? "yes" : errno == ENOSYS ? "ENOSYS" : "refused");
    fflush(stdout);
    if (fd >= 0 && !keep)
        close(fd);
}

static const char *value(const char *argument, const char *name)
{
    size_t length = strlen(name);
    return strncmp(argument, name, length) == 0 && argument[length] == '=' ? argument + length + 1 : NULL;
}

static int call_named(const char *name)
{
    static const char *const names[] = {"accept", "accept4", "socketcall", "socketcall4", "int80"};
    for (int i = ACCEPT; i <= INT80; i++)
        if (!strcmp(name, names[i]))
            return i;
    fail(name);
    return -1;
}

static int address_named(const char *name)
{
    static const char *const names[] = {"full", "null", "short", "stale", "heap", "shared", "rewritten",
                                        "deep"};
    for (int i = FULL; i <= DEEP; i++)
        if (!strcmp(name, names[i]))
            return i;
    fail(name);
    return -1;
}

/* What sd_listen_fds(3) does. */
static void listen_activated(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    if (!pid || !count || atol(pid) != getpid()) {
        fprintf(stderr, "server: %ld is not activated: LISTEN_PID %s\n", (long)getpid(), pid ? pid : "-");
        exit(71);
    }
    for (int i = 0; i < atoi(count); i++)
        add_listener(3 + i);
}

int main(int argc, char **argv)
{
    const char *mode = "loop", *given;
    long count = 0, idle = 0;
    options.arguments = argv + 1;
    signal(SIGPIPE, SIG_IGN);
    for (int i = 1; i < argc; i++) {
        options.reuse_port |= !strcmp(argv[i], "reuse");
        /* Who sees that this listens may send signals. */
        if (!strcmp(argv[i], "waits"))
            run_waits();
    }
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
            options.call = call_named(given);
        else if ((given = value(a, "address")))
            options.address = address_named(given);
        else if ((given = value(a, "bad")))
            options.bad = given;
        else if ((given = value(a, "after")))
            options.exit_after = atol(given);
        else if ((given = value(a, "status")))
            options.exit_status = atoi(given);
        else if ((given = value(a, "later")))
            do_later(given);
        else if ((given = value(a, "tracer")))
            leave_call_to_tracer(atoi(given));
        else if ((given = value(a, "idle")))
            idle = atol(given);
        else if ((given = value(a, "child"))) {
            argv[i] += strlen("child=");
            return run_child(argv + i);
        } else if ((given = value(a, "without"))) {
            char *what = argv[i] + strlen("without="), *program = strchr(what, '=');
            if (!program)
                fail(a);
            *program = '\0';
            argv[i] = program + 1;
            return run_without(what, argv + i);
        } else if (!strcmp(a, "activated"))
            listen_activated();
        else if (!strcmp(a, "ask"))
            ask_at_accept();
        else if (!strcmp(a, "waits"))
            continue;
        else if (!strcmp(a, "mute"))
            options.mute = 1;
        else if (!strcmp(a, "reset"))
            options.reset_signals = 1;
        else if (!strcmp(a, "block"))
            options.block_signals = 1;
        else if (!strcmp(a, "reuse"))
            continue;
        else if (!strcmp(a, "swap"))
            options.swap = 1;
        else if (!strcmp(a, "move"))
            options.move = 1;
        else if (!strcmp(a, "regain")) {
            options.regain = 1;
            if (setegid(getgid()) < 0)
                fail("setegid");
        } else if (!strcmp(a, "undumpable"))
            prctl(PR_SET_DUMPABLE, 0);
        else if (!strcmp(a, "segv"))
            options.die_of_segv = 1;
        else if (!strcmp(a, "uring"))
            try_io_uring(0);
        else if (!strcmp(a, "keepuring"))
            try_io_uring(1);
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
    run_idle(idle);
    if (options.address == REWRITTEN)
        start_thread(rewrite_address, NULL);

    if (!strncmp(mode, "pool", 4))
        run_pool(count);
    else if (!strncmp(mode, "churn", 5))
        run_churn(count);
    else if (!strncmp(mode, "storm", 5))
        run_storm(count);
    else if (!strncmp(mode, "relay", 5))
        run_relay(count);
    else if (!strncmp(mode, "oneshot", 7))
        run_oneshot(count, 0);
    else if (!strncmp(mode, "oneexec", 7))
        run_oneshot(count, 1);
    else if (!strcmp(mode, "thread"))
        run_threads();
    else if (!strcmp(mode, "fork"))
        run_fork();
    else if (!strcmp(mode, "postmaster"))
        run_postmaster();
    else if (!strcmp(mode, "vfork"))
        run_vfork();
    else if (!strncmp(mode, "prefork", 7))
        run_prefork(count);
    else if (!strncmp(mode, "leaderless", 10))
        run_leaderless(count);
    else if (!strncmp(mode, "vmquiet", 7))
        run_vm(count, CLONE_VM);
    else if (!strncmp(mode, "vm", 2) && mode[2] == '=')
        run_vm(count, CLONE_VM | SIGCHLD);
    else if (!strcmp(mode, "dup"))
        run_dup();
    else if (!strcmp(mode, "untraced") || !strcmp(mode, "untraced3") || !strcmp(mode, "untracedro"))
        run_untraced(mode);
    else if (!strcmp(mode, "daemon"))
        run_daemon();
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
