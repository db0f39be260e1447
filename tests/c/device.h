/* A controller's I/O queue for tests of the data plane: it keeps what is rung, and
 * completes it when told, or at once. */
#ifndef S2N_DEVICE_H
#define S2N_DEVICE_H

#include "qpair.h"

enum { DEVICE_LOG = 4096 };

struct device {
    s2n_port port; /* first */
    s2n_region queue_memory, pool_memory;
    s2n_qpair *qp;
    uint16_t depth, head, cq_tail;
    bool phase;
    bool automatic;               /* success as soon as it is rung */
    bool lazy;                    /* success of one command whenever somebody looks */
    uint32_t first;               /* everything before is done */
    uint32_t rings, acknowledged; /* doorbells: of submissions, of completions */
    uint32_t seen;                /* commands, ever */
    struct {
        uint8_t opcode, fuse;
        uint16_t cid;
        bool done;
        uint32_t nsid, blocks, cdw12;
        uint64_t slba, prp1, prp2;
    } log[DEVICE_LOG]; /* the latest ones, by number modulo DEVICE_LOG */
};

void device_open(struct device *device, uint16_t depth, uint64_t pool_bytes);
void device_close(struct device *device);
/* Complete command number `number` (0 is the first that was ever rung). */
void device_complete(struct device *device, uint32_t number, uint16_t status);
/* The PRP of a command's page `page`, of `pages`. */
uint64_t device_prp(const struct device *device, uint32_t number, uint32_t page, uint32_t pages);
/* Complete whatever is under way, and from now on everything at once. */
void device_complete_all(struct device *device);
/* A reset: it knows nothing any more. */
void device_reset(struct device *device);

#endif
