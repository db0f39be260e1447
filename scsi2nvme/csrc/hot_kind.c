#include "hot_kind.h"

#include <errno.h>
#include <string.h>

#include "task.h"

enum { NVME_FLUSH = 0x00, NVME_WRITE = 0x01, NVME_READ = 0x02, NVME_FUA = 1 << 30 };

static bool within_capacity(const s2n_lu_params *lu, uint64_t lba, uint64_t count)
{
    return !(lba > lu->blocks || count > lu->blocks - lba);
}

static void put_le32(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> 8 * i);
}

static void begin_sqe(uint8_t *sqe, uint8_t opcode, uint32_t nsid)
{
    memset(sqe, 0, 64);
    sqe[0] = opcode;
    put_le32(sqe + 4, nsid);
}

/* ---- READ and WRITE: blocks move ---- */

static bool plan_transfer(const s2n_lu_params *lu, const struct s2n_hot_row *row,
                          const uint8_t *cdb, uint8_t opcode, struct s2n_hot_plan *plan)
{
    uint64_t lba = s2n_hot_bits(cdb, row->lba), count = s2n_hot_count(row, cdb);

    if (!within_capacity(lu, lba, count))
        return false;
    plan->opcode = opcode;
    plan->blocks = (uint32_t)count;
    plan->cdw12 = row->fua.width && s2n_hot_bits(cdb, row->fua) ? NVME_FUA : 0;
    plan->lba = lba;
    plan->bytes = count << lu->block_shift;
    return true;
}

static bool plan_read(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                      struct s2n_hot_plan *plan)
{
    return plan_transfer(lu, row, cdb, NVME_READ, plan);
}

static bool plan_write(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                       struct s2n_hot_plan *plan)
{
    return plan_transfer(lu, row, cdb, NVME_WRITE, plan);
}

/* How many blocks the next NVMe command takes. */
static uint32_t cut(const s2n_lu_params *lu, uint64_t lba, uint32_t blocks)
{
    uint32_t count = blocks < lu->maximum_blocks ? blocks : lu->maximum_blocks;

    if (lu->boundary_blocks) {
        uint32_t room = lu->boundary_blocks - (uint32_t)(lba % lu->boundary_blocks);
        if (count > room)
            count = room;
    }
    return count;
}

static struct s2n_hot_part place_transfer(const s2n_lu_params *lu, const struct s2n_hot_plan *plan,
                                          uint8_t *sqe)
{
    uint64_t lba = plan->lba;
    uint32_t blocks = cut(lu, lba, plan->blocks);

    begin_sqe(sqe, plan->opcode, lu->nsid);
    put_le32(sqe + 40, (uint32_t)lba);
    put_le32(sqe + 44, (uint32_t)(lba >> 32));
    put_le32(sqe + 48, plan->cdw12 | (blocks - 1));
    return (struct s2n_hot_part){blocks, blocks << lu->block_shift};
}

static void finish_read(s2n_task *task)
{
    task->data_in_length = task->portion_bytes;
}

const struct s2n_hot_kind s2n_hot_read = {
    .plan = plan_read,
    .place = place_transfer,
    .names_blocks = true,
    .portions = true,
    .finish = finish_read,
};
const struct s2n_hot_kind s2n_hot_write = {
    .plan = plan_write,
    .place = place_transfer,
    .names_blocks = true,
    .portions = true,
};

/* ---- SYNCHRONIZE CACHE: Flush, of the whole namespace ---- */

static bool plan_flush(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                       struct s2n_hot_plan *plan)
{
    if (!within_capacity(lu, s2n_hot_bits(cdb, row->lba), s2n_hot_count(row, cdb)))
        return false;
    *plan = (struct s2n_hot_plan){.opcode = NVME_FLUSH, .blocks = lu->volatile_cache ? 1 : 0};
    return true;
}

static struct s2n_hot_part place_flush(const s2n_lu_params *lu, const struct s2n_hot_plan *plan,
                                       uint8_t *sqe)
{
    begin_sqe(sqe, plan->opcode, lu->nsid);
    return (struct s2n_hot_part){.blocks = 1};
}

const struct s2n_hot_kind s2n_hot_flush = {.plan = plan_flush, .place = place_flush};

/* ---- all kinds ---- */

bool s2n_hot_plan(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                  struct s2n_hot_plan *plan)
{
    return row->hot && s2n_hot_accepted(row, cdb) && row->hot->plan(lu, row, cdb, plan);
}

int s2n_hot_translate(const s2n_lu_params *lu, const uint8_t *cdb, uint16_t cdb_length,
                      s2n_nvme_op *out, int maximum)
{
    const struct s2n_hot_row *row = s2n_hot_find(cdb, cdb_length);
    struct s2n_hot_plan plan;
    int used = 0;

    if (!row || !s2n_hot_plan(lu, row, cdb, &plan) || plan.bytes > S2N_MAXIMUM_TRANSFER)
        return -EINVAL;
    while (plan.blocks) {
        if (used == maximum)
            return -EINVAL;
        s2n_nvme_op *op = &out[used++];
        struct s2n_hot_part part = row->hot->place(lu, &plan, op->sqe);
        op->opcode = plan.opcode;
        op->slba = plan.lba;
        op->blocks = part.blocks;
        op->cdw12 = plan.cdw12;
        op->nsid = lu->nsid;
        s2n_hot_advance(&plan, part);
    }
    return used;
}
