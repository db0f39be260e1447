/* SCSI commands: from the SCSI Command PDU over data-out to the task, and from
 * the task's end to its response. Spec: RFC 7143 4.2.5, 11.2 to 11.8. */
#include "iscsi.h"

#include <errno.h>
#include <string.h>

#include "clear.h"

enum { AHS_EXTENDED_CDB = 1, MAXIMUM_ATTRIBUTE = 4, CDB_IN_BHS = 16 };

static void complete(s2n_task *task);
static void discard(s2n_task *task);
static void reserved(s2n_task *task);
static void enabled(s2n_task *task);
static const struct s2n_front_end front_end = {
    .complete = complete,
    .discard = discard,
    .reserved = reserved,
    .enabled = enabled,
    .moves_protection = true,
};

/* ---- commands of a session ---- */

static s2n_command **bucket_of(s2n_session *session, uint32_t tag)
{
    return &session->bucket[(tag * 2654435769u) >> session->bucket_shift];
}

s2n_command *s2n_command_find(s2n_session *session, uint32_t tag)
{
    s2n_command *command = *bucket_of(session, tag);

    while (command && command->tag != tag)
        command = command->chain;
    return command;
}

bool s2n_command_available(const s2n_session *session)
{
    return session->spare || session->commands_used < session->command_count;
}

/* One that was used before, if there is any: it is in the caches. */
static s2n_command *take_spare(s2n_session *session)
{
    s2n_command *command = session->spare;

    if (!command)
        return &session->command[session->commands_used++];
    session->spare = command->chain;
    return command;
}

/* A command with its task; NULL if there is no memory for it. */
static s2n_command *create(s2n_conn *conn, uint32_t tag)
{
    s2n_session *session = conn->session;
    s2n_task *task = s2n_task_new(session->reactor, &front_end, session->nexus);

    if (!task)
        return NULL;
    s2n_command *command = take_spare(session);
    s2n_command **bucket = bucket_of(session, tag);
    s2n_clear(command, sizeof *command);
    command->item.is_command = true;
    command->next = conn->commands;
    command->chain = *bucket;
    command->conn = conn;
    command->task = task;
    command->number = ++conn->begun;
    command->tag = tag;
    command->first_ttt = session->next_ttt;
    *bucket = command;
    if (conn->commands)
        conn->commands->previous = command;
    conn->commands = command;
    task->tag = tag;
    task->context = command;
    return command;
}

inline void s2n_command_uncount(s2n_command *command)
{
    if (!command->counted)
        return;
    command->counted = false;
    command->conn->session->outstanding--;
}

void s2n_command_recycle(s2n_command *command)
{
    s2n_session *session = command->conn->session;

    command->chain = session->spare;
    session->spare = command;
    for (s2n_conn *conn = session->conns; conn; conn = conn->next) {
        if (!conn->starved)
            continue;
        conn->starved = false;
        if (conn->state == S2N_OPEN)
            s2n_defer(session->reactor, &conn->round_end);
    }
}

static void unlink_command(s2n_command *command)
{
    s2n_conn *conn = command->conn;
    s2n_command **at = bucket_of(conn->session, command->tag);

    while (*at != command)
        at = &(*at)->chain;
    *at = command->chain;
    if (command->next)
        command->next->previous = command->previous;
    if (command->previous)
        command->previous->next = command->next;
    else
        conn->commands = command->next;
}

inline void s2n_command_release(s2n_command *command)
{
    s2n_conn *conn = command->conn;
    s2n_session *session = conn->session;
    s2n_task *task = command->task;

    unlink_command(command);
    s2n_command_uncount(command);
    s2n_collect_drop_early(command);
    session->immediate -= command->immediate;
    if (!command->delivered)
        *s2n_order_slot(session, command->cmd_sn) = (struct s2n_held){.kind = S2N_HELD_VOID};
    if (conn->rx.command == command)
        conn->rx.command = NULL; /* the rest of its data is dropped */
    command->phase = S2N_RELEASED;
    command->task = NULL;
    if (!command->item.queued)
        s2n_command_recycle(command);
    /* Last, since its buffer may set other commands in motion. */
    s2n_task_free(task);
    s2n_conn_report(conn);
}

/* ---- the end ---- */

/* The task's data-in can leave. */
static void bring(s2n_command *command)
{
    const s2n_task *task = command->task;

    command->moved = (uint64_t)task->portion_at + task->data_in_length;
    command->to_send = command->read ? s2n_least(command->edtl, command->moved) : 0;
}

static void respond(s2n_command *command)
{
    /* Nothing is left that an abort could stop. */
    command->task->state = S2N_DONE;
    s2n_task_leave_set(command->task);
    command->phase = S2N_RESPONDING;
    s2n_transmit(command->conn, &command->item);
}

/* Neither data nor sense. */
static void respond_aborted(s2n_command *command)
{
    s2n_task *task = command->task;

    task->status = S2N_TASK_ABORTED;
    task->sense_length = 0;
    command->moved = command->to_send = command->sent;
    respond(command);
}

/* An aborted task: a response only where another nexus' abort promised it. What of a portion
 * was built leaves before: a PDU may have left in part. */
static void aborted(s2n_command *command)
{
    s2n_conn *conn = command->conn;

    if (command->task->task_aborted_status && conn->state == S2N_OPEN) {
        respond_aborted(command);
    } else if (command->phase == S2N_HANDING_ON && s2n_transmit_withdraw(conn, command)) {
        command->task->state = S2N_DONE;
        s2n_task_leave_set(command->task);
        command->phase = S2N_WITHDRAWN;
    } else {
        s2n_command_release(command);
    }
}

/* ---- portions ---- */

static void next_portion(s2n_command *command)
{
    s2n_task_next_portion(command->task);
    command->phase = S2N_COLLECTING;
    s2n_collect_proceed(command);
}

/* A portion was moved, and another follows when its data-in have left. */
static void hand_on(s2n_command *command)
{
    command->task->state = S2N_GATHERING;
    command->phase = S2N_HANDING_ON;
    bring(command);
    if (command->sent < command->to_send)
        s2n_transmit(command->conn, &command->item);
    else
        next_portion(command);
}

void s2n_command_handed_on(s2n_command *command)
{
    if (command->phase != S2N_HANDING_ON)
        return; /* aborted */
    if (command->conn->state == S2N_OPEN)
        next_portion(command);
    else
        s2n_command_release(command);
}

static void complete(s2n_task *task)
{
    s2n_command *command = task->context;

    if (task->aborted) {
        aborted(command);
    } else if (command->conn->state != S2N_OPEN) {
        s2n_command_release(command);
    } else if (task->status == S2N_GOOD && s2n_task_portion_follows(task)) {
        hand_on(command);
    } else {
        bring(command);
        respond(command);
    }
}

static void discard(s2n_task *task)
{
    s2n_command *command = task->context;

    if (command->conn->rx.command == command)
        command->conn->rx.command = NULL;
    aborted(command);
}

static void reserved(s2n_task *task)
{
    s2n_command *command = task->context;

    command->reserving = false;
    if (command->conn->state == S2N_OPEN)
        s2n_collect_proceed(command);
}

static void enabled(s2n_task *task)
{
    s2n_collect_proceed(task->context);
}

void s2n_command_deliver(s2n_command *command)
{
    command->delivered = true;
    command->counted = true;
    command->conn->session->outstanding++;
    if (command->phase != S2N_COLLECTING)
        return; /* it was aborted before, and only its response is left */
    if (!s2n_task_join(command->task))
        s2n_collect_give_way(command);
    s2n_collect_proceed(command);
}

/* ---- SCSI Command ---- */

/* What a CDB has beyond the BHS, in additional header segments. */
struct long_cdb {
    const uint8_t *more;
    uint32_t length;
};

/* False if the segments are malformed or ask for a second data direction, which no
 * command here has. */
static bool find_long_cdb(const struct s2n_receiver *rx, struct long_cdb *cdb)
{
    const uint8_t *at = rx->header + S2N_BHS_BYTES, *end = rx->header + rx->header_length;

    for (*cdb = (struct long_cdb){0}; at != end;) {
        uint32_t body = s2n_get16(at), whole = (3 + body + 3) & ~3u;
        if (at[2] != AHS_EXTENDED_CDB || body < 1 || whole > end - at || cdb->length)
            return false;
        cdb->more = at + 4;
        cdb->length = s2n_least(body - 1, S2N_CDB_BYTES - CDB_IN_BHS);
        at += whole;
    }
    return true;
}

/* Why a SCSI Command is not one: a reject reason, or 0. */
static uint8_t command_fault(s2n_conn *conn, struct long_cdb *cdb)
{
    const struct s2n_receiver *rx = &conn->rx;
    const uint8_t *bhs = rx->header;
    uint8_t flags = bhs[S2N_AT_FLAGS], directions = flags & (S2N_READ | S2N_WRITE);
    uint32_t tag = s2n_get32(bhs + S2N_AT_ITT), edtl = s2n_get32(bhs + S2N_AT_TTT);
    bool final = flags & S2N_FINAL, write = flags & S2N_WRITE;

    if (conn->params.discovery)
        return S2N_REJECT_PROTOCOL;
    if (tag == S2N_RESERVED_TAG || (flags & S2N_ATTRIBUTE) > MAXIMUM_ATTRIBUTE)
        return S2N_REJECT_FIELD;
    if (directions == (S2N_READ | S2N_WRITE) || (!directions && edtl))
        return S2N_REJECT_FIELD;
    if (!write && (!final || rx->data_length))
        return S2N_REJECT_FIELD;
    if (!final && rx->data_length && rx->data_length == edtl)
        return S2N_REJECT_FIELD;
    if (s2n_command_find(conn->session, tag))
        return S2N_REJECT_IN_PROGRESS;
    if (bhs[0] & S2N_IMMEDIATE && conn->session->immediate >= S2N_IMMEDIATE_COMMANDS)
        return S2N_REJECT_IMMEDIATE;
    if (!find_long_cdb(rx, cdb))
        return S2N_REJECT_FIELD;
    return 0;
}

/* What is wrong with its data: a sense code, or 0. */
static uint32_t data_fault(const s2n_conn *conn, const s2n_command *command)
{
    const s2n_task *task = command->task;
    uint32_t immediate = conn->rx.data_length;

    if (immediate && (!conn->params.immediate_data || immediate > conn->params.first_burst))
        return S2N_SENSE_UNEXPECTED_DATA;
    if (immediate > command->edtl)
        return S2N_SENSE_DATA_AMOUNT;
    /* Nothing can be written with what the initiator keeps ready to be filled. The
     * other way round a command just has nowhere to put its data. */
    if (task->lu && command->read && command->edtl && task->announced && task->direction == S2N_OUT)
        return S2N_SENSE_INFORMATION_UNIT;
    return 0;
}

/* Decide how much data to collect, and whether there is room for what comes unasked. */
static void plan_data(s2n_conn *conn, s2n_command *command)
{
    s2n_task *task = command->task;
    uint32_t limit = s2n_least(conn->params.first_burst, command->edtl);

    command->unsolicited_limit = limit;
    command->refusal = data_fault(conn, command);
    if (command->unsolicited && conn->params.initial_r2t) {
        command->unsolicited = false;
        command->refusal = S2N_SENSE_UNEXPECTED_DATA;
    }
    /* Memory is never sized by what the CDB does not ask for. */
    if (!command->write || task->direction != S2N_OUT || !task->lu || command->refusal ||
        !task->portion_bytes)
        return;
    command->wanted = s2n_least(command->edtl, task->announced);
    /* What comes unasked must have its place in the first portion. */
    if (s2n_task_portion_follows(task))
        command->unsolicited_limit = s2n_least(limit, task->portion_bytes);
    s2n_peer_owes(conn);
    if (conn->rx.data_length || command->unsolicited)
        command->full = !s2n_collect_make_room(command);
}

static s2n_command *prepare(s2n_conn *conn, const struct long_cdb *cdb)
{
    const struct s2n_receiver *rx = &conn->rx;
    const uint8_t *bhs = rx->header;
    s2n_command *command = create(conn, s2n_get32(bhs + S2N_AT_ITT));

    if (!command) {
        s2n_conn_end(conn, ENOMEM);
        return NULL;
    }
    s2n_task *task = command->task;
    memcpy(task->lun, bhs + S2N_AT_LUN, sizeof task->lun);
    memcpy(task->cdb, bhs + S2N_AT_MAX_CMD_SN, CDB_IN_BHS);
    if (cdb->length)
        memcpy(task->cdb + CDB_IN_BHS, cdb->more, cdb->length);
    task->cdb_length = (uint16_t)(CDB_IN_BHS + cdb->length);
    task->attribute = bhs[S2N_AT_FLAGS] & S2N_ATTRIBUTE;
    command->cmd_sn = s2n_get32(bhs + S2N_AT_CMD_SN);
    command->edtl = s2n_get32(bhs + S2N_AT_TTT);
    task->expected = command->edtl;
    command->read = bhs[S2N_AT_FLAGS] & S2N_READ;
    command->write = bhs[S2N_AT_FLAGS] & S2N_WRITE;
    command->unsolicited = command->write && !(bhs[S2N_AT_FLAGS] & S2N_FINAL);
    command->immediate = bhs[0] & S2N_IMMEDIATE;
    command->delivered = true;
    conn->session->immediate += command->immediate;
    return command;
}

/* A well-formed command: make it a task. False: no memory, and the connection ends. */
static bool accept(s2n_conn *conn, const struct long_cdb *cdb, enum s2n_turn turn)
{
    s2n_session *session = conn->session;
    s2n_command *command = prepare(conn, cdb);

    if (!command)
        return false;
    s2n_task_begin(command->task);
    if (turn == S2N_TURN_NOW)
        s2n_task_join(command->task);
    plan_data(conn, command);
    s2n_collect_into(conn, command);
    if (turn == S2N_TURN_LATER) {
        command->delivered = false;
        s2n_order_hold(
            session, command->cmd_sn,
            &(struct s2n_held){.kind = S2N_HELD_COMMAND, .conn = conn, .command = command});
    } else if (!command->immediate) {
        command->counted = true;
        session->outstanding++;
    }
    return true;
}

inline void s2n_command_arrived(s2n_conn *conn)
{
    struct s2n_receiver *rx = &conn->rx;
    s2n_session *session = conn->session;
    uint32_t cmd_sn = s2n_get32(rx->header + S2N_AT_CMD_SN);
    bool immediate = rx->header[0] & S2N_IMMEDIATE;
    enum s2n_turn turn = immediate ? S2N_TURN_NOW : s2n_order_take(session, cmd_sn);
    struct long_cdb cdb;

    if (turn == S2N_TURN_NEVER)
        return;
    uint8_t reason = command_fault(conn, &cdb);
    if (reason)
        s2n_reject(conn, reason, rx->header, rx->header_length);
    /* Its number is taken all the same: a gap would never close. */
    if ((reason || !accept(conn, &cdb, turn)) && turn == S2N_TURN_LATER)
        s2n_order_hold(session, cmd_sn, &(struct s2n_held){.kind = S2N_HELD_VOID});
    s2n_order_deliver(session);
}

inline void s2n_command_received(s2n_conn *conn, bool intact)
{
    s2n_command *command = conn->rx.command;

    if (!command) {
        if (!intact)
            s2n_reject(conn, S2N_REJECT_DATA_DIGEST, conn->rx.header, conn->rx.header_length);
        return;
    }
    s2n_collect_account(conn, command, intact);
    s2n_collect_proceed(command);
}
