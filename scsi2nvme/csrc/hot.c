#include "hot.h"

#include "tables_gen.h"

/* Where INFORMATION stands in sense data. */
enum { INFORMATION_OF_FIXED = 3, INFORMATION_OF_DESCRIPTORS = 12 };

const uint8_t *s2n_hot_roomy(const uint8_t *cdb, uint16_t length, uint8_t *room)
{
    if (length >= S2N_LEAST_CDB_ROOM)
        return cdb;
    memset(room, 0, S2N_LEAST_CDB_ROOM);
    if (length)
        memcpy(room, cdb, length);
    return room;
}

inline const struct s2n_hot_row *s2n_hot_find(const uint8_t *cdb, uint16_t length)
{
    unsigned first = length ? s2n_first_row[cdb[0]] : 0;

    if (!first)
        return NULL;
    for (const struct s2n_hot_row *row = &s2n_rows[first - 1];
         row < s2n_rows + S2N_ROWS && row->opcode == cdb[0]; row++)
        if (length >= row->cdb_length &&
            (!row->action.mask || s2n_hot_bits(cdb, row->action) == row->action_value))
            return row;
    return NULL;
}

uint32_t s2n_hot_number(const struct s2n_hot_row *row)
{
    return row ? (uint32_t)(row - s2n_rows) : S2N_ROWS;
}

/* What FORMAT UNIT sends is its header, of which the CDB tells, and what follows that. */
static uint64_t format_bytes(uint64_t selector, uint32_t expected)
{
    uint32_t header = selector == 1 ? 4 : selector == 3 ? 8 : 0; /* LONGLIST, FMTDATA */
    uint32_t most = expected < S2N_FORMAT_BYTES ? expected : S2N_FORMAT_BYTES;

    return header && most > header ? most : header;
}

inline uint64_t s2n_hot_announced(const struct s2n_hot_row *row, const uint8_t *cdb,
                                  uint32_t block_bytes, uint32_t expected)
{
    uint64_t selector = s2n_hot_bits(cdb, row->selector);

    switch (row->transfer) {
    case S2N_TRANSFER_BYTES:
        return s2n_hot_count(row, cdb);
    case S2N_TRANSFER_BLOCKS:
        return s2n_hot_count(row, cdb) * block_bytes;
    case S2N_TRANSFER_TWICE_BLOCKS:
        return 2 * s2n_hot_count(row, cdb) * block_bytes;
    case S2N_TRANSFER_ONE_BLOCK:
        return block_bytes;
    case S2N_TRANSFER_ONE_BLOCK_UNLESS_NDOB:
        return selector ? 0 : block_bytes;
    case S2N_TRANSFER_BYTCHK:
        return selector == 1                              ? s2n_hot_count(row, cdb) * block_bytes
               : selector == 3 && s2n_hot_count(row, cdb) ? block_bytes
                                                          : 0;
    case S2N_TRANSFER_OFFSET_AND_BLOCKS:
        return (selector + s2n_hot_count(row, cdb)) * block_bytes;
    case S2N_TRANSFER_BYTES_OR_512:
        return s2n_hot_count(row, cdb) << (selector ? 9 : 0); /* INC_512 */
    case S2N_TRANSFER_FORMAT_HEADER:
        return format_bytes(selector, expected);
    default:
        return 0;
    }
}

uint16_t s2n_hot_miscompare(bool descriptor, int64_t at, uint8_t *sense)
{
    const struct s2n_hot_sense *from = &s2n_miscompare[descriptor][at >= 0];
    uint64_t wide = htobe64((uint64_t)at);
    uint32_t narrow = htobe32((uint32_t)at);

    memcpy(sense, from->data, from->length);
    if (at >= 0 && descriptor)
        memcpy(sense + INFORMATION_OF_DESCRIPTORS, &wide, sizeof wide);
    else if (at >= 0)
        memcpy(sense + INFORMATION_OF_FIXED, &narrow, sizeof narrow);
    return from->length;
}

bool s2n_hot_protects(const struct s2n_hot_row *row, const uint8_t *cdb)
{
    return s2n_hot_bits(cdb, row->protect);
}

/* Whether 8 bytes set bits that are not accepted. */
static bool set_others(const uint8_t *cdb, const uint8_t *accepted)
{
    uint64_t bits, mask;

    memcpy(&bits, cdb, sizeof bits);
    memcpy(&mask, accepted, sizeof mask);
    return bits & ~mask;
}

inline bool s2n_hot_accepted(const struct s2n_hot_row *row, const uint8_t *cdb)
{
    unsigned at = 0, length = row->cdb_length;

    if (length >= 8) {
        for (; at + 8 < length; at += 8)
            if (set_others(cdb + at, row->accepted + at))
                return false;
        return !set_others(cdb + length - 8, row->accepted + length - 8);
    }
    for (; at < length; at++)
        if (cdb[at] & ~row->accepted[at])
            return false;
    return true;
}

uint64_t s2n_hot_data_bytes(const uint8_t *cdb, uint16_t cdb_length, uint32_t block_bytes,
                            uint8_t *direction)
{
    uint8_t own[S2N_LEAST_CDB_ROOM];
    cdb = s2n_hot_roomy(cdb, cdb_length, own);
    const struct s2n_hot_row *row = s2n_hot_find(cdb, cdb_length);

    *direction = row ? row->direction : S2N_NONE;
    return row ? s2n_hot_announced(row, cdb, block_bytes, 0) : 0;
}
