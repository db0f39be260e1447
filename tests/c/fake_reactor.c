#include "fake_reactor.h"

#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "check.h"

enum { SOURCES = 8, POOL = 1 };

struct message {
    struct message *next;
    void (*call)(void *argument);
    void *argument;
};

struct s2n_reactor {
    uint64_t now_ms;
    struct {
        struct s2n_source *source;
        uint32_t events;
        int seen; /* edge-triggered: bytes that were there when it was last told */
    } source[SOURCES];
    struct s2n_deferred *deferred;
    struct s2n_timer *timers;
    struct message *messages, **messages_tail;
    struct fake_event *events, **events_tail;
    s2n_task *live, *waiting;
    uint64_t arrived;
    struct s2n_ready_sets ready_sets;
};

struct s2n_plane {
    struct s2n_reactor reactor;
};

struct s2n_nexus {
    uint64_t cookie;
};

/* A task whose buffer is one allocation per chunk, so that overruns are seen. */
struct fake_task {
    s2n_task task; /* first */
    uint8_t *chunk[S2N_MAXIMUM_TRANSFER / FAKE_CHUNK];
};

struct fake fake;
static s2n_plane plane;
static s2n_nexus nexus = {.cookie = 77};
static struct s2n_task_set set; /* of LUN 0 */
static int unit;                /* what task->lu points to */

s2n_plane *fake_start(void)
{
    memset(&fake, 0, sizeof fake);
    memset(&plane, 0, sizeof plane);
    memset(&set, 0, sizeof set);
    fake.pool_bytes = 1 << 26;
    plane.reactor.now_ms = 1000000;
    plane.reactor.messages_tail = &plane.reactor.messages;
    plane.reactor.events_tail = &plane.reactor.events;
    return &plane;
}

/* ---- memory ---- */

static bool denied(void)
{
    return fake.fail_in && !--fake.fail_in;
}

void *fake_malloc(size_t bytes)
{
    return denied() ? NULL : malloc(bytes);
}

void *fake_calloc(size_t count, size_t bytes)
{
    return denied() ? NULL : calloc(count, bytes);
}

/* ---- the plane ---- */

s2n_nexus *fake_nexus(void)
{
    return &nexus;
}

uint64_t s2n_nexus_cookie(const s2n_nexus *of)
{
    return of->cookie;
}

struct s2n_reactor *s2n_plane_pick(s2n_plane *of, s2n_nexus *for_nexus)
{
    CHECK(for_nexus == &nexus);
    return &of->reactor;
}

void s2n_plane_unpick(struct s2n_reactor *reactor)
{
    CHECK(reactor == &plane.reactor);
}

s2n_plane *s2n_reactor_plane(struct s2n_reactor *reactor)
{
    return (s2n_plane *)reactor;
}

uint64_t s2n_reactor_now_ms(const struct s2n_reactor *reactor)
{
    return reactor->now_ms;
}

uint64_t s2n_reactor_now_us(const struct s2n_reactor *reactor)
{
    return reactor->now_ms * 1000;
}

bool s2n_plane_all_hot(const s2n_plane *of, s2n_nexus *for_nexus)
{
    (void)of;
    return for_nexus == &nexus;
}

uint32_t s2n_plane_reactors(const s2n_plane *of)
{
    (void)of;
    return 1;
}

struct s2n_reactor *s2n_plane_reactor(s2n_plane *of, uint32_t index)
{
    CHECK(!index);
    return &of->reactor;
}

uint32_t s2n_reactor_index(const struct s2n_reactor *reactor)
{
    (void)reactor;
    return 0;
}

/* Bit by bit: independent of the implementation that the data plane uses. */
uint32_t s2n_crc32c(uint32_t crc, const void *data, size_t length)
{
    const uint8_t *at = data;

    crc = ~crc;
    while (length--) {
        crc ^= *at++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    return ~crc;
}

/* ---- sources, deferred work, timers, messages ---- */

static int place_of(struct s2n_reactor *reactor, const struct s2n_source *source)
{
    for (int i = 0; i < SOURCES; i++)
        if (reactor->source[i].source == source)
            return i;
    CHECK(!"no such source");
    return 0;
}

int s2n_source_add(struct s2n_reactor *reactor, struct s2n_source *source, uint32_t events)
{
    int i = place_of(reactor, NULL);

    reactor->source[i].source = source;
    reactor->source[i].events = events;
    reactor->source[i].seen = 0;
    fake.sources++;
    return 0;
}

int s2n_source_modify(struct s2n_reactor *reactor, struct s2n_source *source, uint32_t events)
{
    reactor->source[place_of(reactor, source)].events = events;
    return 0;
}

void s2n_source_remove(struct s2n_reactor *reactor, struct s2n_source *source)
{
    reactor->source[place_of(reactor, source)].source = NULL;
    fake.sources--;
}

void s2n_defer(struct s2n_reactor *reactor, struct s2n_deferred *deferred)
{
    if (deferred->queued)
        return;
    deferred->queued = true;
    deferred->next = reactor->deferred;
    reactor->deferred = deferred;
}

void s2n_defer_cancel(struct s2n_reactor *reactor, struct s2n_deferred *deferred)
{
    struct s2n_deferred **at = &reactor->deferred;

    while (*at && *at != deferred)
        at = &(*at)->next;
    if (*at)
        *at = deferred->next;
    deferred->queued = false;
}

void s2n_timer_cancel(struct s2n_reactor *reactor, struct s2n_timer *timer)
{
    struct s2n_timer **at = &reactor->timers;

    while (*at && *at != timer)
        at = &(*at)->next;
    if (*at) {
        *at = timer->next;
        fake.armed_timers--;
    }
    timer->armed = false;
}

void s2n_timer_arm(struct s2n_reactor *reactor, struct s2n_timer *timer, uint64_t after_ms)
{
    s2n_timer_cancel(reactor, timer);
    timer->at_ms = reactor->now_ms + after_ms;
    timer->armed = true;
    timer->next = reactor->timers;
    reactor->timers = timer;
    fake.armed_timers++;
}

void s2n_reactor_call(struct s2n_reactor *reactor, void (*call)(void *argument), void *argument)
{
    struct message *message = malloc(sizeof *message);

    CHECK(message);
    *message = (struct message){NULL, call, argument};
    *reactor->messages_tail = message;
    reactor->messages_tail = &message->next;
}

static bool run_messages(struct s2n_reactor *reactor)
{
    bool any = reactor->messages;

    while (reactor->messages) {
        struct message message = *reactor->messages;
        free(reactor->messages);
        reactor->messages = message.next;
        if (!message.next)
            reactor->messages_tail = &reactor->messages;
        message.call(message.argument);
    }
    return any;
}

/* Whether an edge-triggered source has more to read than before; others always pass. */
static bool rises(struct s2n_reactor *reactor, int i)
{
    int bytes = 0, before = reactor->source[i].seen;

    if (!(reactor->source[i].events & EPOLLET))
        return true;
    CHECK(ioctl(reactor->source[i].source->fd, FIONREAD, &bytes) == 0);
    reactor->source[i].seen = bytes;
    return bytes > before;
}

/* As epoll does: all are asked before the first is told; hang-ups and errors are told whether
 * asked for or not. */
static bool run_sources(struct s2n_reactor *reactor)
{
    struct s2n_source *source[SOURCES];
    struct pollfd fd[SOURCES];
    bool any = false;

    for (int i = 0; i < SOURCES; i++) {
        source[i] = reactor->source[i].source;
        fd[i] = (struct pollfd){.fd = source[i] ? source[i]->fd : -1,
                                .events = (short)reactor->source[i].events};
    }
    if (poll(fd, SOURCES, 0) <= 0)
        return false;
    for (int i = 0; i < SOURCES; i++) {
        if (!fd[i].revents || source[i] != reactor->source[i].source ||
            (!(fd[i].revents & POLLHUP) && !rises(reactor, i)))
            continue;
        any = true;
        source[i]->ready(source[i], (uint32_t)fd[i].revents);
    }
    return any;
}

struct s2n_ready_sets *s2n_reactor_ready_sets(struct s2n_reactor *reactor)
{
    return &reactor->ready_sets;
}

static bool enable(struct s2n_reactor *reactor)
{
    bool any = reactor->ready_sets.first;

    s2n_ready_sets_enable(&reactor->ready_sets);
    return any;
}

static bool run_deferred(struct s2n_reactor *reactor)
{
    bool any = reactor->deferred;

    while (reactor->deferred) {
        struct s2n_deferred *deferred = reactor->deferred;
        reactor->deferred = deferred->next;
        deferred->queued = false;
        deferred->run(deferred);
    }
    return any;
}

void fake_run(void)
{
    struct s2n_reactor *reactor = &plane.reactor;

    for (int round = 0; round < 100000; round++) {
        bool any = run_messages(reactor);
        any |= run_sources(reactor);
        any |= enable(reactor);
        any |= run_deferred(reactor);
        if (!any)
            return;
    }
    CHECK(!"the reactor never comes to rest");
}

static struct s2n_timer *due(struct s2n_reactor *reactor)
{
    for (struct s2n_timer *timer = reactor->timers; timer; timer = timer->next)
        if (timer->at_ms <= reactor->now_ms)
            return timer;
    return NULL;
}

void fake_advance(uint64_t ms)
{
    struct s2n_timer *timer;

    plane.reactor.now_ms += ms;
    while ((timer = due(&plane.reactor))) {
        s2n_timer_cancel(&plane.reactor, timer);
        timer->expire(timer);
    }
    fake_run();
}

/* ---- events ---- */

void s2n_plane_emit(s2n_plane *of, const s2n_event *event)
{
    struct fake_event *node = malloc(sizeof *node);

    CHECK(node);
    *node = (struct fake_event){*event, NULL};
    *of->reactor.events_tail = node;
    of->reactor.events_tail = &node->next;
}

bool fake_next_event(s2n_event *event)
{
    struct fake_event *node = plane.reactor.events;

    if (!node)
        return false;
    plane.reactor.events = node->next;
    if (!node->next)
        plane.reactor.events_tail = &plane.reactor.events;
    *event = node->event;
    free(node);
    return true;
}

void s2n_event_free(s2n_event *event)
{
    free(event->data);
    event->data = NULL;
}

/* ---- tasks ---- */

s2n_task *s2n_task_new(struct s2n_reactor *reactor, const struct s2n_front_end *front_end,
                       s2n_nexus *of)
{
    s2n_task *task = denied() ? NULL : calloc(1, sizeof(struct fake_task));

    if (!task)
        return NULL;
    task->reactor = reactor;
    task->front_end = front_end;
    task->nexus = of;
    task->arrived = ++reactor->arrived;
    task->live_next = reactor->live;
    if (reactor->live)
        reactor->live->live_previous = task;
    reactor->live = task;
    fake.live_tasks++;
    return task;
}

uint64_t s2n_reactor_arrived(const struct s2n_reactor *reactor)
{
    return reactor->arrived;
}

void s2n_task_arrive_later(s2n_task *task)
{
    task->arrived = ++task->reactor->arrived;
}

static uint32_t be(const uint8_t *at, int bytes)
{
    uint32_t value = 0;

    while (bytes--)
        value = value << 8 | *at++;
    return value;
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

void s2n_task_begin(s2n_task *task)
{
    static const uint8_t lun_0[8];

    task->lu = memcmp(task->lun, lun_0, 8) ? NULL : (s2n_lu *)&unit;
    task->set = task->lu ? &set : NULL;
    task->known = true;
    switch (task->cdb[0]) {
    case 0x00:
        break;
    case 0x12:
        task->direction = S2N_IN;
        task->announced = task->cdb[4];
        break;
    case 0x28:
    case 0x2a:
        task->direction = task->cdb[0] == 0x28 ? S2N_IN : S2N_OUT;
        task->announced = (uint64_t)be(task->cdb + 7, 2) * FAKE_BLOCK;
        break;
    default:
        task->known = false;
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
    task->next = plane.reactor.waiting;
    plane.reactor.waiting = task;
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
    s2n_task **at = &plane.reactor.waiting;

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
    while ((task = plane.reactor.waiting) && task->wanted_bytes <= fake.pool_bytes) {
        stop_waiting(task);
        CHECK(s2n_task_try_reserve(task, task->wanted_bytes));
        task->front_end->reserved(task);
    }
}

void s2n_task_give_buffer(s2n_task *task)
{
    fake_give(take_chunks(task));
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
        plane.reactor.live = task->live_next;
    free(task->heap);
    free(task);
    fake.live_tasks--;
    fake_give(bytes);
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

static void finish(s2n_task *task)
{
    task->state = S2N_DONE;
    task->front_end->complete(task);
}

void fake_end(s2n_task *task, uint8_t status, uint32_t sense_length, const uint8_t *data,
              uint32_t data_length)
{
    for (uint32_t i = 0; i < fake.executed_count; i++)
        if (fake.executed[i] == task)
            fake.executed[i] = fake.executed[--fake.executed_count];
    task->status = status;
    task->sense_length = (uint16_t)sense_length;
    memset(task->sense, 0x5e, sense_length);
    if (data_length) {
        CHECK(task->heap = malloc(data_length));
        memcpy(task->heap, data, data_length);
    }
    task->data_in_length = data_length;
    finish(task);
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
    uint64_t at = (uint64_t)be(task->cdb + 2, 4) * FAKE_BLOCK + task->portion_at;
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

bool s2n_task_moves_blocks(const s2n_task *task)
{
    return task->lu && (task->cdb[0] == 0x28 || task->cdb[0] == 0x2a) && task->announced;
}

bool s2n_task_lost(const s2n_task *task)
{
    (void)task;
    return fake.lost;
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
    } else if (!task->lu || !task->known) {
        fake_end(task, 2, 18, NULL, 0);
    } else if (task->cdb[0] == 0x12) {
        fake_end(task, 0, 0, zeroes, task->cdb[4]);
    } else if (task->announced && !transfer(task, task->direction == S2N_OUT)) {
        fake_end(task, 2, 18, NULL, 0);
    } else {
        finish(task);
    }
}

void fake_carry_out(s2n_task *task)
{
    for (uint32_t i = 0; i < fake.executed_count; i++)
        if (fake.executed[i] == task)
            fake.executed[i] = fake.executed[--fake.executed_count];
    CHECK(transfer(task, task->direction == S2N_OUT));
    finish(task);
}

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
    s2n_task *task = reactor->live;

    while (task) {
        bool hit = task->nexus == of && task->state != S2N_DONE && !task->aborted;
        if (hit)
            s2n_task_abort(task, false);
        task = hit ? reactor->live : task->live_next;
    }
}

bool fake_abort(uint32_t tag, bool task_aborted_status)
{
    s2n_task *task = plane.reactor.live;

    while (task && (task->tag != tag || task->state == S2N_DONE))
        task = task->live_next;
    if (task)
        s2n_task_abort(task, task_aborted_status);
    return task;
}
