/* The plane with its threads: messages, drains, aborts, pauses and stops while
 * reactors work. Under ThreadSanitizer this is the check for races. */

#include <poll.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "device.h"
#include "front_end.h"
#include "unit.h"

enum { REACTORS = 3, SESSIONS = 6, DEPTH = 16, TASKS = 24, POOL = 2 << 20, ROUNDS = 400 };
enum { FUSED = 4 }; /* blocks of a pair */

/* A nexus whose front end begins a command whenever one ends. */
struct session {
    s2n_nexus *nexus;
    struct s2n_reactor *reactor;
    uint32_t under_way, begun, state;
    bool closing, closed;
    struct s2n_deferred more;
};

static s2n_plane *plane;
static s2n_controller *controller;
static s2n_lu *lu;
static struct device device[REACTORS];
static struct session session[SESSIONS];
static atomic_uint calls;
static uint32_t tokens_sent, tokens_seen, ended, failed;
static const s2n_lu_params params = {.nsid = 1,
                                     .block_shift = 9,
                                     .blocks = 1 << 20,
                                     .maximum_blocks = 64,
                                     .boundary_blocks = 100,
                                     .compares = 1,
                                     .fused_blocks = FUSED};

/* ---- what the devices have at the same time ---- */

static pthread_mutex_t devices = PTHREAD_MUTEX_INITIALIZER;
static uint32_t pairs;

static bool meet(const struct device *one, uint32_t a, const struct device *other, uint32_t b)
{
    uint64_t first = one->log[a].slba, second = other->log[b].slba;

    return first < second + other->log[b].blocks && second < first + one->log[a].blocks;
}

/* Nothing else is of the blocks of a pair. */
static void check_alone(const struct device *one, uint32_t pair)
{
    for (uint32_t i = 0; i < REACTORS; i++)
        for (uint32_t number = device[i].first; number < device[i].seen; number++) {
            uint32_t at = number % DEVICE_LOG;
            bool own = one == &device[i] && (at == pair || at == (pair + 1) % DEVICE_LOG);
            CHECK(own || device[i].log[at].done || !meet(one, pair, &device[i], at));
        }
}

static void check_pairs(const struct device *one)
{
    for (uint32_t number = one->first; number < one->seen; number++) {
        uint32_t at = number % DEVICE_LOG;
        if (one->log[at].fuse != S2N_FUSED_FIRST || one->log[at].done)
            continue;
        CHECK_EQUAL(one->log[(at + 1) % DEVICE_LOG].fuse, S2N_FUSED_SECOND);
        CHECK_EQUAL(one->log[(at + 1) % DEVICE_LOG].slba, one->log[at].slba);
        check_alone(one, at);
        pairs++;
    }
}

static const struct s2n_port_ops *plain;

static void ring_sq(s2n_port *port, uint16_t qid, uint32_t tail)
{
    pthread_mutex_lock(&devices);
    plain->ring_sq(port, qid, tail);
    for (uint32_t i = 0; i < REACTORS; i++)
        check_pairs(&device[i]);
    pthread_mutex_unlock(&devices);
}

static void before_poll(s2n_port *port, uint16_t qid)
{
    pthread_mutex_lock(&devices);
    plain->before_poll(port, qid);
    pthread_mutex_unlock(&devices);
}

static void watch(struct device *one)
{
    static struct s2n_port_ops ops;

    plain = one->port.ops;
    ops = *plain;
    ops.ring_sq = ring_sq;
    ops.before_poll = before_poll;
    one->port.ops = &ops;
}

/* ---- the front end; on the reactors' threads ---- */

static void ended_one(s2n_task *task)
{
    struct session *own = task->context;

    own->under_way--;
    s2n_defer(own->reactor, &own->more);
    s2n_task_free(task);
}

static void execute(s2n_task *task)
{
    task->data_out_length = (uint32_t)task->announced;
    s2n_task_execute(task);
}

static void go_on(s2n_task *task)
{
    if (task->direction == S2N_IN)
        s2n_task_execute(task);
    else if (s2n_task_reserve(task, (uint32_t)task->announced))
        execute(task);
}

static const struct s2n_front_end front_end = {
    .complete = ended_one,
    .discard = ended_one,
    .reserved = execute,
    .enabled = go_on,
};

static void begin_one(struct session *own)
{
    s2n_task *task = s2n_task_new(own->reactor, &front_end, own->nexus);
    uint32_t blocks = draw(&own->state, 10) ? draw(&own->state, 300) : 4000;

    task->context = own;
    task->tag = own->begun;
    task->attribute = (uint8_t)(draw(&own->state, 50) ? 1 : 2 + draw(&own->state, 2));
    task->cdb[0] = own->begun++ & 1 ? 0x28 : 0x2a;
    memset(task->cdb + 1, 0, 15);
    task->cdb[5] = (uint8_t)own->begun;
    task->cdb[7] = (uint8_t)(blocks >> 8);
    task->cdb[8] = (uint8_t)blocks;
    if (!draw(&own->state, 8)) { /* COMPARE AND WRITE, of more than a pair at times */
        task->cdb[0] = 0x89;
        task->cdb[9] = (uint8_t)draw(&own->state, 64);
        task->cdb[13] = (uint8_t)(1 + draw(&own->state, FUSED + 2));
        task->cdb[5] = task->cdb[7] = task->cdb[8] = 0;
    }
    task->cdb_length = 16;
    task->expected = UINT32_MAX;
    own->under_way++;
    s2n_task_begin(task);
    task->expected = (uint32_t)task->announced;
    if (s2n_task_join(task))
        go_on(task);
}

static void begin_more(struct s2n_deferred *deferred)
{
    struct session *own = (struct session *)((char *)deferred - offsetof(struct session, more));

    for (int i = 0; i < 4 && !own->closing && own->under_way < TASKS; i++)
        begin_one(own);
    if (own->closing && !own->under_way && !own->closed) {
        s2n_event event = {.type = S2N_EVENT_CONN_CLOSED};
        own->closed = true;
        s2n_plane_emit(plane, &event);
    }
}

static void begin_session(void *argument)
{
    struct session *own = argument;

    s2n_defer(own->reactor, &own->more);
}

static void close_session(void *argument)
{
    ((struct session *)argument)->closing = true;
    begin_session(argument);
}

/* ---- the control thread ---- */

/* Take events until `tokens` have come back, and play the engine. */
static uint32_t take_events(uint32_t until_tokens, uint32_t until_closed)
{
    struct pollfd fd = {.fd = s2n_plane_event_fd(plane), .events = POLLIN};
    uint32_t closed = 0;
    s2n_event event;

    while (tokens_seen < until_tokens || closed < until_closed) {
        CHECK(poll(&fd, 1, 20000) == 1);
        while (s2n_plane_next_event(plane, &event)) {
            tokens_seen += event.type == S2N_EVENT_DRAINED;
            closed += event.type == S2N_EVENT_CONN_CLOSED;
            failed += event.type == S2N_EVENT_TASK_FAILED;
            if (event.type != S2N_EVENT_TASK && event.type != S2N_EVENT_TASK_FAILED)
                continue;
            (void)s2n_task_aborted(event.task);
            (void)s2n_task_data_length(event.task);
            if (event.type == S2N_EVENT_TASK_FAILED && event.holder)
                s2n_holder_release(event.holder);
            s2n_task_end(event.task, 0, NULL, 0, (const uint8_t *)"data", 4);
            ended++;
        }
    }
    return closed;
}

static void open_plane(uint32_t poll_us)
{
    static const int32_t cpus[REACTORS] = {-1, -1, -1};

    CHECK(plane = s2n_plane_new(REACTORS, cpus, poll_us));
    CHECK(controller = s2n_controller_new(plane, 1));
    for (uint32_t i = 0; i < REACTORS; i++) {
        device_open(&device[i], DEPTH, POOL);
        watch(&device[i]);
        device[i].automatic = i == 0;
        device[i].lazy = i != 0;
        CHECK(!s2n_controller_set_queue(controller, i, device[i].qp, -1, &device[i].pool_memory));
    }
    CHECK(lu = s2n_lu_new(controller, &params));
    s2n_lu_set_aside(lu, false);
    tokens_sent = tokens_seen = ended = failed = 0;
}

static void open_sessions(uint32_t seed)
{
    for (uint32_t i = 0; i < SESSIONS; i++) {
        session[i] = (struct session){.more.run = begin_more, .state = seed + i};
        CHECK(session[i].nexus = s2n_nexus_new(i));
        CHECK(!s2n_nexus_map(session[i].nexus, 0, lu));
        s2n_nexus_set_aside(session[i].nexus, 0, false);
        session[i].reactor = s2n_plane_pick(plane, session[i].nexus);
        s2n_reactor_call(session[i].reactor, begin_session, &session[i]);
    }
}

static void close_plane(void)
{
    s2n_plane_stop(plane);
    for (uint32_t i = 0; i < REACTORS; i++) {
        CHECK_EQUAL(plane->reactor[i].in_flight, 0);
        CHECK(!plane->reactor[i].live && !plane->reactor[i].aborts);
        CHECK_EQUAL(s2n_pool_unused(controller->queue[i].pool), POOL);
    }
    CHECK(!lu->claims.first);
    for (uint32_t i = 0; i < REACTORS; i++)
        CHECK(!lu->local[i].ranges && !lu->local[i].under_way);
    s2n_lu_free(lu);
    s2n_controller_free(controller);
    s2n_plane_free(plane);
    for (uint32_t i = 0; i < REACTORS; i++)
        device_close(&device[i]);
}

static void close_sessions(void)
{
    for (uint32_t i = 0; i < SESSIONS; i++) {
        s2n_reactor_call(session[i].reactor, close_session, &session[i]);
        s2n_plane_unpick(session[i].reactor);
    }
    take_events(tokens_sent, SESSIONS);
    for (uint32_t i = 0; i < SESSIONS; i++) {
        s2n_plane_abort(plane, S2N_SCOPE_NEXUS, session[i].nexus, NULL, 0, false, false, UINT64_MAX,
                        1);
        take_events(++tokens_sent, 0);
        s2n_nexus_free(session[i].nexus);
    }
}

/* The device forgets everything while the reactors keep off. Nobody waits for it just then. */
static void recover(void)
{
    take_events(tokens_sent, 0);
    s2n_controller_pause(controller, 1);
    take_events(++tokens_sent, 0);
    for (uint32_t i = 0; i < REACTORS; i++)
        device_reset(&device[i]);
    s2n_controller_resume(controller);
}

static void interfere(uint32_t *state)
{
    struct session *one = &session[draw(state, SESSIONS)];
    uint32_t scope = 1 + draw(state, 4);

    switch (draw(state, 8)) {
    case 0:
        s2n_lu_drain(lu, 1);
        take_events(++tokens_sent, 0);
        s2n_lu_update(lu, &params);
        s2n_lu_set_aside(lu, false);
        break;
    case 1:
        recover();
        break;
    case 3: /* at times it is given up */
        s2n_lu_drain_range(lu, 0, draw(state, 1 << 21), 1);
        tokens_sent++;
        if (draw(state, 2))
            take_events(tokens_sent, 0);
        s2n_lu_release_range(lu, 1);
        break;
    case 4:
        (void)s2n_lu_share(lu, 0, draw(state, 64), 2);
        if (draw(state, 2))
            take_events(tokens_sent, 0);
        s2n_lu_unshare(lu, 2);
        break;
    case 2:
        s2n_nexus_set_aside(one->nexus, 0, draw(state, 2));
        break;
    default:
        s2n_plane_abort(plane, scope, one->nexus, scope == S2N_SCOPE_NEXUS ? NULL : lu,
                        draw(state, 1000), draw(state, 2), draw(state, 2), UINT64_MAX, 1);
        tokens_sent++;
        if (draw(state, 2))
            take_events(tokens_sent, 0);
    }
}

static void everything_happens_at_once(uint32_t seed)
{
    uint32_t state = seed | 1;

    open_plane(seed % 2 ? 50 : 0);
    CHECK(!s2n_plane_start(plane));
    open_sessions(state);
    for (int i = 0; i < ROUNDS; i++)
        interfere(&state);
    close_sessions();
    CHECK(ended && pairs);
    close_plane();
}

static void a_controller_is_lost_under_load(void)
{
    open_plane(0);
    CHECK(!s2n_plane_start(plane));
    open_sessions(99);
    recover();
    s2n_controller_pause(controller, 1);
    take_events(++tokens_sent, 0);
    s2n_controller_fail(controller, 0x006);
    close_sessions();
    CHECK(failed);
    close_plane();
}

static void a_controller_goes_while_reactors_run(void)
{
    open_plane(0);
    CHECK(!s2n_plane_start(plane));
    s2n_controller_pause(controller, 1);
    take_events(++tokens_sent, 0);
    s2n_lu_free(lu);
    s2n_controller_free(controller);
    s2n_plane_free(plane);
    for (uint32_t i = 0; i < REACTORS; i++)
        device_close(&device[i]);
}

/* ---- messages ---- */

enum { CALLERS = 4, CALLS = 2000 };

struct call {
    uint32_t caller, number;
};
static uint32_t latest[CALLERS]; /* by caller; the reactor's */

static void called(void *argument)
{
    struct call *call = argument;

    CHECK_EQUAL(call->number, ++latest[call->caller]);
    atomic_fetch_add(&calls, 1);
    free(call);
}

static void *calling(void *argument)
{
    uint32_t caller = *(uint32_t *)argument;

    for (uint32_t i = 1; i <= CALLS; i++) {
        struct call *call = malloc(sizeof *call);
        CHECK(call);
        *call = (struct call){caller, i};
        s2n_reactor_call(&plane->reactor[1], called, call);
    }
    return NULL;
}

/* Each caller's in their order; and none is lost, whenever the reactor stops. */
static void messages_of_many_threads_arrive(void)
{
    pthread_t thread[CALLERS];
    uint32_t number[CALLERS];

    atomic_store(&calls, 0);
    memset(latest, 0, sizeof latest);
    open_plane(0);
    CHECK(!s2n_plane_start(plane));
    for (uint32_t i = 0; i < CALLERS; i++) {
        number[i] = i;
        CHECK(!pthread_create(&thread[i], NULL, calling, &number[i]));
    }
    for (uint32_t i = 0; i < CALLERS; i++)
        pthread_join(thread[i], NULL);
    s2n_plane_stop(plane);
    CHECK_EQUAL(atomic_load(&calls), CALLERS * CALLS);
    latest[0] = 0;
    calling(&number[0]); /* from now on whoever calls runs them */
    CHECK_EQUAL(atomic_load(&calls), (CALLERS + 1) * CALLS);
    close_plane();
}

int main(int argc, char **argv)
{
    uint32_t seed = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : (uint32_t)time(NULL);

    printf("seed %u\n", seed);
    fflush(stdout);
    RUN(messages_of_many_threads_arrive);
    RUN(a_controller_goes_while_reactors_run);
    RUN(a_controller_is_lost_under_load);
    everything_happens_at_once(seed);
    everything_happens_at_once(seed + 1);
    printf("ok everything_happens_at_once\n");
    return 0;
}
