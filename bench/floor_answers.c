/* What a floor answers, however it gets to the sockets. */
#include "floor.h"

#include <arpa/inet.h>
#include <err.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BLOCK_BYTES = 512, WINDOW = 256 };
enum { NOP_OUT = 0x00, COMMAND = 0x01, LOGIN = 0x03, DATA_OUT = 0x05, LOGOUT = 0x06 };
enum { NOP_IN = 0x20, RESPONSE = 0x21, LOGIN_RESPONSE = 0x23, DATA_IN = 0x25 };
enum { LOGOUT_RESPONSE = 0x26, R2T = 0x31, FINAL = 0x80, READS = 0x40, WITH_STATUS = 0x01 };

static const char KEYS[] =
    "HeaderDigest=None\0DataDigest=None\0MaxRecvDataSegmentLength=262144\0InitialR2T=No\0"
    "ImmediateData=Yes\0FirstBurstLength=262144\0MaxBurstLength=262144\0MaxConnections=1\0"
    "MaxOutstandingR2T=1\0ErrorRecoveryLevel=0\0DefaultTime2Wait=0\0DefaultTime2Retain=0\0"
    "DataPDUInOrder=Yes\0DataSequenceInOrder=Yes";
static const char NO_AUTHENTICATION[] = "AuthMethod=None\0TargetPortalGroupTag=1";

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

static bool has_room(const struct dialog *d)
{
    return d->answers->pieces + 2 * READ_BYTES / SEGMENT_BYTES + 1 <= PIECES;
}

static uint8_t *begin(struct dialog *d, uint8_t opcode, uint8_t flags, uint32_t itt)
{
    struct answers *answers = d->answers;
    uint8_t *bhs = answers->header[answers->pieces];

    memset(bhs, 0, BHS);
    bhs[0] = opcode;
    bhs[1] = flags;
    put(bhs + 16, itt, 4);
    put(bhs + 24, d->stat_sn, 4);
    put(bhs + 28, d->cmd_sn, 4);
    put(bhs + 32, d->cmd_sn + WINDOW, 4);
    answers->piece[answers->pieces++] = (struct iovec){bhs, BHS};
    return bhs;
}

static void attach(struct dialog *d, uint8_t *bhs, const void *data, uint32_t bytes)
{
    static uint8_t padding[3];
    struct answers *answers = d->answers;

    put(bhs + 5, bytes, 3);
    if (bytes)
        answers->piece[answers->pieces++] = (struct iovec){(void *)data, bytes};
    if (bytes & 3)
        answers->piece[answers->pieces++] = (struct iovec){padding, 4 - (bytes & 3)};
}

static void respond(struct dialog *d, uint32_t itt)
{
    begin(d, RESPONSE, FINAL, itt);
    d->stat_sn++;
}

static void send_data(struct dialog *d, uint32_t itt, const uint8_t *data, uint32_t bytes)
{
    if (bytes > READ_BYTES)
        errx(1, "%u bytes at once", bytes);
    for (uint32_t at = 0, number = 0; at < bytes; at += SEGMENT_BYTES, number++) {
        uint32_t length = bytes - at < SEGMENT_BYTES ? bytes - at : SEGMENT_BYTES;
        bool last = at + length == bytes;
        uint8_t *bhs = begin(d, DATA_IN, last ? FINAL | WITH_STATUS : 0, itt);
        put(bhs + 20, UINT32_MAX, 4);
        put(bhs + 36, number, 4);
        put(bhs + 40, at, 4);
        attach(d, bhs, data, length);
        d->stat_sn += last;
    }
}

/* ---- what is asked ---- */

static void read_capacity(struct dialog *d, uint32_t itt)
{
    static uint8_t data[32];

    put(data, blocks - 1, 8);
    put(data + 8, BLOCK_BYTES, 4);
    send_data(d, itt, data, sizeof data);
}

static void inquiry(struct dialog *d, uint32_t itt, const uint8_t *cdb)
{
    static const uint8_t data[36] = {0, 0, 6, 2, 31, [8] = 'F', 'L', 'O', 'O', 'R'};
    uint32_t allocated = get(cdb + 3, 2);

    send_data(d, itt, data, allocated < sizeof data ? allocated : sizeof data);
}

static struct pending_write *pending(struct dialog *d, uint32_t itt)
{
    for (int i = 0; i < WRITES; i++)
        if (d->write[i].used && d->write[i].itt == itt)
            return &d->write[i];
    errx(1, "data of no command");
}

static void begin_write(struct dialog *d, uint32_t itt, uint32_t expected)
{
    for (int i = 0; i < WRITES; i++) {
        if (d->write[i].used)
            continue;
        d->write[i] = (struct pending_write){.itt = itt, .expected = expected, .used = true};
        return;
    }
    errx(1, "more than %d writes at once", WRITES);
}

/* A PDU with data of a write has come. */
static void take_data(struct dialog *d, uint32_t itt, uint32_t bytes, bool final)
{
    struct pending_write *write = pending(d, itt);

    write->received += bytes;
    if (!final)
        return;
    if (write->received >= write->expected) {
        write->used = false;
        respond(d, itt);
        return;
    }
    uint32_t left = write->expected - write->received;
    uint8_t *bhs = begin(d, R2T, FINAL, itt);
    put(bhs + 20, itt, 4);
    put(bhs + 40, write->received, 4);
    put(bhs + 44, left < BURST_BYTES ? left : BURST_BYTES, 4);
}

static void take_command(struct dialog *d, const uint8_t *bhs, uint32_t bytes)
{
    uint32_t itt = get(bhs + 16, 4), expected = get(bhs + 20, 4);
    const uint8_t *cdb = bhs + 32;

    d->cmd_sn = get(bhs + 24, 4) + 1;
    if (bhs[1] & 0x20 && expected) {
        begin_write(d, itt, expected);
        take_data(d, itt, bytes, bhs[1] & FINAL);
    } else if (cdb[0] == 0x9e) {
        read_capacity(d, itt);
    } else if (cdb[0] == 0x12) {
        inquiry(d, itt, cdb);
    } else if (bhs[1] & READS && expected) {
        send_data(d, itt, disk, expected);
    } else {
        respond(d, itt);
    }
}

static void log_in(struct dialog *d, const uint8_t *bhs)
{
    bool negotiates = bhs[1] & 0x04; /* CSG: LoginOperationalNegotiation */

    d->cmd_sn = get(bhs + 24, 4);
    uint8_t *answer = begin(d, LOGIN_RESPONSE, bhs[1] & 0x8f, get(bhs + 16, 4));
    memcpy(answer + 8, bhs + 8, 6); /* ISID */
    put(answer + 14, 1, 2);         /* TSIH */
    if (negotiates)
        attach(d, answer, KEYS, sizeof KEYS);
    else
        attach(d, answer, NO_AUTHENTICATION, sizeof NO_AUTHENTICATION);
    d->stat_sn++;
}

static void take_pdu(struct dialog *d, const uint8_t *bhs, uint32_t bytes)
{
    uint32_t itt = get(bhs + 16, 4);

    switch (bhs[0] & 0x3f) {
    case COMMAND:
        take_command(d, bhs, bytes);
        break;
    case DATA_OUT:
        take_data(d, itt, bytes, bhs[1] & FINAL);
        break;
    case LOGIN:
        log_in(d, bhs);
        break;
    case NOP_OUT:
        if (itt != UINT32_MAX) {
            put(begin(d, NOP_IN, FINAL, itt) + 20, UINT32_MAX, 4);
            d->stat_sn++;
        }
        break;
    case LOGOUT:
        begin(d, LOGOUT_RESPONSE, FINAL, itt);
        d->stat_sn++;
        break;
    default:
        errx(1, "PDU %02x", bhs[0]);
    }
}

uint32_t take_received(struct dialog *d, const uint8_t *received, uint32_t bytes)
{
    uint32_t taken = 0;

    while (taken < bytes && has_room(d)) {
        if (d->headed < BHS) {
            uint32_t missing = BHS - d->headed, there = bytes - taken;
            uint32_t copied = there < missing ? there : missing;
            memcpy(d->bhs + d->headed, received + taken, copied);
            d->headed += copied;
            taken += copied;
            if (d->headed < BHS)
                break;
            d->skip = d->bhs[4] * 4u + ((get(d->bhs + 5, 3) + 3) & ~3u);
        }
        uint32_t there = bytes - taken, skipped = there < d->skip ? there : d->skip;
        taken += skipped;
        d->skip -= skipped;
        if (d->skip)
            break;
        take_pdu(d, d->bhs, get(d->bhs + 5, 3));
        d->headed = 0;
    }
    return taken;
}

bool drop_sent(struct answers *answers, size_t bytes)
{
    while (answers->first < answers->pieces) {
        struct iovec *piece = &answers->piece[answers->first];
        if (bytes < piece->iov_len) {
            piece->iov_base = (uint8_t *)piece->iov_base + bytes;
            piece->iov_len -= bytes;
            return false;
        }
        bytes -= piece->iov_len;
        answers->first++;
    }
    answers->first = answers->pieces = 0;
    return true;
}

int begin_listening(const char *size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    blocks = strtoull(size, NULL, 0) / BLOCK_BYTES;
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) || listen(fd, 128) ||
        getsockname(fd, (struct sockaddr *)&address, &length))
        err(1, "listening");
    printf("%u\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

void send_at_once(int fd)
{
    int on = 1;

    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on))
        err(1, "TCP_NODELAY");
}
