/* Peers that are silent, slow or gone: NOP-In, and what they owe. Spec: RFC 7143 11.19.
 *
 * A peer that sends no data, or takes none, keeps buffers. Nobody minds as long as nobody
 * else needs them; then it has a minute in which any byte counts. While others wait for
 * such buffers it has seconds, and has to move a part of what it holds in each of them: a
 * trickle is no progress. */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>

#include "events.h"
#include "iscsi.h"

enum {
    LOOK_MS = 1000,    /* how often those that owe something are looked at */
    TURNOVER_PART = 8, /* this part of what a peer holds moves within S2N_PRESSED_MS */
};

/* ---- NOP-In ---- */

uint32_t s2n_peer_ask(s2n_conn *conn)
{
    struct s2n_reply *reply = s2n_reply_new(conn, S2N_NOP_IN, NULL, 0);

    conn->ping_tag = conn->ping_tag + 1 == S2N_RESERVED_TAG ? 0 : conn->ping_tag + 1;
    if (!reply)
        return conn->ping_tag;
    reply->consumes = false;
    s2n_put32(reply->bhs + S2N_AT_ITT, S2N_RESERVED_TAG);
    s2n_put32(reply->bhs + S2N_AT_TTT, conn->ping_tag);
    s2n_reply_send(conn, reply);
    return conn->ping_tag;
}

static void ping(s2n_conn *conn)
{
    conn->pinging = true;
    s2n_peer_ask(conn);
}

/* Whether the peer could not be heard, by our own doing. */
static bool is_deaf(const s2n_conn *conn)
{
    return s2n_transmit_idle(conn) && s2n_receive_blocked(conn);
}

/* Anything that arrives is a sign of life; some initiators never answer a ping. */
static void expire(struct s2n_timer *timer)
{
    s2n_conn *conn = (s2n_conn *)((char *)timer - offsetof(s2n_conn, timer));
    const s2n_conn_params *params = &conn->params;

    if (conn->state != S2N_OPEN) {
        s2n_conn_end(conn, 0);
        return;
    }
    if (conn->heard || is_deaf(conn)) {
        conn->heard = conn->pinging = false;
    } else if (conn->pinging && params->ping_timeout_ms) {
        s2n_conn_end(conn, ETIMEDOUT);
        return;
    } else {
        s2n_conn_rest(conn);
        ping(conn);
    }
    if (conn->state == S2N_OPEN)
        s2n_timer_arm(conn->session->reactor, &conn->timer,
                      conn->pinging && params->ping_timeout_ms ? params->ping_timeout_ms
                                                               : params->ping_ms);
}

/* ---- progress ---- */

/* Whether a command is the peer's to go on with, by sending data or taking some. */
static bool awaits_peer(const s2n_command *command)
{
    return command->phase >= S2N_HANDING_ON || s2n_collect_awaits_peer(command);
}

static bool some_await_peer(const s2n_conn *conn)
{
    const s2n_command *command = conn->commands;

    while (command && !awaits_peer(command))
        command = command->next;
    return command;
}

/* What is no command's is no progress of one, nor what newer ones move of older ones. */
inline void s2n_peer_moved(s2n_conn *conn, const s2n_command *command, uint64_t bytes)
{
    if (!bytes || (!command && some_await_peer(conn)))
        return;
    conn->moved_ms = s2n_reactor_now_ms(conn->session->reactor);
    if (command && command->number <= conn->measured_number)
        conn->moved_bytes += bytes;
}

static void measure(s2n_conn *conn)
{
    conn->measured_ms = s2n_reactor_now_ms(conn->session->reactor);
    conn->measured_number = conn->begun;
    conn->moved_bytes = 0;
}

/* How long nothing has moved. */
static uint64_t still_ms(const s2n_conn *conn)
{
    return s2n_reactor_now_ms(conn->session->reactor) - conn->moved_ms;
}

static void look_again(s2n_conn *conn)
{
    uint64_t left = S2N_STALL_MS - still_ms(conn);

    s2n_timer_arm(conn->session->reactor, &conn->watch, left < LOOK_MS ? left : LOOK_MS);
}

void s2n_peer_owes(s2n_conn *conn)
{
    if (conn->watch.armed)
        return;
    measure(conn);
    conn->moved_ms = conn->measured_ms;
    look_again(conn);
}

static bool owes(const s2n_conn *conn)
{
    return !s2n_transmit_idle(conn) || some_await_peer(conn);
}

/* Note in which task sets a command is the peer's to go on with that others may wait for. */
static void note_awaited_sets(const s2n_conn *conn)
{
    for (const s2n_command *command = conn->commands; command; command = command->next)
        if (command->task->set)
            command->task->set->fe = false;
    for (const s2n_command *command = conn->commands; command; command = command->next)
        if (command->task->standing == S2N_ENABLED && awaits_peer(command))
            command->task->set->fe = true;
}

/* Whether the peer keeps what a command has: by that itself, or by one that it waits for. */
static bool is_kept(const s2n_command *command)
{
    return awaits_peer(command) ||
           (command->task->standing == S2N_DORMANT && command->task->set->fe);
}

/* Bytes of buffers that the peer has kept since it was measured, if others wait for them; else
 * 0. */
static uint64_t pressed_bytes(const s2n_conn *conn)
{
    uint64_t bytes = 0;
    bool pressed = false;

    note_awaited_sets(conn);
    for (const s2n_command *command = conn->commands; command; command = command->next) {
        if (command->number > conn->measured_number || !is_kept(command))
            continue;
        bytes += command->task->charged;
        bytes += command->task->buffer.pool ? command->task->buffer.length : 0;
        pressed = pressed || s2n_task_holds_up(command->task);
    }
    return pressed ? bytes : 0;
}

/* Whether others have waited long enough for what this peer does not move. */
static bool stands_in_the_way(s2n_conn *conn)
{
    uint64_t bytes = pressed_bytes(conn);

    if (!bytes) {
        measure(conn);
        return false;
    }
    if (s2n_reactor_now_ms(conn->session->reactor) - conn->measured_ms < S2N_PRESSED_MS)
        return false;
    if (conn->moved_bytes < bytes / TURNOVER_PART + 1)
        return true;
    measure(conn);
    return false;
}

static void watch(struct s2n_timer *timer)
{
    s2n_conn *conn = (s2n_conn *)((char *)timer - offsetof(s2n_conn, watch));

    if (!owes(conn))
        return;
    if (is_deaf(conn))
        s2n_peer_owes(conn);
    else if (still_ms(conn) >= S2N_STALL_MS || stands_in_the_way(conn))
        s2n_conn_end(conn, ETIMEDOUT);
    else
        look_again(conn);
}

/* ---- leaving ---- */

enum { POLLED = 64 }; /* asked of the kernel at once */

/* What is asked of all reactors; the last one to answer tells. */
struct inquiry {
    s2n_plane *plane;
    uint64_t token;
    atomic_uint awaited, ended;
};

/* What is asked of one. */
struct question {
    struct inquiry *inquiry;
    uint32_t count;
    s2n_conn *conn[];
};

static void tell(s2n_plane *plane, uint64_t token, uint32_t ended)
{
    s2n_event event = {.type = S2N_EVENT_DRAINED, .cookie = token, .count = ended};

    s2n_plane_emit(plane, &event);
}

static void answer(struct inquiry *inquiry)
{
    if (atomic_fetch_sub(&inquiry->awaited, 1) > 1)
        return;
    tell(inquiry->plane, inquiry->token, atomic_load(&inquiry->ended));
    free(inquiry);
}

/* End those whose peers have closed their ends, as the kernel knows it; returns how many end. */
static uint32_t end_those_left(s2n_conn **conn, uint32_t count)
{
    struct pollfd ends[POLLED];
    uint32_t ended = 0;

    for (uint32_t i = 0; i < count; i++) {
        int fd = conn[i]->state < S2N_ENDED ? conn[i]->source.fd : -1; /* -1 is passed over */
        ends[i] = (struct pollfd){.fd = fd, .events = POLLRDHUP};
    }
    bool known = poll(ends, count, 0) >= 0;
    for (uint32_t i = 0; i < count; i++) {
        if (known && ends[i].revents)
            s2n_conn_end(conn[i], 0);
        bool left = conn[i]->state >= S2N_ENDED;
        atomic_store_explicit(&conn[i]->left, left, memory_order_relaxed);
        ended += left;
    }
    return ended;
}

static void close_if_left(void *argument)
{
    struct question *question = argument;
    uint32_t ended = 0;

    for (uint32_t at = 0; at < question->count; at += POLLED)
        ended += end_those_left(question->conn + at, s2n_least(question->count - at, POLLED));
    atomic_fetch_add(&question->inquiry->ended, ended);
    answer(question->inquiry);
    free(question);
}

/* Those of the first one's reactor, which are taken out of `conns`. NULL: no memory. */
static struct question *question_of(struct inquiry *inquiry, s2n_conn **conns, uint32_t *count)
{
    struct question *question = malloc(sizeof *question + *count * sizeof *conns);
    struct s2n_reactor *reactor = conns[0]->session->reactor;
    uint32_t others = 0;

    if (!question)
        return NULL;
    *question = (struct question){.inquiry = inquiry};
    for (uint32_t i = 0; i < *count; i++)
        if (conns[i]->session->reactor == reactor)
            question->conn[question->count++] = conns[i];
        else
            conns[others++] = conns[i];
    *count = others;
    return question;
}

void s2n_conns_close_if_left(s2n_conn **conns, uint32_t count, uint64_t token)
{
    s2n_plane *plane = s2n_reactor_plane(conns[0]->session->reactor);
    struct inquiry *inquiry = calloc(1, sizeof *inquiry);
    struct question *question;

    if (!inquiry) {
        tell(plane, token, 0);
        return;
    }
    inquiry->plane = plane;
    inquiry->token = token;
    atomic_init(&inquiry->awaited, 1); /* until all are asked */
    while (count && (question = question_of(inquiry, conns, &count))) {
        struct s2n_reactor *reactor = question->conn[0]->session->reactor;
        atomic_fetch_add(&inquiry->awaited, 1);
        s2n_reactor_call(reactor, close_if_left, question);
    }
    answer(inquiry);
}

bool s2n_conn_left(s2n_conn *conn)
{
    return atomic_load_explicit(&conn->left, memory_order_relaxed);
}

/* ---- beginning ---- */

void s2n_peer_init(s2n_conn *conn)
{
    conn->timer.expire = expire;
    conn->watch.expire = watch;
}

void s2n_peer_begin(s2n_conn *conn)
{
    if (conn->params.ping_ms)
        s2n_timer_arm(conn->session->reactor, &conn->timer, conn->params.ping_ms);
}
