/* What reactors tell Python, in one queue. */
#include "events.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "state.h"

struct s2n_event_node {
    struct s2n_event_node *next;
    s2n_event event;
};

void s2n_plane_emit(s2n_plane *plane, const s2n_event *event)
{
    struct s2n_event_node *node = malloc(sizeof *node);
    uint64_t one = 1;

    if (!node)
        abort(); /* a lost event is a task that hangs for good */
    node->next = NULL;
    node->event = *event;
    pthread_mutex_lock(&plane->lock);
    bool first = !plane->events;
    *plane->events_tail = node;
    plane->events_tail = &node->next;
    pthread_mutex_unlock(&plane->lock);
    if (first && write(plane->event_fd, &one, sizeof one) < 0)
        abort();
}

int s2n_plane_event_fd(s2n_plane *plane)
{
    return plane->event_fd;
}

int s2n_plane_next_event(s2n_plane *plane, s2n_event *event)
{
    uint64_t count;

    pthread_mutex_lock(&plane->lock);
    struct s2n_event_node *node = plane->events;
    if (node) {
        plane->events = node->next;
        if (!plane->events)
            plane->events_tail = &plane->events;
    }
    /* Emptied under the lock: whoever adds the next event signals again. */
    if (!plane->events && read(plane->event_fd, &count, sizeof count) < 0 && errno != EAGAIN)
        abort();
    pthread_mutex_unlock(&plane->lock);
    if (!node)
        return 0;
    *event = node->event;
    free(node);
    return 1;
}

void s2n_event_free(s2n_event *event)
{
    free(event->data);
    event->data = NULL;
    event->data_length = 0;
}
