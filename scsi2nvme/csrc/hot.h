/* The hot path's view of the command table: what a CDB is, and how much data it announces.
 * Pure: no I/O, no state. */
#ifndef S2N_HOT_H
#define S2N_HOT_H

#include <endian.h>
#include <string.h>

#include "constants_gen.h"
#include "dataplane.h"

/* A field of a CDB: in the big-endian word of 8 bytes from `at` on. `mask` 0: there is no such
 * field, and it has the value 0. */
struct s2n_bits {
    uint64_t mask;
    uint8_t at, shift;
};

/* A word of a CDB that is shorter goes beyond it: memory that holds one has at least so much, of
 * which only the CDB has a meaning. */
enum { S2N_LEAST_CDB_ROOM = 8 };

struct s2n_hot_row {
    uint8_t opcode, cdb_length, direction, transfer;
    const struct s2n_hot_kind *hot; /* NULL: the engine's */
    uint16_t zero_means;
    struct s2n_bits action;
    uint16_t action_value;
    struct s2n_bits lba, count, fua, selector, unmap;
    struct s2n_bits protect; /* not zero: protection information is moved as well */
    struct s2n_bits group;
    bool asks;            /* for the logical unit's state */
    bool reads_zones;     /* hot where there are zones as well */
    uint8_t counted;      /* enum s2n_counted */
    uint8_t accepted[32]; /* CDB bits that may be set for the hot path to take it */
};

struct s2n_hot_sense {
    uint8_t length, data[20];
};

/* A CDB of anybody's where fields can be read: there, or, if it is shorter, in `room`. */
const uint8_t *s2n_hot_roomy(const uint8_t *cdb, uint16_t length, uint8_t *room);
/* The row that a CDB selects, NULL if there is none. */
const struct s2n_hot_row *s2n_hot_find(const uint8_t *cdb, uint16_t length);
/* The row's place in the table; S2N_ROWS: there is none. */
uint32_t s2n_hot_number(const struct s2n_hot_row *row);
uint64_t s2n_hot_announced(const struct s2n_hot_row *row, const uint8_t *cdb, uint32_t block_bytes,
                           uint32_t expected);

/* A field's value. */
static inline uint64_t s2n_hot_bits(const uint8_t *cdb, struct s2n_bits field)
{
    uint64_t word;

    memcpy(&word, cdb + field.at, sizeof word);
    return be64toh(word) >> field.shift & field.mask;
}

/* The row's count: of blocks or bytes, after what zero means. */
static inline uint64_t s2n_hot_count(const struct s2n_hot_row *row, const uint8_t *cdb)
{
    uint64_t count = s2n_hot_bits(cdb, row->count);

    return count ? count : row->zero_means;
}

/* The sense data of a Compare that failed, and how long they are; `at`: the offset of the first
 * byte that differs, negative where that is not told. */
uint16_t s2n_hot_miscompare(bool descriptor, int64_t at, uint8_t *sense);
/* Whether the CDB asks for protection information, behind each block. */
bool s2n_hot_protects(const struct s2n_hot_row *row, const uint8_t *cdb);
/* Whether the CDB sets only bits that the hot path understands. */
bool s2n_hot_accepted(const struct s2n_hot_row *row, const uint8_t *cdb);

#endif
