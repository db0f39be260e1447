/* Checksums, as iSCSI's digests use them. Callable from any thread. */
#ifndef S2N_CRC32C_H
#define S2N_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* cdef begin */

/* CRC32C (Castagnoli) of `length` bytes, continuing from `crc` (0 to begin). */
uint32_t s2n_crc32c(uint32_t crc, const void *data, size_t length);

/* cdef end */

#endif
