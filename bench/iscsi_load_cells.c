/* What is on the disk: cells of sectors that tell their generation, and notes of what a crash
 * must leave. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "iscsi_load.h"

uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ x >> 33;
}

static void fill_sector(uint8_t *out, uint64_t cell, uint32_t sector, uint32_t generation)
{
    uint64_t head[3] = {cell, (uint64_t)generation << 32 | sector, option.seed};
    uint64_t word = mix(cell * 2654435761 + generation) + sector + option.seed;

    memcpy(out, head, sizeof head);
    for (size_t at = sizeof head; at < SECTOR; at += sizeof word) {
        word = word * UINT64_C(6364136223846793005) + 1442695040888963407;
        memcpy(out + at, &word, sizeof word);
    }
}

void fill_cell(uint8_t *out, uint64_t cell, uint32_t generation)
{
    for (uint32_t sector = 0; sector < option.cell_bytes / SECTOR; sector++)
        fill_sector(out + sector * SECTOR, cell, sector, generation);
}

bool cell_holds(const uint8_t *data, uint64_t cell, uint32_t low, uint32_t high)
{
    uint8_t expected[SECTOR];
    uint64_t head[3];

    for (uint32_t sector = 0; sector < option.cell_bytes / SECTOR; sector++) {
        memcpy(head, data + sector * SECTOR, sizeof head);
        uint32_t generation = (uint32_t)(head[1] >> 32);
        fill_sector(expected, cell, sector, generation);
        bool ours = !memcmp(expected, data + sector * SECTOR, SECTOR);
        if (low == 0 || (ours && generation >= low && generation <= high))
            continue;
        if (data_errors < 20)
            fprintf(stderr,
                    "iscsi-load: cell %" PRIu64 " sector %u: %s generation %u, expected %u to %u\n",
                    cell, sector, ours ? "intact" : "damaged", generation, low, high);
        return false;
    }
    return true;
}

/* ---- notes of what a crash must leave ---- */

void write_state(void)
{
    FILE *file = fopen(option.state, "wb");

    if (!file)
        die(option.state, strerror(errno));
    for (uint64_t i = 0; i < cell_count; i++)
        if (fwrite(&cells[i].durable, 4, 1, file) != 1 || fwrite(&cells[i].issued, 4, 1, file) != 1)
            die(option.state, strerror(errno));
    if (fclose(file))
        die(option.state, strerror(errno));
}

void check_state(void)
{
    FILE *file = fopen(option.check, "rb");
    uint32_t chunk = 65536 / option.cell_bytes, range[2];
    uint64_t checked = 0;

    if (!file)
        die(option.check, strerror(errno));
    for (uint64_t at = 0; at < cell_count; at += chunk) {
        uint32_t count = cell_count - at < chunk ? (uint32_t)(cell_count - at) : chunk;
        struct scsi_task *task = iscsi_read16_sync(
            session[0].iscsi, session[0].lun, at * (option.cell_bytes / block_bytes),
            count * option.cell_bytes, (int)block_bytes, 0, 0, 0, 0, 0);
        if (!task || task->status != SCSI_STATUS_GOOD)
            die("read", iscsi_get_error(session[0].iscsi));
        for (uint32_t i = 0; i < count; i++) {
            if (fread(range, 4, 2, file) != 2)
                die(option.check, "too short");
            checked += range[1] != 0;
            data_errors += !cell_holds(task->datain.data + (uint64_t)i * option.cell_bytes, at + i,
                                       range[0], range[1]);
        }
        scsi_free_scsi_task(task);
    }
    fclose(file);
    printf("{\"checked_cells\": %" PRIu64 ", \"data_errors\": %" PRIu64 "}\n", checked,
           data_errors);
}
