/* Sending: PDUs are built when there is room for them and leave together, in one
 * call for a whole round. Spec: RFC 7143 11. */
#include "iscsi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* ---- the queue ---- */

void s2n_transmit(s2n_conn *conn, struct s2n_item *item)
{
    if (item->queued || conn->state >= S2N_ENDED)
        return;
    item->queued = true;
    item->next = NULL;
    *conn->queue_tail = item;
    conn->queue_tail = &item->next;
    s2n_defer(conn->session->reactor, &conn->round_end);
}

static void dequeue(s2n_conn *conn)
{
    struct s2n_item *item = conn->queue_head;

    conn->queue_head = item->next;
    if (!conn->queue_head)
        conn->queue_tail = &conn->queue_head;
    item->queued = false;
}

bool s2n_transmit_withdraw(s2n_conn *conn, const s2n_command *command)
{
    for (uint32_t i = conn->wire_count; i--;) {
        struct s2n_wire *wire = &conn->wire[(conn->wire_head + i) % S2N_WIRES];
        if (wire->item != &command->item)
            continue;
        wire->last = true;
        return true;
    }
    return false;
}

/* ---- replies ---- */

struct s2n_reply *s2n_reply_new(s2n_conn *conn, uint8_t opcode, uint8_t *data, uint32_t data_length)
{
    struct s2n_reply *reply = calloc(1, sizeof *reply);

    if (!reply) {
        free(data);
        s2n_conn_end(conn, ENOMEM);
        return NULL;
    }
    reply->conn = conn;
    reply->bhs[0] = opcode;
    reply->bhs[S2N_AT_FLAGS] = S2N_FINAL;
    reply->data = data;
    reply->data_length = data_length;
    reply->consumes = true;
    return reply;
}

void s2n_reply_free(struct s2n_reply *reply)
{
    free(reply->data);
    free(reply);
}

void s2n_reply_send(s2n_conn *conn, struct s2n_reply *reply)
{
    if (conn->state != S2N_OPEN) {
        s2n_reply_free(reply);
        return;
    }
    conn->replies++;
    conn->reply_bytes += reply->data_length;
    s2n_transmit(conn, &reply->item);
}

static void reply_sent(s2n_conn *conn, struct s2n_reply *reply)
{
    conn->replies--;
    conn->reply_bytes -= reply->data_length;
    s2n_reply_free(reply);
}

/* Whether a peer earns rejects faster than an honest one could. */
static bool too_many_rejects(s2n_conn *conn)
{
    uint64_t now = s2n_reactor_now_ms(conn->session->reactor);

    if (now - conn->rejects_since_ms >= 1000) {
        conn->rejects_since_ms = now;
        conn->rejects = 0;
    }
    return ++conn->rejects > S2N_REJECTS;
}

void s2n_reject(s2n_conn *conn, uint8_t reason, const uint8_t *header, uint32_t header_length)
{
    if (too_many_rejects(conn)) {
        s2n_conn_end(conn, EPROTO);
        return;
    }
    header_length = s2n_least(header_length, conn->params.maximum_send);
    uint8_t *data = malloc(header_length);
    if (!data) {
        s2n_conn_end(conn, ENOMEM);
        return;
    }
    memcpy(data, header, header_length);
    struct s2n_reply *reply = s2n_reply_new(conn, S2N_REJECT, data, header_length);
    if (!reply)
        return;
    reply->bhs[S2N_AT_RESPONSE] = reason;
    s2n_put32(reply->bhs + S2N_AT_ITT, S2N_RESERVED_TAG);
    s2n_reply_send(conn, reply);
}

/* ---- building ---- */

/* `length` bytes at `offset` of a PDU's data, contiguous. */
static const uint8_t *data_at(const struct s2n_wire *wire, uint32_t offset, uint32_t *length)
{
    *length = wire->data_length - offset;
    if (wire->flat)
        return wire->flat + offset;
    uint32_t span;
    s2n_command *command = (s2n_command *)wire->item;
    const uint8_t *at = s2n_task_span_at(command->task, wire->data_offset + offset, &span);
    *length = s2n_least(*length, span);
    return at;
}

static void build_tail(const s2n_conn *conn, struct s2n_wire *wire, uint32_t prefix)
{
    uint32_t length, padding = s2n_padding(wire->data_length + prefix);

    memset(wire->tail, 0, sizeof wire->tail);
    wire->tail_length = (uint8_t)padding;
    if (!conn->params.data_digest || !(wire->data_length + prefix))
        return;
    uint32_t crc = s2n_crc32c(0, wire->head + wire->head_length - prefix, prefix);
    for (uint32_t offset = 0; offset < wire->data_length; offset += length) {
        const uint8_t *at = data_at(wire, offset, &length);
        crc = s2n_crc32c(crc, at, length);
    }
    crc = s2n_crc32c(crc, wire->tail, padding);
    s2n_put_digest(wire->tail + padding, crc);
    wire->tail_length = (uint8_t)(padding + S2N_DIGEST_BYTES);
}

/* Complete a PDU: sequence numbers, length, digests. `prefix` bytes of its data, at
 * `ahead`, precede the others. */
static inline void build(s2n_conn *conn, struct s2n_wire *wire, const uint8_t *ahead,
                         uint32_t prefix)
{
    s2n_session *session = conn->session;
    uint8_t *bhs = wire->head;

    s2n_put32(bhs + S2N_AT_EXP_CMD_SN, s2n_session_expected_cmd_sn(session));
    s2n_put32(bhs + S2N_AT_MAX_CMD_SN, s2n_order_maximum(session));
    bhs[S2N_AT_AHS_LENGTH] = 0;
    s2n_put24(bhs + S2N_AT_DATA_LENGTH, wire->data_length + prefix);
    wire->head_length = S2N_BHS_BYTES;
    if (conn->params.header_digest) {
        s2n_put_digest(bhs + S2N_BHS_BYTES, s2n_crc32c(0, bhs, S2N_BHS_BYTES));
        wire->head_length += S2N_DIGEST_BYTES;
    }
    if (prefix)
        memcpy(wire->head + wire->head_length, ahead, prefix);
    wire->head_length = (uint8_t)(wire->head_length + prefix);
    build_tail(conn, wire, prefix);
}

static void build_reply(s2n_conn *conn, struct s2n_wire *wire, struct s2n_reply *reply)
{
    memcpy(wire->head, reply->bhs, S2N_BHS_BYTES);
    s2n_put32(wire->head + S2N_AT_CMD_SN, conn->stat_sn);
    conn->stat_sn += reply->consumes;
    wire->flat = reply->data;
    wire->data_length = reply->data_length;
    wire->last = true;
    build(conn, wire, NULL, 0);
}

static void build_r2t(s2n_conn *conn, struct s2n_wire *wire, s2n_command *command)
{
    uint32_t left = s2n_collect_end(command) - command->solicited;
    uint32_t length = s2n_least(left, conn->params.maximum_burst);
    uint8_t *bhs = wire->head;

    bhs[0] = S2N_R2T;
    bhs[S2N_AT_FLAGS] = S2N_FINAL;
    memcpy(bhs + S2N_AT_LUN, command->task->lun, 8);
    s2n_put32(bhs + S2N_AT_ITT, command->tag);
    s2n_put32(bhs + S2N_AT_TTT, command->first_ttt + command->r2t_sn);
    s2n_put32(bhs + S2N_AT_CMD_SN, conn->stat_sn);
    s2n_put32(bhs + S2N_AT_DATA_SN, command->r2t_sn++);
    s2n_put32(bhs + S2N_AT_OFFSET, command->solicited);
    s2n_put32(bhs + S2N_AT_RESIDUAL, length);
    command->solicited += length;
    build(conn, wire, NULL, 0);
}

/* How much data the command moves, whatever the initiator expects: RFC 7143 11.4.5.2 calls it
 * SPDTL. What is not carried out has taken what was collected for it, at most. */
static uint64_t moved(const s2n_command *command)
{
    const s2n_task *task = command->task;
    uint64_t announced = task->lu ? task->announced : 0;

    /* Data that go the other way are none of those that the initiator expects. */
    if (task->direction != S2N_OUT)
        return command->write && command->edtl ? 0 : command->moved;
    if (task->status == S2N_GOOD || (announced > command->edtl && !s2n_task_portion_follows(task)))
        return announced;
    return (uint64_t)task->portion_at + task->data_out_length;
}

static void put_residual(uint8_t *bhs, const s2n_command *command)
{
    uint64_t moves = moved(command);

    if (moves < command->edtl) {
        bhs[S2N_AT_FLAGS] |= S2N_UNDERFLOW;
        s2n_put32(bhs + S2N_AT_RESIDUAL, command->edtl - (uint32_t)moves);
    } else if (moves > command->edtl) {
        bhs[S2N_AT_FLAGS] |= S2N_OVERFLOW;
        s2n_put32(bhs + S2N_AT_RESIDUAL, s2n_least(moves - command->edtl, UINT32_MAX));
    }
}

static void put_status(s2n_conn *conn, uint8_t *bhs, s2n_command *command)
{
    s2n_command_uncount(command);
    bhs[S2N_AT_STATUS] = command->task->status;
    s2n_put32(bhs + S2N_AT_CMD_SN, conn->stat_sn++);
    put_residual(bhs, command);
}

static void build_response(s2n_conn *conn, struct s2n_wire *wire, s2n_command *command)
{
    s2n_task *task = command->task;
    uint8_t *bhs = wire->head, sense_length[2];

    bhs[0] = S2N_SCSI_RESPONSE;
    bhs[S2N_AT_FLAGS] = S2N_FINAL;
    s2n_put32(bhs + S2N_AT_ITT, command->tag);
    s2n_put32(bhs + S2N_AT_DATA_SN, command->r2t_sn + command->data_in_sn);
    put_status(conn, bhs, command);
    wire->flat = task->sense;
    wire->data_length = task->sense_length;
    wire->last = true;
    s2n_put16(sense_length, task->sense_length);
    build(conn, wire, sense_length, task->sense_length ? sizeof sense_length : 0);
}

/* How much the next Data-In PDU takes, within the initiator's limits: whole words, but at the end
 * of a sequence. Spec: RFC 7143 11.7.7. */
static uint32_t data_in_length(const s2n_conn *conn, uint32_t left)
{
    return left <= conn->params.maximum_send ? left : conn->params.maximum_send & ~3u;
}

/* The next Data-In PDU; the last one carries GOOD. */
static void build_data_in(s2n_conn *conn, struct s2n_wire *wire, s2n_command *command)
{
    uint32_t burst = conn->params.maximum_burst, left = command->to_send - command->sent;
    uint32_t burst_left = burst - command->sent % burst;
    uint32_t length = data_in_length(conn, s2n_least(left, burst_left));
    uint8_t *bhs = wire->head;

    bhs[0] = S2N_DATA_IN;
    s2n_put32(bhs + S2N_AT_ITT, command->tag);
    s2n_put32(bhs + S2N_AT_TTT, S2N_RESERVED_TAG);
    s2n_put32(bhs + S2N_AT_DATA_SN, command->data_in_sn++);
    s2n_put32(bhs + S2N_AT_OFFSET, command->sent);
    if (length == left || length == burst_left)
        bhs[S2N_AT_FLAGS] = S2N_FINAL;
    if (length == left && command->phase == S2N_HANDING_ON) {
        wire->ends_portion = true;
    } else if (length == left && command->task->status == S2N_GOOD &&
               !command->task->sense_length) {
        bhs[S2N_AT_FLAGS] |= S2N_STATUS;
        put_status(conn, bhs, command);
        wire->last = true;
    }
    wire->data_offset = command->sent;
    wire->data_length = length;
    command->sent += length;
    build(conn, wire, NULL, 0);
}

/* Whether the command has a PDU to send now. */
static bool command_ready(const s2n_conn *conn, const s2n_command *command)
{
    if (command->phase == S2N_COLLECTING)
        return !command->refusal && command->solicited < s2n_collect_end(command) &&
               command->r2t_sn - command->sequence < conn->params.maximum_r2t;
    if (command->phase == S2N_HANDING_ON)
        return command->sent < command->to_send;
    return command->phase == S2N_RESPONDING;
}

/* Build the next PDU of the first item in the queue, which leaves the queue with
 * its last one. */
static void build_next(s2n_conn *conn)
{
    struct s2n_item *item = conn->queue_head;
    s2n_command *command = (s2n_command *)item;

    if (item->is_command && !command_ready(conn, command)) {
        dequeue(conn);
        if (command->phase == S2N_RELEASED)
            s2n_command_recycle(command);
        return;
    }
    if (!conn->wire_count)
        conn->wire_head = 0; /* those in the caches again, and no more memory than needed */
    struct s2n_wire *wire = &conn->wire[(conn->wire_head + conn->wire_count++) % S2N_WIRES];
    memset(wire->head, 0, S2N_BHS_BYTES);
    wire->item = item;
    wire->flat = NULL;
    wire->last = wire->ends_portion = false;
    wire->data_length = wire->data_offset = 0;
    if (!item->is_command)
        build_reply(conn, wire, (struct s2n_reply *)item);
    else if (command->phase == S2N_COLLECTING)
        build_r2t(conn, wire, command);
    else if (command->sent < command->to_send)
        build_data_in(conn, wire, command);
    else
        build_response(conn, wire, command);
    conn->wire_bytes += (uint64_t)wire->head_length + wire->data_length + wire->tail_length;
    if (wire->last || wire->ends_portion)
        dequeue(conn);
}

/* ---- sending ---- */

struct gather {
    struct iovec iov[S2N_IOVECS];
    int used;
    size_t bytes;
    size_t skip; /* what was sent before */
};

static void add(struct gather *gather, const uint8_t *at, size_t length)
{
    if (gather->skip >= length) {
        gather->skip -= length;
        return;
    }
    length -= gather->skip;
    gather->iov[gather->used].iov_base = (void *)(uintptr_t)(at + gather->skip);
    gather->iov[gather->used++].iov_len = length;
    gather->bytes += length;
    gather->skip = 0;
}

/* What was built, as far as it fits into one call and the session's turn. */
static void collect(s2n_conn *conn, struct gather *gather, size_t most)
{
    gather->used = 0;
    gather->bytes = 0;
    gather->skip = conn->wire_sent;
    for (uint32_t i = 0; i < conn->wire_count; i++) {
        struct s2n_wire *wire = &conn->wire[(conn->wire_head + i) % S2N_WIRES];
        uint32_t length;
        if (gather->used + 3 > S2N_IOVECS || gather->bytes >= most)
            return;
        add(gather, wire->head, wire->head_length);
        for (uint32_t at = 0; at < wire->data_length; at += length) {
            if (gather->used + 2 > S2N_IOVECS || gather->bytes >= most)
                return;
            const uint8_t *from = data_at(wire, at, &length);
            add(gather, from, length);
        }
        if (wire->tail_length)
            add(gather, wire->tail, wire->tail_length);
    }
}

/* A PDU left; with its last one the command or reply is over. */
static void wire_sent(s2n_conn *conn, const struct s2n_wire *wire)
{
    s2n_command *command = (s2n_command *)wire->item;

    if (wire->last && !wire->item->is_command)
        reply_sent(conn, (struct s2n_reply *)wire->item);
    else if (wire->last)
        s2n_command_release(command);
    else if (wire->ends_portion)
        s2n_command_handed_on(command);
}

static void sent(s2n_conn *conn, size_t bytes)
{
    size_t before = conn->wire_sent; /* of the first PDU */

    bytes += before;
    while (conn->wire_count) {
        struct s2n_wire *wire = &conn->wire[conn->wire_head];
        size_t length = (size_t)wire->head_length + wire->data_length + wire->tail_length;
        s2n_peer_moved(conn, wire->item->is_command ? (s2n_command *)wire->item : NULL,
                       (bytes < length ? bytes : length) - before);
        before = 0;
        if (bytes < length)
            break;
        bytes -= length;
        conn->wire_bytes -= length;
        conn->wire_head = (conn->wire_head + 1) % S2N_WIRES;
        conn->wire_count--;
        wire_sent(conn, wire);
    }
    conn->wire_sent = (uint32_t)bytes;
}

/* Build what the session may send in its turn: how much that is, 0 when there is nothing now. */
static size_t build_some(s2n_conn *conn)
{
    struct s2n_flow *flow = &conn->session->flow;
    int64_t credit = s2n_flow_credit(flow, S2N_MOVED);

    if (credit <= 0) {
        conn->unsent = true;
        s2n_flow_wait(flow);
        return 0;
    }
    while (conn->queue_head && conn->wire_count < S2N_WIRES &&
           conn->wire_bytes - conn->wire_sent < (uint64_t)credit)
        build_next(conn);
    return conn->wire_count ? (size_t)credit : 0;
}

void s2n_transmit_flush(s2n_conn *conn)
{
    struct gather gather;
    struct msghdr message = {.msg_iov = gather.iov};
    size_t most;

    for (int i = 0; i < S2N_SENDS && !s2n_transmit_idle(conn) && (most = build_some(conn)); i++) {
        collect(conn, &gather, most);
        message.msg_iovlen = (size_t)gather.used;
        ssize_t n = sendmsg(conn->source.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS) {
            s2n_conn_end(conn, (uint32_t)errno);
            return;
        }
        if (n > 0) {
            s2n_flow_charge(&conn->session->flow, S2N_MOVED, (uint64_t)n);
            sent(conn, (size_t)n);
        }
        if (n < (ssize_t)gather.bytes)
            break;
    }
    if (conn->wire_count)
        s2n_peer_owes(conn);
}

void s2n_transmit_drop(s2n_conn *conn)
{
    conn->wire_bytes = 0;
    while (conn->wire_count) {
        struct s2n_wire *wire = &conn->wire[conn->wire_head];
        conn->wire_head = (conn->wire_head + 1) % S2N_WIRES;
        conn->wire_count--;
        if (wire->last && !wire->item->is_command)
            reply_sent(conn, (struct s2n_reply *)wire->item);
    }
    while (conn->queue_head) {
        struct s2n_item *item = conn->queue_head;
        dequeue(conn);
        if (!item->is_command)
            reply_sent(conn, (struct s2n_reply *)item);
        else if (((s2n_command *)item)->phase == S2N_RELEASED)
            s2n_command_recycle((s2n_command *)item);
    }
}
