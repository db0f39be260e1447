#include "fake_task.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fake.h"
#include "fake_device.h"
#include "fake_reactor.h"

/* A task whose buffer is one allocation per chunk, so that overruns are seen. */
struct fake_task {
    s2n_task task; /* first */
    uint8_t *chunk[S2N_MAXIMUM_TRANSFER / FAKE_CHUNK];
};

static struct s2n_task_set set; /* of LUN 0 */
static int unit;                /* what task->lu points to */
static s2n_task *live, *waiting;
static uint64_t arrived; /* tasks, ever */

void fake_tasks_start(void)
{
    memset(&set, 0, sizeof set);
    live = waiting = NULL;
    arrived = 0;
}

/* ---- buffers ---- */

/* Give a task's chunks back: how many bytes there were. */
static int64_t take_chunks(s2n_task *task)
{
    struct fake_task *own = (struct fake_task *)task;
    int64_t bytes = task->buffer.pool ? task->buffer.length : 0;

    for (uint32_t i = 0; i < task->buffer.count; i++)
        free(own->chunk[i]);
    task->buffer = (struct s2n_buffer){0};
    return bytes;
}

bool s2n_task_try_reserve(s2n_task *task, uint32_t bytes)
{
    struct fake_task *own = (struct fake_task *)task;
    struct s2n_buffer *buffer = &task->buffer;

    CHECK(!buffer->pool && bytes <= S2N_MAXIMUM_TRANSFER);
    if (!bytes)
        return true;
    if (!task->lu || bytes > fake.pool_bytes)
        return false;
    fake.pool_bytes -= bytes;
    buffer->pool = (struct s2n_pool *)&unit;
    buffer->length = bytes;
    buffer->chunk_bytes = FAKE_CHUNK;
    for (uint32_t at = 0; at < bytes; at += FAKE_CHUNK) {
        uint32_t length = bytes - at < FAKE_CHUNK ? bytes - at : FAKE_CHUNK;
        CHECK(own->chunk[buffer->count++] = malloc(length));
    }
    return true;
}

bool s2n_task_reserve(s2n_task *task, uint32_t bytes)
{
    CHECK(!task->waits_for_pool);
    if (!task->lu || s2n_task_try_reserve(task, bytes))
        return true;
    task->waits_for_pool = true;
    task->wanted_bytes = bytes;
    task->next = waiting;
    waiting = task;
    return false;
}

bool s2n_task_charge(s2n_task *task, uint64_t bytes)
{
    task->charged += bytes;
    fake.charged += bytes;
    return true;
}

void s2n_task_recharge(s2n_task *task, uint64_t bytes)
{
    fake.charged += bytes - task->charged;
    task->charged = bytes;
}

bool s2n_task_holds_up(const s2n_task *task)
{
    return fake.wanted && task->buffer.pool;
}

static void stop_waiting(s2n_task *task)
{
    s2n_task **at = &waiting;

    if (!task->waits_for_pool)
        return;
    task->waits_for_pool = false;
    while (*at != task)
        at = &(*at)->next;
    *at = task->next;
}

void fake_give(int64_t bytes)
{
    s2n_task *task;

    fake.pool_bytes += bytes;
    while ((task = waiting) && task->wanted_bytes <= fake.pool_bytes) {
        stop_waiting(task);
        CHECK(s2n_task_try_reserve(task, task->wanted_bytes));
        task->front_end->reserved(task);
    }
}

void s2n_task_give_buffer(s2n_task *task)
{
    fake_give(take_chunks(task));
}

uint8_t *s2n_task_span_at(s2n_task *task, uint32_t offset, uint32_t *length)
{
    const struct s2n_buffer *buffer = &task->buffer;

    CHECK(offset >= task->portion_at);
    offset -= task->portion_at;
    uint32_t within = offset % FAKE_CHUNK;
    if (task->heap) {
        CHECK(offset < task->data_in_length);
        *length = task->data_in_length - offset;
        return task->heap + offset;
    }
    CHECK(!task->place && buffer->pool && offset < buffer->length);
    *length = buffer->length - offset < FAKE_CHUNK - within ? buffer->length - offset
                                                            : FAKE_CHUNK - within;
    return ((struct fake_task *)task)->chunk[offset / FAKE_CHUNK] + within;
}

/* ---- tasks ---- */

s2n_task *s2n_task_new(struct s2n_reactor *reactor, const struct s2n_front_end *front_end,
                       s2n_nexus *of)
{
    s2n_task *task = fake_calloc(1, sizeof(struct fake_task));

    if (!task)
        return NULL;
    task->reactor = reactor;
    task->front_end = front_end;
    task->nexus = of;
    task->serial = task->arrived = ++arrived;
    task->live_next = live;
    if (live)
        live->live_previous = task;
    live = task;
    fake.live_tasks++;
    return task;
}

uint64_t s2n_reactor_arrived(const struct s2n_reactor *reactor)
{
    CHECK(reactor == fake_reactor());
    return arrived;
}

void s2n_task_arrive_later(s2n_task *task)
{
    task->arrived = ++arrived;
}

static void take_portion(s2n_task *task)
{
    uint64_t left = s2n_task_due(task) - task->portion_at;

    if (!fake.portion_bytes || task->announced <= fake.portion_bytes)
        task->portion_bytes =
            task->announced <= S2N_MAXIMUM_TRANSFER ? (uint32_t)task->announced : 0;
    else
        task->portion_bytes = left < fake.portion_bytes ? (uint32_t)left : fake.portion_bytes;
}

s2n_lu *s2n_nexus_unit(s2n_nexus *nexus, const uint8_t *lun)
{
    static const uint8_t lun_0[][8] = {{0}, {0x40}}; /* by either addressing method */

    (void)nexus;
    return memcmp(lun, lun_0[0], 8) && memcmp(lun, lun_0[1], 8) ? NULL : (s2n_lu *)&unit;
}

void s2n_task_begin(s2n_task *task)
{
    task->lu = s2n_nexus_unit(task->nexus, task->lun);
    task->set = task->lu ? &set : NULL;
    switch (task->cdb[0]) {
    case 0x12:
        task->direction = S2N_IN;
        task->announced = task->cdb[4];
        break;
    case 0x28:
    case 0x2a:
        task->direction = task->cdb[0] == 0x28 ? S2N_IN : S2N_OUT;
        task->announced = (uint64_t)(task->cdb[7] << 8 | task->cdb[8]) * FAKE_BLOCK;
        break;
    }
    take_portion(task);
}

void s2n_task_next_portion(s2n_task *task)
{
    int64_t bytes = take_chunks(task);

    free(task->heap);
    task->heap = NULL;
    task->portion_at += task->portion_bytes;
    take_portion(task);
    task->data_in_length = task->data_out_length = 0;
    task->state = S2N_GATHERING;
    fake_give(bytes);
}

bool s2n_task_moves_blocks(const s2n_task *task)
{
    return task->lu && (task->cdb[0] == 0x28 || task->cdb[0] == 0x2a) && task->announced;
}

bool s2n_task_lost(const s2n_task *task)
{
    (void)task;
    return fake.lost;
}

void s2n_task_free(s2n_task *task)
{
    int64_t bytes = take_chunks(task);

    stop_waiting(task);
    s2n_task_leave_set(task);
    fake.charged -= task->charged;
    if (task->live_next)
        task->live_next->live_previous = task->live_previous;
    if (task->live_previous)
        task->live_previous->live_next = task->live_next;
    else
        live = task->live_next;
    free(task->heap);
    free(task);
    fake.live_tasks--;
    fake_give(bytes);
}

/* ---- aborts ---- */

void s2n_task_refuse(s2n_task *task, uint32_t code)
{
    stop_waiting(task);
    fake.refusal = code;
    task->state = S2N_ENGINE;
    fake_end(task, 2, 18, NULL, 0);
}

void s2n_task_abort(s2n_task *task, bool task_aborted_status)
{
    if (task->aborted || task->state == S2N_DONE)
        return;
    task->aborted = true;
    task->task_aborted_status = task_aborted_status;
    if (task->state != S2N_GATHERING)
        return;
    stop_waiting(task);
    task->front_end->discard(task);
}

void s2n_nexus_abort_all(struct s2n_reactor *reactor, s2n_nexus *of)
{
    s2n_task *task = live;

    CHECK(reactor == fake_reactor());
    while (task) {
        bool hit = task->nexus == of && task->state != S2N_DONE && !task->aborted;
        if (hit)
            s2n_task_abort(task, false);
        task = hit ? live : task->live_next;
    }
}

bool fake_abort(uint32_t tag, bool task_aborted_status)
{
    s2n_task *task = live;

    while (task && (task->tag != tag || task->state == S2N_DONE))
        task = task->live_next;
    if (task)
        s2n_task_abort(task, task_aborted_status);
    return task;
}
