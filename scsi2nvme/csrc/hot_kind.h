/* What hot commands become: a kind for each sort of them, which the rows of the command table
 * name. Its reference is the Python translation of the same rows. */
#ifndef S2N_HOT_KIND_H
#define S2N_HOT_KIND_H

#include "hot.h"

/* What is left to place of a command: one range of blocks. */
struct s2n_hot_plan {
    uint8_t opcode;  /* NVMe's */
    uint32_t blocks; /* 0: nothing to do, GOOD */
    uint32_t cdw12;
    uint64_t lba;
    uint64_t bytes; /* of data, in all; what the CDB announced unless the block length changed */
};

/* What one NVMe command takes of it. */
struct s2n_hot_part {
    uint32_t blocks, bytes;
};

struct s2n_hot_kind {
    /* Translate; false: step aside. `cdb` holds at least the row's length, and sets no bits
     * but those that the row accepts. */
    bool (*plan)(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                 struct s2n_hot_plan *plan);
    /* Fill the next 64-byte submission queue entry, all but CID and data pointer. */
    struct s2n_hot_part (*place)(const s2n_lu_params *lu, const struct s2n_hot_plan *plan,
                                 uint8_t *sqe);
    bool names_blocks; /* which it reads or changes; else nothing that it does is of any */
    bool portions;     /* what it moves can be moved a portion at a time */
    /* All of them succeeded: what is to be done before GOOD. NULL: nothing. */
    void (*finish)(s2n_task *task);
};

/* Translate; false: step aside. `cdb` holds at least the row's length. */
bool s2n_hot_plan(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                  struct s2n_hot_plan *plan);
/* Leave nothing of a plan for blocks but `bytes` of its data from `at` on. */
static inline void s2n_hot_narrow(struct s2n_hot_plan *plan, const s2n_lu_params *lu, uint32_t at,
                                  uint32_t bytes)
{
    plan->lba += at >> lu->block_shift;
    plan->blocks = bytes >> lu->block_shift;
    plan->bytes = bytes;
}

/* A part was placed. */
static inline void s2n_hot_advance(struct s2n_hot_plan *plan, struct s2n_hot_part part)
{
    plan->lba += part.blocks;
    plan->blocks -= part.blocks;
}

#endif
