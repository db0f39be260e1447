/* What the files of the iSCSI full-feature phase share. Everything here runs on
 * the session's reactor, but for the functions of iscsi_session.h. */
#ifndef S2N_ISCSI_H
#define S2N_ISCSI_H

#include <stdatomic.h>

#include "crc32c.h"
#include "front_end.h"
#include "iscsi_pdu.h"
#include "iscsi_session.h"

enum {
    S2N_IMMEDIATE_COMMANDS = 16,
    S2N_MAXIMUM_WINDOW = 4096,
    S2N_LEAST_LENGTH = 512, /* of MaxRecvDataSegmentLength and MaxBurstLength */
    S2N_LINGER_MS = 5000,   /* to take the last bytes of a graceful close */
    S2N_STALL_MS = 60000,   /* to send, or to take, any data that is due */
    S2N_PRESSED_MS = 5000,  /* the same, a part of it, while others wait for its buffers */
    S2N_FENCE_MS = 500,     /* to say that answers have come, before another one leaves */
};
#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
enum {
    S2N_RECEIVE_BYTES = 131072, /* receive buffer: one recv takes this much */
    S2N_RECEIVE_BEHIND = 16384, /* what a receive into a task's buffer takes beyond it */
    S2N_RECEIVE_DIRECT = 8192,  /* fewer bytes are copied instead */
    S2N_WIRES = 128,            /* PDUs built and not yet taken by the kernel */
    S2N_IOVECS = 256,
    S2N_SENDS = 8,               /* sendmsg calls of a connection in one round */
    S2N_PYTHON_REQUESTS = 16,    /* unanswered by Python, then reading stops */
    S2N_PYTHON_BYTES = 32 << 10, /* their data, until all are answered */
    S2N_TEXT_BYTES = 8193,       /* kept of a text request: Python refuses as many */
    S2N_REPLIES = 256,           /* unsent replies, then reading stops */
    S2N_REPLY_BYTES = 256 << 10, /* their data */
    S2N_HELD_BYTES = 256 << 10,  /* data of requests that wait for their turn, per session */
    S2N_EARLY_BYTES = 8 << 20,   /* data that came unasked and waits for a buffer, likewise */
    S2N_REJECTS = 64,            /* per second; a peer that earns more is dropped */
    S2N_MANAGEMENT = 256,        /* per second, of a session: answered by the reactor */
};
#else /* what a short input reaches */
enum {
    S2N_RECEIVE_BYTES = 4096,
    S2N_RECEIVE_BEHIND = 1024,
    S2N_RECEIVE_DIRECT = 256,
    S2N_WIRES = 8,
    S2N_IOVECS = 8,
    S2N_SENDS = 2,
    S2N_PYTHON_REQUESTS = 2,
    S2N_PYTHON_BYTES = 256,
    S2N_TEXT_BYTES = 129,
    S2N_REPLIES = 4,
    S2N_REPLY_BYTES = 1024,
    S2N_HELD_BYTES = 1024,
    S2N_EARLY_BYTES = 1024,
    S2N_REJECTS = 2,
    S2N_MANAGEMENT = 2,
};
#endif

typedef struct s2n_command s2n_command;

/* A place in a connection's output queue. */
struct s2n_item {
    struct s2n_item *next;
    bool queued;
    bool is_command; /* of s2n_command, else of s2n_reply */
};

/* A PDU that belongs to no SCSI command. */
struct s2n_reply {
    struct s2n_item item; /* first */
    s2n_conn *conn;
    uint8_t bhs[S2N_BHS_BYTES];
    uint8_t *data; /* malloc'ed, or NULL */
    uint32_t data_length;
    bool consumes; /* a StatSN */
};

enum s2n_phase {
    S2N_COLLECTING, /* immediate data, unsolicited and solicited Data-Out */
    S2N_EXECUTING,
    /* From here on, all that it waits for is that the peer takes something. */
    S2N_HANDING_ON, /* a portion's data-in leave, and then another one is executed */
    S2N_WITHDRAWN,  /* aborted meanwhile: what was built of them leaves */
    S2N_RESPONDING,
    S2N_RELEASED, /* only its place in the output queue is left */
};

/* A SCSI command of a session, beside its task. */
struct s2n_command {
    struct s2n_item item;         /* first */
    s2n_command *next, *previous; /* of its connection */
    s2n_command *chain;           /* same hash of the tag; or the next spare one */
    s2n_conn *conn;
    s2n_task *task;
    uint64_t number; /* among those of its connection */
    uint32_t tag, cmd_sn, edtl;
    uint8_t phase;
    bool read, write, immediate;
    bool delivered;   /* its turn by CmdSN has come */
    bool counted;     /* it occupies the window */
    bool receiving;   /* a PDU with its data is arriving */
    bool unsolicited; /* a final unsolicited Data-Out is due */
    bool reserving;   /* waits for a buffer */
    bool full;        /* no room for what comes unasked: TASK SET FULL */
    uint32_t refusal; /* sense code with which it will end */
    /* Data-out. Offsets; sequence `sequence` of `r2t_sn` asked for is arriving. */
    uint32_t wanted, received, solicited, sequence_end, unsolicited_limit;
    uint8_t *early; /* what comes unasked, while there is no buffer for it */
    uint32_t early_bytes;
    uint32_t r2t_sn, sequence, data_sn;
    uint32_t first_ttt; /* target transfer tag of R2T 0; those of others follow. No tag of
                         * its own is less. */
    /* Data-in. */
    uint32_t to_send, sent, data_in_sn;
    uint64_t moved; /* by the command, whatever the initiator expects */
};

/* A PDU as it goes out. */
struct s2n_wire {
    uint8_t head[S2N_BHS_BYTES + S2N_DIGEST_BYTES + 4]; /* BHS, digest, sense length */
    uint8_t tail[4 + S2N_DIGEST_BYTES];                 /* padding, digest */
    uint8_t head_length, tail_length;
    bool last;           /* the command or reply is over once this was sent */
    bool ends_portion;   /* the command goes on once this was sent */
    const uint8_t *flat; /* data that is not the task's */
    uint32_t data_length, data_offset;
    struct s2n_item *item;
};

enum s2n_receiving { S2N_HEADER, S2N_DATA, S2N_TAIL };

struct s2n_receiver {
    uint8_t *buffer;
    uint32_t start, end; /* what of it is not parsed yet */
    enum s2n_receiving state;
    /* The PDU under way. */
    uint8_t header[S2N_BHS_BYTES + S2N_AHS_BYTES];
    uint32_t header_length, data_length;
    uint32_t done; /* bytes of data that arrived */
    uint32_t crc;
    s2n_command *command; /* whose data it is */
    uint32_t offset;      /* of the data in the task's buffer */
    uint8_t *heap;        /* else here; else it is dropped */
    uint32_t room;        /* so much of it is kept */
};

/* In the order in which a connection goes through them; see iscsi.c. */
enum s2n_conn_state { S2N_OPEN, S2N_CLOSING, S2N_ENDED, S2N_REAPED };

struct s2n_conn {
    struct s2n_source source;      /* first */
    struct s2n_deferred round_end; /* sends; or reaps */
    struct s2n_timer timer, watch;
    uint64_t moved_ms; /* when what the peer owes last moved, either way */
    /* Since when `moved_bytes` are counted, of commands up to that number. */
    uint64_t measured_ms, measured_number, moved_bytes;
    uint64_t begun; /* commands */
    s2n_session *session;
    s2n_conn *next; /* of the session */
    uint64_t cookie;
    enum s2n_conn_state state;
    /* It had ended, or its peer had left, when that was asked: for the control thread. */
    atomic_bool left;
    bool shut;    /* nothing more will be sent */
    bool starved; /* waits for a spare command */
    /* Its session's turn was over, with something left: to be sent, or of what it received. */
    bool unsent, unparsed;
    bool pinging, heard;
    uint32_t error;
    uint32_t events; /* of interest */
    s2n_conn_params params;
    uint32_t stat_sn, acknowledged; /* of the next answer; ExpStatSN */
    uint32_t ping_tag;
    uint32_t with_python, python_bytes;
    uint32_t ahead;  /* of its requests, in the session's list of such */
    uint32_t fenced; /* of its answers, likewise */
    uint64_t rejects_since_ms;
    uint32_t rejects;
    s2n_command *commands;
    struct s2n_receiver rx;
    /* Output: what waits, then what was built. */
    struct s2n_item *queue_head, **queue_tail;
    uint32_t replies, reply_bytes;
    uint32_t wire_head, wire_count, wire_sent; /* bytes of the first one */
    uint64_t wire_bytes;   /* of all that were built, sent ones of it included */
    struct s2n_wire *wire; /* S2N_WIRES */
};

/* What arrived before its turn. */
struct s2n_held {
    enum { S2N_HELD_NOTHING, S2N_HELD_VOID, S2N_HELD_COMMAND, S2N_HELD_REQUEST } kind;
    s2n_conn *conn;
    s2n_command *command;
    uint8_t bhs[S2N_BHS_BYTES];
    uint8_t *data;
    uint32_t data_length;
};

/* A request for task management that overtook commands which it means. */
struct s2n_ahead {
    struct s2n_ahead *next;
    s2n_conn *conn;
    uint64_t came; /* the serial of the last task that had come before it */
    uint8_t bhs[S2N_BHS_BYTES];
};

struct s2n_session {
    struct s2n_flow flow; /* first: found from it */
    struct s2n_reactor *reactor;
    s2n_nexus *nexus;
    s2n_conn *conns;
    s2n_conn *passed_over;     /* could not receive when the session's turn was over, and is next */
    _Atomic uint32_t expected; /* ExpCmdSN; the control thread may look */
    uint32_t maximum;          /* MaxCmdSN as last told */
    uint32_t window, outstanding, immediate;
    uint32_t next_ttt;     /* tags run on: data that come late never seem another command's */
    struct s2n_held *held; /* by CmdSN & held_mask */
    bool holds;            /* until then nobody has written to the slots */
    uint32_t held_mask, held_count, held_bytes, early_bytes;
    uint64_t managed_since_ms;
    uint32_t managed;        /* since then: requests for task management answered by the reactor */
    struct s2n_ahead *ahead; /* in the order in which they came */
    struct s2n_fence *fences;
    s2n_command *command; /* all of them; those from `commands_used` on are as malloc left them */
    s2n_command *spare;   /* the others that are unused */
    uint32_t command_count, commands_used;
    s2n_command **bucket; /* by initiator task tag */
    uint32_t bucket_shift;
};

/* ---- iscsi.c: connections ---- */

/* The connection is over: it is marked, and reaped at the end of the round. `error`:
 * errno or 0. */
void s2n_conn_end(s2n_conn *conn, uint32_t error);
/* Stop reading, send what is queued, then end. */
void s2n_conn_wind_up(s2n_conn *conn, uint32_t error);
/* CONN_CLOSED once nothing refers to a reaped connection any more. */
void s2n_conn_report(s2n_conn *conn);
/* Watch the socket for what can be done. */
void s2n_conn_watch(s2n_conn *conn);
/* Give back memory that a quiet connection does not use. */
void s2n_conn_rest(s2n_conn *conn);

/* ---- iscsi_peer.c: peers that are silent, or slow ---- */

void s2n_peer_init(s2n_conn *conn);
void s2n_peer_begin(s2n_conn *conn);
/* The peer owes us data, or has to take some. */
void s2n_peer_owes(s2n_conn *conn);
/* Send a NOP-In, whose tag is returned: that of the answer. */
uint32_t s2n_peer_ask(s2n_conn *conn);
/* Bytes came, or went; of a command, or NULL. */
void s2n_peer_moved(s2n_conn *conn, const s2n_command *command, uint64_t bytes);

/* ---- iscsi_fence.c: what is not to overtake others ---- */

/* Send an answer to task management once the initiator has those that other connections of the
 * session bring. */
void s2n_fence_send(s2n_conn *conn, struct s2n_reply *reply);
/* A NOP-In of a connection was answered. */
void s2n_fence_answered(s2n_conn *conn, uint32_t tag);
/* A connection has ended. */
void s2n_fence_forget(s2n_conn *conn);

/* ---- iscsi_receive.c ---- */

/* Whether reading has to wait until something else is done. */
bool s2n_receive_blocked(const s2n_conn *conn);
/* Whether something was received that is not parsed yet. */
static inline bool s2n_receive_has_rest(const s2n_conn *conn)
{
    return conn->rx.start != conn->rx.end || conn->rx.state != S2N_HEADER;
}
/* Whether the session's turn, and what was received before, let it take what the socket has. */
bool s2n_receive_may(s2n_conn *conn);
/* Take what the socket has, once, and parse it. */
void s2n_receive(s2n_conn *conn);
/* Parse what was received, and watch the socket for what is next. */
void s2n_receive_parse(s2n_conn *conn);

/* ---- iscsi_order.c: CmdSN, and requests other than SCSI commands ---- */

enum s2n_turn { S2N_TURN_NOW, S2N_TURN_LATER, S2N_TURN_NEVER };
/* Take note of a numbered request: NOW advances ExpCmdSN (call s2n_order_deliver
 * afterwards), LATER expects the caller to fill s2n_order_slot. */
enum s2n_turn s2n_order_take(s2n_session *session, uint32_t cmd_sn);
struct s2n_held *s2n_order_slot(s2n_session *session, uint32_t cmd_sn);
void s2n_order_hold(s2n_session *session, uint32_t cmd_sn, const struct s2n_held *held);
/* Run what was held and whose turn has come. */
void s2n_order_deliver(s2n_session *session);
/* Forget what an ended connection's requests were; their numbers stay taken. */
void s2n_order_forget(s2n_conn *conn);
/* MaxCmdSN for the next PDU. */
uint32_t s2n_order_maximum(s2n_session *session);
/* A connection joins a session. If all of the window that was told is used up, its initiator may
 * send nothing that would be answered, so that nothing would tell it of the room there is again: a
 * NOP-In that wants no answer does. Spec: RFC 7143 4.2.2.1, 11.19.1. */
void s2n_order_reopen(s2n_conn *conn);
/* A complete NOP-Out, task management, text or logout request. */
void s2n_request_arrived(s2n_conn *conn, const uint8_t *bhs, uint8_t *data, uint32_t data_length);

/* ---- iscsi_command.c ---- */

/* The header of a SCSI Command: decide where its immediate data goes. */
void s2n_command_arrived(s2n_conn *conn);
/* The whole PDU is there; `intact` is what the data digest says. */
void s2n_command_received(s2n_conn *conn, bool intact);
/* Its turn has come. */
void s2n_command_deliver(s2n_command *command);
/* A portion's data-in have left. */
void s2n_command_handed_on(s2n_command *command);
/* It is over: free its task and everything but a place in the output queue. */
void s2n_command_release(s2n_command *command);
/* That place was taken out as well. */
void s2n_command_recycle(s2n_command *command);
s2n_command *s2n_command_find(s2n_session *session, uint32_t tag);
/* Whether there is one left for what arrives. */
bool s2n_command_available(const s2n_session *session);
/* It no longer occupies the window. */
void s2n_command_uncount(s2n_command *command);

/* ---- iscsi_collect.c ---- */

/* As s2n_command_arrived and s2n_command_received, for a Data-Out. */
void s2n_data_out_arrived(s2n_conn *conn);
void s2n_data_out_received(s2n_conn *conn, bool intact);
/* Make room for data that comes unasked: false if there is none. */
bool s2n_collect_make_room(s2n_command *command);
/* Let a command that turns out to be dormant keep what came of its data without a buffer. */
void s2n_collect_give_way(s2n_command *command);
/* Give back the room that is not a task's. */
void s2n_collect_drop_early(s2n_command *command);
/* Direct the data of the PDU that arrives into the command's room, if it has any. */
void s2n_collect_into(s2n_conn *conn, s2n_command *command);
/* Account for that data; not `intact` if its digest was wrong. */
void s2n_collect_account(s2n_conn *conn, s2n_command *command, bool intact);
/* Do what is next once the data so far, and the command's turn, have come. */
void s2n_collect_proceed(s2n_command *command);
/* Where data-out of the present portion end. */
static inline uint32_t s2n_collect_end(const s2n_command *command)
{
    const s2n_task *task = command->task;

    return s2n_least(command->wanted, (uint64_t)task->portion_at + task->portion_bytes);
}
/* Whether the command cannot go on before the initiator sends data. */
bool s2n_collect_awaits_peer(const s2n_command *command);

/* ---- iscsi_transmit.c ---- */

void s2n_transmit(s2n_conn *conn, struct s2n_item *item);
/* Let a command be over once what was built of it was sent: false if there is nothing. */
bool s2n_transmit_withdraw(s2n_conn *conn, const s2n_command *command);
/* A reply with `data` (taken over); NULL: no memory, and the connection ends. */
struct s2n_reply *s2n_reply_new(s2n_conn *conn, uint8_t opcode, uint8_t *data,
                                uint32_t data_length);
void s2n_reply_free(struct s2n_reply *reply);
/* Queue it. */
void s2n_reply_send(s2n_conn *conn, struct s2n_reply *reply);
void s2n_reject(s2n_conn *conn, uint8_t reason, const uint8_t *header, uint32_t header_length);
/* Send what can be sent. */
void s2n_transmit_flush(s2n_conn *conn);
static inline bool s2n_transmit_idle(const s2n_conn *conn)
{
    return !conn->queue_head && !conn->wire_count;
}
/* Drop everything. */
void s2n_transmit_drop(s2n_conn *conn);

#endif
