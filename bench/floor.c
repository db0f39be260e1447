/* The least that a single-threaded iSCSI target over TCP costs: it answers logins, reads and
 * writes, and does nothing else. What is read comes from one buffer, what is written is dropped;
 * nothing that it is sent is checked. For measurements alone.
 *
 *     iscsi-floor SIZE-BYTES [--spin]
 *
 * It prints the port of 127.0.0.1 on which it listens. With --spin it never sleeps. */
#include "floor.h"

#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 64 };

struct connection {
    int fd;
    bool waits;             /* for room in the socket */
    uint32_t filled, taken; /* of `received` */
    struct dialog dialog;
    struct answers answers;
    uint8_t received[RECEIVED_BYTES];
};

static int epoll_fd;

static void watch(struct connection *c, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};

    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event))
        err(1, "epoll_ctl");
}

/* Send what there is; false when the socket takes no more. */
static bool flush(struct connection *c)
{
    struct answers *answers = &c->answers;

    while (answers->pieces) {
        ssize_t sent =
            writev(c->fd, answers->piece + answers->first, (int)(answers->pieces - answers->first));
        if (sent < 0 && errno == EAGAIN)
            return false;
        if (sent < 0)
            answers->first = answers->pieces = 0; /* the peer is gone: reading tells */
        else
            drop_sent(answers, (size_t)sent);
    }
    return true;
}

/* Serve what a connection has sent; false when it is over. */
static bool serve(struct connection *c)
{
    if (c->waits) {
        if (!flush(c))
            return true;
        c->waits = false;
        watch(c, EPOLLIN);
    }
    if (c->taken == c->filled) {
        ssize_t bytes = read(c->fd, c->received, RECEIVED_BYTES);
        if (bytes < 0 && errno == EAGAIN)
            return true;
        if (bytes <= 0)
            return false;
        c->filled = (uint32_t)bytes;
        c->taken = 0;
    }
    while (!c->waits && c->taken < c->filled) {
        c->taken += take_received(&c->dialog, c->received + c->taken, c->filled - c->taken);
        if (!flush(c)) {
            c->waits = true;
            watch(c, EPOLLOUT);
        }
    }
    return true;
}

static void take_connection(int listener)
{
    struct connection *c = calloc(1, sizeof *c);

    if (!c)
        err(1, "memory");
    c->dialog.answers = &c->answers;
    c->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (c->fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event))
        err(1, "accepting");
    send_at_once(c->fd);
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    bool spins = argc > 2 && !strcmp(argv[2], "--spin");

    if (argc < 2)
        errx(2, "usage: iscsi-floor SIZE-BYTES [--spin]");
    int listener = begin_listening(argv[1]);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event))
        err(1, "epoll");
    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENTS, spins ? 0 : -1);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c) {
                take_connection(listener);
            } else if (!serve(c)) {
                close(c->fd);
                free(c);
            }
        }
    }
}
