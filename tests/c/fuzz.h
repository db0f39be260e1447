/* What the programs share that play arbitrary input.
 *
 * An input is a head, which says how to begin, then steps. Each is a kind, a detail, the length
 * of what follows in two bytes (little endian), and that. With -DS2N_LIBFUZZER libFuzzer, which is
 * clang's, makes them up; else fuzz.c mutates one of the target's own. */
#ifndef S2N_FUZZ_H
#define S2N_FUZZ_H

#include <stddef.h>
#include <stdint.h>

enum { FUZZ_STEP = 4, FUZZ_ROOM = 1 << 15 };

/* Of each target: */
extern const uint32_t fuzz_head, fuzz_kinds; /* bytes; kinds of steps */
void fuzz_begin(const uint8_t *head);
void fuzz_step(uint8_t kind, uint8_t detail, const uint8_t *bytes, size_t length);
/* Bring it to an end, and check that nothing is left. */
void fuzz_finish(void);
/* Add the steps of an input that reaches all there is. */
void fuzz_plant(void);
/* How much the last input reached, and what the planted one does. */
uint32_t fuzz_reached(void);
extern const uint32_t fuzz_planted;

/* ---- for fuzz_plant ---- */

void fuzz_set_head(uint32_t at, uint8_t value);
void fuzz_add(uint8_t kind, uint8_t detail, const uint8_t *bytes, uint32_t length);

#endif
