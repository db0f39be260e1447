/* VERIFY and WRITE AND VERIFY, where the controller has Verify or Compare. */
#include "hot_sqe.h"

enum { MEDIUM, EVERY_BLOCK, RESERVED, ONE_BLOCK }; /* BYTCHK */

static void plan_range(const struct s2n_hot_row *row, const uint8_t *cdb, uint8_t opcode,
                       struct s2n_hot_plan *plan)
{
    *plan = (struct s2n_hot_plan){.opcode = opcode,
                                  .blocks = (uint32_t)s2n_hot_count(row, cdb),
                                  .lba = s2n_hot_bits(cdb, row->lba),
                                  .phase = plan->phase,
                                  .bytes = plan->bytes};
}

/* Have the controller check what it reads. */
static bool plan_medium(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                        struct s2n_hot_plan *plan)
{
    plan_range(row, cdb, NVME_VERIFY, plan);
    plan->limit = lu->verify_blocks;
    return !plan->blocks || (plan->limit && s2n_hot_is_short(lu, plan));
}

/* Have it compare the blocks with the data. */
static bool plan_compare(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                         struct s2n_hot_plan *plan)
{
    plan_range(row, cdb, NVME_COMPARE, plan);
    return !plan->blocks || lu->compares;
}

static bool plan_verify(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                        const struct s2n_hot_data *data, struct s2n_hot_plan *plan)
{
    uint64_t count = s2n_hot_count(row, cdb), bytchk = s2n_hot_bits(cdb, row->selector);

    if (!s2n_hot_within(lu, s2n_hot_bits(cdb, row->lba), count))
        return false;
    *plan = (struct s2n_hot_plan){
        .bytes = s2n_hot_announced(row, cdb, UINT32_C(1) << lu->block_shift, 0)};
    if (bytchk == MEDIUM)
        return plan_medium(lu, row, cdb, plan);
    if (bytchk == RESERVED || !plan_compare(lu, row, cdb, plan))
        return false;
    if (bytchk == EVERY_BLOCK || count <= 1)
        return true;
    return count << lu->block_shift <= S2N_MAXIMUM_TRANSFER && s2n_hot_repeat(lu, data, plan);
}

const struct s2n_hot_kind s2n_hot_verify = {
    .plan = plan_verify,
    .place = s2n_hot_place_blocks,
    .names_blocks = true,
    .in_place = true,
};

/* ---- WRITE AND VERIFY: past the cache, and then a look at the medium ---- */

static bool plan_second(const s2n_lu_params *lu, const struct s2n_hot_row *row, const uint8_t *cdb,
                        struct s2n_hot_plan *plan)
{
    switch (s2n_hot_bits(cdb, row->selector)) {
    case MEDIUM:
        return plan_medium(lu, row, cdb, plan);
    case EVERY_BLOCK:
        return plan_compare(lu, row, cdb, plan);
    default:
        return false;
    }
}

static bool plan_write_and_verify(const s2n_lu_params *lu, const struct s2n_hot_row *row,
                                  const uint8_t *cdb, const struct s2n_hot_data *data,
                                  struct s2n_hot_plan *plan)
{
    uint64_t count = s2n_hot_count(row, cdb);

    (void)data;
    *plan = (struct s2n_hot_plan){.bytes = count << lu->block_shift};
    /* Nothing is written that cannot be verified then. */
    if (!s2n_hot_within(lu, s2n_hot_bits(cdb, row->lba), count) || !plan_second(lu, row, cdb, plan))
        return false;
    plan_range(row, cdb, NVME_WRITE, plan);
    plan->cdw12 = NVME_FUA;
    return true;
}

static bool verify_what_was_written(const s2n_lu_params *lu, const struct s2n_hot_row *row,
                                    const uint8_t *cdb, struct s2n_hot_plan *plan)
{
    if (plan->phase)
        return false;
    plan->phase = 1;
    return plan_second(lu, row, cdb, plan);
}

const struct s2n_hot_kind s2n_hot_write_and_verify = {
    .plan = plan_write_and_verify,
    .place = s2n_hot_place_blocks,
    .next = verify_what_was_written,
    .names_blocks = true,
    .in_place = true,
    .changes = true,
};
