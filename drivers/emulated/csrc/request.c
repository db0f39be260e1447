/* The emulated controller's I/O commands that its admin side executes: those of reservations.
 *
 * They wait among the jobs that no worker has, where an Abort, a deletion or a reset finds them.
 */
#include "emu.h"

/* Take the oldest job that asks from those of a queue. */
static struct emu_job *take_asking(struct emu_cq *cq)
{
    struct emu_job **oldest = NULL, *job = NULL;

    pthread_mutex_lock(&cq->lock);
    for (struct emu_job **at = &cq->lost; *at; at = &(*at)->next) {
        if ((*at)->asks)
            oldest = at;
    }
    if (oldest) {
        job = *oldest;
        *oldest = job->next;
    }
    pthread_mutex_unlock(&cq->lock);
    return job;
}

int s2n_emu_next_request(s2n_emu *emu, s2n_emu_request *out)
{
    const struct emu_command *command;
    struct emu_job *job = NULL;

    if (emu->asked || !atomic_exchange(&emu->asking, 0))
        return 0;
    for (uint32_t qid = 1; qid < EMU_QUEUES && !job; qid++)
        job = take_asking(&emu->cq[qid]);
    if (!job)
        return 0;                      /* aborted, or gone with its queue */
    atomic_fetch_add(&emu->asking, 1); /* there may be another */
    emu->asked = job;
    command = &job->part[0].command;
    *out = (s2n_emu_request){.opcode = command->opcode,
                             .nsid = command->nsid,
                             .cdw10 = command->cdw10,
                             .cdw11 = command->cdw11,
                             .prp1 = command->prp1,
                             .prp2 = command->prp2};
    return 1;
}

void s2n_emu_answer(s2n_emu *emu, uint16_t status)
{
    struct emu_job *job = emu->asked;

    if (!job)
        return;
    emu->asked = NULL;
    job->part[0].status = status & (EMU_DNR | 0x7FF);
    emu_job_done(job);
}
