/* The floor on io_uring instead of epoll: one system call for all that a round receives, sends and
 * waits for. Multishot receives take buffers from one ring, and what they find in one go is one
 * completion (a bundle) where the kernel has that; all answers of a round leave as one message.
 *
 *     iscsi-floor-uring SIZE-BYTES [--spin] [--zero-copy]
 *
 * It needs Linux 6.1. */
#include "floor.h"

#include <err.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef IORING_RECVSEND_BUNDLE
#define IORING_RECVSEND_BUNDLE (1U << 4) /* Linux 6.10 */
#endif

enum { ENTRIES = 512, COMPLETIONS = 4096, BUFFERS = 64, BUFFER_BYTES = 64 << 10 };

/* What has come and is not taken yet: `at` to `end` of a buffer. */
struct piece {
    uint16_t buffer;
    uint32_t at, end;
};

struct connection {
    int fd;
    bool receives, over, marked;
    struct connection *next_marked;
    struct dialog dialog;
    struct answers answers[2];
    struct answers *sending;
    struct msghdr message;
    uint32_t come, taken; /* counts, of `backlog` */
    struct piece backlog[BUFFERS];
};

static struct {
    int fd;
    struct io_uring_params parameters;
    struct io_uring_sqe *sqe;
    const struct io_uring_cqe *cqe;
    _Atomic uint32_t *sq_head, *sq_tail, *cq_head, *cq_tail;
    uint32_t tail, submitted;
} ring;

/* The buffers for what is received: `order` has those that the kernel takes next. */
static struct {
    struct io_uring_buf_ring *ring;
    uint8_t (*bytes)[BUFFER_BYTES];
    uint16_t order[BUFFERS], head, tail;
} buffers;

static bool zero_copy;
static uint16_t receive_flags = IORING_RECV_MULTISHOT | IORING_RECVSEND_BUNDLE;
static struct connection *marked;

/* ---- the ring ---- */

static void *map(size_t bytes, int fd, uint64_t offset)
{
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED | MAP_POPULATE;
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, (off_t)offset);

    if (at == MAP_FAILED)
        err(1, "memory");
    return at;
}

static void set_up_ring(void)
{
    struct io_uring_params *p = &ring.parameters;

    p->flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE;
    p->cq_entries = COMPLETIONS;
    ring.fd = (int)syscall(SYS_io_uring_setup, ENTRIES, p);
    if (ring.fd < 0)
        err(1, "io_uring");
    if (!(p->features & IORING_FEAT_SINGLE_MMAP))
        errx(1, "io_uring is too old");
    uint8_t *at =
        map(p->cq_off.cqes + p->cq_entries * sizeof *ring.cqe, ring.fd, IORING_OFF_SQ_RING);
    ring.sqe = map(p->sq_entries * sizeof *ring.sqe, ring.fd, IORING_OFF_SQES);
    ring.sq_head = (void *)(at + p->sq_off.head);
    ring.sq_tail = (void *)(at + p->sq_off.tail);
    ring.cq_head = (void *)(at + p->cq_off.head);
    ring.cq_tail = (void *)(at + p->cq_off.tail);
    ring.cqe = (void *)(at + p->cq_off.cqes);
    for (uint32_t i = 0; i < p->sq_entries; i++)
        ((uint32_t *)(void *)(at + p->sq_off.array))[i] = i;
}

/* Submit what was asked for, and wait for `wanted` completions. */
static void enter(unsigned wanted)
{
    atomic_store_explicit(ring.sq_tail, ring.tail, memory_order_release);
    long done = syscall(SYS_io_uring_enter, ring.fd, ring.tail - ring.submitted, wanted,
                        IORING_ENTER_GETEVENTS, NULL, 0);
    if (done >= 0)
        ring.submitted += (uint32_t)done;
    else if (errno != EINTR && errno != EBUSY)
        err(1, "io_uring_enter");
}

static struct io_uring_sqe *ask(uint8_t opcode, int fd, const void *data)
{
    while (ring.tail - atomic_load_explicit(ring.sq_head, memory_order_acquire) == ENTRIES)
        enter(0);
    struct io_uring_sqe *sqe = &ring.sqe[ring.tail++ & (ENTRIES - 1)];
    *sqe = (struct io_uring_sqe){.opcode = opcode, .fd = fd, .user_data = (uintptr_t)data};
    return sqe;
}

/* ---- buffers ---- */

static void give_back(uint16_t buffer)
{
    struct io_uring_buf *at = &buffers.ring->bufs[buffers.tail & (BUFFERS - 1)];

    at->addr = (uintptr_t)buffers.bytes[buffer];
    at->len = BUFFER_BYTES;
    at->bid = buffer;
    buffers.order[buffers.tail & (BUFFERS - 1)] = buffer;
    buffers.tail++;
    atomic_store_explicit((_Atomic uint16_t *)&buffers.ring->tail, buffers.tail,
                          memory_order_release);
}

static void set_up_buffers(void)
{
    buffers.ring = map(BUFFERS * sizeof *buffers.ring->bufs, -1, 0);
    buffers.bytes = map(BUFFERS * sizeof *buffers.bytes, -1, 0);
    struct io_uring_buf_reg registration = {
        .ring_addr = (uintptr_t)buffers.ring,
        .ring_entries = BUFFERS,
    };
    if (syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_PBUF_RING, &registration, 1))
        err(1, "buffers");
    for (uint16_t i = 0; i < BUFFERS; i++)
        give_back(i);
}

/* ---- connections ---- */

static void mark(struct connection *c)
{
    if (c->marked)
        return;
    c->marked = true;
    c->next_marked = marked;
    marked = c;
}

static void receive(struct connection *c)
{
    struct io_uring_sqe *sqe = ask(IORING_OP_RECV, c->fd, c);

    sqe->ioprio = receive_flags;
    sqe->flags = IOSQE_BUFFER_SELECT;
    c->receives = true;
}

static void send_answers(struct connection *c)
{
    uint8_t opcode = zero_copy ? IORING_OP_SENDMSG_ZC : IORING_OP_SENDMSG;

    c->message.msg_iov = c->sending->piece + c->sending->first;
    c->message.msg_iovlen = c->sending->pieces - c->sending->first;
    struct io_uring_sqe *sqe = ask(opcode, c->fd, (uint8_t *)c + 1);
    sqe->addr = (uintptr_t)&c->message;
    sqe->len = 1;
    sqe->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
}

/* Send the answers that there are, unless others are on their way. */
static bool begin_sending(struct connection *c)
{
    if (c->sending || !c->dialog.answers->pieces)
        return false;
    c->sending = c->dialog.answers;
    c->dialog.answers = c->sending == c->answers ? c->answers + 1 : c->answers;
    send_answers(c);
    return true;
}

/* Answer what has come, as far as there is room for answers. */
static void serve(struct connection *c)
{
    do {
        while (c->taken < c->come) {
            struct piece *piece = &c->backlog[c->taken % BUFFERS];
            const uint8_t *bytes = buffers.bytes[piece->buffer];
            piece->at += take_received(&c->dialog, bytes + piece->at, piece->end - piece->at);
            if (piece->at < piece->end)
                break;
            give_back(piece->buffer);
            c->taken++;
        }
    } while (begin_sending(c) && c->taken < c->come);
    if (!c->receives && !c->over)
        receive(c);
}

static void end(struct connection *c)
{
    for (; c->taken < c->come; c->taken++)
        give_back(c->backlog[c->taken % BUFFERS].buffer);
    close(c->fd);
    free(c);
}

static void serve_marked(void)
{
    while (marked) {
        struct connection *c = marked;
        marked = c->next_marked;
        c->marked = false;
        if (!c->over)
            serve(c);
        else if (!c->sending)
            end(c);
    }
}

/* ---- completions ---- */

static void accepted(const struct io_uring_cqe *cqe)
{
    struct connection *c = calloc(1, sizeof *c);

    if (cqe->res < 0 || !(cqe->flags & IORING_CQE_F_MORE) || !c)
        errx(1, "accepting");
    c->fd = cqe->res;
    c->dialog.answers = c->answers;
    send_at_once(c->fd);
    mark(c);
}

static void received(struct connection *c, const struct io_uring_cqe *cqe)
{
    c->receives = cqe->flags & IORING_CQE_F_MORE;
    if (cqe->res == -EINVAL && receive_flags & IORING_RECVSEND_BUNDLE)
        receive_flags &= ~IORING_RECVSEND_BUNDLE;
    else if (cqe->res <= 0 && cqe->res != -ENOBUFS)
        c->over = true;
    for (int32_t left = cqe->res; left > 0; left -= BUFFER_BYTES) {
        uint16_t buffer = buffers.order[buffers.head++ & (BUFFERS - 1)];
        uint32_t bytes = left < BUFFER_BYTES ? (uint32_t)left : BUFFER_BYTES;
        c->backlog[c->come++ % BUFFERS] = (struct piece){.buffer = buffer, .end = bytes};
    }
    mark(c);
}

/* What is sent without a copy is sent when the kernel says that it needs the bytes no more. */
static void sent(struct connection *c, const struct io_uring_cqe *cqe)
{
    if (!(cqe->flags & IORING_CQE_F_NOTIF)) {
        if (cqe->res < 0)
            c->sending->first = c->sending->pieces = 0; /* the peer is gone: receiving tells */
        else
            drop_sent(c->sending, (size_t)cqe->res);
    }
    if (cqe->flags & IORING_CQE_F_MORE)
        return;
    if (c->sending->pieces) {
        send_answers(c);
    } else {
        c->sending = NULL;
        mark(c);
    }
}

static void complete(void)
{
    uint32_t head = atomic_load_explicit(ring.cq_head, memory_order_relaxed);

    while (head != atomic_load_explicit(ring.cq_tail, memory_order_acquire)) {
        const struct io_uring_cqe *cqe = &ring.cqe[head++ & (COMPLETIONS - 1)];
        struct connection *c = (struct connection *)(uintptr_t)(cqe->user_data & ~1ull);
        if (!c)
            accepted(cqe);
        else if (cqe->user_data & 1)
            sent(c, cqe);
        else
            received(c, cqe);
    }
    atomic_store_explicit(ring.cq_head, head, memory_order_release);
}

int main(int argc, char **argv)
{
    bool spins = false;

    if (argc < 2)
        errx(2, "usage: iscsi-floor-uring SIZE-BYTES [--spin] [--zero-copy]");
    for (int i = 2; i < argc; i++) {
        spins |= !strcmp(argv[i], "--spin");
        zero_copy |= !strcmp(argv[i], "--zero-copy");
    }
    set_up_ring();
    set_up_buffers();
    ask(IORING_OP_ACCEPT, begin_listening(argv[1]), NULL)->ioprio = IORING_ACCEPT_MULTISHOT;
    for (;;) {
        enter(!spins);
        complete();
        serve_marked();
    }
}
