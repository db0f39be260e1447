/* What front ends stand on, for their tests: one thread, no device, time by hand.
 *
 * Commands it knows: TEST UNIT READY (00h, no data), INQUIRY (12h, in, byte 4
 * bytes), READ(10) (28h) and WRITE(10) (2Ah) of 512-byte blocks on a small disk.
 * LUN 0 exists. Whatever is executed ends at once, or waits for fake_end. */
#ifndef S2N_FAKE_H
#define S2N_FAKE_H

#include <sys/types.h>

#include "front_end.h"

enum { FAKE_BLOCK = 512, FAKE_CHUNK = 65536, FAKE_TASKS = 512 };
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
enum { FAKE_BLOCKS = 16 }; /* cleared for every input */
#else
enum { FAKE_BLOCKS = 16384 };
#endif

struct fake {
    uint8_t disk[FAKE_BLOCK * FAKE_BLOCKS];
    int64_t pool_bytes;     /* left to reserve */
    int64_t mapped;         /* bytes of pages of its own */
    unsigned picked;        /* sessions, or rings, that have the reactor */
    uint32_t portion_bytes; /* commands with more move their data in portions; 0: none do */
    bool wanted;            /* others wait for whatever is in a buffer */
    bool hold;              /* executed tasks wait in `executed` */
    s2n_task *executed[FAKE_TASKS];
    uint32_t executed_count;
    /* The memory at a device's address, for tasks whose data are in place; to the page's end. */
    uint8_t *(*reach)(uint64_t iova);
    uint64_t charged;    /* to tasks */
    bool lost;           /* the controller */
    uint32_t refusal;    /* sense code of the last refusal; answered with CHECK CONDITION */
    uint32_t executions; /* of all tasks, refused ones apart */
    uint32_t finished;   /* with a status, for which they are counted */
    uint32_t fail_in;    /* this allocation from now on fails, 1: the next one; 0: none */
    uint32_t live_tasks, armed_timers, sources;
    uint32_t watched_otherwise; /* how often what a source waits for changed */
};

/* The one plane of the program, as after a fresh start. */
s2n_plane *fake_start(void);
extern struct fake fake;
/* Of the heap; only where `fake_memory.c` counts them, else 0. */
extern int64_t fake_blocks;
/* What malloc and calloc are in code under test that is built so: `fail_in` counts their calls,
 * and new tasks. */
void *fake_malloc(size_t bytes);
void *fake_calloc(size_t count, size_t bytes);
/* Whether the present one is to fail. */
bool fake_denied(void);

#endif
