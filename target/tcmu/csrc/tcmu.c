/* TCMU devices: from the ring's commands to tasks, and back. */
#include "tcmu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    UNKNOWN_OP = 1, /* TCMU_UFLAG_…; the kernel's header is for the ring's own file */
    WAKES_PER_READ = 1024,
    /* key << 16 | ASC << 8 | ASCQ. */
    INTERNAL_TARGET_FAILURE = 0x044400,
    INVALID_OPERATION_CODE = 0x052000,
};

static void complete(s2n_task *task);
static void reserved(s2n_task *task);
static void begin_with_copy(s2n_tcmu_command *command);
static const struct s2n_front_end front_end = {
    .complete = complete, .discard = complete, .reserved = reserved, .fenced_elsewhere = true};

/* ---- the end of a device ---- */

static void report(s2n_tcmu *tcmu)
{
    if (!tcmu->ended || tcmu->commands || tcmu->reported)
        return;
    s2n_event event = {.type = S2N_EVENT_CONN_CLOSED, .cookie = tcmu->cookie, .count = tcmu->error};
    tcmu->reported = true;
    s2n_pages_close(&tcmu->pages);
    munmap(tcmu->ring.map, tcmu->ring.map_bytes);
    close(tcmu->source.fd);
    s2n_plane_emit(s2n_reactor_plane(tcmu->reactor), &event);
}

static void tell_drained(s2n_tcmu *tcmu)
{
    if (!tcmu->draining || tcmu->commands || (!tcmu->ended && !s2n_ring_idle(&tcmu->ring)))
        return;
    s2n_event event = {.type = S2N_EVENT_DRAINED, .cookie = tcmu->drain_token};
    tcmu->draining = false;
    s2n_plane_emit(s2n_reactor_plane(tcmu->reactor), &event);
}

/* Use the ring no longer. Tasks under way come back through the front end, and are
 * forgotten then. */
static void end(s2n_tcmu *tcmu, int error)
{
    if (tcmu->ended)
        return;
    tcmu->ended = true;
    tcmu->error = (uint32_t)error;
    s2n_tcmu_stay(tcmu);
    s2n_source_remove(tcmu->reactor, &tcmu->source);
    s2n_defer_cancel(tcmu->reactor, &tcmu->flush);
    s2n_flow_close(&tcmu->flow);
    s2n_nexus_abort_all(tcmu->reactor, tcmu->nexus);
    tell_drained(tcmu);
    report(tcmu);
}

/* ---- commands ---- */

static s2n_tcmu_command *command_new(s2n_tcmu *tcmu, uint16_t id)
{
    s2n_tcmu_command *command = tcmu->spare;

    if (command)
        tcmu->spare = command->next;
    else if (!(command = malloc(sizeof *command)))
        return NULL;
    memset(command, 0, offsetof(s2n_tcmu_command, own));
    command->tcmu = tcmu;
    command->id = id;
    command->extent = command->own;
    command->task = s2n_task_new(tcmu->reactor, &front_end, tcmu->nexus);
    if (!command->task) {
        command->next = tcmu->spare;
        tcmu->spare = command;
        return NULL;
    }
    command->task->context = command;
    command->task->tag = tcmu->tag++;
    command->next = tcmu->commands;
    if (command->next)
        command->next->previous = command;
    tcmu->commands = command;
    return command;
}

static void command_free(s2n_tcmu_command *command)
{
    s2n_tcmu *tcmu = command->tcmu;
    s2n_task *task = command->task;

    if (command->next)
        command->next->previous = command->previous;
    if (command->previous)
        command->previous->next = command->next;
    else
        tcmu->commands = command->next;
    if (command->extent != command->own)
        free(command->extent);
    command->next = tcmu->spare;
    tcmu->spare = command;
    /* Last, since its buffer may set other commands in motion. */
    s2n_task_free(task);
}

static void answer(s2n_tcmu *tcmu, const struct s2n_ring_response *response)
{
    int error = tcmu->ended ? 0 : s2n_ring_answer(&tcmu->ring, response);

    if (error)
        end(tcmu, -error);
    else if (!tcmu->ended)
        s2n_defer(tcmu->reactor, &tcmu->flush);
}

/* ---- data in place ---- */

static void tell_news(s2n_tcmu *tcmu)
{
    s2n_event event = {.type = S2N_EVENT_PAGES, .cookie = tcmu->cookie};

    if (!tcmu->pages.news)
        return;
    event.count = (uint32_t)tcmu->pages.news;
    tcmu->pages.news = 0;
    s2n_plane_emit(s2n_reactor_plane(tcmu->reactor), &event);
}

/* Whether the controller can be told to move a command's data itself. */
static bool could_stay(const s2n_tcmu_command *command)
{
    return s2n_pages_usable(&command->tcmu->pages) && s2n_task_moves_blocks(command->task) &&
           command->task->announced <= command->bytes;
}

/* Leave a command's data where they are, if the controller reaches them there. */
static bool stay(s2n_tcmu_command *command)
{
    s2n_tcmu *tcmu = command->tcmu;
    bool reached = s2n_pages_use(&tcmu->pages, command->extent, command->extent_count);

    tell_news(tcmu);
    if (!reached)
        return false;
    command->place = (struct s2n_place){tcmu->ring.map, tcmu->pages.window->iova, command->extent,
                                        command->extent_count};
    command->task->place = &command->place;
    if (command->task->direction == S2N_OUT)
        command->task->data_out_length = (uint32_t)command->task->announced;
    return true;
}

/* ---- their course ---- */

/* A task ended, or was aborted before it began: the kernel waits for its answer all the same. */
static void complete(s2n_task *task)
{
    s2n_tcmu_command *command = task->context;
    s2n_tcmu *tcmu = command->tcmu;
    struct s2n_ring_response response = {.id = command->id,
                                         .status = task->aborted ? S2N_TASK_ABORTED : task->status,
                                         .sense = task->sense,
                                         .sense_length = task->aborted ? 0 : task->sense_length};

    task->state = S2N_DONE;
    if (task->place)
        s2n_pages_release(&tcmu->pages, s2n_task_lost(task));
    if (!tcmu->ended && s2n_ring_was_reset(&tcmu->ring))
        end(tcmu, ESTALE); /* its data pages are no longer its own */
    if (!tcmu->ended && !task->aborted && task->status == S2N_GOOD &&
        s2n_task_portion_follows(task)) {
        s2n_tcmu_give_portion(command);
        s2n_task_next_portion(task);
        s2n_flow_go_on(&tcmu->flow, task->portion_bytes);
        begin_with_copy(command);
        return;
    }
    if (!tcmu->ended) {
        s2n_tcmu_give_data(command, &response);
        answer(tcmu, &response);
    }
    command_free(command);
    tell_drained(tcmu);
    report(tcmu);
}

static void execute(s2n_tcmu_command *command)
{
    s2n_task *task = command->task;

    if (task->buffer.pool)
        s2n_tcmu_take_data(command);
    s2n_task_execute(task);
}

static void reserved(s2n_task *task)
{
    s2n_tcmu_command *command = task->context;

    if (command->tcmu->ended)
        return;
    if (s2n_ring_was_reset(&command->tcmu->ring))
        end(command->tcmu, ESTALE);
    else
        execute(command);
}

static void begin_with_copy(s2n_tcmu_command *command)
{
    if (s2n_task_reserve(command->task, s2n_tcmu_to_take(command)))
        execute(command);
}

static void count(_Atomic uint64_t *counter)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

    atomic_store_explicit(counter, value + 1, memory_order_relaxed); /* nobody else writes it */
}

/* Begin the commands that were taken. The end of one may be that of the device, and of all. */
static void begin_taken(s2n_tcmu *tcmu)
{
    bool looked = !tcmu->ended && s2n_tcmu_look(tcmu);

    while (tcmu->taken && !tcmu->ended) {
        s2n_tcmu_command *command = tcmu->taken;
        tcmu->taken = command->next_taken;
        if (looked && stay(command)) {
            count(&tcmu->in_place);
            s2n_task_execute(command->task);
        } else {
            count(&tcmu->copied);
            begin_with_copy(command);
        }
    }
    s2n_tcmu_forget_taken(tcmu);
}

static void begin(s2n_tcmu_command *command)
{
    s2n_tcmu *tcmu = command->tcmu;
    s2n_task *task = command->task;

    task->expected = command->bytes < UINT32_MAX ? (uint32_t)command->bytes : UINT32_MAX;
    s2n_task_begin(task);
    s2n_flow_charge(&tcmu->flow, S2N_BEGUN, task->portion_bytes);
    if (could_stay(command)) {
        s2n_tcmu_await_look(command);
        return;
    }
    if (command->bytes)
        count(&tcmu->copied);
    begin_with_copy(command);
}

static void take_command(s2n_tcmu *tcmu, const struct s2n_ring_request *request)
{
    s2n_tcmu_command *command = command_new(tcmu, request->id);
    enum s2n_entry_fault fault = command ? s2n_entry_copy(command, request) : S2N_ENTRY_MEMORY;

    if (fault == S2N_ENTRY_SOUND) {
        begin(command);
        return;
    }
    if (fault == S2N_ENTRY_MEMORY) {
        answer(tcmu, &(struct s2n_ring_response){.id = request->id, .status = S2N_BUSY});
        if (command)
            command_free(command);
        return;
    }
    command->bytes = 0; /* nowhere is safe to touch */
    s2n_task_refuse(command->task, fault == S2N_ENTRY_BIDIRECTIONAL ? INVALID_OPERATION_CODE
                                                                    : INTERNAL_TARGET_FAILURE);
}

/* The kernel aborts these commands, and waits for their answers; it has told initiators of a
 * reset, and goes on without an answer to it. */
static void take_tmr(s2n_tcmu *tcmu, const struct s2n_ring_request *request)
{
    s2n_plane *plane = s2n_reactor_plane(tcmu->reactor);
    s2n_event reset = {.type = S2N_EVENT_UNIT_RESET, .cookie = tcmu->cookie};

    for (uint32_t i = 0; i < s2n_entry_ids(request); i++) {
        s2n_tcmu_command *command = tcmu->commands;
        while (command && command->id != s2n_entry_id(request, i))
            command = command->next;
        if (command)
            s2n_plane_abort(plane, S2N_SCOPE_TASK, tcmu->nexus, NULL, command->task->tag, false,
                            false, UINT64_MAX, 0);
    }
    if (s2n_entry_resets(request))
        s2n_plane_emit(plane, &reset);
}

/* Whether the ring's turn goes on; else it goes on in the next one. */
static bool has_turn(s2n_tcmu *tcmu)
{
    if (s2n_flow_credit(&tcmu->flow, S2N_BEGUN) > 0)
        return true;
    if (!s2n_ring_empty(&tcmu->ring))
        s2n_flow_wait(&tcmu->flow);
    return false;
}

void s2n_tcmu_take(s2n_tcmu *tcmu)
{
    struct s2n_ring_request request;
    bool alone = !tcmu->commands;
    int taken = 0, count = 0;

    while (!tcmu->ended && !tcmu->move.leaving && has_turn(tcmu) &&
           (taken = s2n_ring_take(&tcmu->ring, &request)) > 0) {
        count++;
        if (request.kind == S2N_RING_COMMAND) {
            take_command(tcmu, &request);
        } else if (request.kind == S2N_RING_TMR) {
            begin_taken(tcmu); /* which it may abort */
            take_tmr(tcmu, &request);
        } else {
            answer(tcmu, &(struct s2n_ring_response){.id = request.id, .uflags = UNKNOWN_OP});
        }
    }
    if (taken < 0)
        end(tcmu, -taken);
    begin_taken(tcmu);
    if (count)
        s2n_tcmu_consider(tcmu, alone && count == 1 && !tcmu->flow.waits);
    if (!tcmu->ended)
        s2n_defer(tcmu->reactor, &tcmu->flush);
}

/* ---- events ---- */

/* The count that a read of the device gives is of no use, and the source is edge-triggered.
 * Now and then it is read all the same: what was read and the kernel's own count, which
 * wraps, must never come to be equal by chance. */
static void ready(struct s2n_source *source, uint32_t events)
{
    s2n_tcmu *tcmu = (s2n_tcmu *)source;
    uint32_t count;

    if (!(++tcmu->wakes % WAKES_PER_READ) && read(source->fd, &count, sizeof count) < 0 &&
        errno != EAGAIN)
        events |= EPOLLERR;
    if (events & (EPOLLERR | EPOLLHUP))
        end(tcmu, ENODEV);
    else
        s2n_tcmu_take(tcmu);
}

/* The end of a round: one doorbell for all that it answered. */
static void round_end(struct s2n_deferred *deferred)
{
    s2n_tcmu *tcmu = (s2n_tcmu *)((char *)deferred - offsetof(s2n_tcmu, flush));
    uint32_t any = 0;

    if (s2n_ring_publish(&tcmu->ring) && write(tcmu->source.fd, &any, sizeof any) < 0)
        end(tcmu, errno);
    else
        tell_drained(tcmu);
    if (tcmu->move.leaving && !tcmu->commands)
        s2n_tcmu_depart(tcmu);
}

static void resume(struct s2n_flow *flow)
{
    s2n_tcmu_take((s2n_tcmu *)((char *)flow - offsetof(s2n_tcmu, flow)));
}

void s2n_tcmu_serve(s2n_tcmu *tcmu)
{
    s2n_flow_open(&tcmu->flow, tcmu->reactor, resume);
    int error = s2n_source_add(tcmu->reactor, &tcmu->source, EPOLLIN | EPOLLET);

    tell_news(tcmu);
    if (error)
        end(tcmu, -error);
    else
        s2n_tcmu_take(tcmu);
}

/* ---- what the control thread asks ---- */

int s2n_tcmu_new(s2n_plane *plane, s2n_nexus *nexus, int fd, int memory, uint64_t bytes,
                 s2n_window *window, uint64_t cookie, s2n_tcmu **out)
{
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    s2n_tcmu *tcmu = NULL;
    int error = -errno;

    if (map == MAP_FAILED)
        return error;
    error = (tcmu = calloc(1, sizeof *tcmu)) ? s2n_ring_open(&tcmu->ring, map, bytes) : -ENOMEM;
    if (!error && window)
        error = s2n_pages_open(&tcmu->pages, window, memory, bytes);
    if (error) {
        munmap(map, bytes);
        free(tcmu);
        return error;
    }
    tcmu->source = (struct s2n_source){fd, ready};
    tcmu->flush.run = round_end;
    s2n_tcmu_forget_taken(tcmu);
    tcmu->least_bytes = S2N_TCMU_LEAST_BYTES;
    tcmu->nexus = nexus;
    tcmu->cookie = cookie;
    s2n_tcmu_settle(tcmu, plane);
    *out = tcmu;
    return 0;
}

/* Orders may overtake each other: the latest word counts. */
static void set_in_place(s2n_tcmu *tcmu, uint64_t unused)
{
    (void)unused;
    s2n_pages_allow(&tcmu->pages, atomic_load(&tcmu->in_place_allowed));
}

void s2n_tcmu_set_in_place(s2n_tcmu *tcmu, bool allowed)
{
    atomic_store(&tcmu->in_place_allowed, allowed);
    s2n_tcmu_order(tcmu, set_in_place, 0);
}

void s2n_tcmu_counters_get(s2n_tcmu *tcmu, s2n_tcmu_counters *out)
{
    *out = (s2n_tcmu_counters){
        .in_place = tcmu->in_place,
        .copied = tcmu->copied,
        .pages = tcmu->pages.known_count,
        .withdrawals = tcmu->pages.withdrawals,
        .moves = tcmu->move.count,
        .reactor = s2n_tcmu_whereabouts(tcmu),
    };
}

static void drain(s2n_tcmu *tcmu, uint64_t token)
{
    tcmu->draining = true;
    tcmu->drain_token = token;
    if (tcmu->move.leaving) {
        s2n_tcmu_stay(tcmu);
        s2n_tcmu_take(tcmu);
    }
    tell_drained(tcmu);
}

void s2n_tcmu_drain(s2n_tcmu *tcmu, uint64_t token)
{
    s2n_tcmu_order(tcmu, drain, token);
}

static void close_device(s2n_tcmu *tcmu, uint64_t unused)
{
    (void)unused;
    end(tcmu, 0);
}

void s2n_tcmu_close(s2n_tcmu *tcmu)
{
    s2n_tcmu_order(tcmu, close_device, 0);
}

static void destroy(s2n_tcmu *tcmu, uint64_t unused)
{
    (void)unused;
    if (atomic_load(&tcmu->move.orders)) {
        s2n_tcmu_order(tcmu, destroy, 0); /* behind those that it has overtaken */
        return;
    }
    while (tcmu->spare) {
        s2n_tcmu_command *command = tcmu->spare;
        tcmu->spare = command->next;
        free(command);
    }
    free(tcmu);
}

void s2n_tcmu_free(s2n_tcmu *tcmu)
{
    s2n_plane_unpick(tcmu->move.home);
    s2n_tcmu_order(tcmu, destroy, 0);
}
