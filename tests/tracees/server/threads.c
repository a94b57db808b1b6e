/* Threads. */
#include "server.h"

#include <fcntl.h>
#include <pthread.h>

void start_thread(void *(*body)(void *), void *argument)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 128 << 10);
    sigset_t all, before;
    sigfillset(&all);
    if (options.block_signals)
        pthread_sigmask(SIG_BLOCK, &all, &before);
    pthread_t thread;
    int error;
    /* A machine that is short of threads for a moment is no reason to end. */
    while ((error = pthread_create(&thread, &attributes, body, argument)) == EAGAIN)
        usleep(1000);
    if (error) {
        errno = error;
        fail("thread");
    }
    if (options.block_signals)
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

static void take_and_greet(int listener)
{
    int fd = take(listener);
    if (fd < 0) {
        accept_failed();
        return;
    }
    greet(fd);
    counted();
}

static void *pool_thread(void *listener)
{
    for (;;)
        take_and_greet((int)(intptr_t)listener);
    return NULL;
}

static void *churn_thread(void *listener)
{
    for (int i = 0; i < 5; i++)
        take_and_greet((int)(intptr_t)listener);
    start_thread(churn_thread, listener);
    return NULL;
}

static void *relay_thread(void *listener)
{
    int fd = take((int)(intptr_t)listener);
    start_thread(relay_thread, listener);
    if (fd < 0) {
        accept_failed();
        return NULL;
    }
    greet(fd);
    counted();
    return NULL;
}

static void *storm_thread(void *unused)
{
    (void)unused;
    for (;;)
        take_and_greet(ready());
    return NULL;
}

static void *greeter_thread(void *fd)
{
    greet((int)(intptr_t)fd);
    counted();
    return NULL;
}

static void *idle_thread(void *unused)
{
    for (;;)
        pause();
    return unused;
}

void run_pool(long threads)
{
    for (long i = 0; i < threads; i++)
        start_thread(pool_thread, (void *)(intptr_t)listeners[i % listener_count]);
}

void run_churn(long threads)
{
    for (long i = 0; i < threads; i++)
        start_thread(churn_thread, (void *)(intptr_t)listeners[i % listener_count]);
}

void run_relay(long threads)
{
    for (long i = 0; i < threads; i++)
        start_thread(relay_thread, (void *)(intptr_t)listeners[i % listener_count]);
}

void run_storm(long threads)
{
    for (int i = 0; i < listener_count; i++)
        fcntl(listeners[i], F_SETFL, O_NONBLOCK);
    /* With a second listener they poll. */
    if (listener_count == 1)
        add_listener(listeners[0]);
    for (long i = 0; i < threads; i++)
        start_thread(storm_thread, NULL);
}

void run_idle(long threads)
{
    for (long i = 0; i < threads; i++)
        start_thread(idle_thread, NULL);
}

void run_threads(void)
{
    for (;;)
        start_thread(greeter_thread, (void *)(intptr_t)next_client());
}
