/* To place a command whose entry is somewhere else, as tests have it. */
#ifndef PLACE_H
#define PLACE_H

#include <errno.h>
#include <string.h>

#include "qpair.h"

/* As s2n_qpair_place, from several spans. */
static inline int place_entry(s2n_qpair *qp, const uint8_t *sqe, const struct s2n_span *spans,
                              uint32_t count, uint64_t cookie, uint32_t timeout_ms)
{
    uint8_t *entry = s2n_qpair_entry(qp);

    if (!entry)
        return -EAGAIN;
    memcpy(entry, sqe, 64);
    return s2n_qpair_place_spans(qp, spans, count, cookie, timeout_ms);
}

#endif
