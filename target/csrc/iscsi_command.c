/* SCSI commands: from the SCSI Command PDU over data-out to the task, and from
 * the task's end to its response. Spec: RFC 7143 4.2.5, 11.2 to 11.8. */
#include "iscsi.h"

#include <errno.h>
#include <string.h>

enum { AHS_EXTENDED_CDB = 1, MAXIMUM_ATTRIBUTE = 4, CDB_IN_BHS = 16 };

static void complete(s2n_task *task);
static void discard(s2n_task *task);
static void reserved(s2n_task *task);
static const struct s2n_front_end front_end = {complete, discard, reserved};

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

/* A command with its task; NULL if there is no memory for it. */
static s2n_command *create(s2n_conn *conn, uint32_t tag)
{
    s2n_session *session = conn->session;
    s2n_command *command = session->spare;
    s2n_task *task = s2n_task_new(session->reactor, &front_end, session->nexus);

    if (!task)
        return NULL;
    s2n_command **bucket = bucket_of(session, tag);
    session->spare = command->chain;
    *command = (s2n_command){.item = {.is_command = true},
                             .next = conn->commands,
                             .chain = *bucket,
                             .conn = conn,
                             .task = task,
                             .tag = tag,
                             .index = command->index};
    *bucket = command;
    if (conn->commands)
        conn->commands->previous = command;
    conn->commands = command;
    task->tag = tag;
    task->context = command;
    return command;
}

void s2n_command_uncount(s2n_command *command)
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
            s2n_defer(session->reactor, &conn->flush);
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

void s2n_command_release(s2n_command *command)
{
    s2n_conn *conn = command->conn;
    s2n_session *session = conn->session;
    s2n_task *task = command->task;

    unlink_command(command);
    s2n_command_uncount(command);
    session->immediate -= command->immediate;
    if (!command->delivered) {
        struct s2n_held *slot = s2n_order_slot(session, command->cmd_sn);
        *slot = (struct s2n_held){.kind = S2N_HELD_VOID};
    }
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

uint32_t s2n_command_ttt(const s2n_command *command, uint32_t r2t_sn)
{
    return (uint32_t)command->index << 16 | (r2t_sn & 0xffff);
}

/* ---- the end ---- */

static void respond(s2n_command *command)
{
    s2n_task *task = command->task;

    /* Nothing is left that an abort could stop. */
    task->state = S2N_DONE;
    command->phase = S2N_RESPONDING;
    command->to_send = command->read ? s2n_least(command->edtl, task->data_in_length) : 0;
    s2n_transmit(command->conn, &command->item);
}

/* End with a status that the front end or an abort gives: neither data nor sense. */
static void respond_bare(s2n_command *command, uint8_t status)
{
    s2n_task *task = command->task;

    task->status = status;
    task->sense_length = 0;
    task->data_in_length = 0;
    respond(command);
}

/* An aborted task: a response only where another nexus' abort promised it. */
static void aborted(s2n_command *command)
{
    if (command->task->task_aborted_status && command->conn->state == S2N_OPEN)
        respond_bare(command, S2N_TASK_ABORTED);
    else
        s2n_command_release(command);
}

static void complete(s2n_task *task)
{
    s2n_command *command = task->context;

    if (task->aborted)
        aborted(command);
    else if (command->conn->state != S2N_OPEN)
        s2n_command_release(command);
    else
        respond(command);
}

static void discard(s2n_task *task)
{
    s2n_command *command = task->context;

    if (command->conn->rx.command == command)
        command->conn->rx.command = NULL;
    aborted(command);
}

/* ---- data-out ---- */

/* Ask for data as far as may be. */
static void solicit(s2n_command *command)
{
    uint32_t asked = command->r2t_sn - command->sequence;

    if (command->solicited < command->wanted && asked < command->conn->params.maximum_r2t)
        s2n_transmit(command->conn, &command->item);
}

/* The next solicited sequence begins where data is missing. */
static void begin_sequence(s2n_command *command)
{
    uint32_t left = command->wanted - command->received;

    command->data_sn = 0;
    command->sequence_end =
        command->received + s2n_least(left, command->conn->params.maximum_burst);
}

static void execute(s2n_command *command)
{
    s2n_task *task = command->task;

    task->data_out_length = task->buffer.pool ? s2n_least(command->received, command->wanted) : 0;
    command->phase = S2N_EXECUTING;
    s2n_task_execute(task);
}

/* A buffer for data that is yet to be asked for: false if it has to be waited for. */
static bool has_buffer(s2n_command *command)
{
    s2n_task *task = command->task;

    if (task->buffer.pool)
        return true;
    if (command->reserving)
        return false;
    command->reserving = !s2n_task_reserve(task, command->wanted);
    return !command->reserving;
}

/* Do what is next once the data so far, and the command's turn, have come. */
static void proceed(s2n_command *command)
{
    if (command->phase != S2N_COLLECTING || command->receiving || command->unsolicited ||
        !command->delivered)
        return;
    if (command->refusal) {
        command->phase = S2N_EXECUTING;
        s2n_task_refuse(command->task, command->refusal);
    } else if (command->full) {
        respond_bare(command, S2N_TASK_SET_FULL);
    } else if (command->received >= command->wanted) {
        execute(command);
    } else if (has_buffer(command)) {
        if (!command->r2t_sn && command->solicited < command->received)
            command->solicited = command->received;
        if (!command->sequence_end)
            begin_sequence(command);
        solicit(command);
    }
}

static void reserved(s2n_task *task)
{
    s2n_command *command = task->context;

    command->reserving = false;
    if (command->conn->state == S2N_OPEN)
        proceed(command);
}

void s2n_command_deliver(s2n_command *command)
{
    command->delivered = true;
    command->counted = true;
    command->conn->session->outstanding++;
    proceed(command);
}

/* Direct what arrives at offset `received` into the task's buffer, if it has one. */
static void receive_into(s2n_conn *conn, s2n_command *command)
{
    struct s2n_receiver *rx = &conn->rx;

    rx->command = command;
    rx->offset = command->received;
    command->receiving = true;
    if (command->task->buffer.pool && !command->refusal && command->received < command->wanted)
        rx->room = s2n_least(rx->data_length, command->wanted - command->received);
}

/* What is wrong with a Data-Out PDU: a sense code, or 0. Sequences come in order, and
 * so do the PDUs in them. */
static uint32_t data_out_fault(const s2n_command *command, const uint8_t *bhs, uint32_t length)
{
    bool final = bhs[S2N_AT_FLAGS] & S2N_FINAL;
    uint32_t ttt = s2n_get32(bhs + S2N_AT_TTT);
    bool unsolicited = ttt == S2N_RESERVED_TAG;
    bool expected = unsolicited ? command->unsolicited
                                : !command->unsolicited && command->sequence != command->r2t_sn &&
                                      ttt == s2n_command_ttt(command, command->sequence);

    if (!expected)
        return unsolicited ? S2N_SENSE_UNEXPECTED_DATA : S2N_SENSE_DATA_PHASE;
    if (s2n_get32(bhs + S2N_AT_DATA_SN) != command->data_sn ||
        s2n_get32(bhs + S2N_AT_OFFSET) != command->received)
        return S2N_SENSE_DATA_PHASE;
    if (unsolicited)
        return length > command->unsolicited_limit - command->received ? S2N_SENSE_UNEXPECTED_DATA
                                                                       : 0;
    uint32_t left = command->sequence_end - command->received;
    return length > left || final != (length == left) ? S2N_SENSE_DATA_AMOUNT : 0;
}

void s2n_data_out_arrived(s2n_conn *conn)
{
    const uint8_t *bhs = conn->rx.header;
    s2n_command *command = s2n_command_find(conn->session, s2n_get32(bhs + S2N_AT_ITT));

    /* Late data of a task that is over, or was never accepted, is dropped. */
    if (!command || command->conn != conn || command->phase != S2N_COLLECTING)
        return;
    if (!command->refusal)
        command->refusal = data_out_fault(command, bhs, conn->rx.data_length);
    receive_into(conn, command);
}

/* Account for a PDU's data; `false` if its digest was wrong. */
static void account(s2n_conn *conn, s2n_command *command, bool intact)
{
    command->receiving = false;
    if (!intact) {
        s2n_reject(conn, S2N_REJECT_DATA_DIGEST, conn->rx.header, conn->rx.header_length);
        command->refusal = S2N_SENSE_CRC;
    }
    if (!command->refusal)
        command->received += conn->rx.data_length;
}

void s2n_data_out_received(s2n_conn *conn, bool intact)
{
    s2n_command *command = conn->rx.command;
    bool final = conn->rx.header[S2N_AT_FLAGS] & S2N_FINAL;

    if (!command)
        return;
    account(conn, command, intact);
    command->data_sn++;
    if (command->unsolicited) {
        command->unsolicited = !final;
        command->data_sn = final ? 0 : command->data_sn;
    } else if (final && !command->refusal) {
        command->sequence++;
        begin_sequence(command);
    }
    proceed(command);
}

/* ---- SCSI Command ---- */

/* Additional header segments: false if they are malformed or ask for a second data
 * direction, which no command here has. */
static bool take_ahs(s2n_task *task, const uint8_t *at, uint32_t length)
{
    while (length) {
        if (length < 4)
            return false;
        uint32_t body = s2n_get16(at);
        uint32_t whole = (3 + body + 3) & ~3u;
        if (at[2] != AHS_EXTENDED_CDB || body < 1 || whole > length ||
            task->cdb_length != CDB_IN_BHS)
            return false;
        uint32_t more = s2n_least(body - 1, S2N_CDB_BYTES - CDB_IN_BHS);
        memcpy(task->cdb + CDB_IN_BHS, at + 4, more);
        task->cdb_length = (uint16_t)(CDB_IN_BHS + more);
        at += whole;
        length -= whole;
    }
    return true;
}

/* Why a SCSI Command is not one: a reject reason, or 0. */
static uint8_t command_fault(s2n_conn *conn)
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
    /* Data cannot move against the direction that the initiator prepared for. */
    if (command->edtl && task->announced && task->direction != S2N_NONE &&
        command->write != (task->direction == S2N_OUT))
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
        task->announced > S2N_MAXIMUM_TRANSFER)
        return;
    command->wanted = s2n_least(command->edtl, task->announced);
    if (conn->rx.data_length || command->unsolicited)
        command->full = !s2n_task_try_reserve(task, command->wanted);
}

static s2n_command *prepare(s2n_conn *conn)
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
    task->cdb_length = CDB_IN_BHS;
    task->attribute = bhs[S2N_AT_FLAGS] & S2N_ATTRIBUTE;
    command->cmd_sn = s2n_get32(bhs + S2N_AT_CMD_SN);
    command->edtl = s2n_get32(bhs + S2N_AT_TTT);
    command->read = bhs[S2N_AT_FLAGS] & S2N_READ;
    command->write = bhs[S2N_AT_FLAGS] & S2N_WRITE;
    command->unsolicited = command->write && !(bhs[S2N_AT_FLAGS] & S2N_FINAL);
    command->immediate = bhs[0] & S2N_IMMEDIATE;
    command->delivered = true;
    conn->session->immediate += command->immediate;
    return command;
}

/* A well-formed command: make it a task. */
static void accept(s2n_conn *conn, enum s2n_turn turn)
{
    struct s2n_receiver *rx = &conn->rx;
    s2n_session *session = conn->session;
    s2n_command *command = prepare(conn);

    if (!command)
        return;
    uint32_t ahs = rx->header_length - S2N_BHS_BYTES;
    if (ahs && !take_ahs(command->task, rx->header + S2N_BHS_BYTES, ahs)) {
        s2n_reject(conn, S2N_REJECT_FIELD, rx->header, rx->header_length);
        s2n_command_release(command);
        if (turn == S2N_TURN_LATER)
            s2n_order_hold(session, s2n_get32(rx->header + S2N_AT_CMD_SN),
                           &(struct s2n_held){.kind = S2N_HELD_VOID});
        return;
    }
    s2n_task_begin(command->task);
    plan_data(conn, command);
    receive_into(conn, command);
    if (turn == S2N_TURN_LATER) {
        command->delivered = false;
        s2n_order_hold(session, command->cmd_sn,
                       &(struct s2n_held){.kind = S2N_HELD_COMMAND, .conn = conn, .command = command});
    } else if (!command->immediate) {
        command->counted = true;
        session->outstanding++;
    }
}

void s2n_command_arrived(s2n_conn *conn)
{
    struct s2n_receiver *rx = &conn->rx;
    s2n_session *session = conn->session;
    uint32_t cmd_sn = s2n_get32(rx->header + S2N_AT_CMD_SN);
    bool immediate = rx->header[0] & S2N_IMMEDIATE;
    enum s2n_turn turn = immediate ? S2N_TURN_NOW : s2n_order_take(session, cmd_sn);

    if (turn == S2N_TURN_NEVER)
        return;
    uint8_t reason = command_fault(conn);
    if (!reason) {
        accept(conn, turn);
    } else {
        /* Its number is taken all the same: a gap would never close. */
        s2n_reject(conn, reason, rx->header, rx->header_length);
        if (turn == S2N_TURN_LATER)
            s2n_order_hold(session, cmd_sn, &(struct s2n_held){.kind = S2N_HELD_VOID});
    }
    s2n_order_deliver(session);
}

void s2n_command_received(s2n_conn *conn, bool intact)
{
    s2n_command *command = conn->rx.command;

    if (!command) {
        if (!intact)
            s2n_reject(conn, S2N_REJECT_DATA_DIGEST, conn->rx.header, conn->rx.header_length);
        return;
    }
    account(conn, command, intact);
    proceed(command);
}
