/* Plays inputs; with -DS2N_LIBFUZZER those of libFuzzer. Else a program:
 *     fuzz_TARGET [inputs [seed]]
 *     fuzz_TARGET --seed FILE    writes what libFuzzer is to begin with */
#include "fuzz.h"

#include <string.h>
#include <time.h>

#include "check.h"
#include "little_endian.h"

static uint32_t least(size_t a, size_t b)
{
    return (uint32_t)(a < b ? a : b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < fuzz_head)
        return 0;
    fuzz_begin(data);
    data += fuzz_head;
    size -= fuzz_head;
    while (size >= FUZZ_STEP) {
        const uint8_t *step = data;
        data += FUZZ_STEP;
        size -= FUZZ_STEP;
        uint32_t length = least(s2n_get_le16(step + 2), size);
        fuzz_step(step[0] % fuzz_kinds, step[1], data, length);
        data += length;
        size -= length;
    }
    fuzz_finish();
    return 0;
}

#ifndef S2N_LIBFUZZER

static struct {
    uint8_t bytes[FUZZ_ROOM];
    uint32_t length;
} seed;

void fuzz_set_head(uint32_t at, uint8_t value)
{
    CHECK(at < fuzz_head);
    seed.bytes[at] = value;
}

void fuzz_add(uint8_t kind, uint8_t detail, const uint8_t *bytes, uint32_t length)
{
    uint8_t *to = seed.bytes + seed.length;

    CHECK(seed.length + FUZZ_STEP + length <= FUZZ_ROOM / 2);
    to[0] = kind;
    to[1] = detail;
    s2n_put_le16(to + 2, (uint16_t)length);
    if (length)
        memcpy(to + FUZZ_STEP, bytes, length);
    seed.length += FUZZ_STEP + length;
}

static const uint8_t interesting[] = {0x00, 0x01, 0x03, 0x05, 0x20, 0x40, 0x41, 0x60,
                                      0x7f, 0x80, 0x81, 0xa1, 0xc1, 0xe1, 0xfe, 0xff};

/* Change `bytes` a little; their new length. */
static uint32_t mutate(uint8_t *bytes, uint32_t length, uint32_t *state)
{
    for (uint32_t left = draw(state, 8); left && length > fuzz_head + FUZZ_STEP; left--) {
        uint32_t from = fuzz_head + draw(state, length - fuzz_head), span = draw(state, 100) + 1;
        uint32_t to = fuzz_head + draw(state, length - fuzz_head);
        switch (draw(state, 7)) {
        case 0:
            bytes[from] ^= (uint8_t)(1 << draw(state, 8));
            break;
        case 1:
        case 2:
            bytes[from] = interesting[draw(state, sizeof interesting)];
            break;
        case 3: /* repeat a stretch elsewhere */
            span = least(span, length - least(length, from > to ? from : to));
            memmove(bytes + to, bytes + from, span);
            break;
        case 4: /* another step of any kind, in between */
            memmove(bytes + from + FUZZ_STEP, bytes + from, length - from);
            bytes[from] = (uint8_t)draw(state, fuzz_kinds);
            bytes[from + 1] = (uint8_t)draw(state, 256);
            s2n_put_le16(bytes + from + 2, (uint16_t)draw(state, 64));
            length += FUZZ_STEP;
            break;
        case 5: /* a step's worth less */
            span = least(FUZZ_STEP + 48, length - from);
            memmove(bytes + from, bytes + from + span, length - from - span);
            length -= span;
            break;
        case 6:
            length = draw(state, 10) ? length : from + 1;
            break;
        }
    }
    return length;
}

static int write_seed(const char *path)
{
    FILE *file = fopen(path, "wb");

    return !file || fwrite(seed.bytes, seed.length, 1, file) != 1 || fclose(file);
}

int main(int argc, char **argv)
{
    static uint8_t bytes[FUZZ_ROOM];
    uint32_t inputs = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : 10000;
    uint32_t chance = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 0) : (uint32_t)time(NULL);
    uint32_t state = chance | 1, reached = 0;

    seed.length = fuzz_head;
    fuzz_plant();
    if (argc > 2 && !strcmp(argv[1], "--seed"))
        return write_seed(argv[2]);
    printf("seed %u\n", chance);
    fflush(stdout);
    for (uint32_t n = 0; n < inputs; n++) {
        memcpy(bytes, seed.bytes, seed.length);
        for (uint32_t at = 0; at < fuzz_head; at++)
            bytes[at] ^= (uint8_t)draw(&state, n ? 256 : 1);
        LLVMFuzzerTestOneInput(bytes, n ? mutate(bytes, seed.length, &state) : seed.length);
        if (!n)
            CHECK_EQUAL(fuzz_reached(), fuzz_planted);
        reached += fuzz_reached();
    }
    printf("ok %u inputs, %u commands\n", inputs, reached);
    CHECK(reached > inputs);
    return 0;
}

#endif
