/* A small front end and a plane with one reactor for tests. The reactor's thread is
 * not started: the test takes its place, and rounds happen when it says so. */
#ifndef S2N_BENCH_H
#define S2N_BENCH_H

#include "device.h"
#include "front_end.h"
#include "reactor.h"
#include "unit.h"

enum { BLOCK = 512, NSID = 5, CONTROLLER = 900, NEXUS = 100, UNITS = 2, NEXUSES = 3 };
enum { BLOCKS_64K = 65536 / BLOCK, OPS = 200 };
/* Statuses of SCSI and of NVMe that tests use. */
enum { CHECK_CONDITION = 2, BUSY = 8, INTERNAL_ERROR = 0x006, UNRECOVERED_READ = 0x281 };

/* A command of the front end, and what became of it. */
struct op {
    s2n_task *task;    /* NULL once it was freed */
    uint8_t attribute; /* 0: simple */
    bool keeps;        /* the response stays, as if nobody took it */
    bool gathers;      /* data-out */
    bool dormant;      /* waits for its turn in its task set */
    bool reserved, discarded, completed;
    bool aborted, told; /* as it ended */
    uint8_t status;
    uint32_t portions; /* that are done, but for the last */
    uint32_t data_in, sense;
    uint8_t sense_data[20]; /* the first of them */
};

struct bench {
    s2n_plane *plane;
    struct s2n_reactor *reactor;
    s2n_controller *controller;
    struct device device;
    s2n_lu *lu[UNITS];
    s2n_nexus *nexus[NEXUSES];
    s2n_lu_params params;
};

extern struct bench bench;
extern struct op op[OPS]; /* for tests to begin */

/* A disk of 1 GiB, both logical units hot at every nexus; no command yet in `op`. */
void bench_open(uint16_t depth, uint64_t pool_bytes);
/* The same, beside `others` reactors, 3 at most, that have nothing to do. */
void bench_open_beside(uint32_t others, uint16_t depth, uint64_t pool_bytes);
/* As `bench_open`, and the first of them can do anything with blocks. */
void bench_open_able(uint16_t depth, uint64_t pool_bytes);
/* Nothing may be left of tasks, buffers and commands under way. */
void bench_close(void);
/* The end of it all, whatever is under way. */
void bench_drop(void);
/* Do what can be done without waiting. */
void rounds(void);
/* Complete whatever is under way, and from now on everything at once. */
void complete_all(void);

/* Begin READ(10) or WRITE(10) of `blocks` at `lba` from nexus `nexus` to LUN `lun`;
 * a write gathers, each portion of it, until `gathered`. */
void begin_read(struct op *one, unsigned nexus, uint8_t lun, uint32_t lba, uint32_t blocks);
void begin_write(struct op *one, unsigned nexus, uint8_t lun, uint32_t lba, uint32_t blocks);
void gathered(struct op *one);
/* Any CDB of 10 bytes that moves blocks, with its data in place, executed at once. */
void begin_in_place(struct op *one, const uint8_t *cdb, const struct s2n_place *place);
/* A CDB of 10 bytes with `flags` in its second. */
const uint8_t *cdb_of(uint8_t opcode, uint8_t flags, uint32_t lba, uint16_t count);
/* Any other CDB, executed at once. */
void begin_command(struct op *one, unsigned nexus, uint8_t lun, const uint8_t *cdb,
                   uint16_t length);
/* The same with data-out, which have come. */
void begin_with_data(struct op *one, const uint8_t *cdb, uint16_t length, const uint8_t *data);
/* The response was taken. */
void taken(struct op *one);

/* The next event must be of this type. */
s2n_event next_event(uint32_t type);
void no_event(void);
void expect_drained(uint64_t token, uint32_t count);

#endif
