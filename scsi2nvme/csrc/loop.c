/* The loop's parts: event sources, deferred work, timers, messages, the clock. */
#include "loop.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "state.h"

uint64_t s2n_loop_clock_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void s2n_loop_read_clock(struct s2n_reactor *reactor)
{
    reactor->now_us = s2n_loop_clock_us();
    reactor->now_ms = reactor->now_us / 1000;
}

uint64_t s2n_reactor_now_ms(const struct s2n_reactor *reactor)
{
    return reactor->now_ms;
}

uint64_t s2n_reactor_now_us(const struct s2n_reactor *reactor)
{
    return reactor->now_us;
}

s2n_plane *s2n_reactor_plane(struct s2n_reactor *reactor)
{
    return reactor->plane;
}

struct s2n_ready_sets *s2n_reactor_ready_sets(struct s2n_reactor *reactor)
{
    return &reactor->ready_sets;
}

struct s2n_flows *s2n_reactor_flows(struct s2n_reactor *reactor)
{
    return &reactor->flows;
}

uint32_t s2n_reactor_index(const struct s2n_reactor *reactor)
{
    return reactor->index;
}

/* ---- event sources ---- */

static int source_control(struct s2n_reactor *reactor, struct s2n_source *source, int operation,
                          uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};

    return epoll_ctl(reactor->epoll_fd, operation, source->fd, &event) ? -errno : 0;
}

int s2n_source_add(struct s2n_reactor *reactor, struct s2n_source *source, uint32_t events)
{
    return source_control(reactor, source, EPOLL_CTL_ADD, events);
}

int s2n_source_modify(struct s2n_reactor *reactor, struct s2n_source *source, uint32_t events)
{
    return source_control(reactor, source, EPOLL_CTL_MOD, events);
}

void s2n_source_remove(struct s2n_reactor *reactor, struct s2n_source *source)
{
    source_control(reactor, source, EPOLL_CTL_DEL, 0);
    /* It may be among the events that this round has yet to look at. */
    for (int i = reactor->event_next; i < reactor->event_count; i++)
        if (reactor->events[i].data.ptr == source)
            reactor->events[i].data.ptr = NULL;
}

/* epoll_wait, but for parts of a millisecond. */
int s2n_loop_wait(struct s2n_reactor *reactor, uint64_t us)
{
    struct pollfd epoll = {.fd = reactor->epoll_fd, .events = POLLIN};
    struct timespec part = {.tv_nsec = (long)us * 1000};
    int ms = us == UINT64_MAX ? -1 : us < 60000000 ? (int)((us + 999) / 1000) : 60000;

    if (us && us < 1000) {
        ppoll(&epoll, 1, &part, NULL);
        ms = 0;
    }
    return epoll_wait(reactor->epoll_fd, reactor->events, S2N_EVENTS, ms);
}

void s2n_loop_dispatch(struct s2n_reactor *reactor, int count)
{
    s2n_loop_read_clock(reactor);
    reactor->event_count = count > 0 ? count : 0;
    for (reactor->event_next = 0; reactor->event_next < reactor->event_count;) {
        struct epoll_event *event = &reactor->events[reactor->event_next++];
        struct s2n_source *source = event->data.ptr;
        if (source)
            source->ready(source, event->events);
    }
    reactor->event_count = 0;
}

/* ---- deferred work ---- */

void s2n_defer(struct s2n_reactor *reactor, struct s2n_deferred *deferred)
{
    if (deferred->queued)
        return;
    deferred->queued = true;
    deferred->next = reactor->deferred;
    reactor->deferred = deferred;
}

void s2n_defer_cancel(struct s2n_reactor *reactor, struct s2n_deferred *deferred)
{
    for (struct s2n_deferred **at = &reactor->deferred; *at; at = &(*at)->next) {
        if (*at != deferred)
            continue;
        *at = deferred->next;
        break;
    }
    deferred->queued = false;
}

void s2n_loop_run_deferred(struct s2n_reactor *reactor)
{
    while (reactor->deferred) {
        struct s2n_deferred *deferred = reactor->deferred;
        reactor->deferred = deferred->next;
        deferred->queued = false;
        deferred->run(deferred);
    }
}

/* ---- timers ---- */

void s2n_timer_cancel(struct s2n_reactor *reactor, struct s2n_timer *timer)
{
    for (struct s2n_timer **at = &reactor->timers; *at; at = &(*at)->next) {
        if (*at != timer)
            continue;
        *at = timer->next;
        break;
    }
    timer->armed = false;
}

void s2n_timer_arm(struct s2n_reactor *reactor, struct s2n_timer *timer, uint64_t after_ms)
{
    struct s2n_timer **at = &reactor->timers;

    if (timer->armed)
        s2n_timer_cancel(reactor, timer);
    timer->at_ms = reactor->now_ms + after_ms;
    timer->armed = true;
    while (*at && (*at)->at_ms <= timer->at_ms)
        at = &(*at)->next;
    timer->next = *at;
    *at = timer;
}

void s2n_loop_run_timers(struct s2n_reactor *reactor)
{
    while (reactor->timers && reactor->timers->at_ms <= reactor->now_ms) {
        struct s2n_timer *timer = reactor->timers;
        reactor->timers = timer->next;
        timer->armed = false;
        timer->expire(timer);
    }
}

/* ---- messages ---- */

/* The reactor's lock is held. Whether the reactor has to be woken.
 *
 * No wake-up is lost, since whether the reactor is awake changes under the lock as well: it falls
 * asleep before, and is woken; or after, and finds there that it was called. What it reads of
 * `called` in between may be old: the next round, or the lock, tells. */
static bool needs_waking(struct s2n_reactor *reactor)
{
    bool news = reactor->running && reactor->messages && !reactor->woken;

    reactor->woken |= news;
    if (news && reactor->awake)
        atomic_store_explicit(&reactor->called, true, memory_order_relaxed);
    return news && !reactor->awake;
}

void s2n_loop_stay_awake(struct s2n_reactor *reactor)
{
    if (reactor->awake) /* nobody else writes it */
        return;
    pthread_mutex_lock(&reactor->lock);
    reactor->awake = true;
    pthread_mutex_unlock(&reactor->lock);
}

bool s2n_loop_may_sleep(struct s2n_reactor *reactor)
{
    if (!reactor->awake)
        return true;
    pthread_mutex_lock(&reactor->lock);
    reactor->awake = s2n_loop_called(reactor);
    pthread_mutex_unlock(&reactor->lock);
    return !reactor->awake;
}

bool s2n_loop_called(const struct s2n_reactor *reactor)
{
    return atomic_load_explicit(&reactor->called, memory_order_relaxed);
}

static void wake(const struct s2n_reactor *reactor)
{
    uint64_t one = 1;

    if (write(reactor->wake.fd, &one, sizeof one) < 0)
        abort(); /* an eventfd of ours cannot refuse the number one */
}

static void add_message(struct s2n_reactor *reactor, void (*call)(void *argument), void *argument,
                        bool at_once)
{
    struct s2n_message *message = malloc(sizeof *message);

    if (!message)
        abort(); /* control would be lost: no state to fall back to */
    *message = (struct s2n_message){.call = call, .argument = argument};
    pthread_mutex_lock(&reactor->lock);
    bool running = reactor->running;
    if (running) {
        *reactor->messages_tail = message;
        reactor->messages_tail = &message->next;
    }
    bool asleep = at_once && needs_waking(reactor);
    pthread_mutex_unlock(&reactor->lock);
    if (asleep)
        wake(reactor);
    if (!running) {
        /* Before its start, and after its end, nobody else uses the reactor. */
        free(message);
        call(argument);
    }
}

void s2n_reactor_call(struct s2n_reactor *reactor, void (*call)(void *argument), void *argument)
{
    add_message(reactor, call, argument, true);
}

void s2n_reactor_call_later(struct s2n_reactor *reactor, void (*call)(void *argument),
                            void *argument)
{
    add_message(reactor, call, argument, false);
}

void s2n_reactor_wake(struct s2n_reactor *reactor)
{
    pthread_mutex_lock(&reactor->lock);
    bool asleep = needs_waking(reactor);
    pthread_mutex_unlock(&reactor->lock);
    if (asleep)
        wake(reactor);
}

static void run_messages(struct s2n_message *message)
{
    while (message) {
        struct s2n_message *next = message->next;
        message->call(message->argument);
        free(message);
        message = next;
    }
}

/* The reactor's lock is held. */
static struct s2n_message *all_messages(struct s2n_reactor *reactor)
{
    struct s2n_message *messages = reactor->messages;

    reactor->messages = NULL;
    reactor->messages_tail = &reactor->messages;
    reactor->woken = false;
    atomic_store_explicit(&reactor->called, false, memory_order_relaxed);
    return messages;
}

void s2n_loop_take_messages(struct s2n_reactor *reactor)
{
    pthread_mutex_lock(&reactor->lock);
    struct s2n_message *messages = all_messages(reactor);
    pthread_mutex_unlock(&reactor->lock);
    run_messages(messages);
}

/* The eventfd's edges are watched, so that it need not be read. */
static void woken(struct s2n_source *source, uint32_t events)
{
    (void)events;
    s2n_loop_take_messages(
        (struct s2n_reactor *)((char *)source - offsetof(struct s2n_reactor, wake)));
}

/* ---- beginning and end ---- */

int s2n_loop_open(struct s2n_reactor *reactor)
{
    reactor->messages_tail = &reactor->messages;
    s2n_loop_read_clock(reactor);
    pthread_mutex_init(&reactor->lock, NULL);
    reactor->wake = (struct s2n_source){eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), woken};
    reactor->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (reactor->wake.fd < 0 || reactor->epoll_fd < 0)
        return -errno;
    return s2n_source_add(reactor, &reactor->wake, EPOLLIN | EPOLLET);
}

void s2n_loop_ended(struct s2n_reactor *reactor)
{
    pthread_mutex_lock(&reactor->lock);
    reactor->running = false;
    struct s2n_message *late = all_messages(reactor);
    pthread_mutex_unlock(&reactor->lock);
    run_messages(late);
}

void s2n_loop_close(struct s2n_reactor *reactor)
{
    if (reactor->wake.fd >= 0)
        close(reactor->wake.fd);
    if (reactor->epoll_fd >= 0)
        close(reactor->epoll_fd);
    pthread_mutex_destroy(&reactor->lock);
}
