/* What hot commands become: a kind for each sort of them, which the rows of the command table
 * name. Its reference is the Python translation of the same rows. */
#ifndef S2N_HOT_KIND_H
#define S2N_HOT_KIND_H

#include "hot.h"

/* A command's data-out as a kind may look at them: memory of ours that nobody else changes. */
struct s2n_hot_data {
    uint8_t *at; /* NULL: there are none, or not here */
    /* Bytes that may be used, the first of them the data, as far as they are announced. What
     * lies behind them is for the kind to fill. */
    uint32_t room;
};

/* From `first` to before `end`. */
struct s2n_blocks {
    uint64_t first, end;
};

static inline bool s2n_blocks_meet(struct s2n_blocks one, struct s2n_blocks other)
{
    return one.first < other.end && other.first < one.end;
}

/* In CDW0. */
enum s2n_fuse { S2N_UNFUSED, S2N_FUSED_FIRST, S2N_FUSED_SECOND };

/* What is left to place of a command's present phase: one range of blocks. All of a phase ends
 * before the next begins. */
struct s2n_hot_plan {
    uint8_t opcode;  /* NVMe's */
    uint8_t phase;   /* those before it ended well */
    uint8_t fuse;    /* of the next NVMe command, or the last: a pair is placed side by side */
    uint8_t second;  /* the opcode of a pair's second half, which is of the same blocks, */
    uint32_t blocks; /* of Dataset Management: ranges. 0: nothing to do; in the last phase: GOOD */
    uint64_t cdw12;  /* and CDW13 above it */
    uint32_t second_cdw12; /* and its CDW12 */
    uint64_t lba;
    uint64_t bytes; /* of data, in all; what the CDB announced unless the block length changed */
    uint32_t limit; /* blocks of one NVMe command, which has no data; 0: it has, and MDTS limits */
    /* The first bytes of the data again and again, for each NVMe command; 0: the data go on from
     * one to the next, from `data_at` on. */
    uint32_t period;
    uint32_t data_at;
    /* All ranges of Dataset Management, as it gets them, where the command is made of such. */
    const uint8_t *ranges;
    uint32_t range_count;
    uint32_t hinted; /* blocks that will be read: of a hint that says so */
    bool locates;    /* a Compare has failed: this finds where, and then the command ends */
};

/* Instead of an offset. */
enum { S2N_NOWHERE = -1, S2N_NOT_READ = -2 };

/* The most that an NVMe command has of data which are not the initiator's. */
enum { S2N_HOT_TOLD = 16 };

/* What one NVMe command takes of it. */
struct s2n_hot_part {
    uint32_t blocks, bytes;
};

struct s2n_hot_kind {
    /* Translate; false: step aside. `cdb` holds at least the row's length, and sets no bits
     * but those that the row accepts. */
    bool (*plan)(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                 const struct s2n_hot_data *data, struct s2n_hot_plan *plan);
    /* Fill the next 64-byte submission queue entry, all but CID and data pointer. */
    struct s2n_hot_part (*place)(const s2n_lu_params *lu, const struct s2n_hot_plan *plan,
                                 uint8_t *sqe);
    /* Write the data of that NVMe command, where they are none of the initiator's: as many bytes as
     * its part has, S2N_HOT_TOLD at most. NULL: they are. */
    void (*tell)(const struct s2n_hot_plan *plan, uint8_t *room);
    /* A phase ended well: plan the next one, whose data are the same. False: it was the last.
     * NULL: there is one. */
    bool (*next)(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                 struct s2n_hot_plan *plan);
    /* Where what was read behind the data is not what they expect: the offset in the data, or
     * S2N_NOWHERE, by which the next phase may begin; else the command ends as by a Compare that
     * failed. S2N_NOT_READ: nothing was. NULL: nothing ever is. */
    int64_t (*difference)(const struct s2n_hot_plan *plan, const struct s2n_hot_data *data);
    /* A Compare has failed, and initiators are told where: plan what finds that. False: it is the
     * engine's to find. NULL: they are not told. */
    bool (*locate)(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                   const struct s2n_hot_data *data, struct s2n_hot_plan *plan);
    /* Whether a command is of some blocks, where its data name them. NULL: its CDB does. */
    bool (*meets)(const struct s2n_hot_plan *plan, struct s2n_blocks blocks);
    bool names_blocks; /* which it reads or changes; else nothing that it does is of any */
    bool alone;        /* nothing else works on these meanwhile */
    bool portions;     /* what it moves can be moved a portion at a time */
    bool in_place;     /* blocks that are its data may stay where the initiator has them */
    bool changes;      /* it may change blocks without data */
    /* All of them succeeded: what is to be done before GOOD. NULL: nothing. */
    void (*finish)(s2n_task *task);
};

/* Translate; false: step aside. `cdb` holds at least the row's length. */
bool s2n_hot_plan(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                  const struct s2n_hot_data *data, struct s2n_hot_plan *plan);
/* The sense data of a command by whose plan a Compare has failed, or what was read was not as
 * expected, and how long they are; 0: that is the engine's to tell. */
uint16_t s2n_hot_tell_difference(const struct s2n_hot_kind *kind, const struct s2n_hot_plan *plan,
                                 const struct s2n_hot_data *data, bool descriptor, uint8_t *sense);
/* How long an NVMe command may take where `timeout_ms` is usual: some take longer. */
uint32_t s2n_hot_timeout_ms(uint8_t opcode, uint32_t timeout_ms);
/* Whether an NVMe command may change blocks. */
bool s2n_hot_changes_blocks(uint8_t opcode);
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
    if (plan->fuse == S2N_FUSED_FIRST) {
        plan->fuse = S2N_FUSED_SECOND;
        plan->opcode = plan->second;
        plan->cdw12 = plan->second_cdw12;
        return;
    }
    plan->lba += part.blocks;
    plan->blocks -= part.blocks;
}

#endif
