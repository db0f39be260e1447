#include "device.h"

#include <string.h>

#include "check.h"
#include "little_endian.h"

enum { SQE_BYTES = 64, CQE_BYTES = 16, QUEUE_IOVA = 0x10000000, POOL_IOVA = 0x20000000 };

static void post(struct device *device, uint16_t cid, uint16_t status)
{
    uint64_t at =
        s2n_qpair_cq_iova(device->qp) - QUEUE_IOVA + (uint64_t)device->cq_tail * CQE_BYTES;
    uint8_t *cqe = device->queue_memory.vaddr + at;

    memset(cqe, 0, CQE_BYTES);
    s2n_put_le32(cqe + 12, cid | (uint32_t)device->phase << 16 | (uint32_t)status << 17);
    if (++device->cq_tail == device->depth) {
        device->cq_tail = 0;
        device->phase = !device->phase;
    }
}

void device_complete(struct device *device, uint32_t number, uint16_t status)
{
    uint32_t at = number % DEVICE_LOG;

    CHECK(number < device->seen && device->seen - number <= DEVICE_LOG && !device->log[at].done);
    device->log[at].done = true;
    post(device, device->log[at].cid, status);
}

static uint32_t oldest(const struct device *device)
{
    return device->seen < DEVICE_LOG ? 0 : device->seen - DEVICE_LOG;
}

void device_complete_all(struct device *device)
{
    device->automatic = true;
    for (uint32_t number = oldest(device); number < device->seen; number++)
        if (!device->log[number % DEVICE_LOG].done)
            device_complete(device, number, 0);
}

static void fetch(struct device *device, const uint8_t *sqe)
{
    uint32_t number = device->seen++ % DEVICE_LOG;

    device->log[number].opcode = sqe[0];
    device->log[number].fuse = sqe[1] & 3;
    device->log[number].cid = s2n_get_le16(sqe + 2);
    device->log[number].nsid = s2n_get_le32(sqe + 4);
    device->log[number].slba = s2n_get_le64(sqe + 40);
    device->log[number].prp1 = s2n_get_le64(sqe + 24);
    device->log[number].prp2 = s2n_get_le64(sqe + 32);
    device->log[number].cdw12 = s2n_get_le32(sqe + 48);
    device->log[number].blocks = s2n_get_le16(sqe + 48) + 1u;
    device->log[number].done = device->automatic;
    if (device->automatic)
        post(device, device->log[number].cid, 0);
}

uint64_t device_prp(const struct device *device, uint32_t number, uint32_t page, uint32_t pages)
{
    uint64_t list = device->log[number].prp2;

    if (page == 0)
        return device->log[number].prp1;
    if (pages == 2)
        return list;
    return s2n_get_le64(device->queue_memory.vaddr + (list - QUEUE_IOVA) + 8 * (page - 1));
}

static void ring_sq(s2n_port *port, uint16_t qid, uint32_t tail)
{
    struct device *device = (struct device *)port;

    (void)qid;
    device->rings++;
    while (device->head != tail) {
        fetch(device, device->queue_memory.vaddr + (size_t)device->head * SQE_BYTES);
        device->head = (uint16_t)(device->head + 1u) % device->depth;
    }
}

static void before_poll(s2n_port *port, uint16_t qid)
{
    struct device *device = (struct device *)port;

    (void)qid;
    while (device->first < device->seen && device->log[device->first % DEVICE_LOG].done)
        device->first++;
    if (device->lazy && device->first < device->seen)
        device_complete(device, device->first, 0);
}

static void ring_cq(s2n_port *port, uint16_t qid, uint32_t head)
{
    struct device *device = (struct device *)port;

    (void)qid;
    CHECK(head < device->depth);
    device->acknowledged++;
}

static void allocate(s2n_region *region, uint64_t iova, uint64_t bytes)
{
    region->iova = iova;
    region->length = bytes;
    region->vaddr = aligned_alloc(S2N_PAGE, bytes);
    CHECK(region->vaddr);
}

void device_open(struct device *device, uint16_t depth, uint64_t pool_bytes)
{
    static const struct s2n_port_ops ops = {
        .ring_sq = ring_sq, .ring_cq = ring_cq, .before_poll = before_poll};

    memset(device, 0, sizeof *device);
    device->port.ops = &ops;
    device->depth = depth;
    device->phase = true;
    allocate(&device->queue_memory, QUEUE_IOVA, s2n_qpair_bytes(depth));
    allocate(&device->pool_memory, POOL_IOVA, pool_bytes);
    device->qp = s2n_qpair_new(&device->port, 2, depth, &device->queue_memory);
    CHECK(device->qp);
}

void device_close(struct device *device)
{
    s2n_qpair_free(device->qp);
    free(device->queue_memory.vaddr);
    free(device->pool_memory.vaddr);
}

void device_reset(struct device *device)
{
    device->head = device->cq_tail = 0;
    device->phase = true;
    for (uint32_t number = oldest(device); number < device->seen; number++)
        device->log[number % DEVICE_LOG].done = true;
}
