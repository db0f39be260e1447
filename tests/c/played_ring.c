#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "played_ring.h"

uint8_t *map;
int memory;
s2n_tcmu *tcmu;
uint32_t head;
s2n_window *window;
int doorbell;
uint32_t cleaned;

const uint8_t test_unit_ready[6] = {0};

void make_memory(void)
{
    memory = memfd_create("tcmu", 0);
    CHECK(memory >= 0 && ftruncate(memory, MAP_BYTES) == 0);
    map = mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    CHECK(map != MAP_FAILED);
}

void put16(uint32_t at, uint32_t value)
{
    memcpy(map + at, &(uint16_t){(uint16_t)value}, 2);
}

void put32(uint32_t at, uint32_t value)
{
    memcpy(map + at, &value, 4);
}

uint32_t get32(uint32_t at)
{
    uint32_t value;

    memcpy(&value, map + at, 4);
    return value;
}

void put64(uint32_t at, uint64_t value)
{
    memcpy(map + at, &value, 8);
}

void make_mailbox(uint32_t start)
{
    memset(map, 0xee, MAP_BYTES);
    memset(map, 0, RING);
    put16(AT_VERSION, 2);
    put16(AT_FLAGS, OOOC | READ_LEN);
    put32(AT_OFFSET, RING);
    put32(AT_SIZE, RING_BYTES);
    put32(AT_HEAD, start);
    put32(AT_TAIL, start);
    head = cleaned = start;
}

int open_device(void)
{
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    doorbell = pair[0];
    int error =
        s2n_tcmu_new(fake_start(), fake_nexus(), pair[1], memory, MAP_BYTES, window, COOKIE, &tcmu);
    if (error) {
        close(pair[0]);
        close(pair[1]);
    }
    return error;
}

void begin_at(uint32_t start)
{
    make_mailbox(start);
    CHECK_EQUAL(open_device(), 0);
    fake_run();
}

void begin(void)
{
    begin_at(0);
}

void ring(void)
{
    put32(AT_HEAD, head);
    CHECK(write(doorbell, "\1\0\0", 4) == 4);
    fake_run();
}

/* What the front end asks of the plane. */
void s2n_plane_abort(s2n_plane *plane, uint32_t scope, s2n_nexus *nexus, s2n_lu *lu, uint32_t itt,
                     bool query, bool tas, uint64_t up_to, uint64_t token)
{
    (void)plane;
    CHECK(scope == S2N_SCOPE_TASK && nexus == fake_nexus() && !lu && !query && !tas &&
          up_to == UINT64_MAX && !token);
    fake_abort(itt, false);
}

void advance(uint32_t *at, uint32_t length)
{
    *at = (*at + length) % RING_BYTES;
}

uint32_t make_room(uint32_t length)
{
    if (RING_BYTES - head < length) {
        put32(RING + head, (RING_BYTES - head) | PAD);
        head = 0;
    }
    return RING + head;
}

uint32_t add(uint16_t id, const uint8_t *cdb, uint32_t cdb_length, const struct extent *extent,
             uint32_t count)
{
    uint32_t cdb_at = 48 + 16 * count > 112 ? 48 + 16 * count : 112;
    uint32_t length = (cdb_at + cdb_length + 7) & ~7u;
    uint32_t at = make_room(length);

    memset(map + at, 0, length);
    put32(at, length | COMMAND);
    put16(at + 4, id);
    put32(at + 8, count);
    put64(at + 24, at + cdb_at);
    for (uint32_t i = 0; i < count; i++) {
        put64(at + 48 + 16 * i, extent[i].base);
        put64(at + 56 + 16 * i, extent[i].length);
    }
    memcpy(map + at + cdb_at, cdb, cdb_length);
    advance(&head, length);
    return at;
}

uint32_t add_bare(uint16_t id)
{
    return add(id, test_unit_ready, 6, NULL, 0);
}

const uint8_t *rw10(uint8_t opcode, uint32_t lba, uint32_t blocks)
{
    static uint8_t cdb[10];

    memset(cdb, 0, sizeof cdb);
    cdb[0] = opcode;
    cdb[4] = (uint8_t)(lba >> 8);
    cdb[5] = (uint8_t)lba;
    cdb[7] = (uint8_t)(blocks >> 8);
    cdb[8] = (uint8_t)blocks;
    return cdb;
}

void add_rw(uint16_t id, uint8_t opcode, uint32_t blocks, const struct extent *extent,
            uint32_t count)
{
    add(id, rw10(opcode, 4, blocks), 10, extent, count);
}

void add_tmr(const uint16_t *ids, uint32_t count)
{
    add_tmr_of(1, ids, count);
}

void add_tmr_of(uint8_t type, const uint16_t *ids, uint32_t count)
{
    uint32_t length = (32 + 2 * count + 7) & ~7u, at = make_room(length);

    memset(map + at, 0, length);
    put32(at, length | TMR);
    map[at + 8] = type;
    put32(at + 12, count);
    memcpy(map + at + 32, ids, 2 * count);
    advance(&head, length);
}

bool next_answer(struct answer *answer)
{
    while (cleaned != get32(AT_TAIL)) {
        uint32_t at = RING + cleaned, len_op = get32(at);
        advance(&cleaned, len_op & ~7u);
        if ((len_op & 7) == PAD || (len_op & 7) == TMR)
            continue;
        memcpy(&answer->id, map + at + 4, 2);
        answer->uflags = map[at + 7];
        answer->status = map[at + 8];
        answer->read_length = get32(at + 12);
        memcpy(answer->sense, map + at + 16, 96);
        return true;
    }
    return false;
}

struct answer expect(uint16_t id, uint8_t status)
{
    struct answer answer = {0};

    CHECK(next_answer(&answer));
    CHECK_EQUAL(answer.id, id);
    CHECK_EQUAL(answer.status, status);
    return answer;
}

void expect_none(void)
{
    struct answer answer;

    CHECK(!next_answer(&answer));
}

uint32_t doorbells(void)
{
    uint8_t buffer[256];
    ssize_t count = recv(doorbell, buffer, sizeof buffer, MSG_DONTWAIT);

    return count < 0 ? 0 : (uint32_t)count / 4;
}

void expect_end(uint32_t error)
{
    s2n_event event;

    fake_run();
    CHECK(fake_next_event(&event));
    CHECK_EQUAL(event.type, S2N_EVENT_CONN_CLOSED);
    CHECK_EQUAL(event.cookie, COOKIE);
    CHECK_EQUAL(event.count, error);
    s2n_tcmu_free(tcmu);
    fake_run();
    CHECK_EQUAL(fake.live_tasks, 0);
    CHECK_EQUAL(fake.sources, 0);
    close(doorbell);
}

void finish(void)
{
    s2n_tcmu_close(tcmu);
    expect_end(0);
}

s2n_task *held(uint16_t place)
{
    CHECK(place < fake.executed_count);
    return fake.executed[place];
}

uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 7 + (at >> 8) + 1);
}
