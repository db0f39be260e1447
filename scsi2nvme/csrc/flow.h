/* Turns by bytes: deficit round robin over the sessions and rings of a reactor.
 *
 * A flow is what one session or one ring has to do. It is charged by bytes, on two accounts: for
 * commands that it begins, since a disk may move their data in the same round, and for data that it
 * sends and receives. Each has a quantum in a round. Who has used that up waits, and is resumed in
 * the next round, which comes without sleep; what it did beyond comes off its next quanta, for how
 * much a step moves is not known before. It owes no more than the largest command has. So who has
 * little to do waits for one quantum of each other at most, whatever these have. */
#ifndef S2N_FLOW_H
#define S2N_FLOW_H

#include <stdbool.h>
#include <stdint.h>

struct s2n_reactor;

/* Flows that have something to do share what a round may move, so that it does not take the longer
 * the more there are. A smaller quantum than is needed would cost more CPU time for each byte: two
 * sessions that read 128 KiB each would take a sixth more with half of it. */
#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
enum { S2N_ROUND_BYTES = 1 << 20, S2N_LEAST_QUANTUM = 64 << 10 };
#else /* what a short input reaches */
enum { S2N_ROUND_BYTES = 2048, S2N_LEAST_QUANTUM = 512 };
#endif

enum s2n_account { S2N_BEGUN, S2N_MOVED, S2N_ACCOUNTS };

struct s2n_flow {
    struct s2n_flows *flows; /* of its reactor */
    struct s2n_flow *next;   /* of those that wait */
    void (*resume)(struct s2n_flow *flow);
    uint64_t round;               /* in which it had its latest quantum */
    uint64_t since;               /* the round in which it began to wait */
    int64_t credit[S2N_ACCOUNTS]; /* bytes; less than 0: moved beyond it */
    bool waits;
};

/* A reactor's. */
struct s2n_flows {
    struct s2n_flow *first, *last; /* who waits, the longest first */
    uint64_t round;
    uint32_t active; /* flows that had something to do in this round, so far */
    uint32_t usual;  /* and in those before: grows at once, and shrinks slowly */
    uint64_t begun;  /* bytes of this round's commands */
};

/* Begin on a reactor. `resume` is called there, once for each wait, when what has come was served.
 */
void s2n_flow_open(struct s2n_flow *flow, struct s2n_reactor *reactor,
                   void (*resume)(struct s2n_flow *flow));
/* Not to be resumed any more: it goes, or goes elsewhere. On its reactor. */
void s2n_flow_close(struct s2n_flow *flow);
/* To be resumed in the next round. */
void s2n_flow_wait(struct s2n_flow *flow);
/* It has moved so much. */
void s2n_flow_charge(struct s2n_flow *flow, enum s2n_account account, uint64_t bytes);

/* It has begun so many bytes more of a command that it began before: others have their turn after
 * as much, but what it may begin is not less. */
void s2n_flow_go_on(struct s2n_flow *flow, uint64_t bytes);

/* How much it may still move in this round; it may go on while that is more than 0. */
int64_t s2n_flow_credit(struct s2n_flow *flow, enum s2n_account account);

/* ---- for the floors above ---- */

/* The reactor's own. */
struct s2n_flows *s2n_reactor_flows(struct s2n_reactor *reactor);
/* A round begins: nobody has used anything of it. */
void s2n_flows_begin_round(struct s2n_flows *flows);
/* Resume those that have waited since an earlier round. */
void s2n_flows_resume(struct s2n_flows *flows);

#endif
