/* What is compared, and is not as the initiator expects: where that is, and how it is told. */
#include "miscompare.h"

#include "accept.h"
#include "drain.h"
#include "hot.h"
#include "unit.h"

enum { NVME_COMPARE_FAILURE = 0x285 }; /* an NVMe status */
enum { NVME_COMPARE = 0x05 };

static bool compare_failed(const s2n_task *task)
{
    return task->nvme_status == NVME_COMPARE_FAILURE && task->nvme_opcode == NVME_COMPARE;
}

void s2n_task_miscompare(s2n_task *task)
{
    task->nvme_status = NVME_COMPARE_FAILURE;
    task->nvme_opcode = NVME_COMPARE;
    task->nvme_lba = s2n_task_blocks(task).first;
    task->nvme_blocks = (uint32_t)s2n_hot_count(task->row, task->cdb);
}

void s2n_task_has_located(s2n_task *task)
{
    if (task->nvme_status)
        task->plan.opcode = NVME_COMPARE;
    s2n_task_miscompare(task);
}

bool s2n_task_locates(s2n_task *task, const struct s2n_hot_data *data)
{
    const struct s2n_hot_kind *kind = task->row->hot;
    struct s2n_hot_plan plan = task->plan;

    if (!kind->locate || !compare_failed(task) || task->recalled ||
        !kind->locate(&task->lu->params, task->row, task->cdb, data, &plan))
        return false;
    task->plan = plan;
    task->nvme_status = 0;
    return true;
}

bool s2n_task_tells_miscompare(s2n_task *task)
{
    if (!compare_failed(task))
        return false;
    const struct s2n_hot_data data = s2n_task_hot_data(task);
    bool descriptor = atomic_load_explicit(&task->lu->descriptor_sense, memory_order_relaxed);
    task->sense_length =
        s2n_hot_tell_difference(task->row->hot, &task->plan, &data, descriptor, task->sense);
    task->status = S2N_CHECK_CONDITION;
    return task->sense_length;
}
