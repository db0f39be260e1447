/* UNMAP and WRITE SAME: blocks are discarded, or all become one. PRE-FETCH: they will be read. */
#include "hot_provisioning.h"

#include "hot_sqe.h"

enum {
    AT_DESCRIPTOR_BYTES = 2, /* where UNMAP's parameter list tells of its descriptors */
    AT_NUMBER = 8,
    MOST_DESCRIPTORS = 256, /* as Block Limits tells */
    RANGE = 16, /* bytes of one of Dataset Management's: attributes, number of blocks, LBA */
    AT_NLB = 4,
    AT_SLBA = 8,
    AT_CDW10 = 40,
    INTEGRAL_FOR_READ = 1 << 0, /* in CDW11 */
    DEALLOCATE = 1 << 2,
};

static uint64_t get_be(const uint8_t *in, int bytes)
{
    uint64_t value = 0;

    for (int i = 0; i < bytes; i++)
        value = value << 8 | in[i];
    return value;
}

uint32_t s2n_unmap_descriptors(const uint8_t *list, uint32_t length)
{
    uint32_t stated = (uint32_t)get_be(list + AT_DESCRIPTOR_BYTES, 2);
    uint32_t present = length - S2N_UNMAP_HEADER;

    return (stated < present ? stated : present) / S2N_UNMAP_DESCRIPTOR;
}

uint32_t s2n_unmap_blocks(const uint8_t *descriptor)
{
    return (uint32_t)get_be(descriptor + AT_NUMBER, 4);
}

/* ---- UNMAP: one Dataset Management, whose ranges are made behind the parameter list ---- */

/* What takes several is the engine's: of those that fail it tells of the first, and here only what
 * names blocks has an order. */

static void put_range(uint8_t *at, uint64_t lba, uint32_t blocks)
{
    s2n_put_le32(at, 0);
    s2n_put_le32(at + AT_NLB, blocks);
    s2n_put_le64(at + AT_SLBA, lba);
}

static uint32_t ranges_at(uint32_t length)
{
    return (length + RANGE - 1) / RANGE * RANGE;
}

/* Append the ranges of one descriptor to those of the plan; false: there is no room. */
static bool add_ranges(const s2n_lu_params *lu, const struct s2n_hot_data *data,
                       struct s2n_hot_plan *plan, uint64_t lba, uint32_t blocks)
{
    while (blocks) {
        uint32_t count = blocks < lu->unmap_range_blocks ? blocks : lu->unmap_range_blocks;
        uint32_t at = plan->data_at + plan->blocks * RANGE;
        if (plan->blocks == lu->unmap_ranges || at + RANGE > data->room)
            return false;
        put_range(data->at + at, lba, count);
        plan->blocks++;
        lba += count;
        blocks -= count;
    }
    return true;
}

/* A descriptor that is cut off, by either length, is ignored. */
static bool plan_ranges(const s2n_lu_params *lu, const struct s2n_hot_data *data, uint32_t length,
                        struct s2n_hot_plan *plan)
{
    uint32_t count = s2n_unmap_descriptors(data->at, length);
    uint64_t total = 0;

    if (count > MOST_DESCRIPTORS)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *descriptor = data->at + S2N_UNMAP_HEADER + i * S2N_UNMAP_DESCRIPTOR;
        uint64_t lba = get_be(descriptor, 8);
        uint32_t blocks = s2n_unmap_blocks(descriptor);
        total += blocks;
        if (!s2n_hot_within(lu, lba, blocks) || total > lu->unmap_blocks ||
            !add_ranges(lu, data, plan, lba, blocks))
            return false;
    }
    return true;
}

static bool plan_unmap(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                       const struct s2n_hot_data *data, struct s2n_hot_plan *plan)
{
    uint32_t length = (uint32_t)s2n_hot_count(row, cdb);

    *plan = (struct s2n_hot_plan){
        .opcode = NVME_DATASET_MANAGEMENT, .bytes = length, .data_at = ranges_at(length)};
    if (!lu->unmap_ranges || !lu->unmap_range_blocks)
        return false;
    if (!length)
        return true;
    if (!data->at || length < S2N_UNMAP_HEADER || length > data->room)
        return false;
    plan->ranges = data->at + plan->data_at;
    if (!plan_ranges(lu, data, length, plan))
        return false;
    plan->range_count = plan->blocks;
    return true;
}

static bool ranges_meet(const struct s2n_hot_plan *plan, struct s2n_blocks blocks)
{
    for (uint32_t i = 0; i < plan->range_count; i++) {
        const uint8_t *range = plan->ranges + i * RANGE;
        uint64_t first = s2n_get_le64(range + AT_SLBA);
        struct s2n_blocks own = {first, first + s2n_get_le32(range + AT_NLB)};
        if (s2n_blocks_meet(own, blocks))
            return true;
    }
    return false;
}

static struct s2n_hot_part place_ranges(const s2n_lu_params *lu, const struct s2n_hot_plan *plan,
                                        uint8_t *sqe)
{
    s2n_hot_begin_sqe(sqe, plan->opcode, lu->nsid);
    s2n_put_le32(sqe + AT_CDW10, plan->blocks - 1);
    s2n_put_le32(sqe + AT_CDW10 + 4, DEALLOCATE);
    return (struct s2n_hot_part){plan->blocks, plan->blocks * RANGE};
}

const struct s2n_hot_kind s2n_hot_unmap = {
    .plan = plan_unmap,
    .place = place_ranges,
    .meets = ranges_meet,
    .names_blocks = true,
    .changes = true,
};

/* ---- WRITE SAME: Write Zeroes, or Writes that repeat one block ---- */

static bool is_zero(const uint8_t *block, uint32_t bytes)
{
    return !block[0] && !memcmp(block, block + 1, bytes - 1);
}

bool s2n_hot_repeat(const s2n_lu_params *lu, const struct s2n_hot_data *data,
                    struct s2n_hot_plan *plan)
{
    uint32_t bytes = UINT32_C(1) << lu->block_shift;

    if (!data->at || bytes > data->room)
        return false;
    plan->period = bytes < S2N_HOT_PERIOD ? S2N_HOT_PERIOD : bytes;
    if (plan->period > data->room)
        return false;
    for (uint32_t at = bytes; at < plan->period; at += bytes)
        memcpy(data->at + at, data->at, bytes);
    return s2n_hot_is_short(lu, plan);
}

static bool plan_write_same(const s2n_lu_params *lu, const struct s2n_hot_row *row,
                            const uint8_t *cdb, const struct s2n_hot_data *data,
                            struct s2n_hot_plan *plan)
{
    uint64_t lba = s2n_hot_bits(cdb, row->lba), count = s2n_hot_count(row, cdb);
    uint32_t bytes = UINT32_C(1) << lu->block_shift;
    bool unmap = s2n_hot_bits(cdb, row->unmap);
    bool ndob = s2n_hot_bits(cdb, row->selector);

    /* A count of zero may mean all the rest. */
    if (!count || count > lu->write_same_blocks || !s2n_hot_within(lu, lba, count) ||
        (unmap && !lu->unmap_ranges) || (!ndob && (!data->at || bytes > data->room)))
        return false;
    *plan = (struct s2n_hot_plan){
        .opcode = NVME_WRITE, .blocks = (uint32_t)count, .lba = lba, .bytes = ndob ? 0 : bytes};
    if (!lu->write_zeroes_blocks || (!ndob && !is_zero(data->at, bytes)))
        return !ndob && s2n_hot_repeat(lu, data, plan);
    plan->opcode = NVME_WRITE_ZEROES;
    plan->cdw12 = unmap && lu->write_zeroes_deallocates ? NVME_DEAC : 0;
    plan->limit = lu->write_zeroes_blocks;
    return s2n_hot_is_short(lu, plan);
}

const struct s2n_hot_kind s2n_hot_write_same = {
    .plan = plan_write_same,
    .place = s2n_hot_place_blocks,
    .names_blocks = true,
    .changes = true,
};

/* ---- PRE-FETCH: one Dataset Management, which tells what will be read ---- */

/* A row that counts no blocks names none. IMMED is the engine's: the status does not wait. */
static bool plan_pre_fetch(const s2n_lu_params *lu, const struct s2n_hot_row *row,
                           const uint8_t *cdb, const struct s2n_hot_data *data,
                           struct s2n_hot_plan *plan)
{
    uint64_t lba = s2n_hot_bits(cdb, row->lba), count = s2n_hot_count(row, cdb);

    (void)data;
    *plan = (struct s2n_hot_plan){0};
    if (!s2n_hot_within(lu, lba, count))
        return false;
    uint64_t blocks = count ? count : lu->blocks - lba;
    if (!lu->hint_blocks || !row->count.mask || !blocks)
        return true;
    if (s2n_hot_bits(cdb, row->selector))
        return false;
    plan->opcode = NVME_DATASET_MANAGEMENT;
    plan->blocks = 1;
    plan->lba = lba;
    plan->hinted = blocks < lu->hint_blocks ? (uint32_t)blocks : lu->hint_blocks;
    return true;
}

static struct s2n_hot_part place_hint(const s2n_lu_params *lu, const struct s2n_hot_plan *plan,
                                      uint8_t *sqe)
{
    s2n_hot_begin_sqe(sqe, plan->opcode, lu->nsid);
    s2n_put_le32(sqe + AT_CDW10 + 4, INTEGRAL_FOR_READ);
    return (struct s2n_hot_part){1, RANGE};
}

static void tell_hint(const struct s2n_hot_plan *plan, uint8_t *room)
{
    put_range(room, plan->lba, plan->hinted);
}

_Static_assert((int)RANGE <= (int)S2N_HOT_TOLD, "a hint has one range");

const struct s2n_hot_kind s2n_hot_pre_fetch = {
    .plan = plan_pre_fetch, .place = place_hint, .tell = tell_hint};
