/* What the two floors have in common: floor.c tells what a floor is. */
#ifndef FLOOR_H
#define FLOOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
    BHS = 48,
    RECEIVED_BYTES = 256 << 10,
    SEGMENT_BYTES = 256 << 10,
    READ_BYTES = 1 << 20,    /* at most */
    BURST_BYTES = 256 << 10, /* libiscsi's limit: the less of both holds */
    PIECES = 512,            /* in one call of writev */
    WRITES = 256,            /* under way in a connection */
};

/* Answers in their order: headers, and what lies elsewhere. */
struct answers {
    uint32_t pieces, first; /* `first`: what is to be sent next */
    struct iovec piece[PIECES];
    uint8_t header[PIECES][BHS];
};

struct pending_write {
    uint32_t itt, expected, received;
    bool used;
};

/* What one connection has asked, and where its answers go. */
struct dialog {
    struct answers *answers;
    uint32_t stat_sn, cmd_sn;
    uint32_t headed, skip; /* of `bhs`, and what follows it */
    uint8_t bhs[BHS];
    struct pending_write write[WRITES];
};

/* Take from `received` what has room for its answers, and return how many bytes that was. What
 * is written is skipped where it lies. */
uint32_t take_received(struct dialog *d, const uint8_t *received, uint32_t bytes);
/* Drop what has been sent of the answers; true when that was all. */
bool drop_sent(struct answers *answers, size_t bytes);

/* Listen on 127.0.0.1, and print the port; the disk has so many bytes. */
int begin_listening(const char *size);
void send_at_once(int fd);

#endif
