/* The hot path's view of the command table: what a CDB is, and how much data it announces.
 * Pure: no I/O, no state. */
#ifndef S2N_HOT_H
#define S2N_HOT_H

#include "constants_gen.h"
#include "dataplane.h"

/* `width` bits of a CDB, big-endian; width 0: the CDB has no such field. */
struct s2n_bits {
    uint8_t byte, bit, width;
};

struct s2n_hot_row {
    uint8_t opcode, cdb_length, direction, transfer;
    const struct s2n_hot_kind *hot; /* NULL: the engine's */
    uint16_t zero_means;
    struct s2n_bits action;
    uint16_t action_value;
    struct s2n_bits lba, count, fua, selector, unmap;
    struct s2n_bits protect; /* not zero: protection information is moved as well */
    bool asks;               /* for the logical unit's state */
    bool reads_zones;        /* hot where there are zones as well */
    uint8_t counted;         /* enum s2n_counted */
    uint8_t accepted[32];    /* CDB bits that may be set for the hot path to take it */
};

/* The row that a CDB selects, NULL if there is none. */
const struct s2n_hot_row *s2n_hot_find(const uint8_t *cdb, uint16_t length);
/* The row's place in the table; S2N_ROWS: there is none. */
uint32_t s2n_hot_number(const struct s2n_hot_row *row);
uint64_t s2n_hot_announced(const struct s2n_hot_row *row, const uint8_t *cdb, uint32_t block_bytes);
/* A field's value, and the row's count: of blocks or bytes, after what zero means. */
uint64_t s2n_hot_bits(const uint8_t *cdb, struct s2n_bits field);
uint64_t s2n_hot_count(const struct s2n_hot_row *row, const uint8_t *cdb);
/* Whether the CDB asks for protection information, behind each block. */
bool s2n_hot_protects(const struct s2n_hot_row *row, const uint8_t *cdb);
/* Whether the CDB sets only bits that the hot path understands. */
bool s2n_hot_accepted(const struct s2n_hot_row *row, const uint8_t *cdb);

#endif
