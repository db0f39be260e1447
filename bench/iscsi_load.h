/* What the parts of the load generator have in common: iscsi_load.c tells what it does. */
#ifndef ISCSI_LOAD_H
#define ISCSI_LOAD_H

#include <inttypes.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

enum { SECTOR = 512, MAXIMUM_SESSIONS = 256, LATENCY_US = 1 << 20, MAXIMUM_ATTENTIONS = 8 };
enum { CDB_BYTES = 16 };

/* One unit of the disk, `cell_bytes` long. */
struct cell {
    uint32_t issued;   /* the latest generation that was sent */
    uint32_t acked;    /* … that was acknowledged */
    uint32_t durable;  /* … that must survive a crash */
    uint32_t flushing; /* `acked` when the flush under way was sent */
    bool busy;
};

struct session;

struct io {
    struct session *session;
    uint64_t cell;
    uint32_t cells;
    bool write, fua, flush;
    uint64_t sent_us;
    uint8_t *buffer;
    struct scsi_iovec iov; /* libiscsi keeps a pointer to it */
};

struct session {
    struct iscsi_context *iscsi;
    int lun;
    uint64_t first, count, next; /* its part of the disk, in cells */
    struct io *io;
    bool flushing;
    uint32_t under_way, since_flush;
};

struct options {
    const char *url, *operation, *pattern, *state, *check;
    const char *initiator;
    int sessions, luns, depth, seconds, flush_every, maximum_cells, header_digest;
    uint32_t cell_bytes;
    uint64_t seed, span;
    double warmup;
    bool verify, hold;
    unsigned char cdb[CDB_BYTES];
    int cdb_bytes;     /* 0: reads and writes */
    unsigned pause_us; /* after each time that answers were there */
};

/* ---- iscsi_load.c: options, sessions and the run ---- */

extern struct options option;
extern struct session session[MAXIMUM_SESSIONS];
extern struct cell *cells;
extern uint64_t cell_count, block_bytes;
extern uint64_t all, done, bytes, errors, data_errors, flushes; /* counts */
extern uint32_t *latency;                                       /* I/Os, by their us */
extern uint64_t begin_us, end_us;                               /* of what is measured */
extern bool stopping, lost;

uint64_t now_us(void);
/* Tell what is wrong, and end with status 2. */
void die(const char *what, const char *why);

/* ---- iscsi_load_cells.c: what is on the disk ---- */

uint64_t mix(uint64_t x);
void fill_cell(uint8_t *out, uint64_t cell, uint32_t generation);
/* Whether a cell holds, in each of its sectors, a generation from `low` to `high`
 * (0: never written, anything goes). */
bool cell_holds(const uint8_t *data, uint64_t cell, uint32_t low, uint32_t high);
/* Note what must and what may be on the disk; compare the disk with such a note. */
void write_state(void);
void check_state(void);

/* ---- iscsi_load_commands.c: what is sent ---- */

/* Whether an operation other than reads and writes has this name. */
bool is_other_operation(const char *operation);
/* Another host's reset has ended the command, or is told of: hosts go on then. */
bool ended_by_others(const struct scsi_task *task, int status);
void seed_commands(uint64_t seed);
/* Send what is next in a place that is free. */
void next_io(struct io *io);

#endif
