/* How many data a CDB announces. */
#include "check.h"
#include "hot.h"

#include <string.h>

static void units_of_512_bytes(void)
{
    uint8_t direction, cdb[12] = {0xb5, 1, [9] = 3};

    CHECK_EQUAL(s2n_hot_data_bytes(cdb, 12, 4096, &direction), 3);
    CHECK_EQUAL(direction, S2N_OUT);
    cdb[4] = 0x80; /* INC_512 */
    CHECK_EQUAL(s2n_hot_data_bytes(cdb, 12, 4096, &direction), 3 * 512);
    memset(cdb + 6, 0xff, 4);
    CHECK_EQUAL(s2n_hot_data_bytes(cdb, 12, 4096, &direction), 0xffffffffull << 9);
}

/* Its header, and what the initiator says that follows it: a CDB cannot. */
static void a_format_has_as_many_as_are_expected(void)
{
    static const struct {
        uint8_t flags; /* FMTDATA 10h, LONGLIST 20h */
        uint32_t expected, announced;
    } known[] = {
        {0, 0, 0},
        {0, 4, 0},
        {0, 100, 0},
        {0x20, 100, 0},
        {0x10, 0, 4},
        {0x10, 3, 4},
        {0x10, 4, 4},
        {0x10, 5, 5},
        {0x30, 0, 8},
        {0x30, 7, 8},
        {0x30, 9, 9},
        {0x10, 65536, 65536},
        {0x10, 65537, 65536},
        {0x30, 65535, 65535},
        {0x30, 1 << 20, 65536},
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        uint8_t cdb[S2N_LEAST_CDB_ROOM] = {0x04, known[i].flags};
        const struct s2n_hot_row *row = s2n_hot_find(cdb, 6);
        CHECK(row);
        CHECK_EQUAL(s2n_hot_announced(row, cdb, 512, known[i].expected), known[i].announced);
    }
}

int main(void)
{
    RUN(units_of_512_bytes);
    RUN(a_format_has_as_many_as_are_expected);
    return 0;
}
