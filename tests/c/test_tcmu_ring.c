/* The ring by itself: what mailbox is taken for one, and what an answer leaves in its entry. */
#include "check.h"
#include "tcmu.h"

#include <errno.h>
#include <linux/target_core_user.h>
#include <string.h>

enum { AT = 128, RING = 1024, MAP = AT + RING, ENTRY = sizeof(struct tcmu_cmd_entry) };

static _Alignas(64) uint8_t map[MAP];
static struct tcmu_mailbox *const box = (void *)map;

static void begin(void)
{
    memset(map, 0, sizeof map);
    box->version = TCMU_MAILBOX_VERSION;
    box->flags = TCMU_MAILBOX_FLAG_CAP_OOOC | TCMU_MAILBOX_FLAG_CAP_READ_LEN;
    box->cmdr_off = AT;
    box->cmdr_size = RING;
}

static void a_ring_may_end_where_the_mapping_does(void)
{
    struct s2n_ring ring;

    begin();
    CHECK_EQUAL(s2n_ring_open(&ring, map, MAP), 0);
    CHECK(s2n_ring_idle(&ring));
    CHECK(ring.has_read_length);
    CHECK_EQUAL(s2n_ring_open(&ring, map, MAP - 1), -EPROTO);
    CHECK_EQUAL(s2n_ring_open(&ring, map, sizeof *box - 1), -EPROTO);
}

static void a_ring_has_room_and_a_tail_within(void)
{
    static const struct {
        uint32_t at, bytes, tail;
        int error;
    } given[] = {
        {AT, RING, RING - TCMU_OP_ALIGN_SIZE, 0},
        {AT, RING, RING, -EPROTO},
        {AT, RING, 4, -EPROTO},
        {AT, RING - 4, 0, -EPROTO},
        {AT, 0, 0, -EPROTO},
        {AT + 4, RING - 8, 0, -EPROTO},
        {sizeof(struct tcmu_mailbox), RING, 0, 0},
        {sizeof(struct tcmu_mailbox) - TCMU_OP_ALIGN_SIZE, RING, 0, -EPROTO},
        {UINT32_MAX - TCMU_OP_ALIGN_SIZE + 1, RING, 0, -EPROTO}, /* more than 32 bits in all */
    };
    struct s2n_ring ring;

    for (unsigned i = 0; i < sizeof given / sizeof *given; i++) {
        begin();
        box->cmdr_off = given[i].at;
        box->cmdr_size = given[i].bytes;
        box->cmd_tail = given[i].tail;
        CHECK_EQUAL(s2n_ring_open(&ring, map, MAP), given[i].error);
    }
}

static void who_asked_nothing_gets_no_answer(void)
{
    const struct s2n_ring_response response = {.id = 7};
    struct s2n_ring ring;

    begin();
    CHECK_EQUAL(s2n_ring_open(&ring, map, MAP), 0);
    CHECK_EQUAL(s2n_ring_answer(&ring, &response), -EPROTO);
    CHECK(!s2n_ring_publish(&ring));
    CHECK(s2n_ring_idle(&ring));
}

/* Request and response share their place: nothing of the one is left in the other. */
static void an_answer_is_all_that_an_entry_has(void)
{
    static const uint8_t nothing[TCMU_SENSE_BUFFERSIZE];
    struct tcmu_cmd_entry *entry = (void *)(map + AT);
    struct s2n_ring_request request;
    struct s2n_ring ring;

    begin();
    CHECK_EQUAL(s2n_ring_open(&ring, map, MAP), 0);
    memset(entry, 0xA5, ENTRY);
    entry->hdr.len_op = ENTRY | TCMU_OP_CMD;
    entry->hdr.cmd_id = 0x1234;
    box->cmd_head = ENTRY;
    CHECK_EQUAL(s2n_ring_take(&ring, &request), 1);
    CHECK_EQUAL(request.id, 0x1234);
    CHECK(!s2n_ring_idle(&ring));
    CHECK_EQUAL(s2n_ring_answer(&ring, &(struct s2n_ring_response){.id = 0x4321, .status = 8}), 0);
    CHECK_EQUAL(entry->hdr.cmd_id, 0x4321);
    CHECK_EQUAL(entry->hdr.uflags, 0);
    CHECK_EQUAL(entry->rsp.scsi_status, 8);
    CHECK_EQUAL(entry->rsp.read_len, 0);
    CHECK(!memcmp(entry->rsp.sense_buffer, nothing, sizeof nothing));
    CHECK_EQUAL(box->cmd_tail, 0);
    CHECK(s2n_ring_publish(&ring));
    CHECK_EQUAL(box->cmd_tail, ENTRY);
    CHECK(s2n_ring_idle(&ring));
}

int main(void)
{
    RUN(a_ring_may_end_where_the_mapping_does);
    RUN(a_ring_has_room_and_a_tail_within);
    RUN(who_asked_nothing_gets_no_answer);
    RUN(an_answer_is_all_that_an_entry_has);
    return 0;
}
