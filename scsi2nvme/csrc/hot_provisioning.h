/* UNMAP's parameter list. Spec: SBC-3 5.28.2. */
#ifndef S2N_HOT_PROVISIONING_H
#define S2N_HOT_PROVISIONING_H

#include <stdint.h>

enum {
    S2N_UNMAP_HEADER = 8,
    S2N_UNMAP_DESCRIPTOR = 16, /* bytes of one: an LBA, and a number of blocks */
};

/* How many descriptors there are in the `length` bytes of a list, which begins with a header. */
uint32_t s2n_unmap_descriptors(const uint8_t *list, uint32_t length);
uint32_t s2n_unmap_blocks(const uint8_t *descriptor);

#endif
