#include "fake_reactor.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "check.h"
#include "fake.h"

enum { SOURCES = 8 };

struct message {
    struct message *next;
    void (*call)(void *argument);
    void *argument;
};

struct s2n_reactor {
    uint64_t now_ms;
    struct {
        struct s2n_source *source;
        uint32_t events;
        int seen; /* edge-triggered: bytes that were there when it was last told */
    } source[SOURCES];
    struct s2n_deferred *deferred;
    struct s2n_timer *timers;
    struct message *messages, **messages_tail;
    struct s2n_ready_sets ready_sets;
    struct s2n_flows flows;
};

static struct s2n_reactor only;

void fake_reactor_start(void)
{
    memset(&only, 0, sizeof only);
    only.now_ms = 1000000;
    only.messages_tail = &only.messages;
}

struct s2n_reactor *fake_reactor(void)
{
    return &only;
}

uint64_t s2n_reactor_now_ms(const struct s2n_reactor *reactor)
{
    return reactor->now_ms;
}

uint64_t s2n_reactor_now_us(const struct s2n_reactor *reactor)
{
    return reactor->now_ms * 1000;
}

/* ---- sources, deferred work, timers, messages ---- */

static int place_of(struct s2n_reactor *reactor, const struct s2n_source *source)
{
    for (int i = 0; i < SOURCES; i++)
        if (reactor->source[i].source == source)
            return i;
    CHECK(!"no such source");
    return 0;
}

int s2n_source_add(struct s2n_reactor *reactor, struct s2n_source *source, uint32_t events)
{
    int i = place_of(reactor, NULL);

    reactor->source[i].source = source;
    reactor->source[i].events = events;
    reactor->source[i].seen = 0;
    fake.sources++;
    return 0;
}

int s2n_source_modify(struct s2n_reactor *reactor, struct s2n_source *source, uint32_t events)
{
    reactor->source[place_of(reactor, source)].events = events;
    fake.watched_otherwise++;
    return 0;
}

void s2n_source_remove(struct s2n_reactor *reactor, struct s2n_source *source)
{
    reactor->source[place_of(reactor, source)].source = NULL;
    fake.sources--;
}

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
    struct s2n_deferred **at = &reactor->deferred;

    while (*at && *at != deferred)
        at = &(*at)->next;
    if (*at)
        *at = deferred->next;
    deferred->queued = false;
}

void s2n_timer_cancel(struct s2n_reactor *reactor, struct s2n_timer *timer)
{
    struct s2n_timer **at = &reactor->timers;

    while (*at && *at != timer)
        at = &(*at)->next;
    if (*at) {
        *at = timer->next;
        fake.armed_timers--;
    }
    timer->armed = false;
}

void s2n_timer_arm(struct s2n_reactor *reactor, struct s2n_timer *timer, uint64_t after_ms)
{
    s2n_timer_cancel(reactor, timer);
    timer->at_ms = reactor->now_ms + after_ms;
    timer->armed = true;
    timer->next = reactor->timers;
    reactor->timers = timer;
    fake.armed_timers++;
}

void s2n_reactor_call(struct s2n_reactor *reactor, void (*call)(void *argument), void *argument)
{
    struct message *message = malloc(sizeof *message);

    CHECK(message);
    *message = (struct message){NULL, call, argument};
    *reactor->messages_tail = message;
    reactor->messages_tail = &message->next;
}

struct s2n_ready_sets *s2n_reactor_ready_sets(struct s2n_reactor *reactor)
{
    return &reactor->ready_sets;
}

struct s2n_flows *s2n_reactor_flows(struct s2n_reactor *reactor)
{
    return &reactor->flows;
}

/* ---- rounds ---- */

static bool run_messages(struct s2n_reactor *reactor)
{
    bool any = reactor->messages;

    while (reactor->messages) {
        struct message message = *reactor->messages;
        free(reactor->messages);
        reactor->messages = message.next;
        if (!message.next)
            reactor->messages_tail = &reactor->messages;
        message.call(message.argument);
    }
    return any;
}

/* Whether an edge-triggered source has more to read than before; others always pass. */
static bool rises(struct s2n_reactor *reactor, int i)
{
    int bytes = 0, before = reactor->source[i].seen;

    if (!(reactor->source[i].events & EPOLLET))
        return true;
    CHECK(ioctl(reactor->source[i].source->fd, FIONREAD, &bytes) == 0);
    reactor->source[i].seen = bytes;
    return bytes > before;
}

/* As epoll does: all are asked before the first is told; hang-ups and errors are told whether
 * asked for or not. */
static bool run_sources(struct s2n_reactor *reactor)
{
    struct s2n_source *source[SOURCES];
    struct pollfd fd[SOURCES];
    bool any = false;

    for (int i = 0; i < SOURCES; i++) {
        source[i] = reactor->source[i].source;
        fd[i] = (struct pollfd){.fd = source[i] ? source[i]->fd : -1,
                                .events = (short)reactor->source[i].events};
    }
    if (poll(fd, SOURCES, 0) <= 0)
        return false;
    for (int i = 0; i < SOURCES; i++) {
        if (!fd[i].revents || source[i] != reactor->source[i].source ||
            (!(fd[i].revents & POLLHUP) && !rises(reactor, i)))
            continue;
        any = true;
        source[i]->ready(source[i], (uint32_t)fd[i].revents);
    }
    return any;
}

static bool enable(struct s2n_reactor *reactor)
{
    bool any = reactor->ready_sets.first;

    s2n_ready_sets_enable(&reactor->ready_sets);
    return any;
}

static bool resume(struct s2n_reactor *reactor)
{
    bool any = reactor->flows.first;

    s2n_flows_resume(&reactor->flows);
    return any;
}

static bool run_deferred(struct s2n_reactor *reactor)
{
    bool any = reactor->deferred;

    while (reactor->deferred) {
        struct s2n_deferred *deferred = reactor->deferred;
        reactor->deferred = deferred->next;
        deferred->queued = false;
        deferred->run(deferred);
    }
    return any;
}

bool fake_round(void)
{
    s2n_flows_begin_round(&only.flows);
    bool any = run_messages(&only);
    any |= run_sources(&only);
    any |= resume(&only);
    any |= enable(&only);
    any |= run_deferred(&only);
    return any || only.flows.first;
}

void fake_run(void)
{
    for (int round = 0; round < 100000; round++)
        if (!fake_round())
            return;
    CHECK(!"the reactor never comes to rest");
}

static struct s2n_timer *due(struct s2n_reactor *reactor)
{
    for (struct s2n_timer *timer = reactor->timers; timer; timer = timer->next)
        if (timer->at_ms <= reactor->now_ms)
            return timer;
    return NULL;
}

void fake_advance(uint64_t ms)
{
    struct s2n_timer *timer;

    only.now_ms += ms;
    while ((timer = due(&only))) {
        s2n_timer_cancel(&only, timer);
        timer->expire(timer);
    }
    fake_run();
}
