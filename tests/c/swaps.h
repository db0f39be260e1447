/* COMPARE AND WRITE for tests of the data plane, on the bench. */
#ifndef S2N_SWAPS_H
#define S2N_SWAPS_H

#include "bench.h"

enum { POOL = 1 << 20, DEPTH = 16, FUSED = 8 };
enum { WRITE = 1, READ = 2, COMPARE = 5 };
enum { GOOD = 0, FUA = 1 << 30 };
enum {
    SQ_DELETION = 0x008,
    FAILED_FUSED = 0x009,
    WRITE_FAULT = 0x280,
    COMPARE_FAILURE = 0x285,
};

/* What swaps expect, and behind that what they write. */
extern uint8_t data[512 * BLOCK];

void start_swaps(uint16_t depth, uint32_t fused);
void swap(struct op *one, uint8_t lba, uint8_t blocks, uint8_t flags);
void complete(uint32_t number, uint16_t status);
void expect_command(uint32_t number, uint8_t opcode, uint8_t fuse, uint64_t lba, uint32_t blocks);
uint8_t *memory(uint32_t number);
/* It went to the engine, which answers; another may follow. */
void answer_cold(struct op *one);
/* It failed, and has its blocks. */
s2n_task *expect_failure(const struct op *one, uint8_t opcode, uint16_t status);
void end_failed(struct op *one, s2n_task *holder);
/* It is told of a difference: at an offset of the data, or negative: somewhere. */
void expect_miscompare(const struct op *one, bool descriptor, int64_t at);

#endif
