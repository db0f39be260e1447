/* Order: command numbering over all connections of a session, and the requests
 * other than SCSI commands that take part in it. Spec: RFC 7143 4.2.2.1.
 *
 * CmdSN numbers the requests of a session, whichever connection carries them, and in
 * this order they are delivered. But connections overtake each other. What has the
 * number that is expected (ExpCmdSN) is delivered as it arrives; what is ahead of it
 * is held, as far as the window reaches (MaxCmdSN); anything else has been delivered
 * before or was sent against the rules, and is ignored. An immediate request takes no
 * number. Each number of the window has a slot of its own:
 *
 *   NOTHING   it has not arrived: a gap
 *   COMMAND   a SCSI command, which collects data but is not executed
 *   REQUEST   another request, with its data
 *   VOID      its request came to nothing: it was rejected or aborted, there was no
 *             room for it, or its connection ended
 *
 * A gap stops all that follows, on every connection, until it is filled. So a number
 * that was seen is never given back: whatever becomes of its request, its slot is
 * filled or ExpCmdSN moves on, and whoever sees to that calls s2n_order_deliver for
 * what waited for it: ExpCmdSN comes to rest at a gap. The window shrinks by what is
 * outstanding, but MaxCmdSN, once told, is never taken back. */
#include "iscsi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- CmdSN ---- */

static uint32_t expected_of(s2n_session *session)
{
    return atomic_load_explicit(&session->expected, memory_order_relaxed);
}

static void advance(s2n_session *session)
{
    atomic_store_explicit(&session->expected, expected_of(session) + 1, memory_order_relaxed);
}

struct s2n_held *s2n_order_slot(s2n_session *session, uint32_t cmd_sn)
{
    return &session->held[cmd_sn & session->held_mask];
}

enum s2n_turn s2n_order_take(s2n_session *session, uint32_t cmd_sn)
{
    uint32_t expected = expected_of(session);

    if (cmd_sn == expected && !s2n_before(session->maximum, cmd_sn)) {
        advance(session);
        return S2N_TURN_NOW;
    }
    if (s2n_before(cmd_sn, expected) || s2n_before(session->maximum, cmd_sn) ||
        s2n_order_slot(session, cmd_sn)->kind != S2N_HELD_NOTHING)
        return S2N_TURN_NEVER;
    return S2N_TURN_LATER;
}

uint32_t s2n_order_maximum(s2n_session *session)
{
    uint32_t maximum = expected_of(session) + session->window - session->outstanding - 1;

    if (s2n_before(session->maximum, maximum))
        session->maximum = maximum;
    return session->maximum;
}

void s2n_order_hold(s2n_session *session, uint32_t cmd_sn, const struct s2n_held *held)
{
    *s2n_order_slot(session, cmd_sn) = *held;
    session->held_count++;
    session->held_bytes += held->data_length;
}

static void run(s2n_conn *conn, const uint8_t *bhs, uint8_t *data, uint32_t data_length);

void s2n_order_deliver(s2n_session *session)
{
    while (session->held_count) {
        struct s2n_held *slot = s2n_order_slot(session, expected_of(session));
        if (slot->kind == S2N_HELD_NOTHING)
            return;
        struct s2n_held held = *slot;
        slot->kind = S2N_HELD_NOTHING;
        session->held_count--;
        session->held_bytes -= held.data_length;
        advance(session);
        if (held.kind == S2N_HELD_COMMAND)
            s2n_command_deliver(held.command);
        else if (held.kind == S2N_HELD_REQUEST)
            run(held.conn, held.bhs, held.data, held.data_length);
    }
}

/* What is held becomes a gap that is already filled. */
static void void_slot(s2n_session *session, struct s2n_held *slot)
{
    if (slot->kind == S2N_HELD_REQUEST)
        free(slot->data);
    session->held_bytes -= slot->data_length;
    *slot = (struct s2n_held){.kind = S2N_HELD_VOID};
}

void s2n_order_forget(s2n_conn *conn)
{
    s2n_session *session = conn->session;

    for (uint32_t i = 0; session->held_count && i <= session->held_mask; i++)
        if (session->held[i].kind != S2N_HELD_NOTHING && session->held[i].conn == conn)
            void_slot(session, &session->held[i]);
}

/* ---- requests ---- */

/* Reserved for what expects no answer; so is a NOP-Out that answers our ping. */
static bool wants_answer(const uint8_t *bhs)
{
    return s2n_get32(bhs + S2N_AT_ITT) != S2N_RESERVED_TAG;
}

static void answer_ping(s2n_conn *conn, const uint8_t *bhs, uint8_t *data, uint32_t data_length)
{
    if (!wants_answer(bhs)) {
        free(data);
        return;
    }
    struct s2n_reply *reply = s2n_reply_new(conn, S2N_NOP_IN, data, data_length);
    if (!reply)
        return;
    memcpy(reply->bhs + S2N_AT_LUN, bhs + S2N_AT_LUN, 8);
    memcpy(reply->bhs + S2N_AT_ITT, bhs + S2N_AT_ITT, 4);
    s2n_put32(reply->bhs + S2N_AT_TTT, S2N_RESERVED_TAG);
    s2n_reply_send(conn, reply);
}

/* ABORT TASK of a command that has not arrived: its number counts as received, so
 * that it is ignored should it still come. Spec: RFC 7143 11.5.1. */
static bool abort_unseen(s2n_session *session, const uint8_t *bhs)
{
    uint32_t tag = s2n_get32(bhs + S2N_AT_TTT), cmd_sn = s2n_get32(bhs + S2N_AT_MAX_CMD_SN);

    if ((bhs[S2N_AT_FLAGS] & S2N_FUNCTION) != S2N_ABORT_TASK || s2n_command_find(session, tag))
        return false;
    if (s2n_before(cmd_sn, expected_of(session)) || s2n_before(session->maximum, cmd_sn) ||
        !s2n_before(cmd_sn, s2n_get32(bhs + S2N_AT_CMD_SN)) ||
        s2n_order_slot(session, cmd_sn)->kind != S2N_HELD_NOTHING)
        return false;
    s2n_order_hold(session, cmd_sn, &(struct s2n_held){.kind = S2N_HELD_VOID});
    return true;
}

/* The last task that a request for task management may mean. Commands that have a number of
 * their own, and not a lower one, come after it, though another connection was faster.
 * Spec: RFC 7143 4.2.2.1, 11.5.1. */
static uint64_t arrived_before(s2n_session *session, const uint8_t *bhs)
{
    uint64_t arrived = s2n_reactor_arrived(session->reactor);
    uint32_t cmd_sn = s2n_get32(bhs + S2N_AT_CMD_SN);

    for (s2n_conn *conn = session->conns; conn; conn = conn->next)
        for (s2n_command *command = conn->commands; command; command = command->next)
            if (!command->immediate && !s2n_before(command->cmd_sn, cmd_sn))
                s2n_task_arrive_later(command->task);
    return arrived;
}

static void to_python(s2n_conn *conn, const uint8_t *bhs, uint8_t *data, uint32_t data_length)
{
    s2n_session *session = conn->session;
    bool management = (bhs[0] & S2N_OPCODE) == S2N_TASK_MANAGEMENT;
    bool unseen = management && abort_unseen(session, bhs);
    s2n_event event = {.type = S2N_EVENT_PDU,
                       .cookie = conn->cookie,
                       .count = unseen,
                       .data = data,
                       .data_length = data_length};

    if (management)
        event.arrived = arrived_before(session, bhs);
    memcpy(event.bhs, bhs, S2N_BHS_BYTES);
    conn->with_python++;
    s2n_plane_emit(s2n_reactor_plane(session->reactor), &event);
    if (unseen)
        s2n_order_deliver(session);
}

/* A request whose turn has come. */
static void run(s2n_conn *conn, const uint8_t *bhs, uint8_t *data, uint32_t data_length)
{
    uint8_t opcode = bhs[0] & S2N_OPCODE;

    if (conn->state != S2N_OPEN) {
        free(data);
    } else if (opcode == S2N_NOP_OUT) {
        answer_ping(conn, bhs, data, data_length);
    } else if (opcode == S2N_TASK_MANAGEMENT && conn->params.discovery) {
        free(data);
        s2n_reject(conn, S2N_REJECT_PROTOCOL, bhs, S2N_BHS_BYTES);
    } else {
        to_python(conn, bhs, data, data_length);
    }
}

static void hold(s2n_conn *conn, const uint8_t *bhs, uint8_t *data, uint32_t data_length)
{
    struct s2n_held held = {.kind = S2N_HELD_REQUEST, .conn = conn, .data = data};
    s2n_session *session = conn->session;

    if (data_length > S2N_HELD_BYTES - session->held_bytes) {
        /* Its number is taken all the same: a gap would never close. */
        free(data);
        held = (struct s2n_held){.kind = S2N_HELD_VOID};
        s2n_conn_end(conn, ENOBUFS);
    } else {
        held.data_length = data_length;
        memcpy(held.bhs, bhs, S2N_BHS_BYTES);
    }
    s2n_order_hold(session, s2n_get32(bhs + S2N_AT_CMD_SN), &held);
}

void s2n_request_arrived(s2n_conn *conn, const uint8_t *bhs, uint8_t *data, uint32_t data_length)
{
    bool unnumbered = (bhs[0] & S2N_OPCODE) == S2N_NOP_OUT && !wants_answer(bhs);

    if (unnumbered || bhs[0] & S2N_IMMEDIATE) {
        run(conn, bhs, data, data_length);
        return;
    }
    switch (s2n_order_take(conn->session, s2n_get32(bhs + S2N_AT_CMD_SN))) {
    case S2N_TURN_NOW:
        run(conn, bhs, data, data_length);
        s2n_order_deliver(conn->session);
        break;
    case S2N_TURN_LATER:
        hold(conn, bhs, data, data_length);
        break;
    case S2N_TURN_NEVER:
        free(data);
        break;
    }
}
