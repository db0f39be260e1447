/* Response fences: no answer to task management overtakes an answer to a command.
 *
 * What a request for task management has ended is not answered any more, and its tag may be
 * another command's from then on. But answers that left before, by another connection, may arrive
 * after that of the request. So each of the others that may have such on its way is sent a NOP-In
 * behind it, and what comes back for that clears the fence. An initiator that owes this answers no
 * longer than S2N_FENCE_MS is waited for.
 * Spec: RFC 7143 4.2.2.3.3, 4.2.2.3.4. */
#include "iscsi.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

struct behind {
    s2n_conn *conn; /* NULL: it has brought all */
    uint32_t tag;   /* of the NOP-In */
};

struct s2n_fence {
    struct s2n_fence *next;
    struct s2n_timer timer;
    struct s2n_reply *reply;
    uint32_t count;
    struct behind behind[];
};

/* Whether the initiator has all that a connection was to bring. */
static bool is_clear(const s2n_conn *conn)
{
    return s2n_transmit_idle(conn) && conn->acknowledged == conn->stat_sn;
}

static uint32_t count_behind(const s2n_conn *conn)
{
    uint32_t count = 0;

    for (const s2n_conn *other = conn->session->conns; other; other = other->next)
        count += other != conn && other->state == S2N_OPEN && !is_clear(other);
    return count;
}

static void unlink_fence(s2n_session *session, struct s2n_fence *fence)
{
    struct s2n_fence **at = &session->fences;

    while (*at != fence)
        at = &(*at)->next;
    *at = fence->next;
    s2n_timer_cancel(session->reactor, &fence->timer);
    fence->reply->conn->fenced--;
}

static void clear(struct s2n_fence *fence)
{
    struct s2n_reply *reply = fence->reply;

    unlink_fence(reply->conn->session, fence);
    free(fence);
    s2n_reply_send(reply->conn, reply);
}

static void expire(struct s2n_timer *timer)
{
    clear((struct s2n_fence *)((char *)timer - offsetof(struct s2n_fence, timer)));
}

/* Ask all others that are not clear. */
static void ask(struct s2n_fence *fence)
{
    const s2n_conn *conn = fence->reply->conn;

    for (s2n_conn *other = conn->session->conns; other; other = other->next)
        if (other != conn && other->state == S2N_OPEN && !is_clear(other))
            fence->behind[fence->count++] = (struct behind){other, s2n_peer_ask(other)};
}

void s2n_fence_send(s2n_conn *conn, struct s2n_reply *reply)
{
    s2n_session *session = conn->session;
    uint32_t count = conn->state == S2N_OPEN ? count_behind(conn) : 0;

    if (!count) {
        s2n_reply_send(conn, reply);
        return;
    }
    struct s2n_fence *fence = calloc(1, sizeof *fence + count * sizeof *fence->behind);
    if (!fence) {
        s2n_reply_free(reply);
        s2n_conn_end(conn, ENOMEM);
        return;
    }
    fence->reply = reply;
    fence->timer.expire = expire;
    fence->next = session->fences;
    session->fences = fence;
    conn->fenced++;
    ask(fence);
    s2n_timer_arm(session->reactor, &fence->timer, S2N_FENCE_MS);
}

/* Note that a connection has brought what is behind it up to a tag; whether nobody is left. */
static bool is_cleared(struct s2n_fence *fence, const s2n_conn *conn, uint32_t tag)
{
    bool left = false;

    for (uint32_t i = 0; i < fence->count; i++) {
        struct behind *behind = &fence->behind[i];
        if (behind->conn == conn && !s2n_before(tag, behind->tag))
            behind->conn = NULL;
        left |= behind->conn != NULL;
    }
    return !left;
}

void s2n_fence_answered(s2n_conn *conn, uint32_t tag)
{
    struct s2n_fence *next;

    for (struct s2n_fence *fence = conn->session->fences; fence; fence = next) {
        next = fence->next;
        if (is_cleared(fence, conn, tag))
            clear(fence);
    }
}

void s2n_fence_forget(s2n_conn *conn)
{
    struct s2n_fence *next;

    for (struct s2n_fence *fence = conn->session->fences; fence; fence = next) {
        next = fence->next;
        if (fence->reply->conn != conn)
            continue;
        unlink_fence(conn->session, fence);
        s2n_reply_free(fence->reply);
        free(fence);
    }
    s2n_fence_answered(conn, conn->ping_tag); /* it brings nothing more */
}
