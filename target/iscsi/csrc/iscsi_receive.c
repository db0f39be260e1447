/* Receiving: large reads, cut into PDUs. Headers and short data are copied from
 * the connection's buffer; long data goes straight into its task's. */
#include "iscsi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { DIRECT_SPANS = 80 }; /* a task's largest buffer, in its smallest large chunks */

/* Whether there is as much to be done for it, apart from commands, as may be. */
static bool has_enough(const s2n_conn *conn)
{
    return conn->with_python + conn->ahead + conn->fenced >= S2N_PYTHON_REQUESTS ||
           conn->python_bytes >= S2N_PYTHON_BYTES || conn->replies >= S2N_REPLIES ||
           conn->reply_bytes >= S2N_REPLY_BYTES;
}

inline bool s2n_receive_blocked(const s2n_conn *conn)
{
    uint32_t others = conn->with_python | conn->ahead | conn->fenced | conn->replies;

    return conn->starved || (others && has_enough(conn));
}

/* Whether it is told again of what its socket has. */
static bool is_reading(const s2n_conn *conn)
{
    return conn->state == S2N_OPEN && !conn->unparsed && conn->events & EPOLLIN &&
           !s2n_receive_blocked(conn);
}

/* Sockets are told of in the same order each time: who was passed over comes before the others. */
bool s2n_receive_may(s2n_conn *conn)
{
    s2n_session *session = conn->session;
    bool may = s2n_flow_credit(&session->flow, S2N_MOVED) > 0;

    if (session->passed_over && !is_reading(session->passed_over))
        session->passed_over = NULL;
    if (conn->unparsed || (session->passed_over && session->passed_over != conn))
        return false;
    session->passed_over = may ? NULL : conn;
    return may;
}

/* Whether the session may begin another command; else it goes on in its next turn. */
static bool may_begin(s2n_conn *conn)
{
    struct s2n_flow *flow = &conn->session->flow;

    if (s2n_flow_credit(flow, S2N_BEGUN) > 0)
        return true;
    conn->unparsed = true;
    s2n_flow_wait(flow);
    return false;
}

/* ---- data ---- */

static bool digested(const s2n_conn *conn)
{
    return conn->params.data_digest && conn->rx.data_length;
}

/* Where the next byte of data belongs: NULL if it is dropped. */
static uint8_t *place(struct s2n_receiver *rx, uint32_t done, uint32_t *length)
{
    if (done >= rx->room || (!rx->command && !rx->heap)) {
        *length = rx->data_length - done;
        return NULL;
    }
    uint32_t left = rx->room - done;
    if (!rx->command) {
        *length = left;
        return rx->heap + done;
    }
    if (rx->command->early) {
        *length = left;
        return rx->command->early + rx->offset + done;
    }
    uint8_t *at = s2n_task_span_at(rx->command->task, rx->offset + done, length);
    *length = s2n_least(*length, left);
    return at;
}

/* Copy what is buffered of the data to where it belongs. */
static void take_data(s2n_conn *conn)
{
    struct s2n_receiver *rx = &conn->rx;
    uint32_t have = s2n_least(rx->end - rx->start, rx->data_length - rx->done);
    const uint8_t *from = rx->buffer + rx->start;

    if (digested(conn))
        rx->crc = s2n_crc32c(rx->crc, from, have);
    s2n_peer_moved(conn, rx->command, have);
    rx->start += have;
    while (have) {
        uint32_t length;
        uint8_t *to = place(rx, rx->done, &length);
        length = s2n_least(length, have);
        if (to)
            memcpy(to, from, length);
        rx->done += length;
        from += length;
        have -= length;
    }
    if (rx->done == rx->data_length)
        rx->state = S2N_TAIL;
}

/* Describe where data that is yet to come goes without a copy: the number of
 * entries, and the bytes in `bytes`. */
static int direct(struct s2n_receiver *rx, struct iovec *iov, uint32_t *bytes)
{
    uint32_t done = rx->done, end = s2n_least(rx->room, rx->data_length);
    int used = 0;

    *bytes = 0;
    if (rx->state != S2N_DATA || (!rx->command && !rx->heap) || end < done + S2N_RECEIVE_DIRECT)
        return 0;
    while (done < end && used < DIRECT_SPANS) {
        uint32_t length;
        iov[used].iov_base = place(rx, done, &length);
        iov[used++].iov_len = length = s2n_least(length, end - done);
        done += length;
    }
    *bytes = done - rx->done;
    return used;
}

/* Account for `bytes` that the kernel put where `iov` said. */
static void took_direct(s2n_conn *conn, const struct iovec *iov, uint32_t bytes)
{
    struct s2n_receiver *rx = &conn->rx;

    rx->done += bytes;
    s2n_peer_moved(conn, rx->command, bytes);
    if (bytes && rx->done == rx->data_length)
        rx->state = S2N_TAIL;
    for (; digested(conn) && bytes; iov++) {
        uint32_t length = s2n_least(iov->iov_len, bytes);
        rx->crc = s2n_crc32c(rx->crc, iov->iov_base, length);
        bytes -= length;
    }
}

/* ---- PDUs ---- */

/* Which answers the initiator has, as it says with everything that it sends. */
static void acknowledge(s2n_conn *conn)
{
    uint32_t exp_stat_sn = s2n_get32(conn->rx.header + S2N_AT_EXP_CMD_SN);

    if (s2n_before(conn->acknowledged, exp_stat_sn) && !s2n_before(conn->stat_sn, exp_stat_sn))
        conn->acknowledged = exp_stat_sn;
}

static void begin(s2n_conn *conn)
{
    struct s2n_receiver *rx = &conn->rx;

    acknowledge(conn);
    rx->command = NULL;
    rx->done = rx->offset = rx->room = rx->crc = 0;
    switch (rx->header[0] & S2N_OPCODE) {
    case S2N_SCSI_COMMAND:
        s2n_command_arrived(conn);
        break;
    case S2N_DATA_OUT:
        s2n_data_out_arrived(conn);
        break;
    case S2N_NOP_OUT:
        rx->room = s2n_least(rx->data_length, conn->params.maximum_send);
        break;
    case S2N_TEXT:
        rx->room = s2n_least(rx->data_length, S2N_TEXT_BYTES);
        break;
    }
    if (!rx->room || rx->command)
        return;
    rx->heap = malloc(rx->room);
    if (!rx->heap)
        s2n_conn_end(conn, ENOMEM);
}

static void reject(s2n_conn *conn, uint8_t reason)
{
    s2n_reject(conn, reason, conn->rx.header, conn->rx.header_length);
}

/* Neither SCSI nor a request that somebody else answers. */
static void finish_other(s2n_conn *conn, uint8_t opcode, bool intact)
{
    struct s2n_receiver *rx = &conn->rx;

    if (!intact) {
        reject(conn, S2N_REJECT_DATA_DIGEST);
        s2n_conn_wind_up(conn, EBADMSG);
        return;
    }
    switch (opcode) {
    case S2N_NOP_OUT:
    case S2N_TASK_MANAGEMENT:
    case S2N_TEXT:
    case S2N_LOGOUT: {
        uint8_t *data = rx->heap;
        rx->heap = NULL;
        s2n_request_arrived(conn, rx->header, data, rx->room);
        break;
    }
    case S2N_SNACK: /* error recovery level 0 */
    case S2N_LOGIN:
        reject(conn, S2N_REJECT_PROTOCOL);
        break;
    default:
        reject(conn, S2N_REJECT_UNSUPPORTED);
    }
}

static inline void finish(s2n_conn *conn, bool intact)
{
    struct s2n_receiver *rx = &conn->rx;
    uint8_t opcode = rx->header[0] & S2N_OPCODE;

    rx->state = S2N_HEADER;
    if (opcode == S2N_SCSI_COMMAND)
        s2n_command_received(conn, intact);
    else if (opcode == S2N_DATA_OUT)
        s2n_data_out_received(conn, intact);
    else
        finish_other(conn, opcode, intact);
    rx->command = NULL;
    free(rx->heap);
    rx->heap = NULL;
}

/* Padding and data digest: false if they have not arrived yet. */
static bool take_tail(s2n_conn *conn)
{
    struct s2n_receiver *rx = &conn->rx;
    uint32_t padding = s2n_padding(rx->data_length);
    uint32_t need = padding + (digested(conn) ? S2N_DIGEST_BYTES : 0);
    const uint8_t *at = rx->buffer + rx->start;
    bool intact = true;

    if (rx->end - rx->start < need)
        return false;
    rx->start += need;
    if (digested(conn))
        intact = s2n_crc32c(rx->crc, at, padding) == s2n_get_digest(at + padding);
    finish(conn, intact);
    return true;
}

/* Whether the header at `at` may be taken: else the connection ends, or waits. */
static bool acceptable(s2n_conn *conn, const uint8_t *at, uint32_t length)
{
    struct s2n_receiver *rx = &conn->rx;

    /* Nothing in a damaged header can be trusted, its length least of all. */
    if (conn->params.header_digest && s2n_crc32c(0, at, length) != s2n_get_digest(at + length)) {
        s2n_conn_end(conn, EBADMSG);
        return false;
    }
    if ((at[0] & S2N_OPCODE) == S2N_SCSI_COMMAND && !s2n_command_available(conn->session)) {
        conn->starved = true;
        return false;
    }
    rx->data_length = s2n_get24(at + S2N_AT_DATA_LENGTH);
    if (rx->data_length > conn->params.maximum_recv) {
        s2n_reject(conn, S2N_REJECT_PROTOCOL, at, length);
        s2n_conn_wind_up(conn, EPROTO);
        return false;
    }
    return true;
}

/* The basic header segment with what belongs to it: false if nothing was taken. */
static bool take_header(s2n_conn *conn)
{
    struct s2n_receiver *rx = &conn->rx;
    const uint8_t *at = rx->buffer + rx->start;
    uint32_t have = rx->end - rx->start;

    if (have < S2N_BHS_BYTES)
        return false;
    uint32_t length = S2N_BHS_BYTES + at[S2N_AT_AHS_LENGTH] * 4u;
    uint32_t need = length + (conn->params.header_digest ? S2N_DIGEST_BYTES : 0);
    if (have < need || !acceptable(conn, at, length))
        return false;
    memcpy(rx->header, at, S2N_BHS_BYTES);
    if (length > S2N_BHS_BYTES)
        memcpy(rx->header + S2N_BHS_BYTES, at + S2N_BHS_BYTES, length - S2N_BHS_BYTES);
    rx->header_length = length;
    rx->start += need;
    begin(conn);
    if (rx->data_length)
        rx->state = S2N_DATA;
    else
        finish(conn, true);
    return true;
}

void s2n_receive_parse(s2n_conn *conn)
{
    struct s2n_receiver *rx = &conn->rx;
    bool more = true;

    while (more && conn->state == S2N_OPEN && !s2n_receive_blocked(conn)) {
        switch (rx->state) {
        case S2N_HEADER:
            more = rx->start != rx->end && may_begin(conn) && take_header(conn);
            break;
        case S2N_DATA:
            more = rx->start != rx->end;
            take_data(conn);
            break;
        case S2N_TAIL:
            more = take_tail(conn);
            break;
        }
    }
    s2n_conn_watch(conn);
}

/* Make the free part of the buffer one piece. */
static void compact(struct s2n_receiver *rx)
{
    if (rx->start != rx->end)
        memmove(rx->buffer, rx->buffer + rx->start, rx->end - rx->start);
    rx->end -= rx->start;
    rx->start = 0;
}

/* Receive into a task's buffer, and beyond it what follows. */
static ssize_t receive_direct(s2n_conn *conn, struct iovec *iov, int used)
{
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)used + 1};

    iov[used] = (struct iovec){conn->rx.buffer + conn->rx.end, S2N_RECEIVE_BEHIND};
    return recvmsg(conn->source.fd, &message, MSG_DONTWAIT);
}

void s2n_receive(s2n_conn *conn)
{
    struct s2n_receiver *rx = &conn->rx;
    struct iovec iov[DIRECT_SPANS + 1];
    uint32_t bytes;
    ssize_t n;

    compact(rx);
    int used = direct(rx, iov, &bytes);
    if (used)
        n = receive_direct(conn, iov, used);
    else /* the cheaper call */
        n = recv(conn->source.fd, rx->buffer + rx->end, S2N_RECEIVE_BYTES - rx->end, MSG_DONTWAIT);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            s2n_conn_end(conn, n ? (uint32_t)errno : 0);
        return;
    }
    conn->heard = true;
    s2n_flow_charge(&conn->session->flow, S2N_MOVED, (uint64_t)n);
    uint32_t placed = s2n_least((uint64_t)n, bytes);
    took_direct(conn, iov, placed);
    rx->end += (uint32_t)n - placed;
    s2n_receive_parse(conn);
}
