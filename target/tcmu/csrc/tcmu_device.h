/* Devices of the kernel's user backstore. Control functions. */
#ifndef S2N_TCMU_DEVICE_H
#define S2N_TCMU_DEVICE_H

#include "dataplane.h"
#include "transport.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* cdef begin */

/* A device of the kernel's user backstore: its ring, on one reactor at a time, whichever its
 * commands come to soonest. */
typedef struct s2n_tcmu s2n_tcmu;

/* Serve the ring in the first `bytes` of `memory`, as LUN 0 of `nexus`; `fd` tells of new
 * entries and takes the doorbell. Both are the same UIO device. Takes over `fd`, and on
 * success only. Negative errno: EPROTO and EPROTONOSUPPORT if the mailbox is malformed or
 * of another version. CONN_CLOSED with `cookie` tells of its end: `count` is 0 after a
 * close, ESTALE if the ring was reset, ENODEV if the device went, EPROTO if the ring made
 * no sense. Mapping and descriptor are gone by then, and `window`, which stays the
 * caller's, is empty; call s2n_tcmu_free. Without a window (NULL) all data are copied. */
int s2n_tcmu_new(s2n_plane *plane, s2n_nexus *nexus, int fd, int memory, uint64_t bytes,
                 s2n_window *window, uint64_t cookie, s2n_tcmu **out);
/* Whether the controller may move data straight from and to the ring's pages, which begins
 * as false: the kernel must not be about to replace them. */
void s2n_tcmu_set_in_place(s2n_tcmu *tcmu, bool allowed);

typedef struct {
    uint64_t in_place, copied; /* commands with data, by the way that these took */
    uint64_t pages;            /* that the controller knows */
    uint64_t withdrawals;      /* how often it had to forget all of them */
    uint64_t moves;            /* from one reactor to another */
    uint32_t reactor;          /* that serves it, from 0 */
} s2n_tcmu_counters;

void s2n_tcmu_counters_get(s2n_tcmu *tcmu, s2n_tcmu_counters *out);
/* DRAINED with `token` once every entry was answered. The kernel must have been told to
 * add no more. */
void s2n_tcmu_drain(s2n_tcmu *tcmu, uint64_t token);
/* Leave the ring as it is, and forget what is under way. */
void s2n_tcmu_close(s2n_tcmu *tcmu);
void s2n_tcmu_free(s2n_tcmu *tcmu);

/* cdef end */

#endif
