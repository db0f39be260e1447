#include "hot.h"

#include <string.h>

#include "tables_gen.h"

uint64_t s2n_hot_bits(const uint8_t *cdb, struct s2n_bits field)
{
    uint64_t word = 0;
    unsigned bytes = (field.bit + field.width + 7u) / 8;

    for (unsigned i = 0; i < bytes; i++)
        word = word << 8 | cdb[field.byte + i];
    word >>= field.bit;
    return field.width < 64 ? word & ((UINT64_C(1) << field.width) - 1) : word;
}

static bool action_matches(const struct s2n_hot_row *row, const uint8_t *cdb, uint16_t length)
{
    if (!row->action.width)
        return true;
    if (length < row->action.byte + (row->action.bit + row->action.width + 7u) / 8)
        return false;
    return s2n_hot_bits(cdb, row->action) == row->action_value;
}

const struct s2n_hot_row *s2n_hot_find(const uint8_t *cdb, uint16_t length)
{
    unsigned first = length ? s2n_first_row[cdb[0]] : 0;

    if (!first)
        return NULL;
    for (unsigned i = first - 1; i < S2N_ROWS && s2n_rows[i].opcode == cdb[0]; i++)
        if (action_matches(&s2n_rows[i], cdb, length))
            return length >= s2n_rows[i].cdb_length ? &s2n_rows[i] : NULL;
    return NULL;
}

uint32_t s2n_hot_number(const struct s2n_hot_row *row)
{
    return row ? (uint32_t)(row - s2n_rows) : S2N_ROWS;
}

uint64_t s2n_hot_count(const struct s2n_hot_row *row, const uint8_t *cdb)
{
    uint64_t count = s2n_hot_bits(cdb, row->count);

    return count ? count : row->zero_means;
}

uint64_t s2n_hot_announced(const struct s2n_hot_row *row, const uint8_t *cdb, uint32_t block_bytes)
{
    uint64_t selector = row->selector.width ? s2n_hot_bits(cdb, row->selector) : 0;

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
        return selector == 1 ? 4 : selector == 3 ? 8 : 0; /* LONGLIST, FMTDATA */
    default:
        return 0;
    }
}

bool s2n_hot_protects(const struct s2n_hot_row *row, const uint8_t *cdb)
{
    return row->protect.width && s2n_hot_bits(cdb, row->protect);
}

bool s2n_hot_accepted(const struct s2n_hot_row *row, const uint8_t *cdb)
{
    unsigned i = 0;
    uint64_t bits, accepted;

    for (; i + 8u <= row->cdb_length; i += 8) {
        memcpy(&bits, cdb + i, 8);
        memcpy(&accepted, row->accepted + i, 8);
        if (bits & ~accepted)
            return false;
    }
    for (; i < row->cdb_length; i++)
        if (cdb[i] & ~row->accepted[i])
            return false;
    return true;
}

uint64_t s2n_hot_data_bytes(const uint8_t *cdb, uint16_t cdb_length, uint32_t block_bytes,
                            uint8_t *direction)
{
    const struct s2n_hot_row *row = s2n_hot_find(cdb, cdb_length);

    *direction = row ? row->direction : S2N_NONE;
    return row ? s2n_hot_announced(row, cdb, block_bytes) : 0;
}
