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

/* What is not cleared is written before it is read. Where AddressSanitizer looks on, it has no
 * values that are right by chance, as those of whoever had the memory before may be. */
#if defined(__SANITIZE_ADDRESS__)
enum { S2N_SPOILS = 1 };
#elif defined(__has_feature)
enum { S2N_SPOILS = __has_feature(address_sanitizer) };
#else
enum { S2N_SPOILS = 0 };
#endif

static inline void s2n_spoil(void *at, size_t bytes)
{
    if (S2N_SPOILS)
        memset(at, 0xa5, bytes);
}

#endif
