/* Order: command numbering over all connections of a session, and the requests
 * other than SCSI commands that take part in it. Spec: RFC 7143 4.2.2.1.
 *
 * CmdSN numbers the requests of a session, whichever connection carries them, and in
 * this order they are delivered. But connections overtake each other. What has the
 * number that is expected (ExpCmdSN) is delivered as it arrives; what is ahead of it
 * is held, as far as the window reaches (MaxCmdSN); anything else has been delivered
 * before or was sent against the rules, and is ignored. An immediate request takes no
 * number, and waits for none, unless it means all commands before it. Each number of the
 * window has a slot of its own:
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

static bool is_held(s2n_session *session, uint32_t cmd_sn)
{
    return session->holds && s2n_order_slot(session, cmd_sn)->kind != S2N_HELD_NOTHING;
}

static void begin_to_hold(s2n_session *session)
{
    for (uint32_t i = 0; i <= session->held_mask; i++)
        session->held[i].kind = S2N_HELD_NOTHING;
    session->holds = true;
}

inline enum s2n_turn s2n_order_take(s2n_session *session, uint32_t cmd_sn)
{
    uint32_t expected = expected_of(session);

    if (cmd_sn == expected && !s2n_before(session->maximum, cmd_sn)) {
        advance(session);
        return S2N_TURN_NOW;
    }
    if (s2n_before(cmd_sn, expected) || s2n_before(session->maximum, cmd_sn) ||
        is_held(session, cmd_sn))
        return S2N_TURN_NEVER;
    return S2N_TURN_LATER;
}

inline uint32_t s2n_order_maximum(s2n_session *session)
{
    uint32_t maximum = expected_of(session) + session->window - session->outstanding - 1;

    if (s2n_before(session->maximum, maximum))
        session->maximum = maximum;
    return session->maximum;
}

void s2n_order_hold(s2n_session *session, uint32_t cmd_sn, const struct s2n_held *held)
{
    if (!session->holds)
        begin_to_hold(session);
    *s2n_order_slot(session, cmd_sn) = *held;
    session->held_count++;
    session->held_bytes += held->data_length;
}

static void run(s2n_conn *conn, const uint8_t *bhs, uint8_t *data, uint32_t data_length);
static void manage_what_was_ahead(s2n_session *session);

/* Deliver what has the number that is expected; false: it has not arrived. */
static bool deliver_next(s2n_session *session)
{
    struct s2n_held *slot = s2n_order_slot(session, expected_of(session));

    if (!session->held_count || slot->kind == S2N_HELD_NOTHING)
        return false;
    struct s2n_held held = *slot;
    slot->kind = S2N_HELD_NOTHING;
    session->held_count--;
    session->held_bytes -= held.data_length;
    advance(session);
    if (held.kind == S2N_HELD_COMMAND)
        s2n_command_deliver(held.command);
    else if (held.kind == S2N_HELD_REQUEST)
        run(held.conn, held.bhs, held.data, held.data_length);
    return true;
}

static void deliver_held(s2n_session *session)
{
    do
        manage_what_was_ahead(session);
    while (deliver_next(session));
}

inline void s2n_order_deliver(s2n_session *session)
{
    if (session->held_count || session->ahead)
        deliver_held(session);
}

/* What is held becomes a gap that is already filled. */
static void void_slot(s2n_session *session, struct s2n_held *slot)
{
    if (slot->kind == S2N_HELD_REQUEST)
        free(slot->data);
    session->held_bytes -= slot->data_length;
    *slot = (struct s2n_held){.kind = S2N_HELD_VOID};
}

static void forget_what_was_ahead(s2n_conn *conn)
{
    for (struct s2n_ahead **at = &conn->session->ahead, *ahead; (ahead = *at);) {
        if (ahead->conn != conn) {
            at = &ahead->next;
            continue;
        }
        *at = ahead->next;
        free(ahead);
    }
}

void s2n_order_forget(s2n_conn *conn)
{
    s2n_session *session = conn->session;

    forget_what_was_ahead(conn);
    for (uint32_t i = 0; session->held_count && i <= session->held_mask; i++)
        if (session->held[i].kind != S2N_HELD_NOTHING && session->held[i].conn == conn)
            void_slot(session, &session->held[i]);
}

/* ---- a window that was used up ---- */

void s2n_order_reopen(s2n_conn *conn)
{
    s2n_session *session = conn->session;

    if (!s2n_before(session->maximum, expected_of(session)))
        return;
    struct s2n_reply *reply = s2n_reply_new(conn, S2N_NOP_IN, NULL, 0);
    if (!reply)
        return;
    reply->consumes = false;
    s2n_put32(reply->bhs + S2N_AT_ITT, S2N_RESERVED_TAG);
    s2n_put32(reply->bhs + S2N_AT_TTT, S2N_RESERVED_TAG);
    s2n_reply_send(conn, reply);
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
        if (s2n_get32(bhs + S2N_AT_TTT) != S2N_RESERVED_TAG)
            s2n_fence_answered(conn, s2n_get32(bhs + S2N_AT_TTT));
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

/* ---- task management ---- */

static uint8_t function_of(const uint8_t *bhs)
{
    return bhs[S2N_AT_FLAGS] & S2N_FUNCTION;
}

/* ABORT TASK of a command that has not arrived, or came to nothing before its turn: its number
 * counts as received, so that it is ignored should it still come. Spec: RFC 7143 11.5.1. */
static bool abort_unseen(s2n_session *session, const uint8_t *bhs)
{
    uint32_t tag = s2n_get32(bhs + S2N_AT_TTT), cmd_sn = s2n_get32(bhs + S2N_AT_MAX_CMD_SN);

    if (function_of(bhs) != S2N_ABORT_TASK || s2n_command_find(session, tag))
        return false;
    if (s2n_before(cmd_sn, expected_of(session)) || s2n_before(session->maximum, cmd_sn) ||
        !s2n_before(cmd_sn, s2n_get32(bhs + S2N_AT_CMD_SN)))
        return false;
    if (!is_held(session, cmd_sn))
        s2n_order_hold(session, cmd_sn, &(struct s2n_held){.kind = S2N_HELD_VOID});
    return true;
}

/* Whether a request means all commands before it of some sort. */
static bool means_all(const uint8_t *bhs)
{
    switch (function_of(bhs)) {
    case S2N_ABORT_TASK_SET:
    case S2N_CLEAR_TASK_SET:
    case S2N_LOGICAL_UNIT_RESET:
    case S2N_TARGET_WARM_RESET:
    case S2N_I_T_NEXUS_RESET:
        return true;
    default:
        return false;
    }
}

static bool has_others(const s2n_conn *conn)
{
    for (const s2n_conn *other = conn->session->conns; other; other = other->next)
        if (other != conn && other->state == S2N_OPEN)
            return true;
    return false;
}

/* Whether some of the commands that a request means have not come: by another connection, since
 * on each of them numbers ascend. Carried out after the answer, they would undo what their
 * initiator has written since. Spec: RFC 7143 4.2.3.2. */
static bool is_ahead(const s2n_conn *conn, const uint8_t *bhs)
{
    s2n_session *session = conn->session;
    uint32_t cmd_sn = s2n_get32(bhs + S2N_AT_CMD_SN);

    return means_all(bhs) && s2n_before(expected_of(session), cmd_sn) &&
           !s2n_before(session->maximum + 1, cmd_sn) && has_others(conn);
}

/* Keep a request until they have. */
static void await_others(s2n_conn *conn, const uint8_t *bhs, uint64_t came)
{
    struct s2n_ahead **at = &conn->session->ahead, *ahead = malloc(sizeof *ahead);

    if (!ahead) {
        s2n_conn_end(conn, ENOMEM);
        return;
    }
    *ahead = (struct s2n_ahead){.conn = conn, .came = came};
    memcpy(ahead->bhs, bhs, S2N_BHS_BYTES);
    while (*at)
        at = &(*at)->next;
    *at = ahead;
    conn->ahead++;
}

/* Whether a command comes after a request: one that has a number of its own, and not a lower one,
 * though another connection was faster; of the others, one with a serial after `came`. */
static bool comes_after(const s2n_command *command, const uint8_t *bhs, uint64_t came)
{
    if (command->immediate)
        return command->task->serial > came;
    return !s2n_before(command->cmd_sn, s2n_get32(bhs + S2N_AT_CMD_SN));
}

/* The last task that a request for task management may mean. Spec: RFC 7143 4.2.2.1, 11.5.1. */
static uint64_t arrived_before(s2n_session *session, const uint8_t *bhs, uint64_t came)
{
    uint64_t arrived = s2n_reactor_arrived(session->reactor);

    for (s2n_conn *conn = session->conns; conn; conn = conn->next)
        for (s2n_command *command = conn->commands; command; command = command->next)
            if (comes_after(command, bhs, came))
                s2n_task_arrive_later(command->task);
    return arrived;
}

/* Whether a command that came before is what a request is to end. */
static bool is_meant(const s2n_command *command, const uint8_t *bhs, const s2n_lu *lu,
                     uint64_t arrived)
{
    const s2n_task *task = command->task;
    /* The LUN may have led elsewhere when it came. */
    bool at = task->lu == lu || s2n_nexus_unit(task->nexus, task->lun) == lu;

    return task->state != S2N_DONE && at && task->arrived <= arrived &&
           (function_of(bhs) != S2N_ABORT_TASK || command->tag == s2n_get32(bhs + S2N_AT_TTT));
}

/* Whether a request ends tasks of its session, and there is none. What was aborted before and
 * has not ended is waited for. */
static bool ends_nothing(const s2n_session *session, const uint8_t *bhs, uint64_t arrived)
{
    uint8_t function = function_of(bhs);
    const s2n_lu *lu = s2n_nexus_unit(session->nexus, bhs + S2N_AT_LUN);

    if (!lu || (function != S2N_ABORT_TASK && function != S2N_ABORT_TASK_SET &&
                function != S2N_CLEAR_TASK_SET))
        return false;
    for (const s2n_conn *conn = session->conns; conn; conn = conn->next)
        for (const s2n_command *command = conn->commands; command; command = command->next)
            if (is_meant(command, bhs, lu, arrived))
                return false;
    return true;
}

/* Whether a session has asked for more than a few such in this second: Python takes its time. */
static bool manages_much(s2n_session *session)
{
    uint64_t now = s2n_reactor_now_ms(session->reactor);

    if (now - session->managed_since_ms >= 1000) {
        session->managed_since_ms = now;
        session->managed = 0;
    }
    return ++session->managed > S2N_MANAGEMENT;
}

static void answer_management(s2n_conn *conn, const uint8_t *bhs, uint8_t response)
{
    struct s2n_reply *reply = s2n_reply_new(conn, S2N_TASK_MANAGEMENT_RESPONSE, NULL, 0);

    if (!reply)
        return;
    reply->bhs[S2N_AT_RESPONSE] = response;
    memcpy(reply->bhs + S2N_AT_ITT, bhs + S2N_AT_ITT, 4);
    s2n_fence_send(conn, reply);
}

static void to_python(s2n_conn *conn, const uint8_t *bhs, uint8_t *data, uint32_t data_length,
                      uint64_t arrived, bool idle)
{
    s2n_event event = {.type = S2N_EVENT_PDU,
                       .cookie = conn->cookie,
                       .count = idle,
                       .arrived = arrived,
                       .data = data,
                       .data_length = data_length};

    memcpy(event.bhs, bhs, S2N_BHS_BYTES);
    conn->with_python++;
    conn->python_bytes += data_length;
    s2n_plane_emit(s2n_reactor_plane(conn->session->reactor), &event);
}

/* What ends nothing wakes nobody: the answer is known here. */
static void manage(s2n_conn *conn, const uint8_t *bhs, uint64_t came)
{
    s2n_session *session = conn->session;

    if (abort_unseen(session, bhs)) {
        answer_management(conn, bhs, S2N_FUNCTION_COMPLETE);
        s2n_order_deliver(session);
        return;
    }
    if (is_ahead(conn, bhs)) {
        await_others(conn, bhs, came);
        return;
    }
    uint64_t arrived = arrived_before(session, bhs, came);
    bool idle = ends_nothing(session, bhs, arrived);
    if (!idle || manages_much(session))
        to_python(conn, bhs, NULL, 0, arrived, idle);
    else if (function_of(bhs) == S2N_ABORT_TASK)
        answer_management(conn, bhs, S2N_TASK_DOES_NOT_EXIST);
    else
        answer_management(conn, bhs, S2N_FUNCTION_COMPLETE);
}

static void manage_what_was_ahead(s2n_session *session)
{
    for (struct s2n_ahead **at = &session->ahead, *ahead; (ahead = *at);) {
        s2n_conn *conn = ahead->conn;
        if (is_ahead(conn, ahead->bhs)) {
            at = &ahead->next;
            continue;
        }
        *at = ahead->next;
        conn->ahead--;
        if (conn->state == S2N_OPEN)
            manage(conn, ahead->bhs, ahead->came);
        free(ahead);
    }
}

/* ---- requests whose turn has come ---- */

static void run(s2n_conn *conn, const uint8_t *bhs, uint8_t *data, uint32_t data_length)
{
    uint8_t opcode = bhs[0] & S2N_OPCODE;

    if (conn->state != S2N_OPEN) {
        free(data);
    } else if (opcode == S2N_NOP_OUT) {
        answer_ping(conn, bhs, data, data_length);
    } else if (opcode != S2N_TASK_MANAGEMENT) {
        to_python(conn, bhs, data, data_length, 0, false);
    } else if (conn->params.discovery) { /* without data: the receiver keeps none of it */
        s2n_reject(conn, S2N_REJECT_PROTOCOL, bhs, S2N_BHS_BYTES);
    } else {
        manage(conn, bhs, s2n_reactor_arrived(conn->session->reactor));
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
