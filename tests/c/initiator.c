#include "initiator.h"

#include "crc32c.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const s2n_conn_params usual = {
    .maximum_recv = 65536,
    .maximum_send = 8192,
    .maximum_burst = 16384,
    .first_burst = 8192,
    .immediate_data = 1,
    .maximum_r2t = 1,
};

const uint8_t test_unit_ready[16];

const uint8_t *read10(uint32_t lba, uint32_t blocks)
{
    static uint8_t cdb[16];

    cdb[0] = 0x28;
    s2n_put32(cdb + 2, lba);
    s2n_put16(cdb + 7, blocks);
    return cdb;
}

const uint8_t *write10(uint32_t lba, uint32_t blocks)
{
    static uint8_t cdb[16];

    memcpy(cdb, read10(lba, blocks), sizeof cdb);
    cdb[0] = 0x2a;
    return cdb;
}

const uint8_t *inquiry(uint8_t length)
{
    static uint8_t cdb[16] = {0x12};

    cdb[4] = length;
    return cdb;
}

const uint8_t *pattern(uint32_t length)
{
    static uint8_t bytes[1 << 20];
    static uint32_t known;

    CHECK(length <= sizeof bytes);
    for (; known < length; known++)
        bytes[known] = (uint8_t)(known * 2654435761u >> 24);
    return bytes;
}

/* ---- sessions ---- */

static void join(struct initiator *initiator, uint64_t cookie)
{
    int fds[2];

    CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
    initiator->fd = fds[0];
    initiator->cookie = cookie;
    initiator->stat_sn = FIRST_STAT_SN;
    initiator->conn = s2n_conn_new(initiator->session, fds[1], &initiator->params, FIRST_STAT_SN,
                                   NULL, 0, cookie);
    CHECK(initiator->conn);
    fake_run();
}

static int64_t blocks_before; /* of the heap */

void login(struct initiator *initiator, const s2n_conn_params *params)
{
    s2n_plane *plane = fake_start();

    blocks_before = fake_blocks;
    memset(initiator, 0, sizeof *initiator);
    uint32_t bytes = s2n_least(sizeof fake.disk, 1 << 20);
    memcpy(fake.disk, pattern(bytes), bytes);
    initiator->params = *params;
    initiator->cmd_sn = FIRST_CMD_SN;
    initiator->session = s2n_session_new(plane, fake_nexus(), FIRST_CMD_SN, WINDOW);
    CHECK(initiator->session);
    join(initiator, 1);
}

void login_more(struct initiator *initiator, const struct initiator *leading)
{
    memset(initiator, 0, sizeof *initiator);
    initiator->params = leading->params;
    initiator->session = leading->session;
    join(initiator, leading->cookie + 1);
}

void release(struct initiator *initiator)
{
    s2n_conn_free(initiator->conn);
    fake_run();
    if (initiator->fd >= 0)
        close(initiator->fd);
    free(initiator->in);
    initiator->in = NULL;
}

uint32_t expect_closed(struct initiator *initiator)
{
    s2n_event event;

    fake_run();
    CHECK(fake_next_event(&event));
    CHECK_EQUAL(event.type, S2N_EVENT_CONN_CLOSED);
    CHECK_EQUAL(event.cookie, initiator->cookie);
    release(initiator);
    return event.count;
}

void expect_nothing_left(struct initiator *initiator)
{
    s2n_event event;

    s2n_session_free(initiator->session);
    fake_run();
    CHECK(!fake_next_event(&event));
    CHECK_EQUAL(fake.live_tasks, 0);
    CHECK_EQUAL(fake.charged, 0);
    CHECK_EQUAL(fake.armed_timers, 0);
    CHECK_EQUAL(fake.sources, 0);
    CHECK_EQUAL(fake.pool_bytes, 1 << 26);
    CHECK_EQUAL(fake.mapped, 0);
    CHECK_EQUAL(fake.picked, 0);
    CHECK_EQUAL(fake_blocks, blocks_before);
}

void logout(struct initiator *initiator)
{
    s2n_event event;

    close(initiator->fd);
    initiator->fd = -1;
    fake_run();
    /* What is under way elsewhere ends as aborted, and only then is it over. */
    while (fake.executed_count) {
        CHECK(fake.executed[0]->aborted && !fake_next_event(&event));
        fake_end(fake.executed[0], 0, 0, NULL, 0);
    }
    CHECK_EQUAL(expect_closed(initiator), 0);
    expect_nothing_left(initiator);
}

/* ---- sending ---- */

static void collect(struct initiator *initiator)
{
    static uint8_t bytes[1 << 16];
    ssize_t n;

    while ((n = recv(initiator->fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        initiator->in = realloc(initiator->in, initiator->in_length + (size_t)n);
        CHECK(initiator->in);
        memcpy(initiator->in + initiator->in_length, bytes, (size_t)n);
        initiator->in_length += (size_t)n;
        fake_run();
    }
    if (n == 0)
        initiator->eof = true;
}

void put_bytes(struct initiator *initiator, const uint8_t *bytes, size_t length)
{
    while (length) {
        ssize_t n = send(initiator->fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            fake_run();
            collect(initiator);
            continue;
        }
        if (n < 0)
            return; /* the target closed: tests look at that by themselves */
        bytes += n;
        length -= (size_t)n;
    }
}

size_t pdu_bytes(const s2n_conn_params *params, uint8_t *bhs, const uint8_t *data, uint32_t length,
                 uint8_t *wire)
{
    uint32_t padded = length + s2n_padding(length);
    uint8_t *to = wire + 48;

    s2n_put24(bhs + S2N_AT_DATA_LENGTH, length);
    memcpy(wire, bhs, 48);
    if (params->header_digest) {
        s2n_put_digest(to, s2n_crc32c(0, wire, 48));
        to += 4;
    }
    memset(to, 0, padded);
    if (length)
        memcpy(to, data, length);
    to += padded;
    if (params->data_digest && length) {
        s2n_put_digest(to, s2n_crc32c(0, to - padded, padded));
        to += 4;
    }
    return (size_t)(to - wire);
}

void put(struct initiator *initiator, uint8_t *bhs, const uint8_t *data, uint32_t length)
{
    static uint8_t wire[48 + (1 << 20) + 16];

    CHECK(length <= 1 << 20);
    s2n_put32(bhs + S2N_AT_EXP_CMD_SN, initiator->stat_sn);
    put_bytes(initiator, wire, pdu_bytes(&initiator->params, bhs, data, length, wire));
}

void request(uint8_t *bhs, uint8_t opcode, uint32_t itt, uint32_t cmd_sn)
{
    memset(bhs, 0, 48);
    bhs[0] = opcode;
    bhs[1] = 0x80;
    s2n_put32(bhs + S2N_AT_ITT, itt);
    s2n_put32(bhs + S2N_AT_CMD_SN, cmd_sn);
}

void acknowledge(struct initiator *on, uint32_t ping_tag)
{
    uint8_t bhs[48];

    request(bhs, S2N_IMMEDIATE | S2N_NOP_OUT, S2N_RESERVED_TAG, on->cmd_sn);
    s2n_put32(bhs + S2N_AT_TTT, ping_tag);
    put(on, bhs, NULL, 0);
    fake_run();
}

void put_command(struct initiator *initiator, uint8_t flags, uint32_t itt, uint32_t edtl,
                 const uint8_t *cdb, const uint8_t *data, uint32_t length)
{
    uint8_t bhs[48];

    request(bhs, S2N_SCSI_COMMAND, itt, initiator->cmd_sn++);
    bhs[1] = flags;
    s2n_put32(bhs + S2N_AT_TTT, edtl);
    memcpy(bhs + 32, cdb, 16);
    put(initiator, bhs, data, length);
}

void put_part_of_write(struct initiator *initiator, uint32_t itt, uint32_t cmd_sn,
                       const uint8_t *cdb, uint32_t bytes, uint32_t length, uint32_t sent)
{
    uint8_t bhs[48];

    request(bhs, S2N_SCSI_COMMAND, itt, cmd_sn);
    bhs[1] = S2N_FINAL | S2N_WRITE;
    s2n_put32(bhs + S2N_AT_TTT, bytes);
    s2n_put24(bhs + S2N_AT_DATA_LENGTH, length);
    memcpy(bhs + 32, cdb, 16);
    put_bytes(initiator, bhs, sizeof bhs);
    put_bytes(initiator, pattern(length), sent);
}

void put_data_out(struct initiator *initiator, uint32_t itt, uint32_t ttt, uint32_t data_sn,
                  uint32_t offset, bool final, const uint8_t *data, uint32_t length)
{
    uint8_t bhs[48];

    request(bhs, S2N_DATA_OUT, itt, 0);
    bhs[1] = final ? 0x80 : 0;
    s2n_put32(bhs + S2N_AT_TTT, ttt);
    s2n_put32(bhs + S2N_AT_DATA_SN, data_sn);
    s2n_put32(bhs + S2N_AT_OFFSET, offset);
    put(initiator, bhs, data, length);
}

/* ---- receiving ---- */

/* StatSN counts what has a status, and nothing else. */
static void check_stat_sn(struct initiator *initiator, const struct pdu *pdu)
{
    bool ping = pdu->opcode == S2N_NOP_IN && s2n_get32(pdu->bhs + S2N_AT_ITT) == S2N_RESERVED_TAG;
    bool bare = pdu->opcode == S2N_DATA_IN && !(pdu->flags & S2N_STATUS);

    if (bare)
        return;
    CHECK_EQUAL(s2n_get32(pdu->bhs + S2N_AT_CMD_SN), initiator->stat_sn);
    if (!ping && pdu->opcode != S2N_R2T)
        initiator->stat_sn++;
}

static void take(struct initiator *initiator, void *to, size_t length)
{
    CHECK(initiator->in_length >= length);
    memcpy(to, initiator->in, length);
    initiator->in_length -= length;
    memmove(initiator->in, initiator->in + length, initiator->in_length);
}

/* What has one PDU ends with it. Spec: RFC 7143 11. */
static void check_flags(const struct pdu *pdu)
{
    switch (pdu->opcode) {
    case S2N_SCSI_RESPONSE:
        CHECK(pdu->flags & S2N_FINAL);
        CHECK(pdu->bhs[S2N_AT_STATUS] != S2N_TASK_ABORTED || !pdu->length);
        break;
    case S2N_NOP_IN:
    case S2N_TASK_MANAGEMENT_RESPONSE:
    case S2N_R2T:
    case S2N_REJECT:
        CHECK_EQUAL(pdu->flags, S2N_FINAL);
    }
}

bool get(struct initiator *initiator, struct pdu *pdu)
{
    const s2n_conn_params *params = &initiator->params;
    uint8_t digest[4];

    fake_run();
    collect(initiator);
    if (!initiator->in_length)
        return false;
    take(initiator, pdu->bhs, 48);
    pdu->opcode = pdu->bhs[0];
    pdu->flags = pdu->bhs[1];
    pdu->length = s2n_get24(pdu->bhs + S2N_AT_DATA_LENGTH);
    CHECK_EQUAL(pdu->bhs[S2N_AT_AHS_LENGTH], 0);
    check_flags(pdu);
    CHECK(pdu->length <= sizeof pdu->data - 4 && pdu->length <= params->maximum_send);
    if (params->header_digest) {
        take(initiator, digest, 4);
        CHECK_EQUAL(s2n_get_digest(digest), s2n_crc32c(0, pdu->bhs, 48));
    }
    uint32_t padded = pdu->length + s2n_padding(pdu->length);
    take(initiator, pdu->data, padded);
    if (params->data_digest && padded) {
        take(initiator, digest, 4);
        CHECK_EQUAL(s2n_get_digest(digest), s2n_crc32c(0, pdu->data, padded));
    }
    check_stat_sn(initiator, pdu);
    return true;
}

struct pdu *expect(struct initiator *initiator, uint8_t opcode)
{
    static struct pdu pdu;

    CHECK(get(initiator, &pdu));
    CHECK_EQUAL(pdu.opcode, opcode);
    return &pdu;
}

void expect_none(struct initiator *initiator)
{
    struct pdu pdu;

    CHECK(!get(initiator, &pdu));
}

struct pdu *expect_status(struct initiator *initiator, uint8_t status)
{
    static struct pdu pdu;

    CHECK(get(initiator, &pdu));
    CHECK(pdu.opcode == S2N_SCSI_RESPONSE || (pdu.opcode == S2N_DATA_IN && pdu.flags & S2N_STATUS));
    CHECK_EQUAL(pdu.bhs[S2N_AT_STATUS], status);
    return &pdu;
}

/* ---- requests, by number and for Python ---- */

void put_numbered(struct initiator *on, uint32_t cmd_sn)
{
    on->cmd_sn = cmd_sn;
    put_command(on, S2N_FINAL, cmd_sn + 0x10000, 0, test_unit_ready, NULL, 0);
}

uint32_t tag_of(const struct pdu *pdu)
{
    return s2n_get32(pdu->bhs + S2N_AT_ITT);
}

void expect_request(uint8_t opcode, uint32_t length)
{
    s2n_event event;

    fake_run();
    CHECK(fake_next_event(&event));
    CHECK_EQUAL(event.type, S2N_EVENT_PDU);
    CHECK_EQUAL(event.bhs[0], opcode);
    CHECK_EQUAL(event.data_length, length);
    CHECK(!length || !memcmp(event.data, pattern(length), length));
    s2n_event_free(&event);
}

void expect_no_request(void)
{
    s2n_event event;

    fake_run();
    CHECK(!fake_next_event(&event));
}

void answer(struct initiator *on, uint8_t opcode)
{
    uint8_t bhs[48] = {opcode, S2N_FINAL};

    s2n_conn_send(on->conn, bhs, NULL, 0, true);
}

void put_abort_task(struct initiator *on, uint8_t opcode, uint32_t cmd_sn, uint32_t tag,
                    uint32_t ref_cmd_sn)
{
    uint8_t bhs[48];

    request(bhs, opcode, 0xabcd, cmd_sn);
    bhs[1] = S2N_FINAL | S2N_ABORT_TASK;
    s2n_put32(bhs + S2N_AT_TTT, tag);
    s2n_put32(bhs + 32, ref_cmd_sn);
    put(on, bhs, NULL, 0);
}

void put_malformed(struct initiator *on, uint32_t cmd_sn)
{
    uint8_t bytes[48 + 8];

    request(bytes, S2N_SCSI_COMMAND, cmd_sn, cmd_sn);
    memset(bytes + 48, 0, 8);
    bytes[S2N_AT_AHS_LENGTH] = 2;
    s2n_put16(bytes + 48, 5);
    bytes[48 + 2] = 2;
    put_bytes(on, bytes, sizeof bytes);
}
