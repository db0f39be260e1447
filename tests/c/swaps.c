#include "swaps.h"

#include <string.h>

#include "check.h"

uint8_t data[512 * BLOCK];

void start_swaps(uint16_t depth, uint32_t fused)
{
    bench_open_able(depth, POOL);
    bench.params.fused_blocks = fused;
    s2n_lu_update(bench.lu[0], &bench.params);
    for (uint32_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i % 251 + 1);
}

void swap(struct op *one, uint8_t lba, uint8_t blocks, uint8_t flags)
{
    const uint8_t cdb[16] = {0x89, flags, [9] = lba, [13] = blocks};

    begin_with_data(one, cdb, sizeof cdb, data);
}

void complete(uint32_t number, uint16_t status)
{
    device_complete(&bench.device, number, status);
    rounds();
}

void expect_command(uint32_t number, uint8_t opcode, uint8_t fuse, uint64_t lba, uint32_t blocks)
{
    CHECK(number < bench.device.seen);
    CHECK_EQUAL(bench.device.log[number].opcode, opcode);
    CHECK_EQUAL(bench.device.log[number].fuse, fuse);
    CHECK_EQUAL(bench.device.log[number].slba, lba);
    CHECK_EQUAL(bench.device.log[number].blocks, blocks);
}

uint8_t *memory(uint32_t number)
{
    return bench.device.pool_memory.vaddr + bench.device.log[number].prp1 -
           bench.device.pool_memory.iova;
}

void answer_cold(struct op *one)
{
    CHECK(next_event(S2N_EVENT_TASK).task == one->task);
    s2n_task_end(one->task, 0, NULL, 0, NULL, 0);
    CHECK(one->completed);
    *one = (struct op){0};
}

s2n_task *expect_failure(const struct op *one, uint8_t opcode, uint16_t status)
{
    s2n_event event = next_event(S2N_EVENT_TASK_FAILED);

    CHECK(event.task == one->task && event.holder);
    CHECK_EQUAL(event.nvme, opcode);
    CHECK_EQUAL(event.status, status);
    return event.holder;
}

void end_failed(struct op *one, s2n_task *holder)
{
    s2n_task_end(one->task, CHECK_CONDITION, NULL, 0, NULL, 0);
    CHECK_EQUAL(one->status, CHECK_CONDITION);
    s2n_holder_release(holder);
}

void expect_miscompare(const struct op *one, bool descriptor, int64_t at)
{
    const uint8_t low = (uint8_t)at, high = (uint8_t)(at >> 8);
    const uint8_t fixed[18] = {at < 0 ? 0x70 : 0xf0, [2] = 14, [7] = 10, [12] = 0x1d};
    const uint8_t descriptors[20] = {0x72, 14, 0x1d, [7] = at < 0 ? 0 : 12, 0, 10, 0x80};
    const uint8_t *expected = descriptor ? descriptors : fixed;
    uint32_t length = !descriptor ? sizeof fixed : at < 0 ? 8 : sizeof descriptors;
    uint8_t sense[20];

    CHECK(one->completed);
    CHECK_EQUAL(one->status, CHECK_CONDITION);
    CHECK_EQUAL(one->sense, length);
    memcpy(sense, expected, length);
    if (at >= 0) {
        sense[descriptor ? 18 : 5] = high;
        sense[descriptor ? 19 : 6] = low;
    }
    CHECK(!memcmp(one->sense_data, sense, length));
}
