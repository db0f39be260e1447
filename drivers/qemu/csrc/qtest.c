/* Doorbells and register access of a controller inside QEMU, over its qtest
 * socket: lines of text, answered in order.
 *
 * Doorbells do not wait for their answers. These are counted, and taken when
 * many are owed or when a command that does wait meets them on its way. */
#include "qtest.h"

#include "qpair.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    DOORBELLS = 0x1000,
    LINE_BYTES = 256,
    /* QEMU writes an answer before it reads on, so the answers owed must always
     * fit into the socket; the smallest socket buffer takes some hundreds. */
    OWED_DRAIN = 16,
    OWED_LIMIT = 64,
    /* A QEMU that is silent for so long is dead to us. */
    SILENCE_SECONDS = 20,
};

struct qtest {
    s2n_port port;
    pthread_mutex_t lock; /* everything below */
    int fd;
    uint64_t bar0;
    uint32_t stride;
    uint32_t owed; /* answers to doorbells not yet read */
    bool failed;
    size_t used;
    char received[LINE_BYTES];
};

static struct qtest *qtest_of(s2n_port *port)
{
    return (struct qtest *)((char *)port - offsetof(struct qtest, port));
}

/* Send `text` and a newline, all of it. */
static void send_line(struct qtest *q, const char *text, size_t length)
{
    char line[LINE_BYTES];
    size_t sent = 0;

    if (length >= sizeof(line)) {
        q->failed = true;
        return;
    }
    memcpy(line, text, length);
    line[length++] = '\n';
    while (!q->failed && sent < length) {
        ssize_t n = send(q->fd, line + sent, length - sent, MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
        else if (n == 0 || errno != EINTR)
            q->failed = true;
    }
}

/* Take one whole line into `line` (of LINE_BYTES, NUL terminated). False when
 * there is none: the socket failed, or, with MSG_DONTWAIT, nothing has come. */
static bool receive_line(struct qtest *q, char *line, int flags)
{
    for (;;) {
        char *end = memchr(q->received, '\n', q->used);
        ssize_t n;

        if (end) {
            size_t length = (size_t)(end - q->received);
            memcpy(line, q->received, length);
            line[length] = '\0';
            q->used -= length + 1;
            memmove(q->received, end + 1, q->used);
            return true;
        }
        if (q->failed || q->used == sizeof(q->received)) {
            q->failed = true;
            return false;
        }
        n = recv(q->fd, q->received + q->used, sizeof(q->received) - q->used, flags);
        if (n > 0) {
            q->used += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            if (n == 0 || !(flags & MSG_DONTWAIT) || (errno != EAGAIN && errno != EWOULDBLOCK))
                q->failed = true;
            return false;
        }
    }
}

/* As receive_line, without the lines that tell of interrupt lines. */
static bool receive_answer(struct qtest *q, char *line, int flags)
{
    do {
        if (!receive_line(q, line, flags))
            return false;
    } while (strncmp(line, "IRQ ", 4) == 0);
    return true;
}

/* Take answers to doorbells until at most `left` are owed. */
static void drain(struct qtest *q, uint32_t left, int flags)
{
    char line[LINE_BYTES];

    while (q->owed > left && receive_answer(q, line, flags)) {
        q->owed--;
        if (strncmp(line, "OK", 2) != 0)
            q->failed = true;
    }
}

static void ring(s2n_port *port, uint32_t doorbell, uint32_t value)
{
    struct qtest *q = qtest_of(port);
    char line[64];
    uint64_t address = q->bar0 + DOORBELLS + (uint64_t)doorbell * q->stride;
    int length = snprintf(line, sizeof(line), "writel 0x%" PRIx64 " 0x%" PRIx32, address, value);

    pthread_mutex_lock(&q->lock);
    if (!q->failed) {
        send_line(q, line, (size_t)length);
        q->owed++;
        if (q->owed >= OWED_DRAIN)
            drain(q, 0, MSG_DONTWAIT);
        drain(q, OWED_LIMIT, 0);
    }
    pthread_mutex_unlock(&q->lock);
}

static void ring_sq(s2n_port *port, uint16_t qid, uint32_t tail)
{
    ring(port, 2u * qid, tail);
}

static void ring_cq(s2n_port *port, uint16_t qid, uint32_t head)
{
    ring(port, 2u * qid + 1, head);
}

static void qtest_free(s2n_port *port)
{
    struct qtest *q = qtest_of(port);

    close(q->fd);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

static const struct s2n_port_ops qtest_ops = {
    .ring_sq = ring_sq,
    .ring_cq = ring_cq,
    .free = qtest_free,
};

s2n_port *s2n_port_qtest(int fd, uint64_t bar0, uint32_t stride)
{
    const struct timeval silence = {.tv_sec = SILENCE_SECONDS};
    struct qtest *q = calloc(1, sizeof(*q));

    if (!q)
        return NULL;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence)) ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof(silence)) ||
        pthread_mutex_init(&q->lock, NULL)) {
        free(q);
        return NULL;
    }
    q->port.ops = &qtest_ops;
    q->fd = fd;
    q->bar0 = bar0;
    q->stride = stride;
    return &q->port;
}

/* "OK", "OK 0x1f": 0. Anything else: -EINVAL. */
static int parse_answer(const char *line, uint64_t *value)
{
    char *end;

    if (strncmp(line, "OK", 2) != 0)
        return -EINVAL;
    if (line[2] == '\0')
        return 0;
    if (line[2] != ' ')
        return -EINVAL;
    errno = 0;
    *value = strtoull(line + 3, &end, 0);
    return errno || end == line + 3 || *end != '\0' ? -EINVAL : 0;
}

int s2n_qtest_command(s2n_port *port, const char *command, uint64_t *value)
{
    struct qtest *q = qtest_of(port);
    char line[LINE_BYTES];
    int result = -EIO;

    if (strchr(command, '\n') || strlen(command) >= LINE_BYTES)
        return -EINVAL;
    *value = 0;
    pthread_mutex_lock(&q->lock);
    if (!q->failed)
        send_line(q, command, strlen(command));
    if (!q->failed)
        drain(q, 0, 0);
    if (!q->failed && receive_answer(q, line, 0))
        result = parse_answer(line, value);
    pthread_mutex_unlock(&q->lock);
    return result;
}
