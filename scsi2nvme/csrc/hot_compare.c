/* COMPARE AND WRITE: a fused pair, or a Read whose data are compared here, and then a Write. */
#include "hot_sqe.h"

enum { AT_FUSE = 1, AT_SLBA = 40, AT_NLB = 48 };
enum { STRIDE = 64 }; /* of blocks, which are found unequal */

static uint32_t cdw12_of(const struct s2n_hot_row *row, const uint8_t *cdb)
{
    return s2n_hot_bits(cdb, row->fua) ? NVME_FUA : 0;
}

/* What is read goes behind the data, if there is room. */
static bool read_behind(const struct s2n_hot_data *data, struct s2n_hot_plan *plan)
{
    plan->opcode = NVME_READ;
    plan->data_at = (uint32_t)plan->bytes;
    return data->at && plan->bytes + plan->bytes / 2 <= data->room;
}

/* The data-out are what is expected, and behind that what is to be written. */
static bool plan_compare_and_write(const s2n_lu_params *lu, const struct s2n_hot_row *row,
                                   const uint8_t *cdb, const struct s2n_hot_data *data,
                                   struct s2n_hot_plan *plan)
{
    uint64_t lba = s2n_hot_bits(cdb, row->lba), count = s2n_hot_count(row, cdb);
    uint64_t half = count << lu->block_shift;

    if (!s2n_hot_within(lu, lba, count) || 2 * half > S2N_MAXIMUM_TRANSFER)
        return false;
    *plan = (struct s2n_hot_plan){.blocks = (uint32_t)count, .lba = lba, .bytes = 2 * half};
    if (count && count <= lu->fused_blocks) {
        plan->opcode = NVME_COMPARE;
        plan->fuse = S2N_FUSED_FIRST;
        plan->second = NVME_WRITE;
        plan->second_cdw12 = cdw12_of(row, cdb);
        return true;
    }
    return read_behind(data, plan) || !count;
}

/* Half of a pair is never cut. */
static struct s2n_hot_part place_half(const s2n_lu_params *lu, const struct s2n_hot_plan *plan,
                                      uint8_t *sqe)
{
    s2n_hot_begin_sqe(sqe, plan->opcode, lu->nsid);
    sqe[AT_FUSE] = plan->fuse;
    s2n_put_le64(sqe + AT_SLBA, plan->lba);
    s2n_put_le32(sqe + AT_NLB, (uint32_t)plan->cdw12 | (plan->blocks - 1));
    return (struct s2n_hot_part){plan->blocks, plan->blocks << lu->block_shift};
}

static struct s2n_hot_part place(const s2n_lu_params *lu, const struct s2n_hot_plan *plan,
                                 uint8_t *sqe)
{
    return (plan->fuse ? place_half : s2n_hot_place_blocks)(lu, plan, sqe);
}

static bool has_read(const struct s2n_hot_plan *plan)
{
    return plan->bytes && plan->opcode == NVME_READ;
}

/* A controller may write what it was to read at any time: what differed may not do so any more. */
static int64_t difference(const struct s2n_hot_plan *plan, const struct s2n_hot_data *data)
{
    const uint8_t *expected = data->at, *found = data->at + plan->bytes;
    uint64_t length = plan->bytes / 2, at = 0;

    if (!has_read(plan))
        return S2N_NOT_READ;
    if (!memcmp(expected, found, length))
        return S2N_NOWHERE;
    while (at < length && !memcmp(expected + at, found + at, STRIDE))
        at += STRIDE;
    while (at < length && expected[at] == found[at])
        at++;
    return at < length ? (int64_t)at : S2N_NOWHERE;
}

/* A pair tells of a difference, not where it is. */
static bool locate(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                   const struct s2n_hot_data *data, struct s2n_hot_plan *plan)
{
    (void)lu;
    *plan = (struct s2n_hot_plan){.blocks = (uint32_t)s2n_hot_count(row, cdb),
                                  .lba = s2n_hot_bits(cdb, row->lba),
                                  .bytes = plan->bytes,
                                  .locates = true};
    return read_behind(data, plan);
}

static bool write_then(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                       struct s2n_hot_plan *plan)
{
    (void)lu;
    if (!has_read(plan))
        return false;
    *plan = (struct s2n_hot_plan){.opcode = NVME_WRITE,
                                  .phase = 1,
                                  .blocks = (uint32_t)s2n_hot_count(row, cdb),
                                  .cdw12 = cdw12_of(row, cdb),
                                  .lba = s2n_hot_bits(cdb, row->lba),
                                  .bytes = plan->bytes,
                                  .data_at = (uint32_t)(plan->bytes / 2)};
    return true;
}

const struct s2n_hot_kind s2n_hot_compare_and_write = {
    .plan = plan_compare_and_write,
    .place = place,
    .next = write_then,
    .difference = difference,
    .locate = locate,
    .names_blocks = true,
    .alone = true,
    .changes = true,
};
