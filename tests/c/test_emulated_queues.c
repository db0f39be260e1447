/* The emulated controller's queues: full, misused, deleted, and of several owners at once. */
#include "check.h"
#include "emulator_rig.h"
#include "little_endian.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

static void test_host_that_does_not_take_completions(void)
{
    struct rig rig;
    struct request read = {.opcode = READ, .length = BLOCK};
    s2n_completion done[DEPTH];
    int total = 0;

    open_rig(&rig, memfd_create("namespace", 0));
    CHECK_EQUAL(s2n_emu_delete_cq(rig.emu, 2), -EBUSY);
    CHECK_EQUAL(s2n_emu_delete_sq(rig.emu, 2), 0);
    CHECK_EQUAL(s2n_emu_delete_sq(rig.emu, 2), -ENOENT);
    CHECK_EQUAL(s2n_emu_delete_cq(rig.emu, 2), 0);
    CHECK_EQUAL(s2n_emu_create_cq(rig.emu, 2, s2n_qpair_cq_iova(rig.qp[2]), DEPTH, -1), 0);
    CHECK_EQUAL(s2n_emu_create_sq(rig.emu, 2, 2, s2n_qpair_sq_iova(rig.qp[2]), DEPTH), 0);
    for (int i = 0; i < DEPTH - 1; i++)
        CHECK(place(&rig, 2, &read) >= 0);
    s2n_qpair_ring(rig.qp[2]);
    /* Forge a tail that makes the controller believe in DEPTH - 1 more. */
    rig.port->ops->ring_sq(rig.port, 2, DEPTH - 2);
    while (total < DEPTH - 1) {
        int taken = s2n_qpair_poll(rig.qp[2], done, 4);

        CHECK(taken > 0);
        total += taken;
    }
    CHECK_EQUAL(s2n_qpair_in_flight(rig.qp[2]), 0);
    /* The forged ones found room as completions were taken, and name nothing. */
    while (s2n_qpair_unexpected(rig.qp[2]) < DEPTH - 1)
        CHECK_EQUAL(s2n_qpair_poll(rig.qp[2], done, 4), 0);
    close_rig(&rig);
}

static void test_small_completion_queue(void)
{
    struct rig rig;
    struct request read = {.opcode = READ, .length = BLOCK};
    const uint8_t *cq;
    uint8_t phase = 1;

    open_rig(&rig, memfd_create("namespace", 0));
    CHECK_EQUAL(s2n_emu_delete_sq(rig.emu, 2), 0);
    CHECK_EQUAL(s2n_emu_delete_cq(rig.emu, 2), 0);
    CHECK_EQUAL(s2n_emu_create_cq(rig.emu, 2, s2n_qpair_cq_iova(rig.qp[2]), 4, -1), 0);
    CHECK_EQUAL(s2n_emu_create_sq(rig.emu, 2, 2, s2n_qpair_sq_iova(rig.qp[2]), DEPTH), 0);
    cq = rig.memory.vaddr + (s2n_qpair_cq_iova(rig.qp[2]) - BASE);
    for (int i = 0; i < 9; i++)
        CHECK(place(&rig, 2, &read) >= 0);
    s2n_qpair_ring(rig.qp[2]);
    for (uint32_t i = 0, head = 0; i < 9; i++) {
        CHECK_EQUAL(cq[head * 16 + 14] & 1, phase);
        if (++head == 4) {
            head = 0;
            phase ^= 1;
        }
        /* Three are posted ahead of the head at most. */
        if (i + 3 < 9 && i >= 3)
            CHECK((cq[((i + 3) % 4) * 16 + 14] & 1) != ((i + 3) / 4 % 2 == 0));
        rig.port->ops->ring_cq(rig.port, 2, head);
    }
    close_rig(&rig);
}

static void test_bad_doorbells_are_reported(void)
{
    struct rig rig;
    s2n_emu_error error;
    eventfd_t value;

    open_rig(&rig, memfd_create("namespace", 0));
    CHECK_EQUAL(s2n_emu_next_error(rig.emu, &error), 0);
    CHECK(eventfd_read(s2n_emu_admin_eventfd(rig.emu), &value) < 0); /* nothing was told yet */
    rig.port->ops->ring_sq(rig.port, 1, DEPTH);
    CHECK_EQUAL(s2n_emu_next_error(rig.emu, &error), 1);
    CHECK_EQUAL(error.sqid, 1);
    CHECK_EQUAL(error.cid, 0xFFFF);
    CHECK_EQUAL(error.status, 0);
    rig.port->ops->ring_cq(rig.port, 1, 1); /* nothing was posted */
    CHECK_EQUAL(s2n_emu_next_error(rig.emu, &error), 1);
    CHECK(eventfd_read(s2n_emu_admin_eventfd(rig.emu), &value) == 0);
    rig.port->ops->ring_sq(rig.port, 200, 1);
    rig.port->ops->ring_sq(rig.port, 60000, 1);
    rig.port->ops->ring_cq(rig.port, 60000, 1);
    CHECK_EQUAL(s2n_emu_next_error(rig.emu, &error), 0);
    rig.port->ops->ring_sq(rig.port, 0, 5);
    CHECK_EQUAL(s2n_emu_admin_tail(rig.emu), 5);
    CHECK(eventfd_read(s2n_emu_admin_eventfd(rig.emu), &value) == 0);
    close_rig(&rig);
}

static void test_faults(void)
{
    struct rig rig;
    struct request read = {.opcode = READ, .slba = 10, .blocks = 4, .length = 4 * BLOCK};
    s2n_emu_fault fault = {
        .lba_first = 12, .lba_last = 12, .opcode = READ, .status = 0x281, .count = 1};
    s2n_emu_error error;
    s2n_emu_counters counters;

    open_rig(&rig, temporary_file());
    CHECK_EQUAL(s2n_emu_add_fault(rig.emu, &fault), 0);
    read.slba = 13;
    CHECK_EQUAL(execute(&rig, read), 0);
    read.slba = 8;
    CHECK_EQUAL(execute(&rig, read), 0);
    CHECK_EQUAL(s2n_emu_next_error(rig.emu, &error), 0);
    read.slba = 9;
    CHECK_EQUAL(execute(&rig, read), 0x281);
    CHECK_EQUAL(execute(&rig, read), 0); /* it struck once */
    CHECK_EQUAL(s2n_emu_next_error(rig.emu, &error), 1);
    CHECK_EQUAL(error.status, 0x281);
    CHECK_EQUAL(error.lba, 12);
    CHECK_EQUAL(error.nsid, 1);
    s2n_emu_counters_get(rig.emu, &counters);
    CHECK_EQUAL(counters.host_reads, 3);
    CHECK_EQUAL(counters.bytes_read, 3 * 4 * BLOCK);
    CHECK_EQUAL(counters.media_errors, 1);
    CHECK_EQUAL(counters.errors, 1);
    fault.count = 0;
    CHECK_EQUAL(s2n_emu_add_fault(rig.emu, &fault), 0);
    CHECK_EQUAL(execute(&rig, read), 0x281);
    CHECK_EQUAL(execute(&rig, read), 0x281);
    s2n_emu_clear_faults(rig.emu);
    CHECK_EQUAL(execute(&rig, read), 0);
    fault.delay_ms = 1;
    CHECK_EQUAL(s2n_emu_add_fault(rig.emu, &fault), 0);
    CHECK_EQUAL(execute(&rig, read), 0x281);
    fault.action = 3;
    CHECK_EQUAL(s2n_emu_add_fault(rig.emu, &fault), -EINVAL);
    close_rig(&rig);
}

/* The third Write fails, late or at once, and whether it was carried out is as asked. */
static void test_a_command_without_a_range_names_no_block(void)
{
    static const struct request requests[] = {
        {.opcode = FLUSH},
        {.opcode = DSM, .cdw10 = 0, .cdw11 = 4, .length = 16},
    };
    struct rig rig;
    s2n_emu_fault fault = {.lba_last = UINT64_MAX, .opcode = 0xFF, .status = 0x281, .count = 2};
    s2n_emu_error error;

    open_rig(&rig, temporary_file());
    CHECK_EQUAL(s2n_emu_add_fault(rig.emu, &fault), 0);
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        CHECK_EQUAL(execute(&rig, requests[i]), 0x281);
        CHECK_EQUAL(s2n_emu_next_error(rig.emu, &error), 1);
        CHECK_EQUAL(error.status, 0x281);
        CHECK_EQUAL(error.lba, 0);
    }
    close_rig(&rig);
}

static void test_fault_after_others(void)
{
    struct rig rig;
    struct request write = {.opcode = WRITE, .length = BLOCK}, read = {.opcode = READ};

    open_rig(&rig, temporary_file());
    for (uint32_t variant = 0; variant < 4; variant++) {
        s2n_emu_fault fault = {.lba_last = UINT64_MAX,
                               .opcode = WRITE,
                               .status = 0x280,
                               .done = variant & 1,
                               .delay_ms = variant >> 1,
                               .after = 2,
                               .count = 1};

        CHECK_EQUAL(s2n_emu_add_fault(rig.emu, &fault), 0);
        memset(rig.data, (int)(1 + variant), BLOCK);
        for (uint64_t i = 0; i < 4; i++) {
            write.slba = 4 * variant + i;
            CHECK_EQUAL(execute(&rig, write), i == 2 ? 0x280 : 0);
        }
        for (uint64_t i = 0; i < 4; i++) {
            read = (struct request){
                .opcode = READ, .slba = 4 * variant + i, .offset = PAGE, .length = BLOCK};
            CHECK_EQUAL(execute(&rig, read), 0);
            CHECK_EQUAL(rig.data[PAGE], i == 2 && !fault.done ? 0 : 1 + variant);
        }
    }
    close_rig(&rig);
}

static void test_abort(void)
{
    struct rig rig;
    struct request read = {.opcode = READ, .length = BLOCK};
    s2n_emu_fault never = {.lba_last = UINT64_MAX, .opcode = 0xFF, .action = 1, .count = 1};
    s2n_emu_fault late = {
        .lba_last = UINT64_MAX, .opcode = 0xFF, .action = 2, .count = 1, .delay_ms = 600000};
    s2n_completion done;

    open_rig(&rig, temporary_file());
    for (int i = 0; i < 2; i++) {
        int cid;

        CHECK_EQUAL(s2n_emu_add_fault(rig.emu, i ? &late : &never), 0);
        cid = place(&rig, 1, &read);
        s2n_qpair_ring(rig.qp[1]);
        CHECK_EQUAL(s2n_qpair_poll(rig.qp[1], &done, 1), 0);
        CHECK_EQUAL(s2n_emu_abort(rig.emu, 1, (uint16_t)(cid + 1)), 0);
        CHECK_EQUAL(s2n_emu_abort(rig.emu, 2, (uint16_t)cid), 0);
        CHECK_EQUAL(s2n_emu_abort(rig.emu, 1, (uint16_t)cid), 1);
        CHECK_EQUAL(s2n_emu_abort(rig.emu, 1, (uint16_t)cid), 0);
        take(&rig, 1, &done, 1);
        CHECK_EQUAL(done.cid, cid);
        CHECK_EQUAL(done.status, 0x007);
    }
    late.delay_ms = 1;
    CHECK_EQUAL(s2n_emu_add_fault(rig.emu, &late), 0);
    CHECK_EQUAL(execute(&rig, read), 0);
    close_rig(&rig);
}

static void test_deleted_queue_gives_back_its_commands(void)
{
    struct rig rig;
    struct request read = {.opcode = READ, .length = BLOCK};
    s2n_emu_fault never = {.lba_last = UINT64_MAX, .opcode = 0xFF, .action = 1};
    s2n_completion done[4];

    open_rig(&rig, temporary_file());
    CHECK_EQUAL(s2n_emu_add_fault(rig.emu, &never), 0);
    for (int i = 0; i < 4; i++)
        CHECK(place(&rig, 1, &read) >= 0);
    s2n_qpair_ring(rig.qp[1]);
    CHECK_EQUAL(s2n_emu_delete_sq(rig.emu, 1), 0);
    take(&rig, 1, done, 4);
    for (int i = 0; i < 4; i++)
        CHECK_EQUAL(done[i].status, 0x008);
    CHECK_EQUAL(s2n_emu_delete_cq(rig.emu, 1), 0);
    close_rig(&rig);
}

static void test_disable_then_replay(void)
{
    struct rig rig;
    struct request read = {.opcode = READ, .length = BLOCK};
    s2n_emu_fault never = {.lba_last = UINT64_MAX, .opcode = 0xFF, .action = 1, .count = 5};
    s2n_completion done[5];

    open_rig(&rig, temporary_file());
    CHECK_EQUAL(s2n_emu_add_fault(rig.emu, &never), 0);
    for (int i = 0; i < 5; i++)
        CHECK(place(&rig, 1, &read) >= 0);
    s2n_qpair_ring(rig.qp[1]);
    s2n_emu_disable(rig.emu);
    CHECK_EQUAL(s2n_qpair_poll(rig.qp[1], done, 5), 0);
    s2n_qpair_reset(rig.qp[1], true);
    s2n_qpair_ring(rig.qp[1]); /* nobody listens */
    CHECK_EQUAL(s2n_qpair_poll(rig.qp[1], done, 5), 0);
    s2n_qpair_reset(rig.qp[1], true);
    CHECK_EQUAL(s2n_emu_create_cq(rig.emu, 1, s2n_qpair_cq_iova(rig.qp[1]), DEPTH, rig.eventfd[1]),
                0);
    CHECK_EQUAL(s2n_emu_create_cq(rig.emu, 1, s2n_qpair_cq_iova(rig.qp[1]), DEPTH, -1), -EEXIST);
    CHECK_EQUAL(s2n_emu_create_sq(rig.emu, 1, 1, s2n_qpair_sq_iova(rig.qp[1]), DEPTH), 0);
    s2n_qpair_ring(rig.qp[1]);
    take(&rig, 1, done, 5);
    for (int i = 0; i < 5; i++)
        CHECK_EQUAL(done[i].status, 0);
    close_rig(&rig);
}

static void control_arguments_in_memory(struct rig *rig)
{
    static const struct {
        uint64_t offset, blocks;
        uint32_t block_bytes;
        int result;
    } rows[] = {
        {0, 16, 512, 0},
        {4096, 8, 512, 0},
        {0, 2, 4096, 0},
        {0, 17, 512, -EFBIG},
        {4096, 9, 512, -EFBIG},
        {8192, 1, 512, -EFBIG},
        {UINT64_MAX - 511, 1, 512, -EFBIG},
        {0, UINT64_MAX >> 9, 512, -EFBIG},
        {0, 1, 520, -EINVAL},
    };
    s2n_emu_disk *disk = s2n_emu_disk_new(8192);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        CHECK_EQUAL(s2n_emu_set_namespace_in_memory(rig->emu, 2, disk, rows[i].offset,
                                                    rows[i].blocks, rows[i].block_bytes, 0),
                    rows[i].result);
    CHECK_EQUAL(s2n_emu_remove_namespace(rig->emu, 2), 0);
    s2n_emu_disk_free(disk);
    CHECK(!s2n_emu_disk_new(0));
    CHECK(!s2n_emu_disk_new(UINT64_MAX - 4095));
    s2n_emu_disk_free(NULL);
}

static void test_control_arguments(void)
{
    struct rig rig;
    s2n_region region;

    open_rig(&rig, temporary_file());
    region = (s2n_region){rig.data, BASE + PAGE, PAGE};
    CHECK_EQUAL(s2n_emu_add_memory(rig.emu, &region), -EEXIST);
    region.iova = BASE - PAGE;
    region.length = 2 * PAGE;
    CHECK_EQUAL(s2n_emu_add_memory(rig.emu, &region), -EEXIST);
    region.length = 0;
    CHECK_EQUAL(s2n_emu_add_memory(rig.emu, &region), -EINVAL);
    CHECK_EQUAL(s2n_emu_set_limits(rig.emu, 4 << 20, 1), -EINVAL);
    CHECK_EQUAL(s2n_emu_set_namespace(rig.emu, 0, rig.fd, 0, 1, 512, 0), -EINVAL);
    CHECK_EQUAL(s2n_emu_set_namespace(rig.emu, 1, rig.fd, 0, 1, 513, 0), -EINVAL);
    CHECK_EQUAL(s2n_emu_set_namespace(rig.emu, 1, rig.fd, 0, 1, 256, 0), -EINVAL);
    CHECK_EQUAL(s2n_emu_set_namespace(rig.emu, 1, rig.fd, 0, UINT64_MAX, 512, 0), -EFBIG);
    CHECK_EQUAL(s2n_emu_set_namespace(rig.emu, 1, -1, 0, 1, 512, 0), -EBADF);
    control_arguments_in_memory(&rig);
    CHECK_EQUAL(s2n_emu_create_cq(rig.emu, 9, BASE + 512, 4, -1), -EINVAL);
    CHECK_EQUAL(s2n_emu_create_cq(rig.emu, 9, BASE, 1, -1), -EINVAL);
    CHECK_EQUAL(s2n_emu_create_cq(rig.emu, 9, 0, 4, -1), -EFAULT);
    CHECK_EQUAL(s2n_emu_create_cq(rig.emu, 0, BASE, 4, -1), -EINVAL);
    CHECK_EQUAL(s2n_emu_create_sq(rig.emu, 9, 9, BASE, 4), -ENOENT);
    CHECK_EQUAL(s2n_emu_flush(rig.emu, 1), 0);
    CHECK_EQUAL(s2n_emu_flush(rig.emu, UINT32_MAX), 0);
    CHECK_EQUAL(s2n_emu_flush(rig.emu, 7), -ENOENT);
    close_rig(&rig);
}

/* A polled queue's commands that complete at once raise no interrupt. */
static void test_polled_queue(void)
{
    struct rig rig;
    struct request read = {.opcode = READ, .length = BLOCK};
    s2n_completion done;
    eventfd_t value;

    open_rig(&rig, memfd_create("namespace", 0));
    CHECK(place(&rig, 1, &read) >= 0);
    s2n_qpair_ring(rig.qp[1]);
    CHECK(eventfd_read(rig.eventfd[1], &value) == 0);
    CHECK_EQUAL(s2n_qpair_poll(rig.qp[1], &done, 1), 1);
    s2n_qpair_set_polled(rig.qp[1], true);
    CHECK(place(&rig, 1, &read) >= 0);
    s2n_qpair_ring(rig.qp[1]);
    CHECK(eventfd_read(rig.eventfd[1], &value) < 0);
    CHECK_EQUAL(s2n_qpair_poll(rig.qp[1], &done, 1), 1);
    CHECK_EQUAL(execute(&rig, (struct request){.opcode = FLUSH}), 0); /* a worker's does */
    close_rig(&rig);
}

/* Several owners at once on the same few blocks: every read sees one whole write, or hole. */
struct owner {
    struct rig *rig;
    uint16_t qid;
    pthread_t thread;
};

enum { SHARED_BLOCKS = 48, ROUNDS = 300 };

static void *own(void *argument)
{
    struct owner *owner = argument;
    uint64_t offset = (uint64_t)owner->qid << 20;
    uint8_t *data = owner->rig->data + offset;
    struct request request = {.slba = 2040, .blocks = SHARED_BLOCKS, .offset = offset};

    for (uint32_t round = 0; round < ROUNDS; round++) {
        s2n_completion done;

        request.opcode = round % 3 == 0 ? WRITE : READ;
        request.flags = round % 7 == 0 ? FUA : 0;
        request.length = SHARED_BLOCKS * BLOCK;
        if (request.opcode == WRITE)
            memset(data, (int)(round + owner->qid), SHARED_BLOCKS * BLOCK);
        if (round % 5 == 4) {
            request.opcode = WRITE_ZEROES;
            request.flags |= DEAC;
            request.length = 0;
        }
        CHECK(place(owner->rig, owner->qid, &request) >= 0);
        s2n_qpair_ring(owner->rig->qp[owner->qid]);
        take(owner->rig, owner->qid, &done, 1);
        CHECK_EQUAL(done.status, 0);
        for (uint32_t i = 1; i < SHARED_BLOCKS * BLOCK; i++)
            CHECK_EQUAL(data[i], data[0]);
    }
    return NULL;
}

static void concurrent_owners_and_changes(int fd)
{
    struct rig rig;
    struct owner owners[QUEUES];

    open_rig(&rig, fd);
    for (uint16_t i = 0; i < QUEUES; i++) {
        owners[i] = (struct owner){.rig = &rig, .qid = (uint16_t)(i + 1)};
        CHECK(pthread_create(&owners[i].thread, NULL, own, &owners[i]) == 0);
    }
    for (int i = 0; i < 50; i++) {
        s2n_emu_counters counters;
        s2n_region region = {rig.data, (uint64_t)(i + 1) * PAGE, PAGE};

        attach(&rig, 0, BLOCKS, i % 2 ? CACHED : 0);
        CHECK_EQUAL(s2n_emu_add_memory(rig.emu, &region), 0);
        CHECK_EQUAL(s2n_emu_abort(rig.emu, 1, 77), 0);
        s2n_emu_counters_get(rig.emu, &counters);
    }
    for (int i = 0; i < QUEUES; i++)
        pthread_join(owners[i].thread, NULL);
    close_rig(&rig);
}

static void test_concurrent_owners_and_changes(void)
{
    concurrent_owners_and_changes(temporary_file());
    concurrent_owners_and_changes(IN_MEMORY);
}

/* Compare and Write as a lock: no increment of the counter may be lost. */
static void *increment(void *argument)
{
    struct owner *owner = argument;
    uint64_t offset = (uint64_t)owner->qid << 20;
    uint8_t *old = owner->rig->data + offset, *new = old + PAGE;
    struct request read = {.opcode = READ, .offset = offset, .length = BLOCK};
    struct request first = {.opcode = COMPARE, .fuse = 1, .offset = offset, .length = BLOCK};
    struct request second = {.opcode = WRITE, .fuse = 2, .offset = offset + PAGE, .length = BLOCK};

    for (int won = 0; won < 30;) {
        s2n_completion done[2];

        CHECK(place(owner->rig, owner->qid, &read) >= 0);
        s2n_qpair_ring(owner->rig->qp[owner->qid]);
        take(owner->rig, owner->qid, done, 1);
        memcpy(new, old, BLOCK);
        s2n_put_le32(new, s2n_get_le32(old) + 1);
        CHECK(place(owner->rig, owner->qid, &first) >= 0);
        CHECK(place(owner->rig, owner->qid, &second) >= 0);
        s2n_qpair_ring(owner->rig->qp[owner->qid]);
        take(owner->rig, owner->qid, done, 2);
        CHECK(done[0].status == 0 || done[0].status == 0x285);
        CHECK_EQUAL(done[1].status, done[0].status ? 0x009 : 0);
        won += done[0].status == 0;
    }
    return NULL;
}

static void fused_pairs_are_atomic(int fd)
{
    struct rig rig;
    struct owner owners[QUEUES];
    uint8_t block[BLOCK];

    open_rig(&rig, fd);
    for (uint16_t i = 0; i < QUEUES; i++) {
        owners[i] = (struct owner){.rig = &rig, .qid = (uint16_t)(i + 1)};
        CHECK(pthread_create(&owners[i].thread, NULL, increment, &owners[i]) == 0);
    }
    for (int i = 0; i < QUEUES; i++)
        pthread_join(owners[i].thread, NULL);
    look(&rig, 0, 1, block);
    CHECK_EQUAL(s2n_get_le32(block), QUEUES * 30);
    close_rig(&rig);
}

static void test_fused_pairs_are_atomic(void)
{
    fused_pairs_are_atomic(temporary_file());
    fused_pairs_are_atomic(IN_MEMORY);
}

int main(void)
{
    RUN(test_host_that_does_not_take_completions);
    RUN(test_small_completion_queue);
    RUN(test_bad_doorbells_are_reported);
    RUN(test_faults);
    RUN(test_a_command_without_a_range_names_no_block);
    RUN(test_fault_after_others);
    RUN(test_abort);
    RUN(test_deleted_queue_gives_back_its_commands);
    RUN(test_disable_then_replay);
    RUN(test_control_arguments);
    RUN(test_polled_queue);
    RUN(test_concurrent_owners_and_changes);
    RUN(test_fused_pairs_are_atomic);
    return 0;
}
