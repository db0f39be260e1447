/* Clearing structures of a few hundred bytes. */
#ifndef S2N_CLEAR_H
#define S2N_CLEAR_H

#include <stddef.h>
#include <string.h>

/* As memset, of a constant length: in pieces that compilers store at once, where the instruction
 * that they take for more bytes takes long to begin. */
#define s2n_clear(at, bytes) s2n_clear_pieces((char *)(at), bytes)

static inline void s2n_clear_pieces(char *at, size_t bytes)
{
    for (; bytes >= 64; bytes -= 64, at += 64)
        memset(at, 0, 64);
    memset(at, 0, bytes);
}

#endif
