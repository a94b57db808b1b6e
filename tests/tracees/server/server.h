/* What the files of the server share. */
#ifndef SERVER_H
#define SERVER_H

#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_LISTENERS = 16 };

/* What the command line asked for. */
struct options {
    enum { ACCEPT, ACCEPT4, SOCKETCALL, SOCKETCALL4, INT80 } call;
    enum { FULL, NONE, SHORT, STALE, HEAP, SHARED, REWRITTEN, DEEP } address;
    int mute, reuse_port, block_signals, reset_signals, die_of_segv, exit_status, regain, swap, move;
    long exit_after;
    /* The bad arguments that every second call gets; NULL for none. */
    const char *bad;
    /* All of them, as they were given. */
    char **arguments;
};

extern struct options options;
extern int listeners[MAX_LISTENERS];
extern int listener_count;

/* Ends the server with what went wrong. */
void fail(const char *what);

/* listen.c */
void add_listener(int fd);
void listen_tcp(int family, int v6only, int port);
void listen_unix(const char *path);

/* take.c: one connection */
int take(int fd);
void *rewrite_address(void *unused);
void greet(int fd);
/* Counts one more; ends the server where it was told to. */
void counted(void);
void accept_failed(void);
/* The next listener that has a client waiting, where there are several. */
int ready(void);
int next_client(void);

/* bad.c: replaces the arguments of accept by bad ones. */
void make_bad(struct sockaddr **where, socklen_t **length);

/* loop.c: one thread; threads.c, processes.c, signals.c: what their names say */
void run_loop(void);
void run_exec(long every);
void run_dup(void);
void start_thread(void *(*body)(void *), void *argument);
void run_threads(void);
void run_storm(long threads);
void run_idle(long threads);
void run_pool(long threads);
void run_churn(long threads);
void run_relay(long threads);
void run_oneshot(long processes, int executes);
void run_fork(void);
void run_postmaster(void);
void run_vfork(void);
void run_prefork(long processes);
void run_leaderless(long threads);
void run_pass(void);
void run_untraced(const char *how);
void run_daemon(void);
int run_child(char **argv);
/* upset.c */
void leave_call_to_tracer(unsigned data);

/* without.c */
void ask_at_accept(void);
int run_without(char *what, char **argv);
void run_signals(void);

/* waits.c */
void run_waits(void);

/* later.c */
void do_later(const char *action);
void run_vm(long processes, int flags);

/* upset.c: what a server may do to itself; 0 if it does not know this. */
int upset(const char *what);

#endif
