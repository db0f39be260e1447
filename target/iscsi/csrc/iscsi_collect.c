/* Data-out: immediate, unsolicited and solicited, until a command has what it
 * needs. Spec: RFC 7143 4.2.5.2, 11.7, 11.8. */
#include <stdlib.h>
#include <string.h>

#include "iscsi.h"

/* Ask for data as far as may be. */
static void solicit(s2n_command *command)
{
    uint32_t asked = command->r2t_sn - command->sequence;

    if (command->solicited < s2n_collect_end(command) && asked < command->conn->params.maximum_r2t)
        s2n_transmit(command->conn, &command->item);
}

/* The next solicited sequence begins where data is missing. */
static void begin_sequence(s2n_command *command)
{
    uint32_t left = s2n_collect_end(command) - command->received;

    command->data_sn = 0;
    command->sequence_end =
        command->received + s2n_least(left, command->conn->params.maximum_burst);
}

/* Take the target transfer tags of all R2Ts of a command, none of which is the reserved one. */
static void take_tags(s2n_command *command)
{
    s2n_session *session = command->conn->session;
    uint32_t burst = command->conn->params.maximum_burst;
    uint32_t left = command->wanted - command->received;
    /* A sequence ends with its burst, or with its portion. */
    uint32_t count = left / burst + left / command->task->portion_bytes + 1;

    if (count > S2N_RESERVED_TAG - session->next_ttt)
        session->next_ttt = 0;
    command->first_ttt = session->next_ttt;
    session->next_ttt += count;
}

static void execute(s2n_command *command)
{
    s2n_task *task = command->task;
    uint32_t have = s2n_least(command->received, s2n_collect_end(command));

    task->data_out_length = task->buffer.pool ? have - task->portion_at : 0;
    command->phase = S2N_EXECUTING;
    if (task->portion_at) /* it must not be in the way of what is to abort it */
        s2n_flow_go_on(&command->conn->session->flow, task->portion_bytes);
    else
        s2n_flow_charge(&command->conn->session->flow, S2N_BEGUN, task->portion_bytes);
    s2n_task_execute(task);
}

/* Have room outside of the pool for what comes unasked. */
static bool make_early_room(s2n_command *command)
{
    s2n_session *session = command->conn->session;
    uint32_t bytes = s2n_least(command->unsolicited_limit, command->wanted);

    if (!bytes)
        return true;
    if (bytes > S2N_EARLY_BYTES - session->early_bytes || !s2n_task_charge(command->task, bytes))
        return false;
    if (!(command->early = malloc(bytes))) {
        s2n_task_recharge(command->task, 0);
        return false;
    }
    command->early_bytes = bytes;
    session->early_bytes += bytes;
    return true;
}

bool s2n_collect_make_room(s2n_command *command)
{
    bool dormant = command->task->standing == S2N_DORMANT;

    return (!dormant && s2n_task_try_reserve(command->task, s2n_collect_end(command))) ||
           make_early_room(command);
}

/* The data of the PDU that is being received are counted when they are complete. */
void s2n_collect_give_way(s2n_command *command)
{
    struct s2n_receiver *rx = &command->conn->rx;
    s2n_task *task = command->task;

    if (!task->buffer.pool)
        return;
    if (make_early_room(command)) {
        for (uint32_t at = 0, length; at < command->early_bytes; at += length) {
            const uint8_t *from = s2n_task_span_at(task, at, &length);
            length = s2n_least(length, command->early_bytes - at);
            memcpy(command->early + at, from, length);
        }
    } else {
        command->full = true;
        if (rx->command == command)
            rx->room = 0;
    }
    s2n_task_give_buffer(task);
}

void s2n_collect_drop_early(s2n_command *command)
{
    if (!command->early)
        return;
    free(command->early);
    command->early = NULL;
    s2n_task_recharge(command->task, 0);
    command->conn->session->early_bytes -= command->early_bytes;
    command->early_bytes = 0;
}

/* Move what came too early into the buffer, which is there now. */
static void settle(s2n_command *command)
{
    uint32_t length, bytes = s2n_least(command->received, command->early_bytes);

    for (uint32_t at = 0; at < bytes; at += length) {
        uint8_t *to = s2n_task_span_at(command->task, at, &length);
        length = s2n_least(length, bytes - at);
        memcpy(to, command->early + at, length);
    }
    s2n_collect_drop_early(command);
}

/* Whether the data is where it belongs, as far as it came, and more has its place. */
static bool has_buffer(s2n_command *command)
{
    s2n_task *task = command->task;

    if (!command->wanted)
        return true;
    if (!task->buffer.pool && !command->reserving)
        command->reserving = !s2n_task_reserve(task, s2n_collect_end(command) - task->portion_at);
    if (command->reserving)
        return false;
    if (command->early && task->buffer.pool)
        settle(command);
    return true;
}

/* Ask for the rest of the data. */
static void gather(s2n_command *command)
{
    if (!command->r2t_sn && command->solicited < command->received)
        command->solicited = command->received;
    if (!command->sequence_end)
        take_tags(command);
    if (command->sequence == command->r2t_sn)
        begin_sequence(command);
    s2n_peer_owes(command->conn);
    solicit(command);
}

bool s2n_collect_awaits_peer(const s2n_command *command)
{
    return command->phase == S2N_COLLECTING &&
           (command->receiving || command->unsolicited || command->sequence != command->r2t_sn ||
            !command->delivered); /* what comes before it by CmdSN is missing */
}

inline void s2n_collect_proceed(s2n_command *command)
{
    if (command->phase != S2N_COLLECTING || command->receiving || command->unsolicited ||
        !command->delivered || command->conn->state != S2N_OPEN)
        return;
    if (command->task->standing == S2N_DORMANT && !command->full)
        return; /* comes back when its turn has come */
    if (command->refusal) {
        command->phase = S2N_EXECUTING;
        s2n_task_refuse(command->task, command->refusal);
    } else if (command->full) {
        command->task->status = S2N_TASK_SET_FULL;
        s2n_task_finish(command->task);
    } else if (!has_buffer(command)) {
        return; /* comes back when it has */
    } else if (command->received >= s2n_collect_end(command) &&
               command->sequence == command->r2t_sn) {
        execute(command);
    } else {
        gather(command);
    }
}

inline void s2n_collect_into(s2n_conn *conn, s2n_command *command)
{
    struct s2n_receiver *rx = &conn->rx;

    rx->command = command;
    rx->offset = command->received;
    command->receiving = true;
    uint32_t room = command->early ? command->early_bytes : s2n_collect_end(command);
    bool has_room = command->early || command->task->buffer.pool;
    if (has_room && !command->refusal && command->received < room)
        rx->room = s2n_least(rx->data_length, room - command->received);
}

/* What is wrong with a Data-Out PDU: a sense code, or 0. Sequences come in order, and
 * so do the PDUs in them, of which any may be empty; the final one ends its sequence, which
 * has all that was asked for then. Spec: RFC 7143 11.7.1, 11.7.7. */
static uint32_t data_out_fault(const s2n_command *command, const uint8_t *bhs, uint32_t length)
{
    bool final = bhs[S2N_AT_FLAGS] & S2N_FINAL;
    uint32_t ttt = s2n_get32(bhs + S2N_AT_TTT);
    bool unsolicited = ttt == S2N_RESERVED_TAG;
    bool expected = unsolicited ? command->unsolicited
                                : !command->unsolicited && command->sequence != command->r2t_sn &&
                                      ttt == command->first_ttt + command->sequence;

    if (!expected)
        return unsolicited ? S2N_SENSE_UNEXPECTED_DATA : S2N_SENSE_DATA_PHASE;
    if (s2n_get32(bhs + S2N_AT_DATA_SN) != command->data_sn ||
        s2n_get32(bhs + S2N_AT_OFFSET) != command->received)
        return S2N_SENSE_DATA_PHASE;
    if (unsolicited)
        return length > command->unsolicited_limit - command->received ? S2N_SENSE_UNEXPECTED_DATA
                                                                       : 0;
    uint32_t left = command->sequence_end - command->received;
    return length > left || (final && length < left) ? S2N_SENSE_DATA_AMOUNT : 0;
}

/* Whether what was asked for by this tag was so before the command came: for a task that is
 * over, whose initiator task tag is used again. */
static bool answers_another(const s2n_command *command, uint32_t ttt)
{
    return ttt != S2N_RESERVED_TAG && (int32_t)(ttt - command->first_ttt) < 0;
}

void s2n_data_out_arrived(s2n_conn *conn)
{
    const uint8_t *bhs = conn->rx.header;
    s2n_command *command = s2n_command_find(conn->session, s2n_get32(bhs + S2N_AT_ITT));

    /* Late data of a task that is over, or was never accepted, is dropped. */
    if (!command || command->conn != conn || command->phase != S2N_COLLECTING ||
        answers_another(command, s2n_get32(bhs + S2N_AT_TTT)))
        return;
    if (!command->refusal)
        command->refusal = data_out_fault(command, bhs, conn->rx.data_length);
    s2n_collect_into(conn, command);
}

inline void s2n_collect_account(s2n_conn *conn, s2n_command *command, bool intact)
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
    s2n_collect_account(conn, command, intact);
    command->data_sn++;
    if (command->unsolicited) {
        command->unsolicited = !final;
        command->data_sn = final ? 0 : command->data_sn;
    } else if (final && !command->refusal) {
        command->sequence++;
        begin_sequence(command);
    }
    s2n_collect_proceed(command);
}
