/* The emulated controller's I/O side, as its admin side in Python controls it. */
#ifndef S2N_EMULATOR_H
#define S2N_EMULATOR_H

#include "transport.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* cdef begin */

typedef struct s2n_emu s2n_emu;

/* A disk in memory: what was not written, or was deallocated, reads as zeros and takes none. */
typedef struct s2n_emu_disk s2n_emu_disk;

typedef struct {
    uint64_t host_reads, host_writes; /* commands */
    uint64_t bytes_read, bytes_written;
    uint64_t media_errors;
    uint64_t errors; /* completions with an error */
} s2n_emu_counters;

/* What the I/O side has to tell the admin side: an error log entry. With CID FFFFh
 * and status 0: an invalid value was written to the doorbell of queue `sqid`. */
typedef struct {
    uint16_t sqid, cid, status; /* status: SCT << 8 | SC */
    uint16_t parameter;         /* parameter error location */
    uint32_t nsid;
    uint64_t lba;
} s2n_emu_error;

/* How a namespace or the whole controller misbehaves, on request. */
typedef struct {
    uint64_t lba_first, lba_last; /* blocks that are hit (inclusive) */
    uint32_t nsid;                /* 0: every namespace */
    uint8_t opcode;               /* FFh: every opcode */
    uint8_t action;               /* 0 fail with `status`, late or not; 1 never complete; 2 delay */
    bool done;                    /* what fails is carried out all the same */
    uint16_t status;              /* DNR << 14 | SCT << 8 | SC */
    uint32_t delay_ms;
    uint32_t after; /* how many that it would hit are spared first */
    uint32_t count; /* how often, 0: always */
} s2n_emu_fault;

/* How a namespace is divided into zones, in logical blocks: of `size`, of which `capacity` can be
 * written. Of zones that are open, or active, so many at most; 0: no limit. */
typedef struct {
    uint64_t size, capacity;
    uint32_t maximum_open, maximum_active;
    uint32_t append_limit; /* blocks of one Zone Append */
} s2n_emu_zoning;

/* How many controllers may share a namespace. */
enum { S2N_EMU_CONTROLLERS = 16 };

/* How many streams may be open at most, of all namespaces together. */
enum { S2N_EMU_STREAMS = 64 };

/* Bits of what reservations deny a host. */
enum { S2N_EMU_DENY_READ = 1, S2N_EMU_DENY_WRITE = 2 };

/* A Reservation command, which the admin side executes. */
typedef struct {
    uint8_t opcode;
    uint32_t nsid, cdw10, cdw11;
    uint64_t prp1, prp2;
} s2n_emu_request;

/* NULL with errno if the system grants no address space of that size. */
s2n_emu_disk *s2n_emu_disk_new(uint64_t bytes);
/* Free a disk after the controllers whose namespaces are on it, or nothing (NULL). */
void s2n_emu_disk_free(s2n_emu_disk *disk);

s2n_emu *s2n_emu_new(void);
void s2n_emu_free(s2n_emu *emu);
/* DMA memory that the controller may touch; everything else is a data transfer error. */
int s2n_emu_add_memory(s2n_emu *emu, const s2n_region *region);
/* Attach a namespace backed by `fd` from byte `offset`; `flags` bit 0: volatile
 * write cache on, bit 1: write protected, bit 2: direct I/O, bit 3: being formatted
 * (I/O fails with Format In Progress), bit 4: reads and writes move nothing, bit 5: being
 * sanitized, bit 6: the last sanitize operation failed (I/O fails with these), bit 16: there is
 * Write Uncorrectable; in memory also bits 17 to 20: DPS, the type and place of protection
 * information, bit 21: metadata follow the data of each block, bits 24 to 31: how many bytes of
 * metadata blocks have. What blocks hold, metadata included, outlives what is attached alike.
 * Replaces nsid, after its commands ended. */
int s2n_emu_set_namespace(s2n_emu *emu, uint32_t nsid, int fd, uint64_t offset, uint64_t blocks,
                          uint32_t block_bytes, uint32_t flags);
/* The same on a disk in memory. */
int s2n_emu_set_namespace_in_memory(s2n_emu *emu, uint32_t nsid, const s2n_emu_disk *disk,
                                    uint64_t offset, uint64_t blocks, uint32_t block_bytes,
                                    uint32_t flags);
/* Divide a namespace into empty zones; one that is divided like that stays as it is. */
int s2n_emu_set_zones(s2n_emu *emu, uint32_t nsid, const s2n_emu_zoning *zoning);
/* Finish the active zone that a block is in, unasked: 0, -EINVAL if there is none. */
int s2n_emu_finish_zone(s2n_emu *emu, uint32_t nsid, uint64_t lba);
int s2n_emu_remove_namespace(s2n_emu *emu, uint32_t nsid);
int s2n_emu_set_limits(s2n_emu *emu, uint32_t maximum_bytes, uint16_t atomic_blocks);
/* Refuse an I/O command as one that there is not, from now on. */
void s2n_emu_refuse(s2n_emu *emu, uint8_t opcode);
/* Queues, as Create and Delete I/O SQ/CQ say. `eventfd` is the CQ's interrupt or -1. */
int s2n_emu_create_cq(s2n_emu *emu, uint16_t qid, uint64_t iova, uint16_t depth, int eventfd);
int s2n_emu_create_sq(s2n_emu *emu, uint16_t qid, uint16_t cqid, uint64_t iova, uint16_t depth);
int s2n_emu_delete_sq(s2n_emu *emu, uint16_t qid);
int s2n_emu_delete_cq(s2n_emu *emu, uint16_t qid);
/* Abort a command if it can still be: 1 aborted, 0 not. */
int s2n_emu_abort(s2n_emu *emu, uint16_t sqid, uint16_t cid);
/* CC.EN 1 to 0: all I/O queues vanish; what is in flight ends without a trace.
 * Returns once nothing touches DMA memory any more. */
void s2n_emu_disable(s2n_emu *emu);
/* Take no command from any submission queue, or go on: CSTS.PP. What was taken ends. */
void s2n_emu_set_paused(s2n_emu *emu, bool paused);
/* Write back every namespace: Flush, shutdown. */
int s2n_emu_flush(s2n_emu *emu, uint32_t nsid);
/* Deallocate all of a namespace, durably: Format NVM. May be called from another
 * thread while nothing replaces that namespace. */
int s2n_emu_erase(s2n_emu *emu, uint32_t nsid);
/* Write `pattern`, its lowest byte first, all over a namespace, durably; as s2n_emu_erase. */
int s2n_emu_overwrite(s2n_emu *emu, uint32_t nsid, uint32_t pattern);
/* How many blocks, from `*at` on, Write Uncorrectable has made unreadable; `*at` becomes the first
 * of them. 0 if none is from there on. */
uint64_t s2n_emu_marked(s2n_emu *emu, uint32_t nsid, uint64_t *at);
/* How long the file is by which the controllers of a subsystem keep reservations. */
uint32_t s2n_emu_gate_bytes(void);
/* Have Reservation commands, and heed what is denied by that file to the controller `slot`; once,
 * before there is a queue. */
int s2n_emu_open_gate(s2n_emu *emu, int fd, uint32_t slot);
/* Deny the host of a controller what `denied` says, or nothing (0), from the next command on. */
void s2n_emu_deny(s2n_emu *emu, uint32_t slot, uint32_t nsid, uint8_t denied);
/* Wait until no command is under way that may not know of it, in any of these controllers (a bit
 * each): 0, -EAGAIN after 0.1 s and more. One caller at a time, of all of them. */
int s2n_emu_settle(s2n_emu *emu, uint32_t slots);
/* Take the oldest Reservation command that waits: 1, or 0 if there is none. It is to be answered
 * before anything else is called. */
int s2n_emu_next_request(s2n_emu *emu, s2n_emu_request *out);
/* Complete it, with DNR << 14 | SCT << 8 | SC. */
void s2n_emu_answer(s2n_emu *emu, uint16_t status);
/* Have streams of writes, so many at most; once, before there is a queue. */
int s2n_emu_set_streams(s2n_emu *emu, uint32_t limit);
/* Let writes to a namespace name streams, or let them not, with none open, nor to itself. */
int s2n_emu_enable_streams(s2n_emu *emu, uint32_t nsid, bool enabled);
/* Give a namespace so many streams to itself, or none; -EINVAL: there are not so many. */
int s2n_emu_own_streams(s2n_emu *emu, uint32_t nsid, uint32_t count);
/* A namespace's streams that are open, to `ids`, which has room for all: how many. */
int s2n_emu_open_streams(s2n_emu *emu, uint32_t nsid, uint16_t *ids);
/* Close a stream, if it is open. */
int s2n_emu_close_stream(s2n_emu *emu, uint32_t nsid, uint16_t id);
void s2n_emu_counters_get(s2n_emu *emu, s2n_emu_counters *out);
int s2n_emu_next_error(s2n_emu *emu, s2n_emu_error *out);
int s2n_emu_add_fault(s2n_emu *emu, const s2n_emu_fault *fault);
void s2n_emu_clear_faults(s2n_emu *emu);
/* The admin queue belongs to Python: its doorbell rings, and errors to be logged,
 * become readable here. */
int s2n_emu_admin_eventfd(s2n_emu *emu);
/* The admin queues' tail (submission) and head (completion) as last rung. */
uint32_t s2n_emu_admin_tail(s2n_emu *emu);
uint32_t s2n_emu_admin_cq_head(s2n_emu *emu);

/* Its doorbells: free the port before the controller. */
s2n_port *s2n_port_emulated(s2n_emu *emu);

/* cdef end */

#endif
