/* Checks for C tests: a failed one prints itself and ends the program. */
#ifndef S2N_CHECK_H
#define S2N_CHECK_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define CHECK_EQUAL(actual, expected)                                                              \
    do {                                                                                           \
        uint64_t actual_ = (uint64_t)(actual), expected_ = (uint64_t)(expected);                   \
        if (actual_ != expected_) {                                                                \
            fprintf(stderr, "%s:%d: %s is %#" PRIx64 ", not %#" PRIx64 "\n", __FILE__, __LINE__,   \
                    #actual, actual_, expected_);                                                  \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* A random number below `limit`; the state, which is not 0, begins as the seed. */
static inline uint32_t draw(uint32_t *state, uint32_t limit)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state % limit;
}

#define RUN(test)                                                                                  \
    do {                                                                                           \
        test();                                                                                    \
        printf("ok %s\n", #test);                                                                  \
    } while (0)

#endif
