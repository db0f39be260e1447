/* A reactor's event loop: sources, deferred work, timers, messages. Its own thread uses
 * it, but for s2n_reactor_call. */
#ifndef S2N_LOOP_H
#define S2N_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane.h"

struct s2n_reactor;

/* A file descriptor in the reactor's epoll set. */
struct s2n_source {
    int fd;
    void (*ready)(struct s2n_source *source, uint32_t events);
};
int s2n_source_add(struct s2n_reactor *reactor, struct s2n_source *source, uint32_t events);
int s2n_source_modify(struct s2n_reactor *reactor, struct s2n_source *source, uint32_t events);
void s2n_source_remove(struct s2n_reactor *reactor, struct s2n_source *source);

/* Work for the end of the current round, after completions were collected:
 * where a connection sends what the whole round produced, in one call. */
struct s2n_deferred {
    struct s2n_deferred *next;
    void (*run)(struct s2n_deferred *deferred);
    bool queued;
};
void s2n_defer(struct s2n_reactor *reactor, struct s2n_deferred *deferred);
void s2n_defer_cancel(struct s2n_reactor *reactor, struct s2n_deferred *deferred);

struct s2n_timer {
    struct s2n_timer *next;
    void (*expire)(struct s2n_timer *timer);
    uint64_t at_ms;
    bool armed;
};
/* (Re)arm: `expire` is called once, `after_ms` from now. */
void s2n_timer_arm(struct s2n_reactor *reactor, struct s2n_timer *timer, uint64_t after_ms);
void s2n_timer_cancel(struct s2n_reactor *reactor, struct s2n_timer *timer);
/* Monotonic time, read once a round. */
uint64_t s2n_reactor_now_ms(const struct s2n_reactor *reactor);
uint64_t s2n_reactor_now_us(const struct s2n_reactor *reactor);

/* Run `call(argument)` on the reactor's thread; from any thread. In order. */
void s2n_reactor_call(struct s2n_reactor *reactor, void (*call)(void *argument), void *argument);
/* The same, in the same order, but not before it is woken. */
void s2n_reactor_call_later(struct s2n_reactor *reactor, void (*call)(void *argument),
                            void *argument);
void s2n_reactor_wake(struct s2n_reactor *reactor);
s2n_plane *s2n_reactor_plane(struct s2n_reactor *reactor);
/* Its number, from 0. */
uint32_t s2n_reactor_index(const struct s2n_reactor *reactor);

/* ---- for the reactor itself ---- */

int s2n_loop_open(struct s2n_reactor *reactor);
void s2n_loop_close(struct s2n_reactor *reactor);
/* From now on, until it is allowed to sleep, the reactor looks for messages in each round: whoever
 * sends one need not wake it. */
void s2n_loop_stay_awake(struct s2n_reactor *reactor);
/* From now on it is woken for messages: false if there are some, so that it must not sleep. */
bool s2n_loop_may_sleep(struct s2n_reactor *reactor);
/* Whether there are messages for a reactor that stays awake; run them. */
bool s2n_loop_called(const struct s2n_reactor *reactor);
void s2n_loop_take_messages(struct s2n_reactor *reactor);
/* Have the reactor's time be that of now, in the midst of a round. */
void s2n_loop_read_clock(struct s2n_reactor *reactor);
/* Monotonic time by now. */
uint64_t s2n_loop_clock_us(void);
/* Wait for `us` at most (UINT64_MAX: without end): how many events there are. */
int s2n_loop_wait(struct s2n_reactor *reactor, uint64_t us);
/* Read the clock, and tell the sources of that many events. */
void s2n_loop_dispatch(struct s2n_reactor *reactor, int count);
void s2n_loop_run_timers(struct s2n_reactor *reactor);
void s2n_loop_run_deferred(struct s2n_reactor *reactor);
/* The thread has ended: messages are run by whoever sends them, from now on. */
void s2n_loop_ended(struct s2n_reactor *reactor);

#endif
