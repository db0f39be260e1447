/* The guard of protection information: a CRC of 16 bits, polynomial 8BB7h, not reflected, which
 * begins with zero. Spec: NVM Command Set 1.0c 5.2.1.1. */
#include "emu.h"

enum { SLICES = 8, POLYNOMIAL = 0x8BB7 };

/* What a byte does to a CRC that so many more bytes follow. */
static uint16_t table[SLICES][256];

__attribute__((constructor)) static void fill_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 0x8000 ? crc << 1 ^ POLYNOMIAL : crc << 1;
        table[0][byte] = (uint16_t)crc;
    }
    for (int slice = 1; slice < SLICES; slice++)
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint16_t crc = table[slice - 1][byte];
            table[slice][byte] = (uint16_t)(crc << 8 ^ table[0][crc >> 8]);
        }
}

uint16_t emu_guard(uint16_t crc, const uint8_t *data, size_t bytes)
{
    for (; bytes >= SLICES; bytes -= SLICES, data += SLICES)
        crc = table[7][data[0] ^ crc >> 8] ^ table[6][data[1] ^ (crc & 0xFF)] ^ table[5][data[2]] ^
              table[4][data[3]] ^ table[3][data[4]] ^ table[2][data[5]] ^ table[1][data[6]] ^
              table[0][data[7]];
    for (; bytes; bytes--)
        crc = (uint16_t)(crc << 8 ^ table[0][crc >> 8 ^ *data++]);
    return crc;
}
