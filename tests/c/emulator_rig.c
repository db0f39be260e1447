#include "emulator_rig.h"

#include "check.h"
#include "little_endian.h"
#include "place.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

int temporary_file(void)
{
    char name[] = "emulated-XXXXXX";
    int fd = mkstemp(name);

    CHECK(fd >= 0);
    CHECK(unlink(name) == 0);
    return fd;
}

void add_queue(struct rig *rig, uint16_t qid, uint16_t depth)
{
    uint64_t bytes = s2n_qpair_bytes(DEPTH);
    s2n_region memory = {rig->memory.vaddr + (qid - 1) * bytes,
                         rig->memory.iova + (qid - 1) * bytes, bytes};

    rig->qp[qid] = s2n_qpair_new(rig->port, qid, depth, &memory);
    CHECK(rig->qp[qid]);
    rig->eventfd[qid] = eventfd(0, EFD_NONBLOCK);
    CHECK_EQUAL(
        s2n_emu_create_cq(rig->emu, qid, s2n_qpair_cq_iova(rig->qp[qid]), depth, rig->eventfd[qid]),
        0);
    CHECK_EQUAL(s2n_emu_create_sq(rig->emu, qid, qid, s2n_qpair_sq_iova(rig->qp[qid]), depth), 0);
}

void attach(struct rig *rig, uint64_t first, uint64_t blocks, uint32_t flags)
{
    uint64_t at = first * BLOCK;

    if (rig->disk)
        CHECK_EQUAL(
            s2n_emu_set_namespace_in_memory(rig->emu, 1, rig->disk, at, blocks, BLOCK, flags), 0);
    else
        CHECK_EQUAL(s2n_emu_set_namespace(rig->emu, 1, rig->fd, at, blocks, BLOCK, flags), 0);
}

void open_rig(struct rig *rig, int fd)
{
    uint64_t queues = QUEUES * s2n_qpair_bytes(DEPTH);

    memset(rig, 0, sizeof *rig);
    rig->fd = fd;
    if (fd == IN_MEMORY)
        CHECK((rig->disk = s2n_emu_disk_new((uint64_t)BLOCKS * BLOCK)));
    else
        CHECK(ftruncate(fd, (off_t)BLOCKS * BLOCK) == 0);
    rig->memory = (s2n_region){NULL, BASE, queues + DATA_BYTES};
    rig->memory.vaddr = aligned_alloc(PAGE, rig->memory.length);
    memset(rig->memory.vaddr, 0, rig->memory.length);
    rig->data = rig->memory.vaddr + queues;
    rig->data_iova = BASE + queues;
    rig->emu = s2n_emu_new();
    rig->port = s2n_port_emulated(rig->emu);
    CHECK_EQUAL(s2n_emu_add_memory(rig->emu, &rig->memory), 0);
    CHECK_EQUAL(s2n_emu_set_limits(rig->emu, 1 << 20, 64), 0);
    attach(rig, 0, BLOCKS, CACHED);
    for (uint16_t qid = 1; qid <= QUEUES; qid++)
        add_queue(rig, qid, DEPTH);
}

void close_rig(struct rig *rig)
{
    for (uint16_t qid = 1; qid <= QUEUES; qid++) {
        s2n_qpair_free(rig->qp[qid]);
        close(rig->eventfd[qid]);
    }
    s2n_port_free(rig->port);
    s2n_emu_free(rig->emu);
    s2n_emu_disk_free(rig->disk);
    free(rig->memory.vaddr);
    if (rig->fd >= 0)
        close(rig->fd);
}

int place(struct rig *rig, uint16_t qid, const struct request *request)
{
    uint8_t sqe[64] = {request->opcode, request->fuse};
    struct s2n_span span = {rig->data_iova + request->offset, (uint32_t)request->length};

    s2n_put_le32(sqe + 4, request->nsid ? request->nsid : 1);
    if (request->opcode == DSM) {
        s2n_put_le32(sqe + 40, request->cdw10);
        s2n_put_le32(sqe + 44, request->cdw11);
    } else if (request->opcode != FLUSH) {
        s2n_put_le64(sqe + 40, request->slba);
        s2n_put_le32(sqe + 48, (request->blocks ? request->blocks - 1 : 0) | request->flags);
    }
    return place_entry(rig->qp[qid], sqe, &span, request->length != 0, request->slba, 30000);
}

int take(struct rig *rig, uint16_t qid, s2n_completion *done, int wanted)
{
    int have = s2n_qpair_poll(rig->qp[qid], done, wanted);

    while (have < wanted) {
        struct pollfd wait = {.fd = rig->eventfd[qid], .events = POLLIN};
        eventfd_t value;

        CHECK_EQUAL(poll(&wait, 1, 20000), 1);
        eventfd_read(rig->eventfd[qid], &value);
        have += s2n_qpair_poll(rig->qp[qid], done + have, wanted - have);
    }
    return have;
}

uint16_t execute(struct rig *rig, struct request request)
{
    s2n_completion done;

    CHECK(place(rig, 1, &request) >= 0);
    s2n_qpair_ring(rig->qp[1]);
    take(rig, 1, &done, 1);
    return done.status;
}

void fill(uint8_t *data, size_t bytes, uint32_t seed)
{
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)((i * 2654435761u + seed) >> 7);
}

void look(struct rig *rig, uint64_t slba, uint32_t blocks, uint8_t *out)
{
    uint64_t bytes = blocks * (uint64_t)BLOCK;
    struct request read = {.opcode = READ,
                           .slba = slba,
                           .blocks = blocks,
                           .offset = DATA_BYTES - bytes,
                           .length = bytes};

    if (!rig->disk) {
        CHECK(pread(rig->fd, out, bytes, (off_t)slba * BLOCK) == (ssize_t)bytes);
        return;
    }
    CHECK_EQUAL(execute(rig, read), 0);
    memcpy(out, rig->data + read.offset, bytes);
}
