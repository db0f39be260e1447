/* What has become of tasks: counts that one thread writes at a time, and any may read meanwhile. */
#ifndef S2N_TALLY_H
#define S2N_TALLY_H

#include <stdatomic.h>

#include "constants_gen.h"
#include "dataplane.h"

struct s2n_tally_kind {
    _Atomic uint64_t bytes, failed, latency_us;
    _Atomic uint64_t latency[S2N_LATENCY_BUCKETS]; /* each task that was answered is in one */
};

/* The answers that are failures, as they came; 0: none yet. Who shares these counts an answer at
 * the same place, for good: a sum over reactors would go backwards if any moved. */
struct s2n_failures {
    _Atomic uint32_t answer[S2N_FAILURES - 1];
};

struct s2n_tally {
    _Atomic uint64_t begun, aborted;
    _Atomic uint64_t failure[S2N_FAILURES]; /* by their places; the last: all others */
    struct s2n_tally_kind kind[S2N_COUNTED_KINDS];
};

/* The bucket of a latency. */
uint8_t s2n_tally_bucket(uint64_t us);

/* No other thread writes: there is no need of an instruction that would keep it out. Who reads this
 * sees what was counted before. */
static inline void s2n_tally_add(_Atomic uint64_t *count, uint64_t more)
{
    uint64_t before = atomic_load_explicit(count, memory_order_relaxed);

    atomic_store_explicit(count, before + more, memory_order_release);
}

/* Count an answer that is a failure, too: status, sense key, ASC, ASCQ. */
void s2n_tally_failed(struct s2n_tally *tally, struct s2n_failures *failures, uint8_t kind,
                      uint32_t answer);

/* Add what a tally has to what was read of others that share its failures. */
void s2n_tally_read(const struct s2n_tally *tally, const struct s2n_failures *failures,
                    s2n_statistics *sum);

#endif
