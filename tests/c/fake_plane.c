#include "fake_plane.h"

#include <stdlib.h>

#include "check.h"
#include "fake.h"
#include "fake_reactor.h"

struct fake_event {
    s2n_event event;
    struct fake_event *next;
};

struct s2n_plane {
    struct fake_event *events, **events_tail;
};

struct s2n_nexus {
    uint64_t cookie;
};

static s2n_plane plane;
static s2n_nexus nexus = {.cookie = 77};

s2n_plane *fake_plane_start(void)
{
    plane.events = NULL;
    plane.events_tail = &plane.events;
    return &plane;
}

s2n_nexus *fake_nexus(void)
{
    return &nexus;
}

uint64_t s2n_nexus_cookie(const s2n_nexus *of)
{
    return of->cookie;
}

struct s2n_reactor *s2n_plane_pick(s2n_plane *of, s2n_nexus *for_nexus)
{
    CHECK(of == &plane && for_nexus == &nexus);
    fake.picked++;
    return fake_reactor();
}

void s2n_plane_unpick(struct s2n_reactor *reactor)
{
    CHECK(reactor == fake_reactor() && fake.picked);
    fake.picked--;
}

s2n_plane *s2n_reactor_plane(struct s2n_reactor *reactor)
{
    CHECK(reactor == fake_reactor());
    return &plane;
}

bool s2n_plane_all_hot(const s2n_plane *of, s2n_nexus *for_nexus)
{
    (void)of;
    return for_nexus == &nexus;
}

uint32_t s2n_plane_reactors(const s2n_plane *of)
{
    (void)of;
    return 1;
}

struct s2n_reactor *s2n_plane_reactor(s2n_plane *of, uint32_t index)
{
    CHECK(of == &plane && !index);
    return fake_reactor();
}

uint32_t s2n_reactor_index(const struct s2n_reactor *reactor)
{
    (void)reactor;
    return 0;
}

/* ---- events ---- */

void s2n_plane_emit(s2n_plane *of, const s2n_event *event)
{
    struct fake_event *node = malloc(sizeof *node);

    CHECK(node);
    *node = (struct fake_event){*event, NULL};
    *of->events_tail = node;
    of->events_tail = &node->next;
}

bool fake_next_event(s2n_event *event)
{
    struct fake_event *node = plane.events;

    if (!node)
        return false;
    plane.events = node->next;
    if (!node->next)
        plane.events_tail = &plane.events;
    *event = node->event;
    free(node);
    return true;
}

void s2n_event_free(s2n_event *event)
{
    free(event->data);
    event->data = NULL;
}
