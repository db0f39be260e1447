/* What the kinds of hot commands share: ranges of blocks as submission queue entries. */
#ifndef S2N_HOT_SQE_H
#define S2N_HOT_SQE_H

#include <string.h>

#include "hot_kind.h"
#include "little_endian.h"
#include "qpair.h"

enum {
    NVME_FLUSH = 0x00,
    NVME_WRITE = 0x01,
    NVME_READ = 0x02,
    NVME_COMPARE = 0x05,
    NVME_WRITE_ZEROES = 0x08,
    NVME_DATASET_MANAGEMENT = 0x09,
    NVME_VERIFY = 0x0c,
};
/* In CDW12. */
enum { NVME_STREAMS = 1 << 20, NVME_DEAC = 1 << 25, NVME_FUA = 1 << 30 };
enum { NVME_DSM_SHIFT = 32, NVME_DSPEC_SHIFT = 32 + 16 }; /* in CDW13, above it */

static inline bool s2n_hot_within(const s2n_lu_params *lu, uint64_t lba, uint64_t count)
{
    return !(lba > lu->blocks || count > lu->blocks - lba);
}

static inline void s2n_hot_begin_sqe(uint8_t *sqe, uint8_t opcode, uint32_t nsid)
{
    memset(sqe, 0, 64);
    sqe[0] = opcode;
    s2n_put_le32(sqe + 4, nsid);
}

/* The least memory that one block is repeated from. */
enum { S2N_HOT_PERIOD = S2N_PAGE };

/* Let all blocks of a plan have the same data, the first block of it; false: step aside. */
bool s2n_hot_repeat(const s2n_lu_params *lu, const struct s2n_hot_data *data,
                    struct s2n_hot_plan *plan);
/* Whether a plan for one range of blocks becomes so few NVMe commands that others need not wait
 * long for the submission queue. */
bool s2n_hot_is_short(const s2n_lu_params *lu, const struct s2n_hot_plan *plan);
/* The next NVMe command of a plan for one range of blocks. */
struct s2n_hot_part s2n_hot_place_blocks(const s2n_lu_params *lu, const struct s2n_hot_plan *plan,
                                         uint8_t *sqe);

#endif
