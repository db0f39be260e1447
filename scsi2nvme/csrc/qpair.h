/* Queue pairs as the reactor uses them. Implemented in drivers/nvme/csrc/qpair.c;
 * the public part is in nvme.h there. A queue pair is used by one thread. */
#ifndef S2N_QPAIR_H
#define S2N_QPAIR_H

#include "nvme.h"

/* Contiguous DMA memory. Within one command every span but the first begins at
 * a page boundary and every span but the last ends at one. */
struct s2n_span {
    uint64_t iova;
    uint32_t length;
};

/* Doorbells of one controller; each transport fills in one. */
struct s2n_port_ops {
    void (*ring_sq)(s2n_port *port, uint16_t qid, uint32_t tail);
    void (*ring_cq)(s2n_port *port, uint16_t qid, uint32_t head);
    /* Called before a completion queue is scanned; NULL where hardware posts. */
    void (*before_poll)(s2n_port *port, uint16_t qid);
    void (*free)(s2n_port *port);
    /* See s2n_qpair_set_polled; NULL where interrupts cost the host nothing. */
    void (*set_polled)(s2n_port *port, uint16_t qid, bool polled);
};

struct s2n_port {
    const struct s2n_port_ops *ops;
    /* the transport's own members follow in its enclosing structure */
};

/* One command may carry this much, whatever MDTS says: one page of PRP list. */
enum { S2N_PAGE = 4096, S2N_QPAIR_MAXIMUM_BYTES = 512 * S2N_PAGE };

/* Where the 64-byte entry of the command that is placed next is to be written, all but CID and data
 * pointer; NULL: no slot is free. */
uint8_t *s2n_qpair_entry(s2n_qpair *qp);
/* Place the command whose entry was written there, with data in several spans. As
 * s2n_qpair_place. */
int s2n_qpair_place_spans(s2n_qpair *qp, const struct s2n_span *spans, uint32_t count,
                          uint64_t cookie, uint32_t timeout_ms);
/* Up to a page for data of that command, if it has no others: `span` tells where it is then. */
uint8_t *s2n_qpair_room(s2n_qpair *qp, struct s2n_span *span);
/* The 64-byte entry of a command as it was placed: valid from its placement
 * until the next placement after its completion was polled. */
const uint8_t *s2n_qpair_sqe(const s2n_qpair *qp, uint16_t cid);
/* The owner promises to poll after every ring, and to acknowledge after every poll, before
 * it sleeps: commands that are complete when s2n_qpair_ring returns then need no interrupt,
 * and polls mostly ring no doorbell. */
void s2n_qpair_set_polled(s2n_qpair *qp, bool polled);
/* Ring the completion doorbell if entries were taken since the last time. */
void s2n_qpair_acknowledge(s2n_qpair *qp);
/* Whether s2n_qpair_abandon was called. */
bool s2n_qpair_abandoned(const s2n_qpair *qp);
/* How many commands are under way. */
uint32_t s2n_qpair_in_flight(const s2n_qpair *qp);
/* The first command under way with this cookie whose CID is `cid` or more; -1: none. */
int s2n_qpair_find(const s2n_qpair *qp, uint64_t cookie, int cid);
/* Forget the commands under way with this cookie, which the controller has forgotten:
 * how many there were. */
uint32_t s2n_qpair_drop(s2n_qpair *qp, uint64_t cookie);
/* Give the commands under way with this cookie another one. */
void s2n_qpair_hand_over(s2n_qpair *qp, uint64_t cookie, uint64_t to);
uint16_t s2n_qpair_qid(const s2n_qpair *qp);
/* Completions that named no command under way: a device gone wrong. */
uint64_t s2n_qpair_unexpected(const s2n_qpair *qp);

#endif
