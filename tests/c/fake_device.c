#include "fake_device.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fake.h"

/* It is no longer held, if it was. */
static void let_go(const s2n_task *task)
{
    for (uint32_t i = 0; i < fake.executed_count; i++)
        if (fake.executed[i] == task)
            fake.executed[i] = fake.executed[--fake.executed_count];
}

void s2n_task_finish(s2n_task *task)
{
    fake.finished++;
    task->state = S2N_DONE;
    task->front_end->complete(task);
}

void fake_end(s2n_task *task, uint8_t status, uint32_t sense_length, const uint8_t *data,
              uint32_t data_length)
{
    let_go(task);
    task->status = status;
    task->sense_length = (uint16_t)sense_length;
    memset(task->sense, 0x5e, sense_length);
    if (data_length) {
        CHECK(task->heap = malloc(data_length));
        memcpy(task->heap, data, data_length);
    }
    task->data_in_length = data_length;
    s2n_task_finish(task);
}

static uint64_t lba_of(const s2n_task *task)
{
    const uint8_t *cdb = task->cdb;

    return (uint64_t)cdb[2] << 24 | (uint64_t)cdb[3] << 16 | (uint64_t)cdb[4] << 8 | cdb[5];
}

/* Move data between the disk and where the device finds them, page by page. */
static void transfer_in_place(const s2n_task *task, uint8_t *disk, bool write)
{
    const struct s2n_place *place = task->place;
    uint64_t left = task->announced;

    for (uint32_t i = 0; left; i++) {
        CHECK(i < place->count);
        for (uint64_t at = 0, length; left && at < place->extent[i].length; at += length) {
            uint64_t iova = place->iova + place->extent[i].offset + at;
            uint8_t *page = fake.reach(iova);
            length = S2N_PAGE - iova % S2N_PAGE;
            length = length < place->extent[i].length - at ? length : place->extent[i].length - at;
            length = length < left ? length : left;
            memcpy(write ? disk : page, write ? page : disk, length);
            disk += length;
            left -= length;
        }
    }
}

/* Move data between the disk and the task: false if the disk has no such blocks. */
static bool transfer(s2n_task *task, bool write)
{
    uint64_t at = lba_of(task) * FAKE_BLOCK + task->portion_at;
    uint32_t bytes = task->portion_bytes, length;

    if (!bytes || at + bytes > sizeof fake.disk || (write && task->data_out_length < bytes))
        return false;
    task->data_in_length = write ? 0 : bytes;
    if (task->place) {
        transfer_in_place(task, fake.disk + at, write);
        return true;
    }
    if (!write && !s2n_task_try_reserve(task, bytes))
        return false;
    for (uint32_t done = 0; done < bytes; done += length) {
        uint8_t *memory = s2n_task_span_at(task, task->portion_at + done, &length);
        length = length < bytes - done ? length : bytes - done;
        memcpy(write ? fake.disk + at + done : memory, write ? memory : fake.disk + at + done,
               length);
    }
    return true;
}

static bool is_known(uint8_t opcode)
{
    return opcode == 0x00 || opcode == 0x12 || opcode == 0x28 || opcode == 0x2a;
}

void s2n_task_execute(s2n_task *task)
{
    static const uint8_t zeroes[256];

    fake.executions++;
    task->state = S2N_ENGINE;
    task->executing = true;
    if (fake.hold) {
        CHECK(fake.executed_count < FAKE_TASKS);
        fake.executed[fake.executed_count++] = task;
    } else if (!task->lu || !is_known(task->cdb[0])) {
        fake_end(task, 2, 18, NULL, 0);
    } else if (task->cdb[0] == 0x12) {
        fake_end(task, 0, 0, zeroes, task->cdb[4]);
    } else if (task->announced && !transfer(task, task->direction == S2N_OUT)) {
        fake_end(task, 2, 18, NULL, 0);
    } else {
        s2n_task_finish(task);
    }
}

void fake_carry_out(s2n_task *task)
{
    let_go(task);
    CHECK(transfer(task, task->direction == S2N_OUT));
    s2n_task_finish(task);
}
