/* The hot path's view of the command table, and its translation. Pure: no I/O,
 * no state. Its reference is the Python translation of the same rows. */
#ifndef S2N_HOT_H
#define S2N_HOT_H

#include "dataplane.h"

enum s2n_direction { S2N_NONE = 0, S2N_IN = 1, S2N_OUT = 2 };

/* `width` bits of a CDB, big-endian; width 0: the CDB has no such field. */
struct s2n_bits {
    uint8_t byte, bit, width;
};

/* command.Transfer and command.Hot. */
enum {
    S2N_TRANSFER_NONE,
    S2N_TRANSFER_BYTES,
    S2N_TRANSFER_BLOCKS,
    S2N_TRANSFER_TWICE_BLOCKS,
    S2N_TRANSFER_ONE_BLOCK,
    S2N_TRANSFER_ONE_BLOCK_UNLESS_NDOB,
    S2N_TRANSFER_BYTCHK,
    S2N_TRANSFER_FORMAT_HEADER,
};
enum { S2N_HOT_NO, S2N_HOT_READ, S2N_HOT_WRITE, S2N_HOT_FLUSH };

struct s2n_hot_row {
    uint8_t opcode, cdb_length, direction, transfer, hot;
    uint16_t zero_means;
    struct s2n_bits action;
    uint16_t action_value;
    struct s2n_bits lba, count, fua, selector;
    uint8_t accepted[32]; /* CDB bits that may be set for the hot path to take it */
};

/* What a hot command becomes: one range, to be cut by s2n_hot_cut. */
struct s2n_hot_plan {
    uint8_t opcode; /* NVMe's */
    uint64_t lba;
    uint32_t blocks; /* 0: nothing to do, GOOD */
    uint32_t cdw12;
};

/* The row that a CDB selects, NULL if there is none. */
const struct s2n_hot_row *s2n_hot_find(const uint8_t *cdb, uint16_t length);
uint64_t s2n_hot_announced(const struct s2n_hot_row *row, const uint8_t *cdb, uint32_t block_bytes);
/* Translate; false: step aside. `cdb` holds at least the row's length. */
bool s2n_hot_plan(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                  struct s2n_hot_plan *plan);
/* How many blocks the next NVMe command takes. */
uint32_t s2n_hot_cut(const s2n_lu_params *lu, uint64_t lba, uint32_t blocks);
/* Fill a 64-byte submission queue entry, all but CID and data pointer. */
void s2n_hot_sqe(uint8_t *sqe, uint8_t opcode, uint32_t nsid, uint64_t lba, uint32_t blocks,
                 uint32_t cdw12);

#endif
