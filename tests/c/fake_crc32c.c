#include "crc32c.h"

/* Bit by bit: independent of the implementation that the data plane uses. */
uint32_t s2n_crc32c(uint32_t crc, const void *data, size_t length)
{
    const uint8_t *at = data;

    crc = ~crc;
    while (length--) {
        crc ^= *at++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    return ~crc;
}
