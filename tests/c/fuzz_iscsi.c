/* Arbitrary bytes into the full-feature phase. With libFuzzer: clang
 * -fsanitize=fuzzer -DS2N_LIBFUZZER. Else a program that mutates sessions of its
 * own: fuzz_iscsi [inputs [seed]]. */
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "initiator.h"

enum { F = S2N_FINAL, R = S2N_READ, W = S2N_WRITE, IMMEDIATE = S2N_IMMEDIATE, HEAD = 4 };

static struct initiator i;

static uint32_t next(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    return *state ^= *state << 5;
}

/* Play Python: answer requests, end tasks. */
static bool answer_events(void)
{
    uint8_t bhs[48] = {S2N_TASK_MANAGEMENT_RESPONSE, F};
    s2n_event event;

    while (fake_next_event(&event)) {
        s2n_event_free(&event);
        if (event.type == S2N_EVENT_CONN_CLOSED)
            return true;
        s2n_conn_send(i.conn, bhs, bhs, 20, true);
    }
    return false;
}

static void drain_output(void)
{
    static uint8_t bytes[1 << 16];

    while (recv(i.fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        fake_run();
}

/* Something else that may happen at any time. */
static void interfere(uint32_t what)
{
    switch (what % 16) {
    case 0:
        fake_abort(what >> 8 & 7, what & 0x80);
        break;
    case 1:
        fake.hold = !fake.hold;
        break;
    case 2:
        if (fake.executed_count)
            fake_end(fake.executed[0], what & 0x80 ? 0 : 2, 18, pattern(300), what >> 8 & 0xff);
        break;
    case 3:
        fake_advance(what >> 8 & 0x3ff);
        break;
    case 4:
        fake_give(fake.pool_bytes > 1 << 20 ? -(1 << 20) - (fake.pool_bytes & 0xfff00000)
                                            : 1 << 20);
        break;
    case 5:
        s2n_conn_set_maximum_send(i.conn, what >> 8 & 0xffff);
        break;
    case 6:
        drain_output();
        break;
    case 7:
        if (!(what >> 8 & 0x1f))
            s2n_conn_close(i.conn, what & 0x80);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    s2n_conn_params params = usual;
    bool closed = false, large = size > 1 && data[1] & 1;

    if (size < HEAD)
        return 0;
    uint32_t state = s2n_get32(data) | 1;
    params.header_digest = data[0] >> 6 == 3;
    params.data_digest = data[0] >> 4 == 3;
    params.initial_r2t = data[0] & 1;
    params.immediate_data = data[0] >> 1 & 1;
    params.maximum_r2t = 1 + (data[0] >> 2 & 3);
    params.ping_ms = params.ping_timeout_ms = 1000;
    login(&i, &params);
    size -= HEAD;
    for (data += HEAD; size && !closed;) {
        size_t piece = next(&state) % (large ? 60000 : 300) + 1;
        ssize_t n = send(i.fd, data, piece < size ? piece : size, MSG_DONTWAIT | MSG_NOSIGNAL);
        data += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
        fake_run();
        if (n <= 0)
            drain_output();
        interfere(next(&state));
        fake_run();
        closed = answer_events();
        if (n <= 0 && !(next(&state) % 64))
            break; /* it reads no more, and needs not */
    }
    s2n_conn_close(i.conn, false);
    fake_run();
    while (fake.executed_count)
        fake_end(fake.executed[0], 0, 0, NULL, 0);
    closed |= answer_events();
    CHECK(closed);
    s2n_conn_free(i.conn);
    s2n_session_free(i.session);
    fake_run();
    CHECK(!answer_events());
    close(i.fd);
    CHECK_EQUAL(fake.live_tasks + fake.armed_timers + fake.sources, 0);
    return 0;
}

#ifndef S2N_LIBFUZZER

enum { ROOM = 1 << 16 };

static void put_request(uint8_t opcode, uint32_t itt, uint32_t cmd_sn, uint32_t length)
{
    uint8_t bhs[48];

    request(bhs, opcode, itt, cmd_sn);
    s2n_put32(bhs + S2N_AT_TTT, 3);
    put(&i, bhs, pattern(length), length);
}

/* A session of every kind of PDU, as bytes. */
static uint32_t corpus(uint8_t *bytes)
{
    int pair[2], size = 1 << 18;

    CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    memset(&i, 0, sizeof i);
    i.fd = pair[0];
    i.cmd_sn = FIRST_CMD_SN;
    put_command(&i, F | R, 1, 4096, read10(0, 8), NULL, 0);
    put_command(&i, F | W, 2, 4096, write10(0, 8), pattern(4096), 4096);
    put_command(&i, W, 3, 8192, write10(0, 16), pattern(512), 512);
    put_data_out(&i, 3, S2N_RESERVED_TAG, 0, 512, false, pattern(1024), 1024);
    put_data_out(&i, 3, S2N_RESERVED_TAG, 1, 1536, true, pattern(512), 512);
    put_request(S2N_NOP_OUT | IMMEDIATE, 9, i.cmd_sn, 33);
    put_data_out(&i, 3, 2 << 16, 0, 2048, true, pattern(6144), 6144);
    put_request(S2N_TASK_MANAGEMENT | IMMEDIATE, 9, i.cmd_sn, 0);
    put_command(&i, F | W, 4, 20000, write10(0, 40), NULL, 0);
    put_data_out(&i, 4, 3 << 16, 0, 0, true, pattern(16384), 16384);
    put_request(S2N_TEXT, 9, i.cmd_sn++, 40);
    put_command(&i, F, 5, 0, test_unit_ready, NULL, 0);
    put_request(S2N_SNACK, 9, i.cmd_sn, 0);
    i.cmd_sn += 2;
    put_command(&i, F | R, 6, 255, inquiry(96), NULL, 0);
    put_request(S2N_NOP_OUT, 9, i.cmd_sn - 2, 500);
    put_request(S2N_LOGOUT, 9, i.cmd_sn - 3, 0);
    ssize_t n = recv(pair[1], bytes + HEAD, ROOM - HEAD, 0);
    CHECK(n > 0 && n < ROOM / 2);
    close(pair[0]);
    close(pair[1]);
    return HEAD + (uint32_t)n;
}

static const uint8_t interesting[] = {0x00, 0x01, 0x03, 0x05, 0x20, 0x40, 0x41, 0x60,
                                      0x7f, 0x80, 0x81, 0xa1, 0xc1, 0xe1, 0xfe, 0xff};

/* Change `bytes` a little; its new length. */
static uint32_t mutate(uint8_t *bytes, uint32_t length, uint32_t *state)
{
    for (uint32_t left = next(state) % 8; left; left--) {
        uint32_t at = HEAD + next(state) % (length - HEAD), span = next(state) % 100 + 1;
        uint32_t to = HEAD + next(state) % (length - HEAD);
        switch (next(state) % 6) {
        case 0:
            bytes[at] ^= (uint8_t)(1 << next(state) % 8);
            break;
        case 1:
        case 2:
            bytes[at] = interesting[next(state) % sizeof interesting];
            break;
        case 3: /* repeat a stretch elsewhere */
            span = span < length - at ? span : length - at;
            span = span < length - to ? span : length - to;
            memmove(bytes + to, bytes + at, span);
            break;
        case 4: /* drop a header's worth */
            if (at + 48 < length)
                memmove(bytes + at, bytes + at + 48, length - at - 48), length -= 48;
            break;
        case 5:
            length = next(state) % 10 ? length : at + 1;
            break;
        }
        if (length <= HEAD + 1)
            break;
    }
    return length;
}

int main(int argc, char **argv)
{
    static uint8_t seed_bytes[ROOM], bytes[ROOM];
    uint32_t inputs = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : 1500;
    uint32_t seed = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 0) : (uint32_t)time(NULL);
    uint32_t length = corpus(seed_bytes), state = seed | 1, executed = 0;

    printf("seed %u\n", seed);
    fflush(stdout);
    for (uint32_t at = 0; at < inputs; at++) {
        memcpy(bytes, seed_bytes, length);
        s2n_put32(bytes, next(&state));
        LLVMFuzzerTestOneInput(bytes, at ? mutate(bytes, length, &state) : length);
        executed += fake.executions;
    }
    printf("ok %u inputs, %u commands executed\n", inputs, executed);
    CHECK(executed > inputs);
    return 0;
}

#endif
