/* Which failure of a hot task's NVMe commands is told. */
#include "task_failure.h"

#include "drain.h"
#include "little_endian.h"
#include "task_data.h"

enum { NVME_FAILED_FUSED = 0x009, NVME_MISSING_FUSED = 0x00a }; /* NVMe statuses */
/* In a submission queue entry. */
enum { AT_OPCODE = 0, AT_FUSE = 1, FUSE = 3, AT_SLBA = 40, AT_NLB = 48 };

void s2n_task_stop(s2n_task *task)
{
    s2n_task_stop_waiting(task);
    if (task->put_off)
        s2n_task_take_back(task);
    task->plan.blocks = 0;
}

void s2n_task_forgo(s2n_task *task, bool dnr)
{
    task->nvme_dnr = dnr;
    task->nvme_status = S2N_ABORTED_SQ_DELETION;
    task->nvme_opcode = task->plan.opcode;
    task->nvme_lba = task->plan.lba;
    task->nvme_blocks = 1;
    s2n_task_stop(task);
}

/* Half of a fused pair that ended for the other's sake is not the cause. */
static unsigned remoteness(uint16_t status, uint8_t fuse)
{
    bool collateral = status == NVME_FAILED_FUSED || status == NVME_MISSING_FUSED;

    return (collateral ? 2 : 0) + (fuse == S2N_FUSED_SECOND ? 1 : 0);
}

/* What is told is the lowest LBA, whatever failed first: all before it was done, as commands
 * are placed in that order. Of a fused pair, which fails as a whole, it is the cause. */
static bool is_told(const s2n_task *task, uint64_t lba, uint16_t status, uint8_t fuse)
{
    if (!task->nvme_status || lba != task->nvme_lba)
        return !task->nvme_status || lba < task->nvme_lba;
    return remoteness(status, fuse) < remoteness(task->nvme_status, task->nvme_fuse);
}

void s2n_task_note_failure(s2n_task *task, const s2n_completion *completion, const uint8_t *sqe)
{
    uint64_t lba = s2n_get_le64(sqe + AT_SLBA);
    uint8_t fuse = sqe[AT_FUSE] & FUSE;

    s2n_task_stop(task);
    if (!is_told(task, lba, completion->status, fuse))
        return;
    task->nvme_opcode = sqe[AT_OPCODE];
    task->nvme_fuse = fuse;
    task->nvme_status = completion->status;
    task->nvme_dnr = completion->dnr;
    task->nvme_more = completion->more;
    task->nvme_cid = completion->cid;
    task->nvme_lba = lba;
    task->nvme_blocks = (uint32_t)s2n_get_le16(sqe + AT_NLB) + 1;
}
