#include "qpair_bench.h"

#include "check.h"
#include "little_endian.h"

#include <string.h>

static void ring_sq(s2n_port *port, uint16_t qid, uint32_t tail)
{
    struct fake *fake = (struct fake *)port;

    CHECK_EQUAL(qid, 3);
    fake->sq_tail = tail;
    fake->sq_rings++;
}

static void ring_cq(s2n_port *port, uint16_t qid, uint32_t head)
{
    struct fake *fake = (struct fake *)port;

    CHECK_EQUAL(qid, 3);
    fake->cq_head = head;
    fake->cq_rings++;
}

const struct s2n_port_ops fake_ops = {.ring_sq = ring_sq, .ring_cq = ring_cq};

void open_bench(struct bench *bench, uint16_t depth)
{
    memset(bench, 0, sizeof *bench);
    bench->fake.port.ops = &fake_ops;
    bench->depth = depth;
    bench->phase = true;
    bench->memory.iova = IOVA;
    bench->memory.length = s2n_qpair_bytes(depth);
    bench->memory.vaddr = aligned_alloc(PAGE, bench->memory.length);
    memset(bench->memory.vaddr, 0xAA, bench->memory.length);
    bench->qp = s2n_qpair_new(&bench->fake.port, 3, depth, &bench->memory);
    CHECK(bench->qp);
}

void close_bench(struct bench *bench)
{
    s2n_qpair_free(bench->qp);
    free(bench->memory.vaddr);
}

uint8_t *at(struct bench *bench, uint64_t iova)
{
    CHECK(iova >= IOVA && iova < IOVA + bench->memory.length);
    return bench->memory.vaddr + (iova - IOVA);
}

const uint8_t *sq_entry(struct bench *bench, uint32_t index)
{
    return at(bench, s2n_qpair_sq_iova(bench->qp) + 64 * (uint64_t)index);
}

void post(struct bench *bench, uint16_t cid, uint32_t status, uint32_t dw0)
{
    uint8_t *cqe = at(bench, s2n_qpair_cq_iova(bench->qp) + 16 * (uint64_t)bench->cq_tail);

    s2n_put_le32(cqe, dw0);
    s2n_put_le32(cqe + 8, 3 << 16);
    s2n_put_le32(cqe + 12, cid | (uint32_t)bench->phase << 16 | status << 17);
    if (++bench->cq_tail == bench->depth) {
        bench->cq_tail = 0;
        bench->phase = !bench->phase;
    }
}

int place(struct bench *bench, uint8_t opcode, uint64_t cookie)
{
    uint8_t sqe[64] = {opcode};

    return s2n_qpair_place(bench->qp, sqe, NULL, cookie, 1000);
}
