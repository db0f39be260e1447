/* The emulated controller's commands: fetch, check, execute, complete.
 * Spec: NVMe Base 2.0c 3.3.3, NVM Command Set 1.0c 3.2. */
#include "emu.h"

#include "little_endian.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

enum { NO_PARAMETER = 0xFFFF };

enum { DATA_NONE, DATA_BLOCKS, DATA_RANGES, DATA_DWORDS };

/* What the checks and the counters have to know of an opcode. */
struct operation {
    emu_run *run;
    uint8_t data;
    bool range;             /* SLBA and NLB */
    bool changes;           /* the medium */
    bool reads, writes;     /* as SMART counts them */
    emu_zone_run *in_zones; /* goes before `run` where there are zones */
    bool of_zones;          /* there are none of it elsewhere */
    bool asks;              /* the admin side executes it */
};

static const struct operation operations[256] = {
    [EMU_FLUSH] = {.run = emu_flush},
    [EMU_WRITE] = {emu_write, DATA_BLOCKS, true, true, false, true, emu_zone_write, false},
    [EMU_READ] = {emu_read, DATA_BLOCKS, true, false, true, false, emu_zone_read, false},
    [EMU_WRITE_UNCORRECTABLE] = {.run = emu_write_uncorrectable, .range = true, .changes = true},
    [EMU_COMPARE] = {emu_compare, DATA_BLOCKS, true, false, true, false, emu_zone_read, false},
    [EMU_WRITE_ZEROES] = {emu_write_zeroes, DATA_NONE, true, true, false, false, emu_zone_write,
                          false},
    [EMU_DATASET_MANAGEMENT] = {.run = emu_deallocate, .data = DATA_RANGES, .changes = true},
    [EMU_VERIFY] = {emu_verify, DATA_NONE, true, false, true, false, emu_zone_read, false},
    [EMU_ZONE_SEND] = {.run = emu_zone_send, .changes = true, .of_zones = true},
    [EMU_ZONE_RECEIVE] = {.run = emu_zone_receive, .data = DATA_DWORDS, .of_zones = true},
    [EMU_ZONE_APPEND] = {emu_write, DATA_BLOCKS, true, true, false, true, emu_zone_append, true},
    [EMU_RESERVATION_REGISTER] = {.asks = true},
    [EMU_RESERVATION_REPORT] = {.asks = true},
    [EMU_RESERVATION_ACQUIRE] = {.asks = true},
    [EMU_RESERVATION_RELEASE] = {.asks = true},
};

/* Offsets of fields in an entry, for the parameter error location. */
enum {
    AT_OPCODE = 0,
    AT_FLAGS = 1,
    AT_NSID = 4,
    AT_MPTR = 16,
    AT_PRP1 = 24,
    AT_CDW10 = 40,
    AT_CDW12 = 48,
    DTYPE_BIT = 4,
};

static void decode(const uint8_t *sqe, struct emu_command *command)
{
    uint32_t cdw0 = s2n_get_le32(sqe);

    command->opcode = (uint8_t)cdw0;
    command->fuse = cdw0 >> 8 & 3;
    command->psdt = cdw0 >> 14 & 3;
    command->cid = (uint16_t)(cdw0 >> 16);
    command->nsid = s2n_get_le32(sqe + AT_NSID);
    command->mptr = s2n_get_le64(sqe + AT_MPTR);
    command->prp1 = s2n_get_le64(sqe + AT_PRP1);
    command->prp2 = s2n_get_le64(sqe + AT_PRP1 + 8);
    command->cdw10 = s2n_get_le32(sqe + AT_CDW10);
    command->cdw11 = s2n_get_le32(sqe + AT_CDW10 + 4);
    command->cdw12 = s2n_get_le32(sqe + AT_CDW12);
    command->cdw13 = s2n_get_le32(sqe + AT_CDW12 + 4);
    command->cdw14 = s2n_get_le32(sqe + AT_CDW12 + 8);
    command->cdw15 = s2n_get_le32(sqe + AT_CDW12 + 12);
    command->slba = s2n_get_le64(sqe + AT_CDW10);
    command->blocks = (command->cdw12 & 0xFFFF) + 1;
    command->fua = command->cdw12 >> 30 & 1;
    command->metadata = NULL;
}

/* ---- completing ---- */

/* The queue's lock is held: nobody else adds, but anybody may read. */
static void add(_Atomic uint64_t *counter, uint64_t value)
{
    value += atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value, memory_order_relaxed);
}

static void tally(struct emu_cq *cq, const struct emu_part *part)
{
    const struct operation *operation = &operations[part->command.opcode];

    if (part->status) {
        add(&cq->tally.errors, 1);
        if ((part->status >> 8 & 7) == 2 && part->status != EMU_COMPARE_FAILURE)
            add(&cq->tally.media_errors, 1);
    } else if (operation->reads) {
        add(&cq->tally.host_reads, 1);
        add(&cq->tally.bytes_read, part->bytes);
    } else if (operation->writes) {
        add(&cq->tally.host_writes, 1);
        add(&cq->tally.bytes_written, part->bytes);
    }
}

/* Whether a failure belongs into the error log: what the host caused by its own
 * Abort, deletion or miscompare does not. */
static bool is_logged(uint16_t status)
{
    return status && !(status >= EMU_ABORTED && status <= EMU_MISSING_FUSED) &&
           status != EMU_COMPARE_FAILURE && status != EMU_RESERVATION_CONFLICT;
}

static void log_part(s2n_emu *emu, uint16_t sqid, const struct emu_part *part)
{
    s2n_emu_error error = {
        .sqid = sqid,
        .cid = part->command.cid,
        .status = part->status & 0x7FF,
        .parameter = part->parameter,
        .nsid = part->command.nsid,
        .lba = operations[part->command.opcode].range ? part->lba : 0,
    };

    emu_log_error(emu, &error);
}

static inline void post(s2n_emu *emu, struct emu_cq *cq, uint16_t sqid, struct emu_part *part)
{
    uint8_t *cqe = cq->entries + (size_t)cq->tail * EMU_CQE_BYTES;
    uint32_t status = part->status;

    tally(cq, part);
    if (is_logged(part->status)) {
        log_part(emu, sqid, part);
        status |= EMU_MORE;
    }
    s2n_put_le64(cqe, part->result);
    s2n_put_le32(cqe + 8, emu->sq[sqid].head | (uint32_t)sqid << 16);
    /* The phase goes last: whoever sees it sees the whole entry, and the data. */
    __atomic_store_n((uint32_t *)(cqe + 12),
                     htole32(part->command.cid | (uint32_t)cq->phase << 16 | status << 17),
                     __ATOMIC_RELEASE);
    cq->reserved--;
    if (++cq->tail == cq->depth) {
        cq->tail = 0;
        cq->phase = !cq->phase;
    }
}

void emu_job_post(struct emu_job *job)
{
    for (uint32_t i = 0; i < job->parts; i++)
        post(job->emu, &job->emu->cq[job->cqid], job->sqid, &job->part[i]);
    free(job);
}

/* ---- checking ---- */

static uint16_t fail(struct emu_part *part, uint16_t parameter, uint16_t status)
{
    part->parameter = parameter;
    return status;
}

/* What comes before `lba` is not at fault. */
static void fail_from(struct emu_part *part, uint64_t lba)
{
    if (part->lba < lba)
        part->lba = lba;
}

static uint16_t fail_by(struct emu_part *part, const s2n_emu_fault *fault)
{
    fail_from(part, fault->lba_first);
    return fault->status & (EMU_DNR | 0x7FF);
}

static bool in_range(const struct emu_namespace *ns, const struct emu_command *command)
{
    return command->slba <= ns->blocks && command->blocks <= ns->blocks - command->slba;
}

/* Why no command is executed on a namespace of these flags. */
static uint16_t why_unusable(uint32_t flags)
{
    if (flags & EMU_ANA_LOST)
        return EMU_ACCESS_LOST;
    if (flags & EMU_ANA_INACCESSIBLE)
        return EMU_ACCESS_INACCESSIBLE;
    if (flags & EMU_ANA_CHANGE)
        return EMU_ACCESS_TRANSITION;
    if (flags & EMU_SANITIZING)
        return EMU_SANITIZE_IN_PROGRESS;
    return flags & EMU_UNSANITIZED ? EMU_SANITIZE_FAILED : EMU_FORMAT_IN_PROGRESS;
}

static uint16_t check_namespace(const s2n_emu *emu, struct emu_part *part,
                                struct emu_namespace **out)
{
    const struct emu_command *command = &part->command;
    struct emu_namespace *ns;

    *out = NULL;
    if (command->nsid == UINT32_MAX && command->opcode == EMU_FLUSH)
        return EMU_SUCCESS;
    if (command->nsid == 0 || command->nsid > EMU_NAMESPACES || !emu->ns[command->nsid])
        return fail(part, AT_NSID, EMU_INVALID_NAMESPACE);
    *out = ns = emu->ns[command->nsid];
    if (!(ns->flags & EMU_UNUSABLE))
        return EMU_SUCCESS;
    if (ns->flags & EMU_INACTIVE)
        return fail(part, AT_NSID, EMU_INVALID_NAMESPACE);
    return why_unusable(ns->flags);
}

/* Check what a command says of metadata, and resolve its pointer to them if it `moves` blocks. */
static uint16_t map_metadata(const s2n_emu *emu, struct emu_part *part,
                             const struct emu_namespace *ns, bool moves)
{
    struct emu_command *command = &part->command;
    uint32_t bytes = moves ? emu_metadata_beside(ns, command) : 0;
    uint16_t status = emu_metadata_check(ns, command);

    if (status)
        return fail(part, AT_CDW12 | 3 | 2 << 8, status); /* PRINFO */
    if (!bytes)
        return EMU_SUCCESS;
    if (command->mptr % 4)
        return fail(part, AT_MPTR, EMU_INVALID_FIELD);
    command->metadata = emu_translate(emu, command->mptr, bytes);
    return command->metadata ? EMU_SUCCESS : fail(part, AT_MPTR, EMU_DATA_TRANSFER_ERROR);
}

/* Check a command and resolve its namespace and data pointer. `ns` NULL with
 * success: all namespaces. */
static uint16_t prepare(const s2n_emu *emu, struct emu_part *part, struct emu_namespace **ns)
{
    const struct emu_command *command = &part->command;
    const struct operation *operation = &operations[command->opcode];
    uint32_t mapped = 0;
    uint16_t status;

    part->parameter = NO_PARAMETER;
    part->iov_count = 0;
    if (emu->refused[command->opcode] || (operation->asks ? !emu->gate : !operation->run))
        return fail(part, AT_OPCODE, EMU_INVALID_OPCODE);
    status = check_namespace(emu, part, ns);
    if (status || !*ns)
        return status;
    if (operation->asks)
        return command->psdt || command->fuse ? fail(part, AT_FLAGS, EMU_INVALID_FIELD)
                                              : EMU_SUCCESS;
    if (operation->of_zones && !(*ns)->zones)
        return fail(part, AT_OPCODE, EMU_INVALID_OPCODE);
    if (command->psdt || (command->fuse && (*ns)->zones))
        return fail(part, AT_FLAGS | 6 << 8, EMU_INVALID_FIELD);
    part->bytes = (uint64_t)command->blocks << (*ns)->shift;
    if (operation->data == DATA_BLOCKS) {
        uint64_t moved = part->bytes;
        if ((*ns)->metadata)
            moved += emu_metadata_interleaved(*ns, command);
        if (moved > emu->maximum_bytes)
            return fail(part, AT_CDW12, EMU_INVALID_FIELD);
        mapped = (uint32_t)moved;
    } else if (operation->data == DATA_RANGES) {
        mapped = ((command->cdw10 & 0xFF) + 1) * 16;
    } else if (operation->data == DATA_DWORDS) {
        if (command->cdw12 >= emu->maximum_bytes / 4)
            return fail(part, AT_CDW12, EMU_INVALID_FIELD);
        mapped = (command->cdw12 + 1) * 4;
    }
    if (operation->of_zones && !operation->range && command->slba >= (*ns)->blocks)
        return fail(part, AT_CDW10, EMU_LBA_OUT_OF_RANGE);
    if (operation->range && !in_range(*ns, command)) {
        fail_from(part, (*ns)->blocks);
        return fail(part, AT_CDW10, EMU_LBA_OUT_OF_RANGE);
    }
    if (operation->changes && (*ns)->flags & EMU_PROTECTED)
        return EMU_WRITE_PROTECTED;
    if (command->cdw12 & EMU_DTYPE && operation->writes && emu_streams_meet(emu, command))
        return fail(part, (AT_CDW12 + 2) | DTYPE_BIT << 8, EMU_INVALID_FIELD);
    if ((*ns)->metadata && operation->range) {
        status = map_metadata(emu, part, *ns, operation->data == DATA_BLOCKS);
        if (status)
            return status;
    }
    if (!mapped)
        return EMU_SUCCESS;
    status = emu_map_prps(emu, command, mapped, part->iov, &part->iov_count);
    return status ? fail(part, AT_PRP1, status) : EMU_SUCCESS;
}

/* ---- executing ---- */

static struct emu_job *new_job(s2n_emu *emu, uint16_t sqid, struct emu_namespace *ns,
                               const struct emu_part *parts, uint32_t count)
{
    uint32_t vectors = parts[0].iov_count + (count == 2 ? parts[1].iov_count : 0);
    struct emu_job *job = malloc(sizeof *job + vectors * sizeof job->iov[0]);
    struct iovec *iov;

    if (!job)
        return NULL;
    *job = (struct emu_job){.emu = emu, .ns = ns, .sqid = sqid, .parts = count};
    job->cqid = emu->sq[sqid].cqid;
    iov = job->iov;
    for (uint32_t i = 0; i < count; i++) {
        job->part[i] = parts[i];
        job->part[i].iov = iov;
        memcpy(iov, parts[i].iov, parts[i].iov_count * sizeof *iov);
        iov += parts[i].iov_count;
    }
    return job;
}

static inline uint16_t run_freely(struct emu_namespace *ns, struct emu_part *part, bool may_block)
{
    const struct operation *operation = &operations[part->command.opcode];

    if (ns->marks && operation->reads &&
        emu_marks_find(ns->marks, part->command.slba, part->command.blocks, &part->lba))
        return EMU_UNRECOVERED_READ;
    if (ns->metadata)
        return emu_run_with_metadata(ns, part, operation->run, may_block);
    if (ns->zones && operation->in_zones)
        return operation->in_zones(ns, part, operation->run, may_block);
    return operation->run(ns, &part->command, part->iov, part->iov_count, may_block);
}

/* Spec: NVMe Base 2.0c 8.19 (command behavior in the presence of a reservation). */
static uint8_t access_of(const struct emu_command *command)
{
    bool writes = operations[command->opcode].changes || command->opcode == EMU_FLUSH;

    return writes ? S2N_EMU_DENY_WRITE : S2N_EMU_DENY_READ;
}

/* Where reservations are heeded. */
static uint16_t run_through_gate(s2n_emu *emu, struct emu_namespace *ns, struct emu_part *part,
                                 bool may_block)
{
    const struct emu_command *command = &part->command;
    uint32_t turn = 0;
    uint16_t status;

    if (!emu_gate_enter(emu, command->nsid, access_of(command), &turn))
        return EMU_RESERVATION_CONFLICT;
    status = run_freely(ns, part, may_block);
    emu_gate_leave(emu, turn);
    return status;
}

static inline uint16_t run(s2n_emu *emu, struct emu_namespace *ns, struct emu_part *part,
                           bool may_block)
{
    return emu->gate ? run_through_gate(emu, ns, part, may_block) : run_freely(ns, part, may_block);
}

/* As emu_compare_and_write. */
static bool run_pair(s2n_emu *emu, struct emu_namespace *ns, struct emu_part *parts, bool may_block)
{
    uint8_t both = S2N_EMU_DENY_READ | S2N_EMU_DENY_WRITE;
    uint32_t turn = 0;
    bool done;

    if (!emu->gate)
        return emu_compare_and_write(ns, &parts[0], &parts[1], may_block);
    if (!emu_gate_enter(emu, parts[0].command.nsid, both, &turn)) {
        parts[0].status = EMU_RESERVATION_CONFLICT;
        parts[1].status = EMU_FAILED_FUSED;
        return true;
    }
    done = emu_compare_and_write(ns, &parts[0], &parts[1], may_block);
    emu_gate_leave(emu, turn);
    return done;
}

static void carry_out(struct emu_job *job)
{
    struct emu_part *part = &job->part[0];

    if (job->parts == 2)
        run_pair(job->emu, job->ns, part, true);
    else if (!job->ns)
        part->status = emu_flush_all(job->emu);
    else if (!operations[part->command.opcode].asks)
        part->status = run(job->emu, job->ns, part, true);
}

void emu_job_run(struct emu_job *job)
{
    uint16_t failed[2] = {job->part[0].status, job->part[1].status};

    if (!job->fails || job->done)
        carry_out(job);
    for (uint32_t i = 0; i < job->parts && job->fails; i++)
        job->part[i].status = failed[i];
}

static void lose(struct emu_cq *cq, struct emu_job *job)
{
    job->next = cq->lost;
    cq->lost = job;
}

/* Whether a failure is for a worker to bring about. */
static bool takes_time(const s2n_emu_fault *fault)
{
    return fault->delay_ms || fault->done;
}

/* Give one command, or a fused pair, to a worker. False when memory is short. */
static bool defer(s2n_emu *emu, struct emu_cq *cq, uint16_t sqid, struct emu_namespace *ns,
                  const struct emu_part *parts, uint32_t count, const s2n_emu_fault *fault)
{
    struct emu_job *job = new_job(emu, sqid, ns, parts, count);

    if (!job)
        return false;
    if (fault && fault->action == 1) {
        lose(cq, job);
        return true;
    }
    if (fault) {
        job->due_ms = emu_now_ms() + fault->delay_ms;
        job->fails = fault->action == 0;
        job->done = fault->done;
    }
    emu_pool_submit(job);
    return true;
}

/* ---- what the admin side executes ---- */

/* Have it wait among those that no worker has: what ends queues finds it there. */
static bool ask(s2n_emu *emu, struct emu_cq *cq, uint16_t sqid, struct emu_namespace *ns,
                const struct emu_part *part, bool lost)
{
    struct emu_job *job = new_job(emu, sqid, ns, part, 1);

    if (!job)
        return false;
    job->asks = !lost;
    lose(cq, job);
    if (!lost) {
        atomic_fetch_add(&emu->asking, 1);
        eventfd_write(emu->admin_eventfd, 1);
    }
    return true;
}

/* Returns how many completions were posted at once. */
static uint32_t execute(s2n_emu *emu, struct emu_cq *cq, uint16_t sqid, struct emu_part *part)
{
    struct emu_namespace *ns;
    s2n_emu_fault fault;
    bool hit;

    part->status = prepare(emu, part, &ns);
    hit = !part->status && emu_fault_match(emu, &part->command, &fault);
    if (hit && fault.action == 0) {
        part->status = fail_by(part, &fault);
        if (takes_time(&fault) && defer(emu, cq, sqid, ns, part, 1, &fault))
            return 0;
    }
    if (!part->status && operations[part->command.opcode].asks) {
        if (ask(emu, cq, sqid, ns, part, hit && fault.action == 1))
            return 0;
        part->status = EMU_INTERNAL_ERROR;
    }
    if (!part->status) {
        part->status = EMU_WOULD_BLOCK;
        if (!hit && ns)
            part->status = run(emu, ns, part, false);
        if (part->status == EMU_WOULD_BLOCK) {
            if (defer(emu, cq, sqid, ns, part, 1, hit ? &fault : NULL))
                return 0;
            part->status = EMU_INTERNAL_ERROR;
        }
    }
    post(emu, cq, sqid, part);
    return 1;
}

/* Spec: NVM Command Set 1.0c 2.1.3: Compare first, then Write, of the same blocks. */
static uint16_t check_pair(const s2n_emu *emu, const struct emu_part *parts)
{
    const struct emu_command *first = &parts[0].command, *second = &parts[1].command;

    if (first->opcode != EMU_COMPARE || second->opcode != EMU_WRITE ||
        first->nsid != second->nsid || first->slba != second->slba ||
        first->blocks != second->blocks)
        return EMU_INVALID_FIELD;
    return first->blocks > emu->atomic_blocks ? EMU_ATOMIC_UNIT_EXCEEDED : EMU_SUCCESS;
}

static uint32_t post_pair(s2n_emu *emu, struct emu_cq *cq, uint16_t sqid, struct emu_part *parts)
{
    post(emu, cq, sqid, &parts[0]);
    post(emu, cq, sqid, &parts[1]);
    return 2;
}

static uint32_t execute_pair(s2n_emu *emu, struct emu_cq *cq, uint16_t sqid, struct emu_part *parts)
{
    struct emu_namespace *ns = NULL;
    s2n_emu_fault fault;
    bool hit = false, whole = true;
    uint16_t mismatch = check_pair(emu, parts);

    for (uint32_t i = 0; i < 2; i++) {
        parts[i].status =
            mismatch ? fail(&parts[i], NO_PARAMETER, mismatch) : prepare(emu, &parts[i], &ns);
        whole = whole && !parts[i].status;
        if (!parts[i].status && !hit) {
            hit = emu_fault_match(emu, &parts[i].command, &fault);
            if (hit && fault.action == 0)
                parts[i].status = fail_by(&parts[i], &fault);
        }
    }
    if (!parts[0].status && !parts[1].status) {
        if (!hit && run_pair(emu, ns, parts, false))
            return post_pair(emu, cq, sqid, parts);
        if (defer(emu, cq, sqid, ns, parts, 2, hit && fault.action ? &fault : NULL))
            return 0;
        parts[0].status = EMU_INTERNAL_ERROR;
    }
    for (uint32_t i = 0; i < 2; i++) {
        if (!parts[i].status)
            parts[i].status = EMU_FAILED_FUSED;
    }
    if (hit && fault.action == 0) {
        fault.done = fault.done && whole;
        if (takes_time(&fault) && defer(emu, cq, sqid, ns, parts, 2, &fault))
            return 0;
    }
    return post_pair(emu, cq, sqid, parts);
}

/* ---- fetching ---- */

/* Entries that can be fetched now: each needs a completion entry later. */
static uint32_t room(const struct emu_cq *cq)
{
    uint32_t used = cq->tail - cq->head + (cq->tail < cq->head ? cq->depth : 0u);

    return cq->depth - 1u - used - cq->reserved;
}

static void fetch(struct emu_sq *sq, struct emu_cq *cq, struct emu_part *part)
{
    uint8_t sqe[EMU_SQE_BYTES]; /* read once: the host may change it meanwhile */

    memcpy(sqe, sq->entries + (size_t)sq->head * EMU_SQE_BYTES, EMU_SQE_BYTES);
    decode(sqe, &part->command);
    part->lba = part->command.slba;
    part->result = 0;
    sq->head = sq->head + 1 == sq->depth ? 0 : sq->head + 1;
    cq->reserved++;
}

static uint8_t next_fuse(const struct emu_sq *sq)
{
    return sq->head == sq->tail ? EMU_FUSE_NONE
                                : sq->entries[(size_t)sq->head * EMU_SQE_BYTES + 1] & 3;
}

static uint32_t refuse(s2n_emu *emu, struct emu_cq *cq, uint16_t sqid, struct emu_part *part)
{
    part->parameter = NO_PARAMETER;
    part->status = part->command.fuse == 3 ? EMU_INVALID_FIELD : EMU_MISSING_FUSED;
    post(emu, cq, sqid, part);
    return 1;
}

uint32_t emu_process(s2n_emu *emu, struct emu_cq *cq, uint16_t sqid)
{
    struct emu_sq *sq = &emu->sq[sqid];
    struct emu_part parts[2] = {{.iov = cq->scratch}, {.iov = cq->scratch + EMU_IOVECS}};
    uint32_t posted = 0, left = room(cq); /* nothing is taken out meanwhile */

    if (atomic_load_explicit(&emu->paused, memory_order_relaxed)) {
        cq->stalled = true;
        return 0;
    }
    while (sq->head != sq->tail) {
        bool first = next_fuse(sq) == EMU_FUSE_FIRST;

        if (left < (first && cq->depth > 2 ? 2u : 1u)) {
            cq->stalled = true;
            break;
        }
        fetch(sq, cq, &parts[0]);
        left--;
        if (parts[0].command.fuse == EMU_FUSE_NONE) {
            posted += execute(emu, cq, sqid, &parts[0]);
        } else if (parts[0].command.fuse == EMU_FUSE_FIRST && left &&
                   next_fuse(sq) == EMU_FUSE_SECOND) {
            fetch(sq, cq, &parts[1]);
            left--;
            posted += execute_pair(emu, cq, sqid, parts);
        } else {
            posted += refuse(emu, cq, sqid, &parts[0]);
        }
    }
    return posted;
}
