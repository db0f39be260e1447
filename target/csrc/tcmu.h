/* What the files of the TCMU front end share: a device's ring, and the commands that
 * were taken from it. Everything here runs on the device's reactor, but for the
 * functions of dataplane.h.
 *
 * The mapping is shared with the kernel. What is read from it is read once, into
 * memory of ours, and checked there. */
#ifndef S2N_TCMU_H
#define S2N_TCMU_H

#include <stdatomic.h>

#include "reactor.h"

enum { S2N_TCMU_EXTENTS = 8 /* of a command, without further memory */ };

/* A part of the mapping: where a command's data lies. */
struct s2n_extent {
    uint64_t offset, length;
};

/* What an entry of the ring asks for. */
struct s2n_ring_request {
    enum { S2N_RING_COMMAND, S2N_RING_TMR, S2N_RING_UNKNOWN } kind;
    uint16_t id;
    const uint8_t *entry; /* in the mapping; `length` bytes of it */
    uint32_t length;
};

/* How a command ends. */
struct s2n_ring_response {
    uint16_t id;
    uint8_t uflags, status;
    uint32_t read_length;
    const uint8_t *sense;
    uint32_t sense_length;
};

/* The ring: entries from `done` to `next` were taken and are not all answered;
 * from `next` to the kernel's head they are new. */
struct s2n_ring {
    uint8_t *map;
    uint64_t map_bytes;
    const _Atomic uint32_t *head;
    _Atomic uint32_t *tail;
    uint32_t offset, bytes; /* of the entries, in the mapping */
    uint32_t next, done;
    uint32_t published; /* what the kernel knows of `done` */
    bool has_read_length;
};

typedef struct s2n_tcmu_command s2n_tcmu_command;

/* A SCSI command of the ring, beside its task. */
struct s2n_tcmu_command {
    s2n_tcmu_command *next, *previous; /* of its device; or the next spare one */
    s2n_tcmu *tcmu;
    s2n_task *task;
    uint64_t bytes; /* that the extents have in all */
    uint32_t extent_count;
    uint16_t id;
    struct s2n_extent *extent; /* `own`, or malloc'ed */
    struct s2n_extent own[S2N_TCMU_EXTENTS];
};

struct s2n_tcmu {
    struct s2n_source source; /* first: found from the source */
    struct s2n_deferred flush;
    struct s2n_reactor *reactor;
    s2n_nexus *nexus;
    uint64_t cookie;
    struct s2n_ring ring;
    s2n_tcmu_command *commands, *spare;
    uint32_t wakes;
    uint32_t tag; /* of the next command: names it among all that ever were */
    uint64_t drain_token;
    bool draining;
    bool ended, reported;
    uint32_t error;
};

/* ---- the ring (tcmu_ring.c) ---- */

/* Begin with the mailbox of a mapping; negative errno: it is none that we can serve. */
int s2n_ring_open(struct s2n_ring *ring, uint8_t *map, uint64_t map_bytes);
/* Take the next entry: 1, 0 when there is none, negative errno when the ring is
 * broken or was reset. */
int s2n_ring_take(struct s2n_ring *ring, struct s2n_ring_request *request);
/* Answer a command, in the oldest entry that is not answered; negative errno as above. */
int s2n_ring_answer(struct s2n_ring *ring, const struct s2n_ring_response *response);
/* Show the kernel what was answered: whether there is anything new. */
bool s2n_ring_publish(struct s2n_ring *ring);
/* Whether the kernel has reset the ring under us. */
bool s2n_ring_was_reset(const struct s2n_ring *ring);
/* Whether everything was taken and answered, and the kernel knows. */
bool s2n_ring_idle(const struct s2n_ring *ring);

/* ---- its entries (tcmu_entry.c) ---- */

/* What of an entry cannot be served. */
enum s2n_entry_fault {
    S2N_ENTRY_SOUND,
    S2N_ENTRY_MALFORMED,     /* a CDB or data outside of the mapping */
    S2N_ENTRY_BIDIRECTIONAL, /* data in both directions */
    S2N_ENTRY_MEMORY,
};
/* Copy an entry's CDB to the task, and where its data lie to the command. */
enum s2n_entry_fault s2n_entry_copy(s2n_tcmu_command *command,
                                    const struct s2n_ring_request *request);
/* How many command identifiers a task management entry names, and one of them. */
uint32_t s2n_entry_ids(const struct s2n_ring_request *request);
uint16_t s2n_entry_id(const struct s2n_ring_request *request, uint32_t index);

#endif
