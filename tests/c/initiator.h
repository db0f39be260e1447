/* An initiator for front-end tests: PDUs over a socket pair into the code under
 * test, on the fake reactor. */
#ifndef S2N_INITIATOR_H
#define S2N_INITIATOR_H

#include "check.h"
#include "fake.h"
#include "fake_device.h"
#include "fake_plane.h"
#include "fake_reactor.h"
#include "fake_task.h"
#include "iscsi_pdu.h"
#include "iscsi_session.h"

enum { FIRST_CMD_SN = 100, FIRST_STAT_SN = 500, WINDOW = 32, AN_ITT = 0x1111 };

struct initiator {
    int fd;
    bool eof;
    s2n_session *session;
    s2n_conn *conn;
    s2n_conn_params params;
    uint64_t cookie;
    uint32_t cmd_sn, stat_sn;
    uint8_t *in; /* received, not yet parsed */
    size_t in_length;
};

struct pdu {
    uint8_t bhs[48];
    uint8_t opcode, flags;
    uint32_t length;
    uint8_t data[1 << 18];
};

/* What most tests negotiate: unsolicited data allowed, small limits, no pings. */
extern const s2n_conn_params usual;

/* A fresh plane, session and connection; and another connection of that session. */
void login(struct initiator *initiator, const s2n_conn_params *params);
void login_more(struct initiator *initiator, const struct initiator *leading);
/* Close from this side, and check that nothing is left of connection and session. */
void logout(struct initiator *initiator);
/* Free the connection, whose CONN_CLOSED was taken. */
void release(struct initiator *initiator);
/* Take CONN_CLOSED, which must be the next event; free the connection. */
uint32_t expect_closed(struct initiator *initiator);
/* The end of the session whose connections are gone: nothing may be left. */
void expect_nothing_left(struct initiator *initiator);

/* Send bytes as they are. */
void put_bytes(struct initiator *initiator, const uint8_t *bytes, size_t length);
/* Write a PDU to `wire`, with length, padding and digests added; how many bytes that are. */
size_t pdu_bytes(const s2n_conn_params *params, uint8_t *bhs, const uint8_t *data, uint32_t length,
                 uint8_t *wire);
/* Send a PDU: length, padding and digests are added. */
void put(struct initiator *initiator, uint8_t *bhs, const uint8_t *data, uint32_t length);
/* Tell of what has come; answer a NOP-In, if its tag is not reserved. */
void acknowledge(struct initiator *on, uint32_t ping_tag);
/* Send a SCSI Command with the next CmdSN; `flags` is BHS byte 1. */
void put_command(struct initiator *initiator, uint8_t flags, uint32_t itt, uint32_t edtl,
                 const uint8_t *cdb, const uint8_t *data, uint32_t length);
/* Send a WRITE of `bytes` whose immediate data are `length` bytes of the pattern, but only the
 * first `sent` of them: the PDU is not complete. */
void put_part_of_write(struct initiator *initiator, uint32_t itt, uint32_t cmd_sn,
                       const uint8_t *cdb, uint32_t bytes, uint32_t length, uint32_t sent);
void put_data_out(struct initiator *initiator, uint32_t itt, uint32_t ttt, uint32_t data_sn,
                  uint32_t offset, bool final, const uint8_t *data, uint32_t length);
/* A command whose additional header segment is of no known type; the CmdSN is its tag. */
void put_malformed(struct initiator *on, uint32_t cmd_sn);
/* Fill in a request's header: opcode (with the immediate bit), ITT, CmdSN as it is. */
void request(uint8_t *bhs, uint8_t opcode, uint32_t itt, uint32_t cmd_sn);

/* The next PDU from the target, with StatSN and digests checked; false: none. */
bool get(struct initiator *initiator, struct pdu *pdu);
/* The same, and it must be there and have this opcode. */
struct pdu *expect(struct initiator *initiator, uint8_t opcode);
void expect_none(struct initiator *initiator);
/* A SCSI Response with this status, or a Data-In with it; the PDU. */
struct pdu *expect_status(struct initiator *initiator, uint8_t status);

/* CDBs. */
const uint8_t *read10(uint32_t lba, uint32_t blocks);
const uint8_t *write10(uint32_t lba, uint32_t blocks);
const uint8_t *inquiry(uint8_t length);
extern const uint8_t test_unit_ready[16];
/* `length` bytes of a pattern without a short period. */
const uint8_t *pattern(uint32_t length);

/* TEST UNIT READY with this CmdSN; it also is the tag, but for the reserved one. */
void put_numbered(struct initiator *on, uint32_t cmd_sn);
uint32_t tag_of(const struct pdu *pdu);
/* The next event is this PDU, for Python. */
void expect_request(uint8_t opcode, uint32_t length);
void expect_no_request(void);
/* Answer a request as Python does. */
void answer(struct initiator *on, uint8_t opcode);

/* ABORT TASK of a task and its CmdSN. */
void put_abort_task(struct initiator *on, uint8_t opcode, uint32_t cmd_sn, uint32_t tag,
                    uint32_t ref_cmd_sn);

#endif
