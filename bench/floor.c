/* The least that a single-threaded iSCSI target over TCP costs: it answers logins, reads and
 * writes, and does nothing else. What is read comes from one buffer, what is written is dropped;
 * nothing that it is sent is checked. For measurements alone.
 *
 *     iscsi-floor SIZE-BYTES [--spin]
 *
 * It prints the port of 127.0.0.1 on which it listens. With --spin it never sleeps. */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    BHS = 48,
    BLOCK_BYTES = 512,
    RECEIVED_BYTES = 256 << 10,
    SEGMENT_BYTES = 256 << 10,
    BURST_BYTES = 1 << 20,
    PIECES = 512, /* in one call of writev */
    WRITES = 256, /* under way in a connection */
    WINDOW = 256,
    EVENTS = 64,
};
enum { NOP_OUT = 0x00, COMMAND = 0x01, LOGIN = 0x03, DATA_OUT = 0x05, LOGOUT = 0x06 };
enum { NOP_IN = 0x20, RESPONSE = 0x21, LOGIN_RESPONSE = 0x23, DATA_IN = 0x25 };
enum { LOGOUT_RESPONSE = 0x26, R2T = 0x31, FINAL = 0x80, READS = 0x40, WITH_STATUS = 0x01 };

static const char KEYS[] =
    "HeaderDigest=None\0DataDigest=None\0MaxRecvDataSegmentLength=262144\0InitialR2T=No\0"
    "ImmediateData=Yes\0FirstBurstLength=262144\0MaxBurstLength=1048576\0MaxConnections=1\0"
    "MaxOutstandingR2T=1\0ErrorRecoveryLevel=0\0DefaultTime2Wait=0\0DefaultTime2Retain=0\0"
    "DataPDUInOrder=Yes\0DataSequenceInOrder=Yes";
static const char NO_AUTHENTICATION[] = "AuthMethod=None\0TargetPortalGroupTag=1";

struct pending_write {
    uint32_t itt, expected, received;
    bool used;
};

struct connection {
    int fd;
    bool waits; /* for room in the socket */
    uint32_t stat_sn, cmd_sn;
    uint32_t filled, taken; /* of `received` */
    uint32_t headed, skip;  /* of `bhs`, and what follows it */
    uint8_t bhs[BHS];
    struct pending_write write[WRITES];
    uint32_t pieces, first; /* of what is to be sent */
    struct iovec piece[PIECES];
    uint8_t header[PIECES][BHS];
    uint8_t received[RECEIVED_BYTES];
};

static int epoll_fd;
static uint64_t blocks;
static uint8_t disk[SEGMENT_BYTES];

static uint32_t get(const uint8_t *at, int bytes)
{
    uint32_t value = 0;

    for (int i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    return value;
}

static void put(uint8_t *at, uint64_t value, int bytes)
{
    while (bytes--) {
        at[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

/* ---- sending ---- */

static void watch(struct connection *c, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};

    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event))
        err(1, "epoll_ctl");
}

/* Send what there is; false when the socket takes no more. */
static bool flush(struct connection *c)
{
    while (c->first < c->pieces) {
        ssize_t sent = writev(c->fd, c->piece + c->first, (int)(c->pieces - c->first));
        if (sent < 0 && errno == EAGAIN)
            return false;
        if (sent < 0) {
            c->first = c->pieces; /* the peer is gone: reading tells */
            break;
        }
        while (c->first < c->pieces && (size_t)sent >= c->piece[c->first].iov_len)
            sent -= (ssize_t)c->piece[c->first++].iov_len;
        if (c->first < c->pieces) {
            c->piece[c->first].iov_base = (uint8_t *)c->piece[c->first].iov_base + sent;
            c->piece[c->first].iov_len -= (size_t)sent;
        }
    }
    c->first = c->pieces = 0;
    return true;
}

static bool has_room(const struct connection *c)
{
    return c->pieces + 2 * BURST_BYTES / SEGMENT_BYTES + 1 <= PIECES;
}

static uint8_t *begin(struct connection *c, uint8_t opcode, uint8_t flags, uint32_t itt)
{
    uint8_t *bhs = c->header[c->pieces];

    memset(bhs, 0, BHS);
    bhs[0] = opcode;
    bhs[1] = flags;
    put(bhs + 16, itt, 4);
    put(bhs + 24, c->stat_sn, 4);
    put(bhs + 28, c->cmd_sn, 4);
    put(bhs + 32, c->cmd_sn + WINDOW, 4);
    c->piece[c->pieces++] = (struct iovec){bhs, BHS};
    return bhs;
}

static void attach(struct connection *c, uint8_t *bhs, const void *data, uint32_t bytes)
{
    static uint8_t padding[3];

    put(bhs + 5, bytes, 3);
    if (bytes)
        c->piece[c->pieces++] = (struct iovec){(void *)data, bytes};
    if (bytes & 3)
        c->piece[c->pieces++] = (struct iovec){padding, 4 - (bytes & 3)};
}

static void respond(struct connection *c, uint32_t itt)
{
    begin(c, RESPONSE, FINAL, itt);
    c->stat_sn++;
}

static void send_data(struct connection *c, uint32_t itt, const uint8_t *data, uint32_t bytes)
{
    if (bytes > BURST_BYTES)
        errx(1, "%u bytes at once", bytes);
    for (uint32_t at = 0, number = 0; at < bytes; at += SEGMENT_BYTES, number++) {
        uint32_t length = bytes - at < SEGMENT_BYTES ? bytes - at : SEGMENT_BYTES;
        bool last = at + length == bytes;
        uint8_t *bhs = begin(c, DATA_IN, last ? FINAL | WITH_STATUS : 0, itt);
        put(bhs + 20, UINT32_MAX, 4);
        put(bhs + 36, number, 4);
        put(bhs + 40, at, 4);
        attach(c, bhs, data, length);
        c->stat_sn += last;
    }
}

/* ---- what is asked ---- */

static void read_capacity(struct connection *c, uint32_t itt)
{
    static uint8_t data[32];

    put(data, blocks - 1, 8);
    put(data + 8, BLOCK_BYTES, 4);
    send_data(c, itt, data, sizeof data);
}

static void inquiry(struct connection *c, uint32_t itt, const uint8_t *cdb)
{
    static const uint8_t data[36] = {0, 0, 6, 2, 31, [8] = 'F', 'L', 'O', 'O', 'R'};
    uint32_t allocated = get(cdb + 3, 2);

    send_data(c, itt, data, allocated < sizeof data ? allocated : sizeof data);
}

static struct pending_write *pending(struct connection *c, uint32_t itt)
{
    for (int i = 0; i < WRITES; i++)
        if (c->write[i].used && c->write[i].itt == itt)
            return &c->write[i];
    errx(1, "data of no command");
}

static void begin_write(struct connection *c, uint32_t itt, uint32_t expected)
{
    for (int i = 0; i < WRITES; i++) {
        if (c->write[i].used)
            continue;
        c->write[i] = (struct pending_write){.itt = itt, .expected = expected, .used = true};
        return;
    }
    errx(1, "more than %d writes at once", WRITES);
}

/* A PDU with data of a write has come. */
static void take_data(struct connection *c, uint32_t itt, uint32_t bytes, bool final)
{
    struct pending_write *write = pending(c, itt);

    write->received += bytes;
    if (!final)
        return;
    if (write->received >= write->expected) {
        write->used = false;
        respond(c, itt);
        return;
    }
    uint32_t left = write->expected - write->received;
    uint8_t *bhs = begin(c, R2T, FINAL, itt);
    put(bhs + 20, itt, 4);
    put(bhs + 40, write->received, 4);
    put(bhs + 44, left < BURST_BYTES ? left : BURST_BYTES, 4);
}

static void take_command(struct connection *c, const uint8_t *bhs, uint32_t bytes)
{
    uint32_t itt = get(bhs + 16, 4), expected = get(bhs + 20, 4);
    const uint8_t *cdb = bhs + 32;

    c->cmd_sn = get(bhs + 24, 4) + 1;
    if (bhs[1] & 0x20 && expected) {
        begin_write(c, itt, expected);
        take_data(c, itt, bytes, bhs[1] & FINAL);
    } else if (cdb[0] == 0x9e) {
        read_capacity(c, itt);
    } else if (cdb[0] == 0x12) {
        inquiry(c, itt, cdb);
    } else if (bhs[1] & READS && expected) {
        send_data(c, itt, disk, expected);
    } else {
        respond(c, itt);
    }
}

static void log_in(struct connection *c, const uint8_t *bhs)
{
    bool negotiates = bhs[1] & 0x04; /* CSG: LoginOperationalNegotiation */

    c->cmd_sn = get(bhs + 24, 4);
    uint8_t *answer = begin(c, LOGIN_RESPONSE, bhs[1] & 0x8f, get(bhs + 16, 4));
    memcpy(answer + 8, bhs + 8, 6); /* ISID */
    put(answer + 14, 1, 2);         /* TSIH */
    if (negotiates)
        attach(c, answer, KEYS, sizeof KEYS);
    else
        attach(c, answer, NO_AUTHENTICATION, sizeof NO_AUTHENTICATION);
    c->stat_sn++;
}

static void take_pdu(struct connection *c, const uint8_t *bhs, uint32_t bytes)
{
    uint32_t itt = get(bhs + 16, 4);

    switch (bhs[0] & 0x3f) {
    case COMMAND:
        take_command(c, bhs, bytes);
        break;
    case DATA_OUT:
        take_data(c, itt, bytes, bhs[1] & FINAL);
        break;
    case LOGIN:
        log_in(c, bhs);
        break;
    case NOP_OUT:
        if (itt != UINT32_MAX) {
            put(begin(c, NOP_IN, FINAL, itt) + 20, UINT32_MAX, 4);
            c->stat_sn++;
        }
        break;
    case LOGOUT:
        begin(c, LOGOUT_RESPONSE, FINAL, itt);
        c->stat_sn++;
        break;
    default:
        errx(1, "PDU %02x", bhs[0]);
    }
}

/* Take what was received; false when the answers to more have no room. What is written
 * is skipped where it lies. */
static bool take_received(struct connection *c)
{
    while (c->taken < c->filled) {
        uint32_t there = c->filled - c->taken;
        if (!has_room(c))
            return false;
        if (c->headed < BHS) {
            uint32_t missing = BHS - c->headed, bytes = there < missing ? there : missing;
            memcpy(c->bhs + c->headed, c->received + c->taken, bytes);
            c->headed += bytes;
            c->taken += bytes;
            if (c->headed < BHS)
                break;
            c->skip = c->bhs[4] * 4u + ((get(c->bhs + 5, 3) + 3) & ~3u);
            there -= bytes;
        }
        uint32_t skipped = there < c->skip ? there : c->skip;
        c->taken += skipped;
        c->skip -= skipped;
        if (c->skip)
            break;
        take_pdu(c, c->bhs, get(c->bhs + 5, 3));
        c->headed = 0;
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
    while (!c->waits) {
        bool all = take_received(c);
        if (!flush(c)) {
            c->waits = true;
            watch(c, EPOLLOUT);
        } else if (all) {
            break;
        }
    }
    return true;
}

/* ---- connections ---- */

static int listening(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) || listen(fd, 128) ||
        getsockname(fd, (struct sockaddr *)&address, &length))
        err(1, "listening");
    printf("%u\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void take_connection(int listener)
{
    struct connection *c = calloc(1, sizeof *c);
    int on = 1;

    if (!c)
        err(1, "memory");
    c->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (c->fd < 0 || setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) ||
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event))
        err(1, "accepting");
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    bool spins = argc > 2 && !strcmp(argv[2], "--spin");

    if (argc < 2)
        errx(2, "usage: iscsi-floor SIZE-BYTES [--spin]");
    blocks = strtoull(argv[1], NULL, 0) / BLOCK_BYTES;
    int listener = listening();
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
