/* CRC32C (Castagnoli, reflected polynomial 82F63B78h). Spec: RFC 7143 13.1. */
#include <string.h>

#include "crc32c.h"

enum { LANE = 1024 }; /* bytes of each of the three interleaved streams */

static uint32_t byte_table[256];
/* What LANE zero bytes do to a CRC, by byte of the CRC. */
static uint32_t lane_table[4][256];

static uint32_t zeros_bytewise(uint32_t crc, size_t count)
{
    while (count--)
        crc = crc >> 8 ^ byte_table[crc & 0xff];
    return crc;
}

__attribute__((constructor)) static void fill_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
        byte_table[byte] = crc;
    }
    /* What is done to a byte is done to its bits: only these take LANE steps. */
    for (int lane = 0; lane < 4; lane++) {
        uint32_t *table = lane_table[lane];
        for (int bit = 0; bit < 8; bit++)
            table[1 << bit] = zeros_bytewise(UINT32_C(1) << (8 * lane + bit), LANE);
        for (uint32_t byte = 1; byte < 256; byte++)
            table[byte] = table[byte & (byte - 1)] ^ table[byte & -byte];
    }
}

static uint32_t crc_bytewise(uint32_t crc, const uint8_t *data, size_t length)
{
    while (length--)
        crc = crc >> 8 ^ byte_table[(crc ^ *data++) & 0xff];
    return crc;
}

#if defined(__x86_64__)

#include <nmmintrin.h>

static uint64_t load64(const uint8_t *data)
{
    uint64_t word;
    memcpy(&word, data, sizeof word);
    return word;
}

static uint32_t skip_lane(uint32_t crc)
{
    return lane_table[0][crc & 0xff] ^ lane_table[1][crc >> 8 & 0xff] ^
           lane_table[2][crc >> 16 & 0xff] ^ lane_table[3][crc >> 24];
}

/* The instruction takes three cycles and starts one a cycle: three independent
 * streams keep it busy, and are joined by shifting the earlier ones. */
__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t crc, const uint8_t *data,
                                                            size_t length)
{
    while (length >= 3 * LANE) {
        uint64_t a = crc, b = 0, c = 0;
        for (size_t i = 0; i < LANE; i += 8) {
            a = _mm_crc32_u64(a, load64(data + i));
            b = _mm_crc32_u64(b, load64(data + LANE + i));
            c = _mm_crc32_u64(c, load64(data + 2 * LANE + i));
        }
        crc = skip_lane(skip_lane((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
        data += 3 * LANE;
        length -= 3 * LANE;
    }
    uint64_t wide = crc;
    for (; length >= 8; data += 8, length -= 8)
        wide = _mm_crc32_u64(wide, load64(data));
    crc = (uint32_t)wide;
    while (length--)
        crc = _mm_crc32_u8(crc, *data++);
    return crc;
}

uint32_t s2n_crc32c(uint32_t crc, const void *data, size_t length)
{
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc_sse42(~crc, data, length);
    return ~crc_bytewise(~crc, data, length);
}

#else

uint32_t s2n_crc32c(uint32_t crc, const void *data, size_t length)
{
    return ~crc_bytewise(~crc, data, length);
}

#endif
