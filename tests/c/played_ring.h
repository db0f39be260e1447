/* The kernel's side of a TCMU device, played by hand. The offsets are written out: they are
 * the ABI that the front end must meet. */
#ifndef S2N_PLAYED_RING_H
#define S2N_PLAYED_RING_H

#include "fake.h"
#include "fake_device.h"
#include "fake_plane.h"
#include "fake_reactor.h"
#include "fake_task.h"
#include "tcmu_device.h"

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
enum { DATA_BYTES = 1 << 16 }; /* filled for every input */
#else
enum { DATA_BYTES = 8 << 20 };
#endif
enum {
    RING = 128,
    RING_BYTES = 4096 - RING,
    DATA = 4096,
    MAP_BYTES = DATA + DATA_BYTES,
    AT_VERSION = 0,
    AT_FLAGS = 2,
    AT_OFFSET = 4,
    AT_SIZE = 8,
    AT_HEAD = 12,
    AT_TAIL = 64,
    OOOC = 1,
    READ_LEN = 2,
    PAD = 0,
    COMMAND = 1,
    TMR = 2,
    COOKIE = 4711,
};

struct extent {
    uint64_t base, length;
};

struct answer {
    uint16_t id;
    uint8_t uflags, status, sense[96];
    uint32_t read_length;
};

extern uint8_t *map;
extern int memory, doorbell;
extern s2n_tcmu *tcmu;
extern uint32_t head;      /* the kernel's own */
extern s2n_window *window; /* of the next device; NULL: none */
extern const uint8_t test_unit_ready[6];

/* Make `map` and `memory`, once. */
void make_memory(void);
void put16(uint32_t at, uint32_t value);
void put32(uint32_t at, uint32_t value);
uint32_t get32(uint32_t at);
void put64(uint32_t at, uint64_t value);

/* A mailbox whose ring begins at `start`. */
void make_mailbox(uint32_t start);
int open_device(void);
void begin_at(uint32_t start);
void begin(void);
/* Close it, and have it end well; or expect another end. */
void finish(void);
void expect_end(uint32_t error);

void advance(uint32_t *at, uint32_t length);
/* Room for an entry; what is left at the ring's end becomes a pad. */
uint32_t make_room(uint32_t length);
/* Add a command, and not yet the news of it. */
uint32_t add(uint16_t id, const uint8_t *cdb, uint32_t cdb_length, const struct extent *extent,
             uint32_t count);
uint32_t add_bare(uint16_t id);
const uint8_t *rw10(uint8_t opcode, uint32_t lba, uint32_t blocks);
void add_rw(uint16_t id, uint8_t opcode, uint32_t blocks, const struct extent *extent,
            uint32_t count);
void add_tmr(const uint16_t *ids, uint32_t count);
void add_tmr_of(uint8_t type, const uint16_t *ids, uint32_t count);
void ring(void);

/* Consume what was answered, as the kernel does: the next command's answer; false if there
 * is none. */
bool next_answer(struct answer *answer);
struct answer expect(uint16_t id, uint8_t status);
void expect_none(void);
/* How many doorbells were rung since the last call. */
uint32_t doorbells(void);
/* A task that was executed and is held. */
s2n_task *held(uint16_t place);
uint8_t pattern(uint64_t at);

#endif
