#include "hot_kind.h"

#include <errno.h>

#include "hot_sqe.h"
#include "task.h"

/* Of NVMe commands that may have much to do without data. */
enum { SLOW_MS = 300000 };
/* Of one task, where their number is not limited by that of its data. */
enum { MOST_COMMANDS = 64 };
/* In a submission queue entry. */
enum { AT_SLBA = 40, AT_CDW12 = 48, AT_ILBRT = 56 };

/* ---- ranges of blocks ---- */

/* How many blocks the next NVMe command with data takes. */
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

/* Spec: NVM Command Set 1.0c 3.2.4, 3.2.5, 3.2.6 (PRINFO, ILBRT). */
static void add_protection(const s2n_lu_params *lu, const struct s2n_hot_plan *plan, uint8_t *sqe)
{
    uint32_t prinfo = plan->opcode == NVME_READ     ? lu->protection_read
                      : plan->opcode == NVME_VERIFY ? lu->protection_verify
                                                    : lu->protection_write;

    s2n_put_le32(sqe + AT_CDW12, s2n_get_le32(sqe + AT_CDW12) | prinfo);
    s2n_put_le32(sqe + AT_ILBRT, lu->protection_tagged ? (uint32_t)plan->lba : UINT32_MAX);
}

static struct s2n_hot_part place_so_many(const s2n_lu_params *lu, const struct s2n_hot_plan *plan,
                                         uint8_t *sqe, uint32_t blocks)
{
    s2n_hot_begin_sqe(sqe, plan->opcode, lu->nsid);
    s2n_put_le64(sqe + AT_SLBA, plan->lba);
    s2n_put_le64(sqe + AT_CDW12, plan->cdw12 | (blocks - 1));
    if (lu->protection_write)
        add_protection(lu, plan, sqe);
    return (struct s2n_hot_part){blocks, plan->limit ? 0 : blocks << lu->block_shift};
}

inline struct s2n_hot_part s2n_hot_place_blocks(const s2n_lu_params *lu,
                                                const struct s2n_hot_plan *plan, uint8_t *sqe)
{
    uint32_t blocks = plan->blocks, limit = plan->limit;

    if (!limit)
        blocks = cut(lu, plan->lba, blocks);
    else if (blocks > limit)
        blocks = limit;
    return place_so_many(lu, plan, sqe, blocks);
}

bool s2n_hot_is_short(const s2n_lu_params *lu, const struct s2n_hot_plan *plan)
{
    struct s2n_hot_plan rest = *plan;
    uint8_t sqe[64];

    for (int i = 0; i < MOST_COMMANDS && rest.blocks; i++)
        s2n_hot_advance(&rest, s2n_hot_place_blocks(lu, &rest, sqe));
    return !rest.blocks;
}

inline uint32_t s2n_hot_timeout_ms(uint8_t opcode, uint32_t timeout_ms)
{
    bool slow =
        opcode == NVME_FLUSH || opcode == NVME_WRITE_ZEROES || opcode == NVME_DATASET_MANAGEMENT;

    return slow && timeout_ms && timeout_ms < SLOW_MS ? SLOW_MS : timeout_ms;
}

bool s2n_hot_changes_blocks(uint8_t opcode)
{
    return opcode != NVME_READ && opcode != NVME_COMPARE && opcode != NVME_VERIFY &&
           opcode != NVME_FLUSH;
}

/* ---- READ and WRITE: blocks move ---- */

static bool plan_transfer(const s2n_lu_params *lu, const struct s2n_hot_row *row,
                          const uint8_t *cdb, uint8_t opcode, struct s2n_hot_plan *plan)
{
    uint64_t lba = s2n_hot_bits(cdb, row->lba), count = s2n_hot_count(row, cdb);

    if (!s2n_hot_within(lu, lba, count))
        return false;
    *plan = (struct s2n_hot_plan){
        .opcode = opcode,
        .blocks = (uint32_t)count,
        .cdw12 = s2n_hot_bits(cdb, row->fua) ? NVME_FUA : 0,
        .lba = lba,
        .bytes = count << lu->block_shift,
    };
    return true;
}

/* CDW13 of what is said of the blocks of a group; 0: a CDB has no field for that. */
static uint64_t hint_of(const uint8_t hints[64], const struct s2n_hot_row *row, const uint8_t *cdb)
{
    uint64_t group = s2n_hot_bits(cdb, row->group);

    return row->group.mask ? (uint64_t)hints[group % 64] << NVME_DSM_SHIFT : 0;
}

static bool plan_read(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                      const struct s2n_hot_data *data, struct s2n_hot_plan *plan)
{
    (void)data;
    if (!plan_transfer(lu, row, cdb, NVME_READ, plan))
        return false;
    if (lu->hinted)
        plan->cdw12 |= hint_of(lu->read_hints, row, cdb);
    return true;
}

/* CDW12 and CDW13 of the stream that a group is written to, 0 if there is none. */
static uint64_t stream_of(const s2n_lu_params *lu, const struct s2n_hot_row *row,
                          const uint8_t *cdb)
{
    uint64_t group = s2n_hot_bits(cdb, row->group);

    return group && group <= lu->grouped_streams ? NVME_STREAMS | group << NVME_DSPEC_SHIFT : 0;
}

static bool plan_write(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                       const struct s2n_hot_data *data, struct s2n_hot_plan *plan)
{
    (void)data;
    if (!plan_transfer(lu, row, cdb, NVME_WRITE, plan))
        return false;
    if (lu->grouped_streams)
        plan->cdw12 |= stream_of(lu, row, cdb);
    if (lu->hinted)
        plan->cdw12 |= hint_of(lu->write_hints, row, cdb);
    return true;
}

static void finish_read(s2n_task *task)
{
    task->data_in_length = task->portion_bytes;
}

const struct s2n_hot_kind s2n_hot_read = {
    .plan = plan_read,
    .place = s2n_hot_place_blocks,
    .names_blocks = true,
    .portions = true,
    .in_place = true,
    .finish = finish_read,
};
const struct s2n_hot_kind s2n_hot_write = {
    .plan = plan_write,
    .place = s2n_hot_place_blocks,
    .names_blocks = true,
    .portions = true,
    .in_place = true,
};

/* ---- WRITE ATOMIC: one Write, which is never cut ---- */

static bool plan_write_atomic(const s2n_lu_params *lu, const struct s2n_hot_row *row,
                              const uint8_t *cdb, const struct s2n_hot_data *data,
                              struct s2n_hot_plan *plan)
{
    (void)data;
    if (!lu->atomic_blocks || !plan_transfer(lu, row, cdb, NVME_WRITE, plan))
        return false;
    return plan->blocks <= lu->atomic_blocks && !(plan->lba % lu->atomic_alignment);
}

static struct s2n_hot_part place_whole(const s2n_lu_params *lu, const struct s2n_hot_plan *plan,
                                       uint8_t *sqe)
{
    return place_so_many(lu, plan, sqe, plan->blocks);
}

const struct s2n_hot_kind s2n_hot_write_atomic = {
    .plan = plan_write_atomic,
    .place = place_whole,
    .names_blocks = true,
    .in_place = true,
};

/* ---- SYNCHRONIZE CACHE: Flush, of the whole namespace ---- */

/* Where nothing is to be flushed, that is done at once. Else IMMED is the engine's, which tells
 * of a failure later. */
static bool plan_flush(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                       const struct s2n_hot_data *data, struct s2n_hot_plan *plan)
{
    (void)data;
    if (!s2n_hot_within(lu, s2n_hot_bits(cdb, row->lba), s2n_hot_count(row, cdb)))
        return false;
    if (lu->volatile_cache && s2n_hot_bits(cdb, row->selector))
        return false;
    *plan = (struct s2n_hot_plan){.opcode = NVME_FLUSH, .blocks = lu->volatile_cache ? 1 : 0};
    return true;
}

static struct s2n_hot_part place_flush(const s2n_lu_params *lu, const struct s2n_hot_plan *plan,
                                       uint8_t *sqe)
{
    s2n_hot_begin_sqe(sqe, plan->opcode, lu->nsid);
    return (struct s2n_hot_part){.blocks = 1};
}

const struct s2n_hot_kind s2n_hot_flush = {.plan = plan_flush, .place = place_flush};

/* ---- what needs no NVMe command ---- */

/* TEST UNIT READY: no flag is set, so it is. */
static bool plan_ready(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                       const struct s2n_hot_data *data, struct s2n_hot_plan *plan)
{
    (void)lu, (void)row, (void)cdb, (void)data;
    *plan = (struct s2n_hot_plan){0};
    return true;
}

const struct s2n_hot_kind s2n_hot_ready = {.plan = plan_ready};

/* ---- all kinds ---- */

/* Where there are zones: what changes none, and reads blocks of one. */
static bool suits_zones(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb)
{
    if (!row->reads_zones || !row->hot->names_blocks)
        return row->reads_zones;
    uint64_t at = s2n_hot_bits(cdb, row->lba) % lu->zone_blocks;
    return at < lu->zone_capacity && s2n_hot_count(row, cdb) <= lu->zone_capacity - at;
}

inline bool s2n_hot_plan(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                         const struct s2n_hot_data *data, struct s2n_hot_plan *plan)
{
    return row->hot && s2n_hot_accepted(row, cdb) &&
           (!lu->zone_blocks || suits_zones(lu, row, cdb)) &&
           row->hot->plan(lu, row, cdb, data, plan);
}

uint16_t s2n_hot_tell_difference(const struct s2n_hot_kind *kind, const struct s2n_hot_plan *plan,
                                 const struct s2n_hot_data *data, bool descriptor, uint8_t *sense)
{
    int64_t at = kind->locate ? kind->difference(plan, data) : S2N_NOWHERE;

    return at == S2N_NOT_READ ? 0 : s2n_hot_miscompare(descriptor, at, sense);
}

/* Translate what is left of a phase; returns how much of `out` is used then, or -EINVAL. */
static int translate_phase(const s2n_lu_params *lu, const struct s2n_hot_row *row,
                           struct s2n_hot_plan *plan, s2n_nvme_op *out, int used, int maximum)
{
    uint32_t at = plan->data_at;

    while (plan->blocks) {
        if (used == maximum)
            return -EINVAL;
        s2n_nvme_op *op = &out[used++];
        struct s2n_hot_part part = row->hot->place(lu, plan, op->sqe);
        op->opcode = plan->opcode;
        op->slba = plan->lba;
        op->blocks = part.blocks;
        op->cdw12 = s2n_get_le32(op->sqe + AT_CDW12) & ~(uint32_t)UINT16_MAX; /* but for NLB */
        op->nsid = lu->nsid;
        op->phase = plan->phase;
        op->data_at = plan->period ? 0 : at;
        op->data_bytes = part.bytes;
        op->period = plan->period;
        if (row->hot->tell)
            row->hot->tell(plan, op->told);
        op->tells = row->hot->tell != NULL;
        at += part.bytes;
        s2n_hot_advance(plan, part);
    }
    return used;
}

int s2n_hot_translate(const s2n_lu_params *lu, const uint8_t *cdb, uint16_t cdb_length,
                      uint8_t *buffer, uint32_t room, s2n_nvme_op *out, int maximum)
{
    uint8_t own[S2N_LEAST_CDB_ROOM];
    cdb = s2n_hot_roomy(cdb, cdb_length, own);
    const struct s2n_hot_row *row = s2n_hot_find(cdb, cdb_length);
    const struct s2n_hot_data data = {buffer, room};
    struct s2n_hot_plan plan;
    int used = 0;

    if (!row || !s2n_hot_plan(lu, row, cdb, &data, &plan) || plan.bytes > S2N_MAXIMUM_TRANSFER)
        return -EINVAL;
    do
        used = translate_phase(lu, row, &plan, out, used, maximum);
    while (used >= 0 && row->hot->next && row->hot->next(lu, row, cdb, &plan));
    return used;
}

/* Find the phase that compares. */
static bool comes_to_compare(const s2n_lu_params *lu, const struct s2n_hot_row *row,
                             const uint8_t *cdb, struct s2n_hot_plan *plan)
{
    const struct s2n_hot_kind *kind = row->hot;

    while (plan->opcode != NVME_COMPARE && !(kind->difference && plan->opcode == NVME_READ))
        if (!kind->next || !kind->next(lu, row, cdb, plan))
            return false;
    return plan->blocks;
}

int s2n_hot_compare(const s2n_lu_params *lu, const uint8_t *cdb, uint16_t cdb_length,
                    uint8_t *buffer, uint32_t room, const uint8_t *medium, bool descriptor,
                    uint8_t *sense)
{
    uint8_t own[S2N_LEAST_CDB_ROOM];
    cdb = s2n_hot_roomy(cdb, cdb_length, own);
    const struct s2n_hot_row *row = s2n_hot_find(cdb, cdb_length);
    const struct s2n_hot_data data = {buffer, room};
    struct s2n_hot_plan plan;

    if (!row || !s2n_hot_plan(lu, row, cdb, &data, &plan) || plan.bytes > S2N_MAXIMUM_TRANSFER ||
        !comes_to_compare(lu, row, cdb, &plan))
        return -EINVAL;
    if (row->hot->locate) {
        if (plan.opcode == NVME_COMPARE && !row->hot->locate(lu, row, cdb, &data, &plan))
            return 0;
        memcpy(buffer + plan.data_at, medium, plan.bytes / 2);
    }
    return s2n_hot_tell_difference(row->hot, &plan, &data, descriptor, sense);
}
