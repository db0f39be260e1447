/* A queue pair, and a controller that does exactly what a test tells it. */
#ifndef QPAIR_BENCH_H
#define QPAIR_BENCH_H

#include "qpair.h"

enum { PAGE = 4096, DEPTH = 8, IOVA = 0x40000000 };

struct fake {
    s2n_port port;
    uint32_t sq_tail, cq_head;
    uint32_t sq_rings, cq_rings;
};

extern const struct s2n_port_ops fake_ops;

/* A queue pair with the controller's side of its rings. */
struct bench {
    struct fake fake;
    s2n_region memory;
    s2n_qpair *qp;
    uint16_t depth, cq_tail;
    bool phase;
};

void open_bench(struct bench *bench, uint16_t depth);
void close_bench(struct bench *bench);
uint8_t *at(struct bench *bench, uint64_t iova);
const uint8_t *sq_entry(struct bench *bench, uint32_t index);
/* Post a completion as a controller would. */
void post(struct bench *bench, uint16_t cid, uint32_t status, uint32_t dw0);
int place(struct bench *bench, uint8_t opcode, uint64_t cookie);

#endif
