/* What LUNs lead to, and what a logical unit makes of its parameters. */
#include <errno.h>

#include "bench.h"
#include "check.h"

enum { POOL = 1 << 20, DEPTH = 4, LUNS = S2N_SLOT_GROUPS * S2N_SLOT_GROUP };

static struct s2n_slot *flat(uint16_t lun)
{
    const uint8_t bytes[8] = {(uint8_t)(0x40 | lun >> 8), (uint8_t)lun};

    return s2n_nexus_slot(bench.nexus[0], bytes);
}

/* Each has a place of its own, which keeps what it leads to. */
static void every_lun_is_its_own(void)
{
    bench_open(DEPTH, POOL);
    CHECK_EQUAL(LUNS, 16384);
    for (unsigned lun = S2N_SLOT_GROUP; lun < LUNS; lun += S2N_SLOT_GROUP)
        CHECK(!flat((uint16_t)lun));
    for (unsigned lun = 0; lun < LUNS; lun++)
        CHECK(!s2n_nexus_map(bench.nexus[0], (uint16_t)lun, bench.lu[lun % 3 == 1]));
    for (unsigned lun = 0; lun < LUNS; lun++) {
        struct s2n_slot *slot = flat((uint16_t)lun);
        CHECK(slot && !slot->set.fe);
        slot->set.fe = true;
        CHECK(slot->lu == bench.lu[lun % 3 == 1]);
        CHECK(slot->aside);
        s2n_nexus_set_aside(bench.nexus[0], (uint16_t)lun, false);
        CHECK(!slot->aside);
    }
    CHECK_EQUAL(s2n_nexus_map(bench.nexus[0], LUNS, bench.lu[0]), -EINVAL);
    CHECK_EQUAL(s2n_nexus_map(bench.nexus[0], UINT16_MAX, bench.lu[0]), -EINVAL);
    s2n_nexus_set_aside(bench.nexus[0], LUNS, true);
    for (unsigned lun = 0; lun < LUNS; lun++)
        CHECK(!flat((uint16_t)lun)->aside);
    bench_close();
}

/* Both addressing methods name the same LUNs; all else is no LUN of one level. */
static void other_addresses_are_nobodys(void)
{
    bench_open(DEPTH, POOL);
    for (unsigned first = 0; first < 256; first++)
        for (unsigned lun = 0; lun < UNITS; lun++) {
            const uint8_t bytes[8] = {(uint8_t)first, (uint8_t)lun};
            bool named = first == 0 || first == 0x40;
            CHECK(s2n_nexus_slot(bench.nexus[0], bytes) == (named ? flat((uint16_t)lun) : NULL));
        }
    for (unsigned at = 2; at < 8; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            uint8_t bytes[8] = {0};
            bytes[at] = (uint8_t)(1 << bit);
            CHECK(!s2n_nexus_slot(bench.nexus[0], bytes));
            bytes[0] = 0x40;
            CHECK(!s2n_nexus_slot(bench.nexus[0], bytes));
        }
    bench_close();
}

static void a_nexus_is_hot_where_all_its_controllers_have_queues(void)
{
    static const uint16_t luns[] = {0, 1, S2N_SLOT_GROUP - 1, S2N_SLOT_GROUP, 100, LUNS - 1};

    bench_open(DEPTH, POOL);
    s2n_controller *cold = s2n_controller_new(bench.plane, CONTROLLER + 1);
    s2n_lu *lu = s2n_lu_new(cold, &bench.params);
    CHECK(s2n_nexus_hot_on(bench.nexus[0], 0));
    for (unsigned i = 0; i < sizeof luns / sizeof *luns; i++) {
        CHECK(!s2n_nexus_map(bench.nexus[0], luns[i], lu));
        CHECK(!s2n_nexus_hot_on(bench.nexus[0], 0));
        CHECK(!s2n_nexus_map(bench.nexus[0], luns[i], bench.lu[0]));
        CHECK(s2n_nexus_hot_on(bench.nexus[0], 0));
        CHECK(!s2n_nexus_map(bench.nexus[0], luns[i], NULL));
    }
    CHECK(s2n_nexus_hot_on(bench.nexus[0], 0));
    s2n_lu_free(lu);
    s2n_controller_free(cold);
    bench_close();
}

/* No NVMe command is of no blocks, or of more than NLB can tell. */
static void limits_are_what_a_command_can_tell(void)
{
    static const struct {
        uint32_t asked, moved, other;
    } limits[] = {{0, 1, 0},
                  {1, 1, 1},
                  {65535, 65535, 65535},
                  {65536, 65536, 65536},
                  {65537, 65536, 65536},
                  {UINT32_MAX, 65536, 65536}};

    bench_open(DEPTH, POOL);
    for (unsigned i = 0; i < sizeof limits / sizeof *limits; i++) {
        s2n_lu_params params = bench.params;
        uint32_t asked = limits[i].asked;
        params.maximum_blocks = params.verify_blocks = params.write_zeroes_blocks = asked;
        params.write_same_blocks = params.boundary_blocks = params.unmap_range_blocks = asked;
        params.atomic_blocks = params.atomic_alignment = asked;
        params.block_shift = 9 + i;
        s2n_lu_update(bench.lu[1], &params);
        const s2n_lu_params *made = &bench.lu[1]->params;
        CHECK_EQUAL(made->maximum_blocks, limits[i].moved);
        CHECK_EQUAL(made->verify_blocks, limits[i].other);
        CHECK_EQUAL(made->write_zeroes_blocks, limits[i].other);
        CHECK_EQUAL(made->atomic_blocks, asked < limits[i].moved ? asked : limits[i].moved);
        CHECK_EQUAL(made->atomic_alignment, asked ? asked : 1);
        CHECK_EQUAL(made->write_same_blocks, asked);
        CHECK_EQUAL(made->boundary_blocks, asked);
        CHECK_EQUAL(made->unmap_range_blocks, asked);
        CHECK_EQUAL(made->block_shift, 9 + i);
        CHECK_EQUAL(bench.lu[1]->block_shift, 9 + i);
    }
    bench_close();
}

static void a_logical_unit_begins_aside(void)
{
    bench_open(DEPTH, POOL);
    s2n_lu *lu = s2n_lu_new(bench.controller, &bench.params);
    CHECK(lu->aside);
    s2n_lu_set_aside(lu, false);
    CHECK(!lu->aside);
    s2n_lu_set_aside(lu, true);
    CHECK(lu->aside);
    s2n_lu_free(lu);
    bench_close();
}

int main(void)
{
    RUN(every_lun_is_its_own);
    RUN(other_addresses_are_nobodys);
    RUN(a_nexus_is_hot_where_all_its_controllers_have_queues);
    RUN(limits_are_what_a_command_can_tell);
    RUN(a_logical_unit_begins_aside);
    return 0;
}
