/* iSCSI PDUs as bytes: opcodes, offsets, flags. Spec: RFC 7143 11. */
#ifndef S2N_ISCSI_PDU_H
#define S2N_ISCSI_PDU_H

#include <stdbool.h>
#include <stdint.h>

enum {
    S2N_BHS_BYTES = 48,
    S2N_AHS_BYTES = 255 * 4,
    S2N_DIGEST_BYTES = 4,
};

static const uint32_t S2N_RESERVED_TAG = 0xffffffff;

enum s2n_opcode {
    S2N_NOP_OUT = 0x00,
    S2N_SCSI_COMMAND = 0x01,
    S2N_TASK_MANAGEMENT = 0x02,
    S2N_LOGIN = 0x03,
    S2N_TEXT = 0x04,
    S2N_DATA_OUT = 0x05,
    S2N_LOGOUT = 0x06,
    S2N_SNACK = 0x10,
    S2N_NOP_IN = 0x20,
    S2N_SCSI_RESPONSE = 0x21,
    S2N_TASK_MANAGEMENT_RESPONSE = 0x22,
    S2N_TEXT_RESPONSE = 0x24,
    S2N_DATA_IN = 0x25,
    S2N_LOGOUT_RESPONSE = 0x26,
    S2N_R2T = 0x31,
    S2N_REJECT = 0x3f,
    S2N_OPCODE = 0x3f, /* mask */
    S2N_IMMEDIATE = 0x40,
};

/* Byte offsets in the BHS. */
enum {
    S2N_AT_FLAGS = 1,
    S2N_AT_RESPONSE = 2,
    S2N_AT_STATUS = 3,
    S2N_AT_AHS_LENGTH = 4,
    S2N_AT_DATA_LENGTH = 5,
    S2N_AT_LUN = 8,
    S2N_AT_ITT = 16,
    S2N_AT_TTT = 20,        /* also EDTL, referenced task tag */
    S2N_AT_CMD_SN = 24,     /* StatSN from the target */
    S2N_AT_EXP_CMD_SN = 28, /* ExpStatSN from the initiator */
    S2N_AT_MAX_CMD_SN = 32, /* CDB, RefCmdSN from the initiator */
    S2N_AT_DATA_SN = 36,    /* also R2TSN, ExpDataSN */
    S2N_AT_OFFSET = 40,
    S2N_AT_RESIDUAL = 44, /* also the R2T's length */
};

/* Flags in byte 1. */
enum {
    S2N_FINAL = 0x80,
    S2N_READ = 0x40,
    S2N_WRITE = 0x20,
    S2N_ATTRIBUTE = 0x07,
    S2N_OVERFLOW = 0x04,
    S2N_UNDERFLOW = 0x02,
    S2N_STATUS = 0x01,
    S2N_FUNCTION = 0x7f,
};

enum s2n_function {
    S2N_ABORT_TASK = 1,
    S2N_ABORT_TASK_SET = 2,
    S2N_CLEAR_TASK_SET = 4,
    S2N_LOGICAL_UNIT_RESET = 5,
    S2N_TARGET_WARM_RESET = 6,
    S2N_I_T_NEXUS_RESET = 11,
};
enum s2n_function_response { S2N_FUNCTION_COMPLETE = 0, S2N_TASK_DOES_NOT_EXIST = 1 };

enum s2n_reject_reason {
    S2N_REJECT_DATA_DIGEST = 0x02,
    S2N_REJECT_PROTOCOL = 0x04,
    S2N_REJECT_UNSUPPORTED = 0x05,
    S2N_REJECT_IMMEDIATE = 0x06,
    S2N_REJECT_IN_PROGRESS = 0x07,
    S2N_REJECT_FIELD = 0x09,
};

/* Sense that it asks for: key << 16 | ASC << 8 | ASCQ. */
enum {
    S2N_SENSE_INFORMATION_UNIT = 0x050e03, /* direction and CDB disagree */
    S2N_SENSE_UNEXPECTED_DATA = 0x0b0c0c,  /* unsolicited data not negotiated, or too much */
    S2N_SENSE_DATA_AMOUNT = 0x0b0c0d,
    S2N_SENSE_CRC = 0x0b4705,
    S2N_SENSE_DATA_PHASE = 0x0b4b00, /* wrong DataSN, offset or tag */
};

static inline uint16_t s2n_get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t s2n_get24(const uint8_t *at)
{
    return (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
}

static inline uint32_t s2n_get32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | s2n_get24(at + 1);
}

static inline void s2n_put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline void s2n_put24(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 16);
    s2n_put16(at + 1, value);
}

static inline void s2n_put32(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 24);
    s2n_put24(at + 1, value);
}

/* Digests travel least significant byte first. */
static inline void s2n_put_digest(uint8_t *at, uint32_t crc)
{
    at[0] = (uint8_t)crc;
    at[1] = (uint8_t)(crc >> 8);
    at[2] = (uint8_t)(crc >> 16);
    at[3] = (uint8_t)(crc >> 24);
}

static inline uint32_t s2n_get_digest(const uint8_t *at)
{
    return (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

/* Bytes that pad `length` to a multiple of four. */
static inline uint32_t s2n_padding(uint32_t length)
{
    return -length & 3;
}

/* Serial number arithmetic. Spec: RFC 1982. */
static inline bool s2n_before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

static inline uint32_t s2n_least(uint64_t a, uint64_t b)
{
    return (uint32_t)(a < b ? a : b);
}

#endif
