/* An arbitrary device behind a queue pair: what it writes into the completion queue, and what is
 * asked of the queue pair meanwhile. Whatever it says, each command ends once at most, as what it
 * was placed. */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "fuzz.h"
#include "little_endian.h"
#include "place.h"
#include "qpair_bench.h"

enum { HEAD = 2, DEEPEST = 33, KINDS = 16, SPANS = 16, MOST = 64 };

enum kind {
    PLACE,    /* a command, with a time-out of so many milliseconds */
    SPAN,     /* one whose data lie in spans: eight bytes of address, four of length each */
    RING,     /* the doorbell */
    POST,     /* a completion of a command; what follows are status and result */
    WRITE,    /* bytes anywhere in the completion queue */
    POLL,     /* so many completions at most */
    RESET,    /* with what was under way, or without */
    ABANDON,  /* the device */
    REVIVE,   /* and have it again */
    EXTEND,   /* the time of a command */
    DROP,     /* the commands of one owner */
    DEADLINE, /* which is next? */
};

const uint32_t fuzz_head = HEAD, fuzz_kinds = KINDS, fuzz_planted = 9;

static struct bench bench;
static struct {
    bool under_way;
    uint64_t cookie;
} command[DEEPEST];
static uint32_t under_way, placed, ended;

static void note_place(int cid, uint64_t cookie)
{
    if (cid < 0) {
        CHECK(cid == -EAGAIN || cid == -EINVAL);
        CHECK(cid != -EAGAIN || under_way == bench.depth - 1u);
        return;
    }
    CHECK(cid < bench.depth - 1 && !command[cid].under_way);
    command[cid].under_way = true;
    command[cid].cookie = cookie;
    under_way++;
    placed++;
}

static void place_spans(uint8_t detail, const uint8_t *bytes, size_t length)
{
    struct s2n_span spans[SPANS];
    uint8_t sqe[64] = {2};
    uint32_t count = 0;

    for (; length >= 12 && count < SPANS; length -= 12, bytes += 12)
        spans[count++] = (struct s2n_span){s2n_get_le64(bytes), s2n_get_le32(bytes + 8)};
    note_place(place_entry(bench.qp, sqe, spans, count, detail, 0), detail);
}

/* As a controller would, where `detail` names a command. */
static void post_one(uint8_t detail, const uint8_t *bytes, size_t length)
{
    uint8_t result[8] = {0};

    memcpy(result, bytes, length < 8 ? length : 8);
    post(&bench, detail, s2n_get_le16(result) & 0x7fff, s2n_get_le32(result + 4));
}

static void write_queue(uint8_t detail, const uint8_t *bytes, size_t length)
{
    uint32_t size = 16u * bench.depth, from = detail * 4u % size;

    memcpy(at(&bench, s2n_qpair_cq_iova(bench.qp)) + from, bytes,
           length < size - from ? length : size - from);
}

static void poll(int maximum)
{
    s2n_completion done[MOST];
    int taken = s2n_qpair_poll(bench.qp, done, maximum);

    CHECK(taken >= 0 && taken <= maximum);
    for (int i = 0; i < taken; i++) {
        CHECK(done[i].cid < bench.depth - 1 && command[done[i].cid].under_way);
        CHECK_EQUAL(done[i].cookie, command[done[i].cid].cookie);
        CHECK(done[i].status <= 0x7ff && done[i].crd <= 3);
        command[done[i].cid].under_way = false;
        under_way--;
        ended++;
    }
}

static void forget(bool all, uint64_t cookie)
{
    for (int cid = 0; cid < bench.depth - 1; cid++)
        if (command[cid].under_way && (all || command[cid].cookie == cookie)) {
            command[cid].under_way = false;
            under_way--;
        }
}

static void reset(bool replay)
{
    s2n_qpair_reset(bench.qp, replay);
    bench.cq_tail = 0;
    bench.phase = true;
    if (!replay)
        forget(true, 0);
}

static void ask_deadline(void)
{
    uint16_t cid = 0;

    if (s2n_qpair_next_deadline(bench.qp, &cid) == 0)
        CHECK(cid < bench.depth - 1 && command[cid].under_way);
}

static void do_step(uint8_t kind, uint8_t detail, const uint8_t *bytes, size_t length)
{
    uint8_t sqe[64] = {detail};

    switch (kind) {
    case SPAN:
        place_spans(detail, bytes, length);
        break;
    case RING:
        s2n_qpair_ring(bench.qp);
        break;
    case POST:
        post_one(detail, bytes, length);
        break;
    case WRITE:
        write_queue(detail, bytes, length);
        break;
    case POLL:
        poll(detail % MOST);
        s2n_qpair_acknowledge(bench.qp);
        break;
    case RESET:
        reset(detail & 1);
        break;
    case ABANDON:
        s2n_qpair_abandon(bench.qp, (uint16_t)(detail << 3));
        break;
    case REVIVE:
        s2n_qpair_revive(bench.qp);
        reset(detail & 1);
        break;
    case EXTEND:
        s2n_qpair_extend(bench.qp, detail, (uint32_t)length);
        break;
    case DROP:
        s2n_qpair_drop(bench.qp, detail);
        forget(false, detail);
        break;
    case DEADLINE:
        ask_deadline();
        break;
    default:
        note_place(s2n_qpair_place(bench.qp, sqe, NULL, detail, (uint32_t)length), detail);
    }
}

void fuzz_begin(const uint8_t *head)
{
    memset(command, 0, sizeof command);
    under_way = placed = ended = 0;
    open_bench(&bench, (uint16_t)(2 + head[0] % (DEEPEST - 1)));
    s2n_qpair_set_polled(bench.qp, head[1] & 1);
}

void fuzz_step(uint8_t kind, uint8_t detail, const uint8_t *bytes, size_t length)
{
    do_step(kind, detail, bytes, length);
    CHECK_EQUAL(s2n_qpair_in_flight(bench.qp), under_way);
    CHECK_EQUAL(s2n_qpair_free_slots(bench.qp), bench.depth - 1u - under_way);
    CHECK(bench.fake.sq_tail < bench.depth && bench.fake.cq_head < bench.depth);
}

/* What is under way when the device is given up ends, all of it. */
void fuzz_finish(void)
{
    s2n_qpair_abandon(bench.qp, 1);
    while (under_way)
        poll(MOST);
    close_bench(&bench);
}

uint32_t fuzz_reached(void)
{
    return ended;
}

#ifndef S2N_LIBFUZZER

void fuzz_plant(void)
{
    static const uint8_t failed[8] = {0x81, 0x42, 0, 0, 0xbe, 0xba, 0xfe, 0xca};
    static const uint8_t nonsense[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0xff, 0xff, 1, 0};
    static const uint8_t spans[24] = {0, 16, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0,
                                      0, 48, 0, 0, 0, 0, 0, 0, 8, 0,  0, 0};

    fuzz_set_head(0, 6);
    for (uint8_t owner = 0; owner < 3; owner++)
        fuzz_add(PLACE, owner, spans, 20);
    fuzz_add(SPAN, 3, spans, sizeof spans);
    fuzz_add(RING, 0, NULL, 0);
    fuzz_add(POST, 1, NULL, 0);
    fuzz_add(POST, 0, failed, sizeof failed);
    fuzz_add(POLL, 8, NULL, 0);
    fuzz_add(POST, 0, NULL, 0); /* once more, and one that is none */
    fuzz_add(POST, 0xff, NULL, 0);
    fuzz_add(WRITE, 16, nonsense, sizeof nonsense);
    fuzz_add(POLL, 8, NULL, 0);
    fuzz_add(DEADLINE, 0, NULL, 0);
    fuzz_add(EXTEND, 2, spans, 10);
    fuzz_add(RESET, 1, NULL, 0);
    fuzz_add(PLACE, 5, NULL, 0);
    fuzz_add(PLACE, 6, NULL, 0);
    fuzz_add(RING, 0, NULL, 0);
    fuzz_add(POST, 2, NULL, 0);
    fuzz_add(POLL, 1, NULL, 0);
    fuzz_add(DROP, 5, NULL, 0);
    fuzz_add(ABANDON, 7, NULL, 0);
    fuzz_add(PLACE, 8, NULL, 0);
    fuzz_add(POLL, 8, NULL, 0);
    fuzz_add(PLACE, 9, NULL, 0);
    fuzz_add(REVIVE, 1, NULL, 0);
    fuzz_add(RING, 0, NULL, 0);
    fuzz_add(PLACE, 10, NULL, 0);
    for (uint8_t cid = 0; cid < 7; cid++)
        fuzz_add(POST, cid, NULL, 0);
    fuzz_add(POLL, 8, NULL, 0);
    fuzz_add(RESET, 0, NULL, 0);
    fuzz_add(PLACE, 11, NULL, 0);
}

#endif
