#include "hot.h"

#include <errno.h>
#include <string.h>

#include "tables_gen.h"

enum { NVME_FLUSH = 0x00, NVME_WRITE = 0x01, NVME_READ = 0x02, NVME_FUA = 1 << 30 };

static uint64_t bits_of(const uint8_t *cdb, struct s2n_bits field)
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
    return bits_of(cdb, row->action) == row->action_value;
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

static uint64_t count_of(const struct s2n_hot_row *row, const uint8_t *cdb)
{
    uint64_t count = bits_of(cdb, row->count);

    return count ? count : row->zero_means;
}

uint64_t s2n_hot_announced(const struct s2n_hot_row *row, const uint8_t *cdb, uint32_t block_bytes)
{
    uint64_t selector = row->selector.width ? bits_of(cdb, row->selector) : 0;

    switch (row->transfer) {
    case S2N_TRANSFER_BYTES:
        return count_of(row, cdb);
    case S2N_TRANSFER_BLOCKS:
        return count_of(row, cdb) * block_bytes;
    case S2N_TRANSFER_TWICE_BLOCKS:
        return 2 * count_of(row, cdb) * block_bytes;
    case S2N_TRANSFER_ONE_BLOCK:
        return block_bytes;
    case S2N_TRANSFER_ONE_BLOCK_UNLESS_NDOB:
        return selector ? 0 : block_bytes;
    case S2N_TRANSFER_BYTCHK:
        return selector == 1                         ? count_of(row, cdb) * block_bytes
               : selector == 3 && count_of(row, cdb) ? block_bytes
                                                     : 0;
    case S2N_TRANSFER_FORMAT_HEADER:
        return selector == 1 ? 4 : selector == 3 ? 8 : 0; /* LONGLIST, FMTDATA */
    default:
        return 0;
    }
}

/* Whether the CDB sets only bits that the hot path understands. */
static bool accepted(const struct s2n_hot_row *row, const uint8_t *cdb)
{
    for (unsigned i = 1; i < row->cdb_length; i++)
        if (cdb[i] & ~row->accepted[i])
            return false;
    return true;
}

bool s2n_hot_plan(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                  struct s2n_hot_plan *plan)
{
    if (row->hot == S2N_HOT_NO || !accepted(row, cdb))
        return false;
    uint64_t lba = bits_of(cdb, row->lba), count = count_of(row, cdb);
    if (lba > lu->blocks || count > lu->blocks - lba)
        return false;
    plan->lba = lba;
    plan->cdw12 = 0;
    if (row->hot == S2N_HOT_FLUSH) {
        plan->opcode = NVME_FLUSH;
        plan->lba = 0;
        plan->blocks = lu->volatile_cache ? 1 : 0;
        return true;
    }
    if (count << lu->block_shift > S2N_MAXIMUM_TRANSFER)
        return false;
    plan->opcode = row->hot == S2N_HOT_READ ? NVME_READ : NVME_WRITE;
    plan->blocks = (uint32_t)count;
    if (row->fua.width && bits_of(cdb, row->fua))
        plan->cdw12 = NVME_FUA;
    return true;
}

uint32_t s2n_hot_cut(const s2n_lu_params *lu, uint64_t lba, uint32_t blocks)
{
    uint32_t count = blocks < lu->maximum_blocks ? blocks : lu->maximum_blocks;

    if (lu->boundary_blocks) {
        uint32_t room = lu->boundary_blocks - (uint32_t)(lba % lu->boundary_blocks);
        if (count > room)
            count = room;
    }
    return count;
}

static void put_le32(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> 8 * i);
}

void s2n_hot_sqe(uint8_t *sqe, uint8_t opcode, uint32_t nsid, uint64_t lba, uint32_t blocks,
                 uint32_t cdw12)
{
    memset(sqe, 0, 64);
    sqe[0] = opcode;
    put_le32(sqe + 4, nsid);
    if (opcode == NVME_FLUSH)
        return;
    put_le32(sqe + 40, (uint32_t)lba);
    put_le32(sqe + 44, (uint32_t)(lba >> 32));
    put_le32(sqe + 48, cdw12 | (blocks - 1));
}

int s2n_hot_translate(const s2n_lu_params *lu, const uint8_t *cdb, uint16_t cdb_length,
                      s2n_nvme_op *out, int maximum)
{
    const struct s2n_hot_row *row = s2n_hot_find(cdb, cdb_length);
    struct s2n_hot_plan plan;
    int used = 0;

    if (!row || !s2n_hot_plan(lu, row, cdb, &plan))
        return -EINVAL;
    while (plan.blocks) {
        uint32_t count = plan.opcode == NVME_FLUSH ? 1 : s2n_hot_cut(lu, plan.lba, plan.blocks);
        if (used == maximum)
            return -EINVAL;
        out[used] = (s2n_nvme_op){.opcode = plan.opcode,
                                  .slba = plan.lba,
                                  .blocks = count,
                                  .cdw12 = plan.cdw12,
                                  .nsid = lu->nsid};
        s2n_hot_sqe(out[used++].sqe, plan.opcode, lu->nsid, plan.lba, count, plan.cdw12);
        plan.lba += count;
        plan.blocks -= count;
    }
    return used;
}

uint64_t s2n_hot_data_bytes(const uint8_t *cdb, uint16_t cdb_length, uint32_t block_bytes,
                            uint8_t *direction)
{
    const struct s2n_hot_row *row = s2n_hot_find(cdb, cdb_length);

    *direction = row ? row->direction : S2N_NONE;
    return row ? s2n_hot_announced(row, cdb, block_bytes) : 0;
}
