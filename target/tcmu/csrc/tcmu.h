/* What the files of the TCMU front end share: a device's ring, and the commands that
 * were taken from it. Everything here runs on the device's reactor, but for the
 * functions of tcmu_device.h.
 *
 * The mapping is shared with the kernel. What is read from it is read once, into
 * memory of ours, and checked there. */
#ifndef S2N_TCMU_H
#define S2N_TCMU_H

#include <stdatomic.h>

#include "front_end.h"
#include "tcmu_device.h"
#include "window.h"

enum {
    S2N_TCMU_EXTENTS = 8, /* of a command, without further memory */
    /* Of a batch, to be left in place: a few pages are copied sooner than looked at. Measured
     * over the kernel's iSCSI, where commands come by ones and twos. */
    S2N_TCMU_LEAST_BYTES = 8 * 4096,
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

/* The data pages that the controller knows. `map` is the IOMMU's: nobody else touches it. */
struct s2n_pages {
    s2n_window *window;
    uint8_t *map; /* NULL: there is no window */
    uint64_t bytes;
    uint64_t *known;        /* a bit for each page */
    unsigned char *present; /* a byte for each page; of the last look */
    uint32_t users;         /* commands whose pages must stay known */
    bool allowed;
    bool stale; /* the kernel has replaced a page that is known */
    int error;  /* why the controller learns of no more pages */
    int news;   /* ESTALE or `error`, not told yet */
    _Atomic uint64_t known_count, withdrawals;
};

typedef struct s2n_tcmu_command s2n_tcmu_command;

/* A SCSI command of the ring, beside its task. */
struct s2n_tcmu_command {
    s2n_tcmu_command *next, *previous; /* of its device; or the next spare one */
    s2n_tcmu_command *next_taken;
    s2n_tcmu *tcmu;
    s2n_task *task;
    uint64_t bytes; /* that the extents have in all */
    uint32_t extent_count;
    uint16_t id;
    struct s2n_place place;
    struct s2n_extent *extent; /* `own`, or malloc'ed */
    struct s2n_extent own[S2N_TCMU_EXTENTS];
};

/* What is known of the reactors on which a device could be served. */
struct s2n_seat {
    uint32_t home, reactors;
    uint32_t best;      /* for commands that come one at a time */
    uint32_t candidate; /* the latest that was tried */
    uint32_t crowd;     /* rises with several commands at a time, falls with lone ones */
    uint32_t calm;      /* how many lone ones in a row end a crowd */
    uint32_t commands;  /* of the present sample */
    uint32_t samples;   /* since the latest trial */
    uint32_t patience;  /* samples until the next one */
    bool crowded, trying;
    uint64_t latest_us; /* when the latest command was taken */
    uint64_t sum_us;    /* of the present sample */
    uint64_t usual_us;  /* that a command takes on the best one */
};

/* How a device gets there. */
struct s2n_move {
    struct s2n_seat seat;
    struct s2n_timer patience;
    struct s2n_reactor *home;              /* constant */
    struct s2n_reactor *away;              /* the home's: where it has sent the device, or NULL */
    _Atomic(struct s2n_reactor *) visited; /* which has it now, if it is not the home */
    uint32_t target;
    bool leaving; /* takes no commands, so that it can go */
    uint64_t rests_until_ms;
    atomic_uint orders;     /* that look for the device */
    _Atomic uint64_t count; /* of moves */
};

struct s2n_tcmu {
    struct s2n_source source; /* first: found from the source */
    struct s2n_deferred flush;
    struct s2n_flow flow;
    struct s2n_move move;
    struct s2n_reactor *reactor; /* where it is served */
    s2n_nexus *nexus;
    uint64_t cookie;
    struct s2n_ring ring;
    struct s2n_pages pages;
    atomic_bool in_place_allowed;
    s2n_tcmu_command *commands, *spare;
    s2n_tcmu_command *taken,
        **taken_tail;                  /* from the ring, to be begun with a look at their pages */
    uint64_t taken_first, taken_end;   /* where their data lie in all */
    uint64_t taken_bytes;              /* how many there are */
    uint64_t least_bytes;              /* from which on a look is worth it */
    _Atomic uint64_t in_place, copied; /* commands */
    uint32_t wakes;
    uint32_t tag; /* of the next command: names it among all that ever were */
    uint64_t drain_token;
    bool draining;
    bool ended, reported;
    uint32_t error;
};

/* ---- devices (tcmu.c) ---- */

/* Begin to serve a device on its reactor: it is its first, or the device came from another. */
void s2n_tcmu_serve(s2n_tcmu *tcmu);
/* Take what there is in the ring. */
void s2n_tcmu_take(s2n_tcmu *tcmu);

/* ---- which reactor they are served on (tcmu_seat.c) ---- */

/* Of one of `reactors` only it stays at home. */
void s2n_seat_begin(struct s2n_seat *seat, uint32_t home, uint32_t reactors);
/* The reactor on which a device should be, now that it got commands: a `lone` one, with no
 * other under way, or several. */
uint32_t s2n_seat_choose(struct s2n_seat *seat, bool lone, uint64_t now_us);

/* ---- how they get there (tcmu_move.c) ---- */

/* Give a new device a home, and have it served there. Control thread. */
void s2n_tcmu_settle(s2n_tcmu *tcmu, s2n_plane *plane);
/* Whether to leave, now that commands were taken. */
void s2n_tcmu_consider(s2n_tcmu *tcmu, bool lone);
/* Not to leave after all; what came meanwhile has yet to be taken. */
void s2n_tcmu_stay(s2n_tcmu *tcmu);
/* Go, now that nothing is under way. It is another thread's device afterwards. */
void s2n_tcmu_depart(s2n_tcmu *tcmu);
/* Have `run` called on the reactor where the device is then. Orders that follow each other while
 * it moves may be carried out in another order. Control thread. */
void s2n_tcmu_order(s2n_tcmu *tcmu, void (*run)(s2n_tcmu *tcmu, uint64_t argument),
                    uint64_t argument);

/* The reactor that serves the device, by number. From any thread. */
uint32_t s2n_tcmu_whereabouts(const s2n_tcmu *tcmu);

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
/* Whether everything was taken. */
bool s2n_ring_empty(const struct s2n_ring *ring);
/* Whether everything was taken and answered, and the kernel knows. */
bool s2n_ring_idle(const struct s2n_ring *ring);

/* ---- its data pages (tcmu_pages.c) ---- */

/* Begin with none: negative errno. `memory` is mapped once more, `bytes` of it. */
int s2n_pages_open(struct s2n_pages *pages, s2n_window *window, int memory, uint64_t bytes);
/* Have the controller forget all of them. */
void s2n_pages_close(struct s2n_pages *pages);
/* Whether they may be used from now on; they begin so that they may not. */
void s2n_pages_allow(struct s2n_pages *pages, bool allowed);
/* Whether looking is of any use. */
bool s2n_pages_usable(const struct s2n_pages *pages);
/* Look which pages the kernel has replaced, between two offsets. What it says holds for commands
 * that were in the ring before, until they are answered. */
bool s2n_pages_look(struct s2n_pages *pages, uint64_t first, uint64_t end);
/* Make the pages of such a command known: whether the controller reaches all of them. They
 * stay known until the release. */
bool s2n_pages_use(struct s2n_pages *pages, const struct s2n_extent *extent, uint32_t count);
/* The command's transfers have ended; or it is `lost`, and they may not have. */
void s2n_pages_release(struct s2n_pages *pages, bool lost);

/* ---- its data (tcmu_data.c) ---- */

/* Bytes of data-out that the present portion of a command has. */
uint32_t s2n_tcmu_to_take(const s2n_tcmu_command *command);
/* Copy the present portion of a command's data-out into its task's buffer, which they fill. */
void s2n_tcmu_take_data(s2n_tcmu_command *command);
/* Copy the present portion of a task's data-in to the command's data, if they do not lie there. */
void s2n_tcmu_give_portion(s2n_tcmu_command *command);
/* The same for the last portion, and say in the response how many data-in there are in all. */
void s2n_tcmu_give_data(s2n_tcmu_command *command, struct s2n_ring_response *response);

/* Have a command begun when all were taken, so that one look at the pages serves them all. */
void s2n_tcmu_await_look(s2n_tcmu_command *command);
/* Whether a look, if it was worth it, says that the pages of those commands may be used. */
bool s2n_tcmu_look(s2n_tcmu *tcmu);
/* They were begun. */
void s2n_tcmu_forget_taken(s2n_tcmu *tcmu);

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
/* Whether a task management entry tells of a reset of the logical unit. */
bool s2n_entry_resets(const struct s2n_ring_request *request);

#endif
