/* What the load generator sends, and what becomes of it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "iscsi_load.h"

static uint64_t random_state;

void seed_commands(uint64_t seed)
{
    random_state = seed;
}

static uint64_t random_below(uint64_t limit)
{
    return mix(++random_state * UINT64_C(0x9e3779b97f4a7c15)) % limit;
}

static void note_latency(const struct io *io, uint64_t now)
{
    uint64_t took = now - io->sent_us;

    all++;
    if (now < begin_us || now > end_us)
        return;
    latency[took < LATENCY_US ? took : LATENCY_US - 1]++;
    done++;
    bytes += (uint64_t)io->cells * option.cell_bytes;
}

static void flushed(struct session *s)
{
    for (uint64_t i = s->first; i < s->first + s->count; i++)
        cells[i].durable =
            cells[i].flushing > cells[i].durable ? cells[i].flushing : cells[i].durable;
    s->flushing = false;
    flushes++;
}

/* Whether no two commands are of the same cells at the same time. */
static bool keeps_apart(void)
{
    return option.verify || !strcmp(option.operation, "compare-and-write");
}

static void completed(struct io *io)
{
    if (io->flush) {
        flushed(io->session);
        return;
    }
    for (uint32_t i = 0; i < io->cells && keeps_apart(); i++) {
        struct cell *cell = &cells[io->cell + i];
        cell->busy = false;
        if (!option.verify)
            continue;
        if (io->write) {
            cell->acked = cell->issued;
            if (io->fua)
                cell->durable = cell->issued;
        } else if (!cell_holds(io->buffer + (uint64_t)i * option.cell_bytes, io->cell + i,
                               cell->acked, cell->acked)) {
            data_errors++;
        }
    }
    note_latency(io, now_us());
}

bool ended_by_others(const struct scsi_task *task, int status)
{
    return !option.verify &&
           (status == SCSI_STATUS_TASK_ABORTED || (status == SCSI_STATUS_CHECK_CONDITION &&
                                                   task->sense.key == SCSI_SENSE_UNIT_ATTENTION));
}

static void on_completion(struct iscsi_context *iscsi, int status, void *command, void *private)
{
    struct scsi_task *task = command;
    struct io *io = private;

    io->session->under_way--;
    if (status == SCSI_STATUS_GOOD) {
        completed(io);
    } else if (status == SCSI_STATUS_CANCELLED || status == SCSI_STATUS_TIMEOUT ||
               status == SCSI_STATUS_ERROR) {
        if (!lost)
            fprintf(stderr, "iscsi-load: the target is lost: %s\n", iscsi_get_error(iscsi));
        lost = stopping = true;
    } else if (!ended_by_others(task, status)) {
        errors++;
        fprintf(stderr, "iscsi-load: %s of cell %" PRIu64 ": status %d: %s\n",
                io->flush   ? "flush"
                : io->write ? "write"
                            : "read",
                io->cell, status, iscsi_get_error(iscsi));
        stopping = errors > 100;
    }
    scsi_free_scsi_task(task);
    if (!stopping)
        next_io(io);
}

static void send_flush(struct io *io)
{
    struct session *s = io->session;

    io->flush = true;
    s->flushing = true;
    s->since_flush = 0;
    for (uint64_t i = s->first; i < s->first + s->count; i++)
        cells[i].flushing = cells[i].acked;
    if (!iscsi_synchronizecache16_task(s->iscsi, s->lun, 0, 0, 0, 0, on_completion, io))
        die("flush", iscsi_get_error(s->iscsi));
}

/* Choose cells that no other command of ours touches. */
static void choose(struct io *io)
{
    struct session *s = io->session;

    for (;;) {
        io->cells = 1 + (uint32_t)random_below((uint64_t)option.maximum_cells);
        if (!strcmp(option.pattern, "sequential")) {
            io->cell = s->first + s->next % (s->count - io->cells + 1);
            s->next = s->next % (s->count - io->cells + 1) + io->cells;
        } else {
            io->cell = s->first + random_below(s->count - io->cells + 1);
        }
        bool free = true;
        for (uint32_t i = 0; i < io->cells && keeps_apart(); i++)
            free &= !cells[io->cell + i].busy;
        if (free)
            return;
    }
}

static void send_cdb(struct io *io)
{
    struct session *s = io->session;
    struct scsi_task *task =
        scsi_create_task(option.cdb_bytes, option.cdb, SCSI_XFER_READ, (int)option.cell_bytes);

    if (!task || iscsi_scsi_command_async(s->iscsi, s->lun, task, on_completion, NULL, io))
        die("command", iscsi_get_error(s->iscsi));
}

/* ---- commands other than READ and WRITE, of so many bytes from `lba` on ---- */

typedef struct scsi_task *sender(struct io *io, int lun, uint32_t lba, uint32_t length);

/* A CDB that has no data. */
static struct scsi_task *send_alone(struct io *io, int lun, uint8_t opcode, int size, uint32_t lba,
                                    uint32_t length)
{
    uint32_t count = length / (uint32_t)block_bytes;
    uint8_t cdb[10] = {
        opcode,       0, (uint8_t)(lba >> 24),  (uint8_t)(lba >> 16), (uint8_t)(lba >> 8),
        (uint8_t)lba, 0, (uint8_t)(count >> 8), (uint8_t)count};
    static uint8_t nothing[10];
    struct scsi_task *task = scsi_create_task(size, size < 10 ? nothing : cdb, SCSI_XFER_NONE, 0);

    if (task && iscsi_scsi_command_async(io->session->iscsi, lun, task, on_completion, NULL, io)) {
        scsi_free_scsi_task(task);
        task = NULL;
    }
    return task;
}

static struct scsi_task *send_ready(struct io *io, int lun, uint32_t lba, uint32_t length)
{
    return send_alone(io, lun, 0x00, 6, lba, length);
}

static struct scsi_task *send_verify(struct io *io, int lun, uint32_t lba, uint32_t length)
{
    return send_alone(io, lun, 0x2f, 10, lba, length);
}

static struct scsi_task *send_pre_fetch(struct io *io, int lun, uint32_t lba, uint32_t length)
{
    return send_alone(io, lun, 0x34, 10, lba, length);
}

static struct scsi_task *send_synchronize(struct io *io, int lun, uint32_t lba, uint32_t length)
{
    return send_alone(io, lun, 0x35, 10, lba, length);
}

static struct scsi_task *send_unmap(struct io *io, int lun, uint32_t lba, uint32_t length)
{
    struct unmap_list list = {lba, length / (uint32_t)block_bytes};

    return iscsi_unmap_task(io->session->iscsi, lun, 0, 0, &list, 1, on_completion, io);
}

static struct scsi_task *send_write_same(struct io *io, int lun, uint32_t lba, uint32_t length)
{
    return iscsi_writesame10_task(io->session->iscsi, lun, lba, io->buffer, (uint32_t)block_bytes,
                                  (uint16_t)(length / block_bytes), 0, 0, 0, 0, on_completion, io);
}

static struct scsi_task *send_write_verify(struct io *io, int lun, uint32_t lba, uint32_t length)
{
    return iscsi_writeverify10_task(io->session->iscsi, lun, lba, io->buffer, length,
                                    (int)block_bytes, 0, 0, 1, 0, on_completion, io);
}

/* Zeroes become zeroes, after a first WRITE of them. */
static struct scsi_task *send_compare_write(struct io *io, int lun, uint32_t lba, uint32_t length)
{
    if (!cells[io->cell].issued++)
        return iscsi_write10_task(io->session->iscsi, lun, lba, io->buffer, length,
                                  (int)block_bytes, 0, 0, 0, 0, 0, on_completion, io);
    return iscsi_compareandwrite_task(io->session->iscsi, lun, lba, io->buffer, 2 * length,
                                      (int)block_bytes, 0, 0, 0, 0, 0, on_completion, io);
}

static const struct {
    const char *name;
    sender *send;
} others[] = {
    {"test-unit-ready", send_ready},
    {"verify", send_verify},
    {"pre-fetch", send_pre_fetch},
    {"synchronize-cache", send_synchronize},
    {"unmap", send_unmap},
    {"write-same", send_write_same},
    {"write-and-verify", send_write_verify},
    {"compare-and-write", send_compare_write},
    {NULL, NULL},
};

/* NULL: of READ and WRITE. */
static sender *sender_of(const char *operation)
{
    size_t i = 0;

    while (others[i].name && strcmp(others[i].name, operation))
        i++;
    return others[i].send;
}

void next_io(struct io *io)
{
    struct session *s = io->session;
    sender *send = sender_of(option.operation);
    struct scsi_task *task;

    io->flush = false;
    io->sent_us = now_us();
    s->under_way++;
    if (option.flush_every && !s->flushing && ++s->since_flush >= (uint32_t)option.flush_every) {
        send_flush(io);
        return;
    }
    if (option.cdb_bytes) {
        send_cdb(io);
        return;
    }
    choose(io);
    io->write = !strcmp(option.operation, "write") ||
                (!strcmp(option.operation, "mixed") && random_below(2));
    io->fua = option.verify && io->write && !random_below(4);
    for (uint32_t i = 0; i < io->cells && keeps_apart(); i++) {
        struct cell *cell = &cells[io->cell + i];
        cell->busy = true;
        if (io->write)
            fill_cell(io->buffer + (uint64_t)i * option.cell_bytes, io->cell + i, ++cell->issued);
    }
    uint64_t lba = io->cell * (option.cell_bytes / block_bytes);
    uint32_t length = io->cells * option.cell_bytes;
    int lun = option.luns > 1 ? s->lun + (int)random_below((uint64_t)option.luns) : s->lun;
    if (send) {
        task = send(io, lun, (uint32_t)lba, length);
    } else if (io->write) {
        task = iscsi_write16_task(s->iscsi, lun, lba, io->buffer, length, (int)block_bytes, 0, 0,
                                  io->fua, 0, 0, on_completion, io);
    } else {
        io->iov = (struct scsi_iovec){io->buffer, length};
        task = iscsi_read16_iov_task(s->iscsi, lun, lba, length, (int)block_bytes, 0, 0, 0, 0, 0,
                                     on_completion, io, &io->iov, 1);
    }
    if (!task)
        die("command", iscsi_get_error(s->iscsi));
}

bool is_other_operation(const char *operation)
{
    return sender_of(operation) != NULL;
}
