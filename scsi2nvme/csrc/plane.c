/* The data plane: its reactors, from beginning to end. */
#include "plane.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "events.h"
#include "heap.h"
#include "loop.h"
#include "reactor.h"
#include "state.h"
#include "unit.h"

/* Whoever sends may take so many times as long as a disk to be spun for: a network is between. */
enum { AFAR = 2 };

s2n_plane *s2n_plane_new(uint32_t reactors, const int32_t *cpus, uint32_t poll_us)
{
    if (!reactors || reactors > S2N_MAXIMUM_REACTORS)
        return NULL;
    s2n_plane *plane = calloc(1, sizeof *plane + reactors * sizeof *plane->reactor);
    if (!plane)
        return NULL;
    s2n_heap_keep();
    plane->reactor_count = reactors;
    plane->poll_us = poll_us;
    plane->events_tail = &plane->events;
    pthread_mutex_init(&plane->lock, NULL);
    plane->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool failed = plane->event_fd < 0;
    for (uint32_t i = 0; i < reactors; i++) {
        struct s2n_reactor *reactor = &plane->reactor[i];
        reactor->plane = plane;
        reactor->index = i;
        reactor->cpu = cpus[i];
        s2n_spin_begin(&reactor->spin, AFAR * poll_us);
        failed |= s2n_loop_open(reactor) < 0;
    }
    if (failed) {
        s2n_plane_free(plane);
        return NULL;
    }
    return plane;
}

int s2n_plane_start(s2n_plane *plane)
{
    int error = 0;

    for (uint32_t i = 0; i < plane->reactor_count && !error; i++)
        error = s2n_reactor_start(&plane->reactor[i]);
    return error;
}

void s2n_plane_stop(s2n_plane *plane)
{
    for (uint32_t i = 0; i < plane->reactor_count; i++)
        s2n_reactor_stop(&plane->reactor[i]);
}

void s2n_plane_free(s2n_plane *plane)
{
    s2n_event event;

    s2n_plane_stop(plane);
    for (uint32_t i = 0; i < plane->reactor_count; i++)
        s2n_reactor_close(&plane->reactor[i]);
    while (plane->event_fd >= 0 && s2n_plane_next_event(plane, &event))
        s2n_event_free(&event);
    if (plane->event_fd >= 0)
        close(plane->event_fd);
    pthread_mutex_destroy(&plane->lock);
    free(plane);
}

struct s2n_reactor *s2n_plane_pick(s2n_plane *plane, s2n_nexus *nexus)
{
    struct s2n_reactor *best = &plane->reactor[0];
    bool best_hot = s2n_nexus_hot_on(nexus, 0);

    for (uint32_t i = 1; i < plane->reactor_count; i++) {
        struct s2n_reactor *reactor = &plane->reactor[i];
        bool hot = s2n_nexus_hot_on(nexus, i);
        bool idler = atomic_load(&reactor->sessions) < atomic_load(&best->sessions);
        if ((hot && !best_hot) || (hot == best_hot && idler)) {
            best = reactor;
            best_hot = hot;
        }
    }
    atomic_fetch_add(&best->sessions, 1);
    return best;
}

bool s2n_plane_all_hot(const s2n_plane *plane, s2n_nexus *nexus)
{
    for (uint32_t i = 0; i < plane->reactor_count; i++)
        if (!s2n_nexus_hot_on(nexus, i))
            return false;
    return true;
}

void s2n_plane_unpick(struct s2n_reactor *reactor)
{
    atomic_fetch_sub(&reactor->sessions, 1);
}

uint32_t s2n_plane_reactors(const s2n_plane *plane)
{
    return plane->reactor_count;
}

struct s2n_reactor *s2n_plane_reactor(s2n_plane *plane, uint32_t index)
{
    return &plane->reactor[index];
}
