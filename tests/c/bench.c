#include "bench.h"

#include <string.h>
#include <unistd.h>

#include "check.h"

struct bench bench;
struct op op[OPS];

/* ---- the front end ---- */

static void take_end(struct op *one)
{
    s2n_task *task = one->task;

    one->aborted = task->aborted;
    one->told = task->task_aborted_status;
    one->status = task->status;
    one->data_in = task->data_in_length;
    one->sense = task->sense_length;
    memcpy(one->sense_data, task->sense,
           one->sense < sizeof one->sense_data ? one->sense : sizeof one->sense_data);
    s2n_task_leave_set(task);
    if (one->keeps)
        return;
    one->task = NULL;
    s2n_task_free(task);
}

void taken(struct op *one)
{
    CHECK(one->completed || one->discarded);
    s2n_task_free(one->task);
    one->task = NULL;
}

/* Data-in are taken at once; data-out take their time. */
static void begin_portion(struct op *one)
{
    s2n_task_next_portion(one->task);
    if (one->task->direction == S2N_IN)
        s2n_task_execute(one->task);
    else
        one->reserved = s2n_task_reserve(one->task, one->task->portion_bytes);
}

static void complete(s2n_task *task)
{
    struct op *one = task->context;

    CHECK(!one->completed && !one->discarded && task->state == S2N_DONE);
    if (!task->aborted && !task->status && s2n_task_portion_follows(task)) {
        one->portions++;
        begin_portion(one);
        return;
    }
    one->completed = true;
    take_end(one);
}

static void discard(s2n_task *task)
{
    struct op *one = task->context;

    CHECK(!one->completed && !one->discarded && task->state == S2N_GATHERING);
    one->discarded = true;
    if (one->keeps)
        task->state = S2N_DONE;
    take_end(one);
}

static void reserved(s2n_task *task)
{
    struct op *one = task->context;

    CHECK(!one->reserved && task->buffer.pool);
    one->reserved = true;
}

/* Its turn has come: go on as `begin_…` would have. */
static void go_on(struct op *one)
{
    s2n_task *task = one->task;

    if (one->gathers)
        one->reserved = s2n_task_reserve(task, task->portion_bytes);
    else
        s2n_task_execute(task);
}

static void enabled(s2n_task *task)
{
    struct op *one = task->context;

    CHECK(one->dormant && !task->buffer.pool);
    one->dormant = false;
    go_on(one);
}

static const struct s2n_front_end front_end = {
    .complete = complete,
    .discard = discard,
    .reserved = reserved,
    .enabled = enabled,
};

static void begin(struct op *one, unsigned nexus, uint8_t lun, const uint8_t *cdb, uint16_t length)
{
    static uint32_t tag;
    s2n_task *task = s2n_task_new(bench.reactor, &front_end, bench.nexus[nexus]);

    CHECK(task);
    one->task = task;
    task->context = one;
    task->lun[1] = lun;
    memcpy(task->cdb, cdb, length);
    task->cdb_length = length;
    task->attribute = one->attribute ? one->attribute : S2N_ATTRIBUTE_SIMPLE;
    task->tag = ++tag;
    task->expected = UINT32_MAX;
    s2n_task_begin(task);
    task->expected = (uint32_t)task->announced;
    one->dormant = !s2n_task_join(task);
}

void begin_command(struct op *one, unsigned nexus, uint8_t lun, const uint8_t *cdb, uint16_t length)
{
    begin(one, nexus, lun, cdb, length);
    if (!one->dormant)
        go_on(one);
}

void begin_with_data(struct op *one, const uint8_t *cdb, uint16_t length, const uint8_t *data)
{
    uint32_t span;

    begin(one, 0, 0, cdb, length);
    s2n_task *task = one->task;
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

void begin_in_place(struct op *one, const uint8_t *cdb, const struct s2n_place *place)
{
    begin(one, 0, 0, cdb, 10);
    CHECK(s2n_task_moves_blocks(one->task));
    one->task->place = place;
    if (one->task->direction == S2N_OUT)
        one->task->data_out_length = one->task->expected;
    s2n_task_execute(one->task);
}

void begin_read(struct op *one, unsigned nexus, uint8_t lun, uint32_t lba, uint32_t blocks)
{
    begin_command(one, nexus, lun, cdb_of(0x28, 0, lba, (uint16_t)blocks), 10);
}

void begin_write(struct op *one, unsigned nexus, uint8_t lun, uint32_t lba, uint32_t blocks)
{
    one->gathers = true;
    begin(one, nexus, lun, cdb_of(0x2a, 0, lba, (uint16_t)blocks), 10);
    if (!one->dormant)
        go_on(one);
}

/* All of the buffer is written, so that sanitizers see where it ends. */
void gathered(struct op *one)
{
    s2n_task *task = one->task;
    uint32_t length;

    CHECK(one->reserved);
    for (uint32_t at = 0; at < task->portion_bytes; at += length)
        memset(s2n_task_span_at(task, task->portion_at + at, &length), 0x5a, 1);
    task->data_out_length = task->portion_bytes;
    s2n_task_execute(task);
}

/* ---- the plane ---- */

void bench_open_beside(uint32_t others, uint16_t depth, uint64_t pool_bytes)
{
    static const int32_t cpus[] = {-1, -1, -1, -1};

    memset(&bench, 0, sizeof bench);
    memset(op, 0, sizeof op);
    device_open(&bench.device, depth, pool_bytes);
    bench.plane = s2n_plane_new(1 + others, cpus, 0);
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
        CHECK(bench.nexus[i] = s2n_nexus_new(NEXUS + i));
        for (uint16_t lun = 0; lun < UNITS; lun++) {
            CHECK(!s2n_nexus_map(bench.nexus[i], lun, bench.lu[lun]));
            s2n_nexus_set_aside(bench.nexus[i], lun, false);
        }
    }
}

void bench_open(uint16_t depth, uint64_t pool_bytes)
{
    bench_open_beside(0, depth, pool_bytes);
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

static void check_holds_nothing(const struct s2n_share *share)
{
    CHECK_EQUAL(share->entries, 0);
    for (int size = 0; size < S2N_SIZES; size++)
        CHECK(!share->reserved[size] && !share->common[size]);
}

void bench_close(void)
{
    struct s2n_queue *queue = &bench.controller->queue[0];

    rounds();
    no_event();
    CHECK(!bench.reactor->live && !bench.reactor->aborts && !bench.reactor->ready_sets.first);
    CHECK_EQUAL(bench.reactor->in_flight, 0);
    CHECK(!queue->lines && !queue->claimed && !queue->slot_lines && !queue->pair && !queue->dirty &&
          !queue->resumable);
    CHECK_EQUAL(s2n_pool_unused(queue->pool), bench.device.pool_memory.length);
    check_holds_nothing(&queue->remains);
    for (unsigned i = 0; i < UNITS; i++) {
        CHECK_EQUAL(bench.lu[i]->local[0].under_way, 0);
        CHECK(!bench.lu[i]->local[0].drains);
    }
    CHECK_EQUAL(bench.plane->heap_bytes, 0);
    for (unsigned i = 0; i < NEXUSES; i++) {
        CHECK_EQUAL(bench.nexus[i]->heap_bytes, 0);
        for (struct s2n_holding *at = bench.nexus[i]->holdings; at; at = at->next)
            check_holds_nothing(&at->share);
    }
    bench_drop();
}

void bench_drop(void)
{
    for (unsigned i = 0; i < UNITS; i++)
        s2n_lu_free(bench.lu[i]);
    for (unsigned i = 0; i < NEXUSES; i++)
        s2n_nexus_free(bench.nexus[i]);
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

void complete_all(void)
{
    device_complete_all(&bench.device);
    rounds();
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
