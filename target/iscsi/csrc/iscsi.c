/* Sessions and connections in full-feature phase: their beginning and end, and
 * what the control thread asks of them. Spec: RFC 7143 4, 6, 7.
 *
 * A connection can end in the middle of anything: a reject, a reply, a send or an
 * allocation may be what ends it. Nobody who calls such a function has to ask
 * afterwards what there still is, since to end a connection only marks it:
 *
 *   OPEN      receives, executes, responds
 *   CLOSING   s2n_conn_wind_up: what arrives is dropped, what is queued is sent; no command is
 *             begun, and those that end are released without a response
 *   ENDED     s2n_conn_end, the mark: nothing is received, sent or executed any more,
 *             and all that there was is still there
 *   REAPED    the socket is closed, and only commands are left that are under way
 *             elsewhere; CONN_CLOSED is told when the last of them is released
 *
 * What is marked is reaped at the end of the same round, by the reactor's loop, when
 * no function of any connection is on the stack. Whoever is called from outside looks
 * at the state first (an event, a timer, an order of the control thread, a task that
 * ended, a request whose turn has come), and what does the work on a connection
 * (receiving, transmitting, proceeding with a command) does none on a marked one.
 *
 * A command is released, once and for all, by
 *
 *   wire_sent   when its last PDU has left
 *   complete    when its task ends and nobody waits for the response
 *   discard     when its task is aborted before it is executed
 *   round_end   when its connection is closing, and it has not begun
 *   reap        unless it is under way elsewhere: its task is aborted then, and comes
 *               back through `complete`, at once or much later
 *
 * and none of their callers touches it afterwards. Where it was never executed its
 * number stays taken (see iscsi_order.c), and an abort that waits for its task is
 * told by s2n_task_free. The connection is freed when the control thread says so,
 * after CONN_CLOSED, and the session after its last connection. */
#include "iscsi.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "own_pages.h"

/* ---- sessions ---- */

static size_t held_bytes(const s2n_session *session)
{
    return (session->held_mask + 1) * sizeof *session->held;
}

static size_t command_bytes(const s2n_session *session)
{
    return session->command_count * sizeof *session->command;
}

static void session_destroy(void *argument)
{
    s2n_session *session = argument;

    s2n_own_pages_free(session->held, held_bytes(session));
    s2n_own_pages_free(session->command, command_bytes(session));
    free(session->bucket);
    s2n_flow_close(&session->flow);
    free(session);
}

static uint32_t power_of_two(uint32_t least)
{
    uint32_t value = 1;

    while (value < least)
        value <<= 1;
    return value;
}

/* Commands: the window, immediate ones, and those whose response was built but not sent. Neither
 * they nor the slots are written to before they are used: they take no memory until then. */
static bool session_allocate(s2n_session *session)
{
    uint32_t buckets = power_of_two(session->window + S2N_IMMEDIATE_COMMANDS);

    session->held_mask = power_of_two(session->window) - 1;
    session->held = s2n_own_pages_new(held_bytes(session));
    session->bucket = calloc(buckets, sizeof(s2n_command *));
    session->bucket_shift = 32 - (uint32_t)__builtin_ctz(buckets);
    session->command_count = session->window + S2N_IMMEDIATE_COMMANDS + S2N_WIRES;
    session->command = s2n_own_pages_new(command_bytes(session));
    return session->held && session->bucket && session->command;
}

/* Another connection is the first in each turn. */
static void rotate(s2n_session *session)
{
    s2n_conn *first = session->conns, *last = first;

    if (!first || !first->next)
        return;
    while (last->next)
        last = last->next;
    session->conns = first->next;
    last->next = first;
    first->next = NULL;
}

/* The session has a turn again. */
static void resume(struct s2n_flow *flow)
{
    s2n_session *session = (s2n_session *)flow;

    rotate(session);
    for (s2n_conn *conn = session->conns; conn; conn = conn->next)
        if ((conn->unsent || conn->unparsed) && conn->state < S2N_ENDED)
            s2n_defer(session->reactor, &conn->round_end);
}

s2n_session *s2n_session_new(s2n_plane *plane, s2n_nexus *nexus, uint32_t cmd_sn, uint32_t window)
{
    s2n_session *session = calloc(1, sizeof *session);

    if (!session)
        return NULL;
    session->nexus = nexus;
    session->window = window < 1 ? 1 : s2n_least(window, S2N_MAXIMUM_WINDOW);
    atomic_init(&session->expected, cmd_sn);
    session->maximum = cmd_sn + session->window - 1;
    if (!session_allocate(session)) {
        session_destroy(session);
        return NULL;
    }
    session->reactor = s2n_plane_pick(plane, nexus);
    s2n_flow_open(&session->flow, session->reactor, resume);
    return session;
}

uint32_t s2n_session_expected_cmd_sn(s2n_session *session)
{
    return atomic_load_explicit(&session->expected, memory_order_relaxed);
}

void s2n_session_free(s2n_session *session)
{
    s2n_plane_unpick(session->reactor);
    s2n_reactor_call(session->reactor, session_destroy, session);
}

/* ---- the end of a connection ---- */

void s2n_conn_report(s2n_conn *conn)
{
    if (conn->state != S2N_REAPED || conn->commands)
        return;
    s2n_event event = {.type = S2N_EVENT_CONN_CLOSED, .cookie = conn->cookie, .count = conn->error};
    s2n_plane_emit(s2n_reactor_plane(conn->session->reactor), &event);
}

/* The end of one may set others in motion, but none of a marked connection. */
static void abort_commands(s2n_conn *conn)
{
    s2n_command *next;

    for (s2n_command *command = conn->commands; command; command = next) {
        next = command->next;
        if (command->phase == S2N_EXECUTING)
            s2n_task_abort(command->task, false);
        else
            s2n_command_release(command);
    }
}

void s2n_conn_end(s2n_conn *conn, uint32_t error)
{
    if (conn->state >= S2N_ENDED)
        return;
    if (conn->state == S2N_OPEN)
        conn->error = error;
    conn->state = S2N_ENDED;
    s2n_defer(conn->session->reactor, &conn->round_end);
}

static void reap(s2n_conn *conn)
{
    struct s2n_reactor *reactor = conn->session->reactor;

    s2n_source_remove(reactor, &conn->source);
    close(conn->source.fd);
    s2n_timer_cancel(reactor, &conn->timer);
    s2n_timer_cancel(reactor, &conn->watch);
    free(conn->rx.heap);
    conn->rx.heap = NULL;
    conn->rx.command = NULL;
    s2n_order_forget(conn);
    s2n_fence_forget(conn);
    abort_commands(conn);
    s2n_transmit_drop(conn);
    conn->state = S2N_REAPED;
    s2n_order_deliver(conn->session); /* it brings nothing more that others wait for */
    s2n_conn_report(conn);
}

void s2n_conn_wind_up(s2n_conn *conn, uint32_t error)
{
    if (conn->state != S2N_OPEN)
        return;
    conn->state = S2N_CLOSING;
    conn->error = error;
    s2n_timer_arm(conn->session->reactor, &conn->timer, S2N_LINGER_MS);
    s2n_defer(conn->session->reactor, &conn->round_end);
}

/* ---- rest ---- */

static bool session_is_idle(const s2n_session *session)
{
    for (const s2n_conn *conn = session->conns; conn; conn = conn->next)
        if (conn->commands || !s2n_transmit_idle(conn))
            return false;
    return !session->held_count;
}

static void session_rest(s2n_session *session)
{
    session->spare = NULL;
    session->commands_used = 0;
    session->holds = false;
    s2n_own_pages_rest(session->command, command_bytes(session));
    s2n_own_pages_rest(session->held, held_bytes(session));
}

void s2n_conn_rest(s2n_conn *conn)
{
    if (conn->rx.start == conn->rx.end)
        s2n_own_pages_rest(conn->rx.buffer, S2N_RECEIVE_BYTES);
    if (!conn->wire_count)
        s2n_own_pages_rest(conn->wire, S2N_WIRES * sizeof *conn->wire);
    if (session_is_idle(conn->session))
        session_rest(conn->session);
}

/* ---- events ---- */

void s2n_conn_watch(s2n_conn *conn)
{
    if (conn->round_end.queued)
        return; /* it sends first, and what is left then is to be waited for */
    bool reads = conn->state == S2N_CLOSING || !s2n_receive_blocked(conn);
    uint32_t events = reads ? EPOLLIN : 0;
    if (!s2n_transmit_idle(conn) && !conn->unsent)
        events |= EPOLLOUT;
    if (events == conn->events || conn->state >= S2N_ENDED)
        return;
    conn->events = events;
    int error = s2n_source_modify(conn->session->reactor, &conn->source, events);
    if (error)
        s2n_conn_end(conn, (uint32_t)-error);
}

/* What the peer still sends after a graceful close is dropped; reading it keeps
 * the kernel from answering with a reset that would overtake our last bytes. */
static void drain(s2n_conn *conn)
{
    ssize_t n = recv(conn->source.fd, conn->rx.buffer, S2N_RECEIVE_BYTES, MSG_DONTWAIT);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        s2n_conn_end(conn, 0);
}

static void ready(struct s2n_source *source, uint32_t events)
{
    s2n_conn *conn = (s2n_conn *)source;

    if (events & EPOLLOUT)
        s2n_defer(conn->session->reactor, &conn->round_end);
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)) || conn->state == S2N_ENDED)
        return; /* by another event of this round */
    if (conn->state == S2N_OPEN && !s2n_receive_may(conn))
        return; /* it is told again in the session's next turn */
    /* As long as input is not watched, what was received is not parsed: it comes first. */
    bool parsed = conn->events & EPOLLIN;
    if (conn->state == S2N_CLOSING)
        drain(conn);
    else if (parsed && !s2n_receive_blocked(conn))
        s2n_receive(conn);
    else if (events & (EPOLLHUP | EPOLLERR))
        s2n_conn_end(conn, ECONNRESET);
    else
        s2n_conn_watch(conn); /* what another connection did for the session has blocked it */
}

/* Nothing is begun any more: what has not been is over. */
static void release_collecting(s2n_conn *conn)
{
    s2n_command *next;

    for (s2n_command *command = conn->commands; command; command = next) {
        next = command->next;
        if (command->phase == S2N_COLLECTING)
            s2n_command_release(command);
    }
}

/* The end of a round: send; go on with what was received if that made room. */
static void round_end(struct s2n_deferred *deferred)
{
    s2n_conn *conn = (s2n_conn *)((char *)deferred - offsetof(s2n_conn, round_end));

    if (conn->state == S2N_ENDED) {
        reap(conn);
        return;
    }
    if (conn->state == S2N_CLOSING)
        release_collecting(conn);
    conn->unsent = conn->unparsed = false;
    s2n_transmit_flush(conn);
    if (s2n_receive_has_rest(conn))
        s2n_receive_parse(conn);
    else
        s2n_conn_watch(conn);
    if (conn->state == S2N_CLOSING && !conn->shut && s2n_transmit_idle(conn)) {
        conn->shut = true;
        shutdown(conn->source.fd, SHUT_WR);
    }
}

/* ---- what the control thread asks ---- */

static void start(void *argument)
{
    s2n_conn *conn = argument;
    struct s2n_reactor *reactor = conn->session->reactor;

    conn->next = conn->session->conns;
    conn->session->conns = conn;
    conn->events = EPOLLIN;
    int error = s2n_source_add(reactor, &conn->source, EPOLLIN);
    if (error) {
        s2n_conn_end(conn, (uint32_t)-error);
        return;
    }
    s2n_peer_begin(conn);
    s2n_order_reopen(conn);
    s2n_defer(reactor, &conn->round_end); /* parses what came with the login */
}

/* No PDU may be empty, and no command be without an R2T, whatever Python says. */
static void clamp(s2n_conn_params *params)
{
    if (params->maximum_send < S2N_LEAST_LENGTH)
        params->maximum_send = S2N_LEAST_LENGTH;
    if (params->maximum_burst < S2N_LEAST_LENGTH)
        params->maximum_burst = S2N_LEAST_LENGTH;
    if (!params->maximum_r2t)
        params->maximum_r2t = 1;
}

static void conn_release(s2n_conn *conn)
{
    if (!conn)
        return;
    s2n_own_pages_free(conn->rx.buffer, S2N_RECEIVE_BYTES);
    s2n_own_pages_free(conn->wire, S2N_WIRES * sizeof *conn->wire);
    free(conn);
}

s2n_conn *s2n_conn_new(s2n_session *session, int fd, const s2n_conn_params *params,
                       uint32_t stat_sn, const uint8_t *received, uint32_t received_length,
                       uint64_t cookie)
{
    s2n_conn *conn = received_length <= S2N_RECEIVE_BYTES ? calloc(1, sizeof *conn) : NULL;
    int one = 1;

    if (!conn || !(conn->rx.buffer = s2n_own_pages_new(S2N_RECEIVE_BYTES)) ||
        !(conn->wire = s2n_own_pages_new(S2N_WIRES * sizeof *conn->wire))) {
        conn_release(conn);
        return NULL;
    }
    conn->source = (struct s2n_source){fd, ready};
    conn->round_end.run = round_end;
    s2n_peer_init(conn);
    conn->session = session;
    conn->cookie = cookie;
    conn->params = *params;
    clamp(&conn->params);
    conn->stat_sn = conn->acknowledged = stat_sn;
    conn->queue_tail = &conn->queue_head;
    if (received_length)
        memcpy(conn->rx.buffer, received, received_length);
    conn->rx.end = received_length;
    /* Fails on what is not TCP, where there is nothing to set. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    s2n_reactor_call(session->reactor, start, conn);
    return conn;
}

static bool answers_request(uint8_t opcode)
{
    return opcode == S2N_TASK_MANAGEMENT_RESPONSE || opcode == S2N_TEXT_RESPONSE ||
           opcode == S2N_LOGOUT_RESPONSE || opcode == S2N_REJECT;
}

static void send_on_reactor(void *argument)
{
    struct s2n_reply *reply = argument;
    s2n_conn *conn = reply->conn;

    if (answers_request(reply->bhs[0]) && conn->with_python && !--conn->with_python)
        conn->python_bytes = 0;
    if (reply->bhs[0] == S2N_TASK_MANAGEMENT_RESPONSE)
        s2n_fence_send(conn, reply);
    else
        s2n_reply_send(conn, reply);
}

void s2n_conn_send(s2n_conn *conn, const uint8_t *bhs, const uint8_t *data, uint32_t data_length,
                   bool consumes)
{
    struct s2n_reply *reply = calloc(1, sizeof *reply);

    if (!reply || (data_length && !(reply->data = malloc(data_length)))) {
        free(reply);
        s2n_conn_close(conn, false); /* the peer must not wait for what never comes */
        return;
    }
    reply->conn = conn;
    memcpy(reply->bhs, bhs, S2N_BHS_BYTES);
    if (data_length)
        memcpy(reply->data, data, data_length);
    reply->data_length = data_length;
    reply->consumes = consumes;
    s2n_reactor_call(conn->session->reactor, send_on_reactor, reply);
}

struct limit_call {
    s2n_conn *conn;
    uint32_t bytes;
};

static void limit_on_reactor(void *argument)
{
    struct limit_call *call = argument;

    call->conn->params.maximum_send = call->bytes;
    clamp(&call->conn->params);
    free(call);
}

void s2n_conn_set_maximum_send(s2n_conn *conn, uint32_t bytes)
{
    struct limit_call *call = malloc(sizeof *call);

    if (!call) {
        s2n_conn_close(conn, false);
        return;
    }
    *call = (struct limit_call){conn, bytes};
    s2n_reactor_call(conn->session->reactor, limit_on_reactor, call);
}

static void close_gracefully(void *argument)
{
    s2n_conn_wind_up(argument, 0);
}

static void close_at_once(void *argument)
{
    s2n_conn_end(argument, 0);
}

void s2n_conn_close(s2n_conn *conn, bool graceful)
{
    s2n_reactor_call(conn->session->reactor, graceful ? close_gracefully : close_at_once, conn);
}

static void conn_destroy(void *argument)
{
    s2n_conn *conn = argument;
    s2n_conn **at = &conn->session->conns;

    while (*at != conn)
        at = &(*at)->next;
    *at = conn->next;
    if (conn->session->passed_over == conn)
        conn->session->passed_over = NULL;
    conn_release(conn);
}

void s2n_conn_free(s2n_conn *conn)
{
    s2n_reactor_call(conn->session->reactor, conn_destroy, conn);
}
