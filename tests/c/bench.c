#include "bench.h"

#include <string.h>
#include <unistd.h>

#include "check.h"

struct bench bench;

/* ---- the front end ---- */

static void take_end(struct op *op)
{
    s2n_task *task = op->task;

    op->aborted = task->aborted;
    op->told = task->task_aborted_status;
    op->status = task->status;
    op->data_in = task->data_in_length;
    op->sense = task->sense_length;
    s2n_task_leave_set(task);
    if (op->keeps)
        return;
    op->task = NULL;
    s2n_task_free(task);
}

void taken(struct op *op)
{
    CHECK(op->completed || op->discarded);
    s2n_task_free(op->task);
    op->task = NULL;
}

/* Data-in are taken at once; data-out take their time. */
static void begin_portion(struct op *op)
{
    s2n_task_next_portion(op->task);
    if (op->task->direction == S2N_IN)
        s2n_task_execute(op->task);
    else
        op->reserved = s2n_task_reserve(op->task, op->task->portion_bytes);
}

static void complete(s2n_task *task)
{
    struct op *op = task->context;

    CHECK(!op->completed && !op->discarded && task->state == S2N_DONE);
    if (!task->aborted && !task->status && s2n_task_portion_follows(task)) {
        op->portions++;
        begin_portion(op);
        return;
    }
    op->completed = true;
    take_end(op);
}

static void discard(s2n_task *task)
{
    struct op *op = task->context;

    CHECK(!op->completed && !op->discarded && task->state == S2N_GATHERING);
    op->discarded = true;
    if (op->keeps)
        task->state = S2N_DONE;
    take_end(op);
}

static void reserved(s2n_task *task)
{
    struct op *op = task->context;

    CHECK(!op->reserved && task->buffer.pool);
    op->reserved = true;
}

/* Its turn has come: go on as `begin_…` would have. */
static void go_on(struct op *op)
{
    s2n_task *task = op->task;

    if (op->gathers)
        op->reserved = s2n_task_reserve(task, task->portion_bytes);
    else
        s2n_task_execute(task);
}

static void enabled(s2n_task *task)
{
    struct op *op = task->context;

    CHECK(op->dormant && !task->buffer.pool);
    op->dormant = false;
    go_on(op);
}

static const struct s2n_front_end front_end = {
    .complete = complete,
    .discard = discard,
    .reserved = reserved,
    .enabled = enabled,
};

static void begin(struct op *op, unsigned nexus, uint8_t lun, const uint8_t *cdb, uint16_t length)
{
    static uint32_t tag;
    s2n_task *task = s2n_task_new(bench.reactor, &front_end, bench.nexus[nexus]);

    CHECK(task);
    op->task = task;
    task->context = op;
    task->lun[1] = lun;
    memcpy(task->cdb, cdb, length);
    task->cdb_length = length;
    task->attribute = op->attribute ? op->attribute : S2N_ATTRIBUTE_SIMPLE;
    task->tag = ++tag;
    task->expected = UINT32_MAX;
    s2n_task_begin(task);
    task->expected = (uint32_t)task->announced;
    op->dormant = !s2n_task_join(task);
}

void begin_command(struct op *op, unsigned nexus, uint8_t lun, const uint8_t *cdb, uint16_t length)
{
    begin(op, nexus, lun, cdb, length);
    if (!op->dormant)
        go_on(op);
}

void begin_with_data(struct op *op, const uint8_t *cdb, uint16_t length, const uint8_t *data)
{
    uint32_t span;

    begin(op, 0, 0, cdb, length);
    s2n_task *task = op->task;
    CHECK(s2n_task_reserve(task, task->portion_bytes));
    for (uint32_t at = 0; at < task->portion_bytes; at += span) {
        uint8_t *to = s2n_task_span_at(task, at, &span);
        memcpy(to, data + at, span);
    }
    task->data_out_length = task->portion_bytes;
    s2n_task_execute(task);
}

const uint8_t *cdb_of(uint8_t opcode, uint8_t flags, uint32_t lba, uint16_t count)
{
    static uint8_t cdb[10];

    memset(cdb, 0, sizeof cdb);
    cdb[0] = opcode;
    cdb[1] = flags;
    for (int i = 0; i < 4; i++)
        cdb[2 + i] = (uint8_t)(lba >> (24 - 8 * i));
    cdb[7] = (uint8_t)(count >> 8);
    cdb[8] = (uint8_t)count;
    return cdb;
}

static void transfer_cdb(uint8_t *cdb, uint8_t opcode, uint32_t lba, uint32_t blocks)
{
    memset(cdb, 0, 10);
    cdb[0] = opcode;
    for (int i = 0; i < 4; i++)
        cdb[2 + i] = (uint8_t)(lba >> (24 - 8 * i));
    cdb[7] = (uint8_t)(blocks >> 8);
    cdb[8] = (uint8_t)blocks;
}

void begin_in_place(struct op *op, uint8_t opcode, uint32_t lba, uint32_t blocks,
                    const struct s2n_place *place)
{
    uint8_t cdb[10];

    transfer_cdb(cdb, opcode, lba, blocks);
    begin(op, 0, 0, cdb, sizeof cdb);
    CHECK(s2n_task_moves_blocks(op->task));
    op->task->place = place;
    if (op->task->direction == S2N_OUT)
        op->task->data_out_length = op->task->expected;
    s2n_task_execute(op->task);
}

void begin_read(struct op *op, unsigned nexus, uint8_t lun, uint32_t lba, uint32_t blocks)
{
    uint8_t cdb[10];

    transfer_cdb(cdb, 0x28, lba, blocks);
    begin_command(op, nexus, lun, cdb, sizeof cdb);
}

void begin_write(struct op *op, unsigned nexus, uint8_t lun, uint32_t lba, uint32_t blocks)
{
    uint8_t cdb[10];

    transfer_cdb(cdb, 0x2a, lba, blocks);
    op->gathers = true;
    begin(op, nexus, lun, cdb, sizeof cdb);
    if (!op->dormant)
        go_on(op);
}

/* All of the buffer is written, so that sanitizers see where it ends. */
void gathered(struct op *op)
{
    s2n_task *task = op->task;
    uint32_t length;

    CHECK(op->reserved);
    for (uint32_t at = 0; at < task->portion_bytes; at += length)
        memset(s2n_task_span_at(task, task->portion_at + at, &length), 0x5a, 1);
    task->data_out_length = task->portion_bytes;
    s2n_task_execute(task);
}

/* ---- the plane ---- */

void bench_open(uint16_t depth, uint64_t pool_bytes)
{
    int32_t cpu = -1;

    memset(&bench, 0, sizeof bench);
    device_open(&bench.device, depth, pool_bytes);
    bench.plane = s2n_plane_new(1, &cpu, 0);
    CHECK(bench.plane);
    bench.reactor = &bench.plane->reactor[0];
    bench.controller = s2n_controller_new(bench.plane, CONTROLLER);
    CHECK(bench.controller);
    CHECK(!s2n_controller_set_queue(bench.controller, 0, bench.device.qp, -1,
                                    &bench.device.pool_memory));
    bench.params = (s2n_lu_params){.nsid = NSID,
                                   .block_shift = 9,
                                   .blocks = 1 << 21,
                                   .maximum_blocks = 256,
                                   .boundary_blocks = 0,
                                   .volatile_cache = 1};
    for (unsigned i = 0; i < UNITS; i++) {
        CHECK(bench.lu[i] = s2n_lu_new(bench.controller, &bench.params));
        s2n_lu_set_aside(bench.lu[i], false);
    }
    for (unsigned i = 0; i < NEXUSES; i++) {
        CHECK(bench.nexus[i] = s2n_nexus_new(bench.plane, NEXUS + i));
        for (uint16_t lun = 0; lun < UNITS; lun++) {
            CHECK(!s2n_nexus_map(bench.nexus[i], lun, bench.lu[lun]));
            s2n_nexus_set_aside(bench.nexus[i], lun, false);
        }
    }
}

void bench_open_able(uint16_t depth, uint64_t pool_bytes)
{
    bench_open(depth, pool_bytes);
    bench.params.compares = 1;
    bench.params.verify_blocks = 64;
    bench.params.write_zeroes_blocks = 65536;
    bench.params.write_same_blocks = 65535;
    bench.params.unmap_ranges = 256;
    bench.params.unmap_range_blocks = 1000;
    bench.params.unmap_blocks = 10000;
    s2n_lu_update(bench.lu[0], &bench.params);
}

void bench_close(void)
{
    struct s2n_queue *queue = &bench.controller->queue[0];

    rounds();
    no_event();
    CHECK(!bench.reactor->live && !bench.reactor->aborts && !bench.reactor->ready_sets.first);
    CHECK_EQUAL(bench.reactor->in_flight, 0);
    CHECK(!queue->lines && !queue->claimed && !queue->slot_head && !queue->dirty &&
          !queue->resumable);
    CHECK_EQUAL(s2n_pool_unused(queue->pool), bench.device.pool_memory.length);
    for (unsigned i = 0; i < UNITS; i++) {
        CHECK_EQUAL(bench.lu[i]->local[0].under_way, 0);
        CHECK(!bench.lu[i]->local[0].drains);
        s2n_lu_free(bench.lu[i]);
    }
    CHECK_EQUAL(bench.plane->heap_bytes, 0);
    for (unsigned i = 0; i < NEXUSES; i++) {
        CHECK_EQUAL(bench.nexus[i]->heap_bytes, 0);
        for (struct s2n_holding *at = bench.nexus[i]->holdings; at; at = at->next)
            for (int size = 0; size < S2N_SIZES; size++)
                CHECK(!at->share.reserved[size] && !at->share.common[size]);
        s2n_nexus_free(bench.nexus[i]);
    }
    s2n_controller_free(bench.controller);
    s2n_plane_free(bench.plane);
    device_close(&bench.device);
}

void rounds(void)
{
    for (int i = 0; i < 4; i++) {
        uint64_t one = 1;
        CHECK(write(bench.reactor->wake.fd, &one, sizeof one) == sizeof one);
        s2n_reactor_round(bench.reactor);
    }
}

/* ---- events ---- */

s2n_event next_event(uint32_t type)
{
    s2n_event event;

    CHECK(s2n_plane_next_event(bench.plane, &event));
    CHECK_EQUAL(event.type, type);
    return event;
}

void no_event(void)
{
    s2n_event event;

    CHECK(!s2n_plane_next_event(bench.plane, &event));
}

void expect_drained(uint64_t token, uint32_t count)
{
    s2n_event event = next_event(S2N_EVENT_DRAINED);

    CHECK_EQUAL(event.cookie, token);
    CHECK_EQUAL(event.count, count);
}
