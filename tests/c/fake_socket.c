#include "fake_socket.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "check.h"
#include "iscsi_pdu.h"

enum { FIRST_FD = 1 << 20 }; /* no descriptor of the kernel */

static struct end {
    struct end *peer; /* NULL: closed */
    bool open;
    bool sends, receives; /* not shut down, by either side */
    int error;            /* told once */
    uint32_t first, held; /* bytes that came: a ring */
    uint8_t bytes[FAKE_SOCKET_BYTES];
} ends[FAKE_SOCKETS];

static uint32_t room_bytes = FAKE_SOCKET_BYTES, opened;

void fake_sockets_hold(uint32_t bytes)
{
    CHECK(bytes && bytes <= FAKE_SOCKET_BYTES);
    room_bytes = bytes;
}

uint32_t fake_sockets_open(void)
{
    return opened;
}

static struct end *end_of(int fd)
{
    CHECK(fd >= FIRST_FD && fd < FIRST_FD + FAKE_SOCKETS && ends[fd - FIRST_FD].open);
    return &ends[fd - FIRST_FD];
}

/* ---- bytes ---- */

static uint32_t room(const struct end *end)
{
    return end->held < room_bytes ? room_bytes - end->held : 0;
}

/* Add bytes to what came, as many as there is room for. */
static uint32_t append(struct end *to, const uint8_t *bytes, size_t length)
{
    uint32_t taken = s2n_least(length, room(to));
    uint32_t at = (to->first + to->held) % FAKE_SOCKET_BYTES;
    uint32_t straight = s2n_least(taken, FAKE_SOCKET_BYTES - at);

    memcpy(to->bytes + at, bytes, straight);
    memcpy(to->bytes, bytes + straight, taken - straight);
    to->held += taken;
    return taken;
}

static uint32_t take(struct end *from, uint8_t *bytes, size_t length)
{
    uint32_t taken = s2n_least(length, from->held);
    uint32_t straight = s2n_least(taken, FAKE_SOCKET_BYTES - from->first);

    memcpy(bytes, from->bytes + from->first, straight);
    memcpy(bytes + straight, from->bytes, taken - straight);
    from->first = (from->first + taken) % FAKE_SOCKET_BYTES;
    from->held -= taken;
    return taken;
}

static ssize_t fails(int error)
{
    errno = error;
    return -1;
}

ssize_t fake_sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct end *end = end_of(fd);
    ssize_t sent = 0;

    CHECK(flags & MSG_DONTWAIT && flags & MSG_NOSIGNAL);
    if (!end->sends)
        return fails(EPIPE);
    if (!room(end->peer))
        return fails(EAGAIN);
    for (size_t i = 0; i < message->msg_iovlen; i++)
        sent += append(end->peer, message->msg_iov[i].iov_base, message->msg_iov[i].iov_len);
    return sent;
}

ssize_t fake_recvmsg(int fd, struct msghdr *message, int flags)
{
    struct end *end = end_of(fd);
    ssize_t received = 0;

    if (!end->held && end->error) {
        int error = end->error;
        end->error = 0;
        return fails(error);
    }
    if (!end->held && !end->receives)
        return 0;
    CHECK(end->held || flags & MSG_DONTWAIT);
    if (!end->held)
        return fails(EAGAIN);
    for (size_t i = 0; i < message->msg_iovlen; i++)
        received += take(end, message->msg_iov[i].iov_base, message->msg_iov[i].iov_len);
    return received;
}

ssize_t fake_send(int fd, const void *bytes, size_t length, int flags)
{
    struct iovec iov = {(void *)(uintptr_t)bytes, length};

    return fake_sendmsg(fd, &(struct msghdr){.msg_iov = &iov, .msg_iovlen = 1}, flags);
}

ssize_t fake_recv(int fd, void *bytes, size_t length, int flags)
{
    struct iovec iov = {bytes, length};

    return fake_recvmsg(fd, &(struct msghdr){.msg_iov = &iov, .msg_iovlen = 1}, flags);
}

/* ---- beginning and end ---- */

static struct end *begin(int *fd)
{
    for (int i = 0; i < FAKE_SOCKETS; i++)
        if (!ends[i].open) {
            *fd = FIRST_FD + i;
            ends[i].open = ends[i].sends = ends[i].receives = true;
            ends[i].error = 0;
            ends[i].first = ends[i].held = 0;
            opened++;
            return &ends[i];
        }
    CHECK(!"as many sockets as there may be");
    return NULL;
}

int fake_socketpair(int domain, int type, int protocol, int fds[2])
{
    CHECK(domain == AF_UNIX && type & SOCK_STREAM && !protocol);
    struct end *a = begin(&fds[0]), *b = begin(&fds[1]);

    a->peer = b;
    b->peer = a;
    return 0;
}

int fake_shutdown(int fd, int how)
{
    struct end *end = end_of(fd);

    CHECK(how == SHUT_WR);
    end->sends = false;
    if (end->peer)
        end->peer->receives = false;
    return 0;
}

/* What nobody will read is a reset to the peer. */
int fake_close(int fd)
{
    struct end *end = end_of(fd), *peer = end->peer;

    end->open = false;
    opened--;
    if (!peer)
        return 0;
    peer->peer = NULL;
    peer->sends = peer->receives = false;
    if (end->held)
        peer->error = ECONNRESET;
    return 0;
}

int fake_setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    (void)level, (void)name, (void)value, (void)length;
    end_of(fd);
    return 0;
}

/* ---- readiness ---- */

static short events_of(const struct end *end)
{
    short events = end->error ? POLLERR : 0;

    if (end->held || !end->receives)
        events |= POLLIN;
    if (!end->receives)
        events |= POLLRDHUP;
    if (!end->receives && !end->sends)
        events |= POLLHUP;
    if (!end->peer || end->peer->held * 4 <= room_bytes)
        events |= POLLOUT;
    return events;
}

int fake_poll(struct pollfd *fd, nfds_t count, int wait_ms)
{
    int ready = 0;

    CHECK(!wait_ms);
    for (nfds_t i = 0; i < count; i++) {
        fd[i].revents = 0;
        if (fd[i].fd < 0)
            continue;
        fd[i].revents = (short)(events_of(end_of(fd[i].fd)) & (fd[i].events | POLLERR | POLLHUP));
        ready += fd[i].revents != 0;
    }
    return ready;
}
