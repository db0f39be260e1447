/* The emulated controller's I/O side with real queue pairs on it, as a host has them. */
#ifndef EMULATOR_RIG_H
#define EMULATOR_RIG_H

#include "emulator.h"
#include "qpair.h"

enum {
    PAGE = 4096,
    BLOCK = 512,
    BLOCKS = 16384,
    DEPTH = 16,
    DATA_BYTES = 4 << 20,
    QUEUES = 3,
    FLUSH = 0,
    WRITE = 1,
    READ = 2,
    COMPARE = 5,
    WRITE_ZEROES = 8,
    DSM = 9,
    VERIFY = 0xC,
    CACHED = 1,
    PROTECTED = 2,
    FORMATTING = 8,
};

#define FUA (UINT32_C(1) << 30)
#define DEAC (UINT32_C(1) << 25)
#define BASE UINT64_C(0x100000000)

struct rig {
    s2n_emu *emu;
    s2n_port *port;
    s2n_region memory; /* queue pairs, then data */
    uint8_t *data;
    uint64_t data_iova;
    s2n_qpair *qp[QUEUES + 1];
    int eventfd[QUEUES + 1];
    int fd;             /* of the namespace's file, or */
    s2n_emu_disk *disk; /* what it is on in memory */
};

struct request {
    uint8_t opcode, fuse;
    uint32_t nsid;
    uint64_t slba;
    uint32_t blocks; /* 0: as if 1 */
    uint32_t flags;  /* of CDW12 */
    uint32_t cdw10, cdw11;
    uint64_t offset, length; /* of the data area */
};

enum { IN_MEMORY = -1 }; /* instead of a file */

int temporary_file(void);
void add_queue(struct rig *rig, uint16_t qid, uint16_t depth);
void open_rig(struct rig *rig, int fd);
/* Replace namespace 1: `blocks` from block `first` of the medium on. */
void attach(struct rig *rig, uint64_t first, uint64_t blocks, uint32_t flags);
/* Read blocks of namespace 1, on a file from that itself. */
void look(struct rig *rig, uint64_t slba, uint32_t blocks, uint8_t *out);
void close_rig(struct rig *rig);
int place(struct rig *rig, uint16_t qid, const struct request *request);
/* Wait for the interrupt, then take completions, as a host does. */
int take(struct rig *rig, uint16_t qid, s2n_completion *done, int wanted);
uint16_t execute(struct rig *rig, struct request request);
void fill(uint8_t *data, size_t bytes, uint32_t seed);

#endif
