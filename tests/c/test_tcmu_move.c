/* A TCMU device that moves between running reactors: no command and no order is lost. Under
 * ThreadSanitizer this is the check for races. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "tcmu.h"
#include "unit.h"

enum {
    REACTORS = 3,
    COOKIE = 4711,
    /* As <linux/target_core_user.h> has it. */
    RING = 128,
    ENTRY = 128,
    ENTRIES = 31,
    MAP_BYTES = RING + ENTRIES * ENTRY,
    AT_HEAD = 12,
    AT_TAIL = 64,
    COMMANDS = 6000,
};

static s2n_plane *plane;
static s2n_nexus *nexus;
static s2n_tcmu *tcmu;
static uint8_t *map;
static int memory, doorbell, device; /* the kernel's end, and a duplicate of the other */
static uint32_t head, answered;      /* entries, ever */
static uint32_t drains, drained, closed;

static void put(uint32_t at, uint32_t value)
{
    atomic_store((_Atomic uint32_t *)(map + at), value);
}

static uint32_t get(uint32_t at)
{
    return atomic_load((_Atomic uint32_t *)(map + at));
}

/* ---- the kernel ---- */

static void add(uint32_t count)
{
    char rung[64];

    while (count--) {
        uint32_t at = RING + head % ENTRIES * ENTRY;
        memset(map + at, 0, ENTRY);
        put(at, ENTRY | 1); /* TCMU_OP_CMD */
        put(at + 4, head & 0xffff);
        put(at + 24, at + 112); /* its CDB: TEST UNIT READY */
        head++;
    }
    put(AT_HEAD, head % ENTRIES * ENTRY);
    CHECK(read(device, rung, sizeof rung) > 0 || errno == EAGAIN); /* the device hardly does */
    CHECK(write(doorbell, "\1\0\0", 4) == 4);
}

static void take_answers(void)
{
    uint32_t tail = get(AT_TAIL) / ENTRY;

    for (; answered % ENTRIES != tail; answered++)
        CHECK(answered != head);
}

/* ---- the control thread ---- */

/* Play the engine, and take what is told. */
static void take_events(void)
{
    struct pollfd fd = {.fd = s2n_plane_event_fd(plane), .events = POLLIN};
    s2n_event event;

    CHECK(poll(&fd, 1, 20000) == 1);
    while (s2n_plane_next_event(plane, &event)) {
        drained += event.type == S2N_EVENT_DRAINED;
        closed += event.type == S2N_EVENT_CONN_CLOSED;
        if (event.type == S2N_EVENT_TASK)
            s2n_task_end(event.task, 0, NULL, 0, NULL, 0);
    }
}

/* The kernel is not told by an event, but by the device's doorbell. */
static void await_answers(void)
{
    char rung[64];

    while (answered != head) {
        struct pollfd fds[] = {{.fd = s2n_plane_event_fd(plane), .events = POLLIN},
                               {.fd = doorbell, .events = POLLIN}};
        CHECK(poll(fds, 2, 20000) > 0);
        if (fds[0].revents)
            take_events();
        if (fds[1].revents)
            CHECK(read(doorbell, rung, sizeof rung) > 0);
        take_answers();
    }
}

static void open_device(void)
{
    static const int32_t cpus[REACTORS] = {-1, -1, -1};
    int pair[2];

    CHECK(plane = s2n_plane_new(REACTORS, cpus, 0));
    CHECK(nexus = s2n_nexus_new(1));
    CHECK(!s2n_plane_start(plane));
    memory = memfd_create("tcmu", 0);
    CHECK(memory >= 0 && ftruncate(memory, MAP_BYTES) == 0);
    map = mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    CHECK(map != MAP_FAILED);
    put(0, 2 | 3 << 16); /* version; OOOC and READ_LEN */
    put(4, RING);
    put(8, ENTRIES * ENTRY);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    doorbell = pair[0];
    CHECK((device = dup(pair[1])) >= 0);
    CHECK(!s2n_tcmu_new(plane, nexus, pair[1], memory, MAP_BYTES, NULL, COOKIE, &tcmu));
    head = answered = drains = drained = closed = 0;
}

static void close_device(void)
{
    s2n_tcmu_drain(tcmu, 1); /* nobody waits for it before the end */
    s2n_tcmu_close(tcmu);
    while (!closed)
        take_events();
    s2n_tcmu_free(tcmu);
    s2n_plane_stop(plane);
    for (uint32_t i = 0; i < REACTORS; i++)
        CHECK_EQUAL(atomic_load(&plane->reactor[i].sessions), 0);
    s2n_nexus_free(nexus);
    s2n_plane_free(plane);
    munmap(map, MAP_BYTES);
    close(memory);
    close(doorbell);
    close(device);
}

static void interfere(uint32_t *state)
{
    switch (draw(state, 40)) {
    case 0:
        s2n_tcmu_set_in_place(tcmu, draw(state, 2));
        break;
    case 1:
        if (drained == drains) { /* one at a time */
            s2n_tcmu_drain(tcmu, 1);
            drains++;
        }
        break;
    }
}

/* Lone commands make it look for a better seat, and crowds for its home. */
static void commands_come_and_go(uint32_t *state)
{
    for (uint32_t i = 0; i < COMMANDS; i++) {
        bool crowd = i / 1000 % 3 == 2;
        add(crowd ? 2 + draw(state, ENTRIES - 3) : 1);
        interfere(state);
        await_answers();
    }
}

static void commands_find_it_wherever_it_is(uint32_t *state)
{
    s2n_tcmu_counters counters;

    open_device();
    do {
        commands_come_and_go(state); /* once is enough, but where it waits too long to leave */
        s2n_tcmu_counters_get(tcmu, &counters);
        CHECK(counters.reactor < REACTORS);
    } while (counters.moves < 3);
    while (drained != drains)
        take_events();
    close_device();
}

/* It ends wherever it is, with commands under way that nobody answers before. */
static void it_is_closed_wherever_it_is(uint32_t *state)
{
    for (int i = 0; i < 20; i++) {
        uint32_t count = draw(state, 1500);
        open_device();
        while (count--) {
            add(1);
            await_answers();
        }
        add(3);
        close_device();
    }
}

int main(int argc, char **argv)
{
    uint32_t seed = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : (uint32_t)time(NULL);
    uint32_t state = seed | 1;

    printf("seed %u\n", seed);
    fflush(stdout);
    commands_find_it_wherever_it_is(&state);
    it_is_closed_wherever_it_is(&state);
    return 0;
}
