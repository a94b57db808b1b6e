/* Signals. */
#include "server.h"

#include <pthread.h>
#include <sys/time.h>
#include <time.h>

/* sigqueue(3) counts each signal with its value; the standard ones among them may merge while
 * they are pending, so the sender waits for one to arrive before it sends the next. */
static volatile sig_atomic_t traps, urgents, alarms, ticks, real_times, wrong_values;
static volatile sig_atomic_t ending;

static void on_trap(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    if (info->si_code != SI_TKILL)
        wrong_values++;
    traps++;
}
static void on_urgent(int signal) { (void)signal, urgents++; }
static void on_alarm(int signal) { (void)signal, alarms++; }
static void on_tick(int signal) { (void)signal, ticks++; }
static void on_term(int signal) { (void)signal, ending = 1; }
static void on_real_time(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    /* Each carries its own number: none lost, none twice, in order. */
    if (info->si_code != SI_QUEUE || info->si_value.sival_int != real_times)
        wrong_values++;
    real_times++;
}

static void handle(int signal, void (*simple)(int), void (*informed)(int, siginfo_t *, void *))
{
    struct sigaction action = {.sa_flags = SA_RESTART | (informed ? SA_SIGINFO : 0)};
    if (informed)
        action.sa_sigaction = informed;
    else
        action.sa_handler = simple;
    if (sigaction(signal, &action, NULL) < 0)
        fail("sigaction");
}

static void *no_signals(void *body)
{
    ((void (*)(void))body)();
    return NULL;
}

/* The main thread plays with signals, another one accepts. */
void run_signals(void)
{
    handle(SIGTRAP, NULL, on_trap);
    handle(SIGURG, on_urgent, NULL);
    handle(SIGALRM, on_alarm, NULL);
    handle(SIGTERM, on_term, NULL);
    handle(SIGRTMIN + 1, NULL, on_real_time);
    handle(SIGRTMIN + 2, on_tick, NULL);
    options.block_signals = 1;
    start_thread(no_signals, run_loop);

    struct itimerval every = {{0, 3000}, {0, 3000}};
    setitimer(ITIMER_REAL, &every, NULL);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 2};
    struct itimerspec often = {{0, 2000000}, {0, 2000000}};
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0)
        fail("timer_create");
    timer_settime(timer, 0, &often, NULL);

    long sent = 0;
    struct timespec pause_time = {0, 500000};
    while (!ending) {
        union sigval value = {.sival_int = (int)sent};
        pthread_kill(pthread_self(), SIGTRAP);
        pthread_kill(pthread_self(), SIGURG);
        if (sigqueue(getpid(), SIGRTMIN + 1, value) < 0)
            fail("sigqueue");
        sent++;
        while ((traps < sent || urgents < sent || real_times < sent) && !ending)
            nanosleep(&pause_time, NULL);
        nanosleep(&pause_time, NULL);
    }
    /* The last ones may be under way. */
    for (int i = 0; i < 2000 && (traps < sent || urgents < sent || real_times < sent); i++)
        nanosleep(&pause_time, NULL);
    int good = traps == sent && urgents == sent && real_times == sent && wrong_values == 0 &&
               alarms > 0 && ticks > 0;
    printf("sent %ld, traps %ld, urgents %ld, real-time %ld, wrong %ld, alarms %ld, ticks %ld\n",
           sent, (long)traps, (long)urgents, (long)real_times, (long)wrong_values, (long)alarms,
           (long)ticks);
    fflush(stdout);
    _exit(good ? 0 : 71);
}
