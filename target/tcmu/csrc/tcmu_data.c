/* Data of TCMU commands: copied between the ring's extents and the task's buffer. */
#include "tcmu.h"

#include <string.h>

enum {
    READ_LEN = 2, /* TCMU_UFLAG_READ_LEN; the kernel's header is for the ring's own file */
    CHECK_CONDITION = 0x02,
};

enum move { TO_TASK, TO_RING, ZEROES };

/* Move what lies in the command's data from `offset` on, `bytes` of it. */
static void move(s2n_tcmu_command *command, uint64_t offset, uint64_t bytes, enum move how)
{
    uint8_t *map = command->tcmu->ring.map;
    uint64_t start = 0; /* of the extent, in the command's data */

    for (uint32_t i = 0; bytes; start += command->extent[i++].length) {
        const struct s2n_extent *extent = &command->extent[i];
        while (bytes && offset - start < extent->length) {
            uint8_t *ring = map + extent->offset + (offset - start), *buffer = NULL;
            uint64_t length = extent->length - (offset - start);
            uint32_t span = UINT32_MAX;
            if (how != ZEROES)
                buffer = s2n_task_span_at(command->task, (uint32_t)offset, &span);
            length = length < span ? length : span;
            length = length < bytes ? length : bytes;
            if (how == ZEROES)
                memset(ring, 0, length);
            else
                memcpy(how == TO_RING ? ring : buffer, how == TO_RING ? buffer : ring, length);
            offset += length;
            bytes -= length;
        }
    }
}

/* Where the data-in of the present portion end in the command's data. */
static uint64_t end_of_portion(const s2n_tcmu_command *command)
{
    uint64_t end = (uint64_t)command->task->portion_at + command->task->data_in_length;

    return end < command->bytes ? end : command->bytes;
}

void s2n_tcmu_give_portion(s2n_tcmu_command *command)
{
    const s2n_task *task = command->task;
    bool in = task->direction == S2N_IN && !task->aborted;
    uint64_t end = end_of_portion(command);

    if (in && end > task->portion_at && (!task->place || task->heap))
        move(command, task->portion_at, end - task->portion_at, TO_RING);
}

/* The kernel hands on every byte of a read, from pages that others have used, unless it is
 * told how many there are; it cannot be told of none, but of one. It alone knows the fabric's
 * direction, which may be that of a read where the CDB's is not. */
void s2n_tcmu_give_data(s2n_tcmu_command *command, struct s2n_ring_response *response)
{
    const s2n_task *task = command->task;
    bool in = task->direction == S2N_IN && !task->aborted;
    uint64_t filled = in ? end_of_portion(command) : 0;

    if (!command->bytes || response->status == CHECK_CONDITION)
        return;
    s2n_tcmu_give_portion(command);
    if (filled == command->bytes)
        return;
    bool tells = command->tcmu->ring.has_read_length;
    bool sent = task->direction == S2N_OUT && tells; /* most probably: they stay as they are */
    move(command, filled, sent ? 1 : command->bytes - filled, ZEROES);
    if (tells) {
        response->uflags |= READ_LEN;
        response->read_length = filled ? (uint32_t)filled : 1;
    }
}

/* The kernel compares the CDB's length with nobody's: what is there and what is announced may
 * differ either way. */
uint32_t s2n_tcmu_to_take(const s2n_tcmu_command *command)
{
    const s2n_task *task = command->task;

    if (task->direction != S2N_OUT || !task->lu || !task->portion_bytes)
        return 0;
    uint64_t left = s2n_task_due(task) - task->portion_at;
    return left < task->portion_bytes ? (uint32_t)left : task->portion_bytes;
}

void s2n_tcmu_take_data(s2n_tcmu_command *command)
{
    s2n_task *task = command->task;

    task->data_out_length = task->buffer.length;
    move(command, task->portion_at, task->data_out_length, TO_TASK);
}

/* ---- in place ---- */

void s2n_tcmu_await_look(s2n_tcmu_command *command)
{
    s2n_tcmu *tcmu = command->tcmu;

    command->next_taken = NULL;
    *tcmu->taken_tail = command;
    tcmu->taken_tail = &command->next_taken;
    tcmu->taken_bytes += command->bytes;
    for (uint32_t i = 0; i < command->extent_count; i++) {
        const struct s2n_extent *extent = &command->extent[i];
        uint64_t end = extent->offset + extent->length;
        tcmu->taken_first = extent->offset < tcmu->taken_first ? extent->offset : tcmu->taken_first;
        tcmu->taken_end = end > tcmu->taken_end ? end : tcmu->taken_end;
    }
}

void s2n_tcmu_forget_taken(s2n_tcmu *tcmu)
{
    tcmu->taken = NULL;
    tcmu->taken_tail = &tcmu->taken;
    tcmu->taken_first = UINT64_MAX;
    tcmu->taken_end = 0;
    tcmu->taken_bytes = 0;
}

bool s2n_tcmu_look(s2n_tcmu *tcmu)
{
    return tcmu->taken_bytes >= tcmu->least_bytes && tcmu->taken &&
           s2n_pages_look(&tcmu->pages, tcmu->taken_first, tcmu->taken_end);
}
