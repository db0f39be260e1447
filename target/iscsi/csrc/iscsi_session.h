/* Sessions and connections in the full-feature phase. Control functions. */
#ifndef S2N_ISCSI_SESSION_H
#define S2N_ISCSI_SESSION_H

#include "dataplane.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* cdef begin */

typedef struct s2n_session s2n_session;
typedef struct s2n_conn s2n_conn;

typedef struct {
    uint32_t header_digest, data_digest; /* bool */
    uint32_t maximum_recv, maximum_send; /* MaxRecvDataSegmentLength: ours, theirs */
    uint32_t maximum_burst, first_burst;
    uint32_t initial_r2t, immediate_data; /* bool */
    uint32_t maximum_r2t;
    uint32_t discovery;                /* bool: no SCSI commands */
    uint32_t ping_ms, ping_timeout_ms; /* NOP-In, 0: never */
} s2n_conn_params;

/* A session lives on one reactor with all its connections. `window` is how many
 * commands may be outstanding. */
s2n_session *s2n_session_new(s2n_plane *plane, s2n_nexus *nexus, uint32_t cmd_sn, uint32_t window);
/* Hand a logged-in socket over (non-blocking; taken over). `received` are bytes
 * that were read beyond the last login request. `stat_sn`: of the next response. */
s2n_conn *s2n_conn_new(s2n_session *session, int fd, const s2n_conn_params *params,
                       uint32_t stat_sn, const uint8_t *received, uint32_t received_length,
                       uint64_t cookie);
/* Send a PDU from Python: StatSN, ExpCmdSN, MaxCmdSN, DataSegmentLength and
 * digests are filled in; StatSN is consumed if `consumes`. */
void s2n_conn_send(s2n_conn *conn, const uint8_t *bhs, const uint8_t *data, uint32_t data_length,
                   bool consumes);
/* New MaxRecvDataSegmentLength of the initiator, from a text negotiation. */
void s2n_conn_set_maximum_send(s2n_conn *conn, uint32_t bytes);
/* Close after what is queued has been sent (`graceful`), or at once.
 * CONN_CLOSED follows; then call s2n_conn_free. */
void s2n_conn_close(s2n_conn *conn, bool graceful);
/* Close those of one or more at once whose peers have left, even if what these sent before is not
 * read yet. DRAINED with `token` follows, whose count is how many of them end or have ended. The
 * order in `conns` is lost. */
void s2n_conns_close_if_left(s2n_conn **conns, uint32_t count, uint64_t token);
/* Whether it was among these when it was last asked for. */
bool s2n_conn_left(s2n_conn *conn);
void s2n_conn_free(s2n_conn *conn);
/* After its last connection was freed. */
void s2n_session_free(s2n_session *session);
uint32_t s2n_session_expected_cmd_sn(s2n_session *session);

/* cdef end */

#endif
