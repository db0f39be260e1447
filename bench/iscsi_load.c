/* An iSCSI load generator upon libiscsi: several sessions in one thread.
 *
 * It measures (IOPS, MB/s, latency), and with --verify it proves: every 512-byte
 * sector that it writes carries its cell, its generation and a fill derived from
 * both, and every read must return the generation that was acknowledged last.
 * With --state it notes, when the target dies, what must and what may be on the
 * disk; --check compares the disk with such a note. With --luns the commands go to
 * that many logical units at random, from the URL's on. With --cdb it sends that CDB
 * instead, and takes up to --bytes of data. With --hold it prints a line
 * when all sessions are logged in, starts when it reads a byte from standard input,
 * and logs out when that ends; so the target's costs can be told apart. Commands that move
 * no blocks, or few, are measured as well (--operation unmap, and so on).
 *
 * Prints one JSON object. Exit status: 0, 1 data or command errors, 2 usage or
 * connection, 3 the target went away (with --state: the note was written).
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SECTOR = 512, MAXIMUM_SESSIONS = 256, LATENCY_US = 1 << 20, MAXIMUM_ATTENTIONS = 8 };
enum { CDB_BYTES = 16 };

/* One unit of the disk, `cell_bytes` long. */
struct cell {
    uint32_t issued;   /* the latest generation that was sent */
    uint32_t acked;    /* … that was acknowledged */
    uint32_t durable;  /* … that must survive a crash */
    uint32_t flushing; /* `acked` when the flush under way was sent */
    bool busy;
};

struct session;

struct io {
    struct session *session;
    uint64_t cell;
    uint32_t cells;
    bool write, fua, flush;
    uint64_t sent_us;
    uint8_t *buffer;
    struct scsi_iovec iov; /* libiscsi keeps a pointer to it */
};

struct session {
    struct iscsi_context *iscsi;
    int lun;
    uint64_t first, count, next; /* its part of the disk, in cells */
    struct io *io;
    bool flushing;
    uint32_t under_way, since_flush;
};

static struct {
    const char *url, *operation, *pattern, *state, *check;
    const char *initiator;
    int sessions, luns, depth, seconds, flush_every, maximum_cells, header_digest;
    uint32_t cell_bytes;
    uint64_t seed, span;
    double warmup;
    bool verify, hold;
    unsigned char cdb[CDB_BYTES];
    int cdb_bytes; /* 0: reads and writes */
} option = {.operation = "read",
            .pattern = "random",
            .initiator = "iqn.2026-11.io.github.scsi2nvme:load",
            .sessions = 1,
            .luns = 1,
            .depth = 1,
            .seconds = 5,
            .maximum_cells = 1,
            .cell_bytes = 4096,
            .seed = 1,
            .warmup = 0.5};

static struct session session[MAXIMUM_SESSIONS];
static struct cell *cells;
static uint64_t cell_count, block_bytes;
static uint64_t all, done, bytes, errors, data_errors, flushes;
static uint32_t *latency;
static uint64_t begin_us, end_us, busy_us;
static bool stopping, lost;
static uint64_t random_state;

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t now_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ x >> 33;
}

static uint64_t random_below(uint64_t limit)
{
    return mix(++random_state * UINT64_C(0x9e3779b97f4a7c15)) % limit;
}

static void die(const char *what, const char *why)
{
    fprintf(stderr, "iscsi-load: %s: %s\n", what, why);
    exit(2);
}

/* ---- the pattern ---- */

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

static void fill_cell(uint8_t *out, uint64_t cell, uint32_t generation)
{
    for (uint32_t sector = 0; sector < option.cell_bytes / SECTOR; sector++)
        fill_sector(out + sector * SECTOR, cell, sector, generation);
}

/* Whether a cell holds, in each of its sectors, a generation from `low` to `high`
 * (0: never written, anything goes). */
static bool cell_holds(const uint8_t *data, uint64_t cell, uint32_t low, uint32_t high)
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

/* ---- commands ---- */

static void next_io(struct io *io);

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

static void completed(struct io *io)
{
    if (io->flush) {
        flushed(io->session);
        return;
    }
    for (uint32_t i = 0; i < io->cells && option.verify; i++) {
        struct cell *cell = &cells[io->cell + i];
        cell->busy = false;
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

/* Another host's reset has ended the command, or is told of: hosts go on then. */
static bool ended_by_others(const struct scsi_task *task, int status)
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
        for (uint32_t i = 0; i < io->cells && option.verify; i++)
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

static void next_io(struct io *io)
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
    for (uint32_t i = 0; i < io->cells && option.verify; i++) {
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

/* ---- sessions ---- */

/* False if another host's reset has ended what the login asks of the logical unit. */
static bool try_connect(struct session *s, int index)
{
    char name[256];

    snprintf(name, sizeof name, "%s%d", option.initiator, index);
    s->iscsi = iscsi_create_context(name);
    if (!s->iscsi)
        die("context", strerror(ENOMEM));
    struct iscsi_url *url = iscsi_parse_full_url(s->iscsi, option.url);
    if (!url)
        die(option.url, iscsi_get_error(s->iscsi));
    iscsi_set_targetname(s->iscsi, url->target);
    iscsi_set_session_type(s->iscsi, ISCSI_SESSION_NORMAL);
    iscsi_set_header_digest(s->iscsi, option.header_digest ? ISCSI_HEADER_DIGEST_CRC32C
                                                           : ISCSI_HEADER_DIGEST_NONE);
    if (url->user[0])
        iscsi_set_initiator_username_pwd(s->iscsi, url->user, url->passwd);
    s->lun = url->lun;
    iscsi_set_noautoreconnect(s->iscsi, 1);
    int failed = iscsi_full_connect_sync(s->iscsi, url->portal, url->lun);
    iscsi_destroy_url(url);
    if (!failed)
        return true;
    if (!strstr(iscsi_get_error(s->iscsi), "TASK_ABORTED"))
        die(option.url, iscsi_get_error(s->iscsi));
    iscsi_destroy_context(s->iscsi);
    return false;
}

static void connect_session(struct session *s, int index)
{
    for (int i = 0; !try_connect(s, index); i++)
        if (i == MAXIMUM_ATTENTIONS)
            die(option.url, "another host's resets never end");
}

/* Take the unit attentions of the logical units that the login did not touch. */
static void clear_attentions(struct session *s)
{
    for (int lun = s->lun + 1; lun < s->lun + option.luns; lun++) {
        int status = SCSI_STATUS_CHECK_CONDITION;

        for (int i = 0; i < MAXIMUM_ATTENTIONS && status != SCSI_STATUS_GOOD; i++) {
            struct scsi_task *task = iscsi_testunitready_sync(s->iscsi, lun);
            if (!task)
                die("TEST UNIT READY", iscsi_get_error(s->iscsi));
            status = task->status;
            scsi_free_scsi_task(task);
        }
        if (status != SCSI_STATUS_GOOD)
            die("TEST UNIT READY", iscsi_get_error(s->iscsi));
    }
}

static void learn_capacity(struct session *s)
{
    struct scsi_task *task = iscsi_readcapacity16_sync(s->iscsi, s->lun);

    for (int i = 0; i < MAXIMUM_ATTENTIONS && task && ended_by_others(task, task->status); i++) {
        scsi_free_scsi_task(task);
        task = iscsi_readcapacity16_sync(s->iscsi, s->lun);
    }
    if (!task || task->status != SCSI_STATUS_GOOD)
        die("READ CAPACITY (16)", iscsi_get_error(s->iscsi));
    struct scsi_readcapacity16 *capacity = scsi_datain_unmarshall(task);
    if (!capacity)
        die("READ CAPACITY (16)", "no data");
    block_bytes = capacity->block_length;
    cell_count = (capacity->returned_lba + 1) * block_bytes / option.cell_bytes;
    if (option.span && option.span / option.cell_bytes < cell_count)
        cell_count = option.span / option.cell_bytes;
    scsi_free_scsi_task(task);
}

/* Serve all sessions; whether standard input is ready (it is not watched if -1). */
static bool service(int timeout_ms, int input)
{
    struct pollfd fds[MAXIMUM_SESSIONS + 1];

    for (int i = 0; i < option.sessions; i++) {
        fds[i].fd = iscsi_get_fd(session[i].iscsi);
        fds[i].events = (short)iscsi_which_events(session[i].iscsi);
        fds[i].revents = 0;
    }
    fds[option.sessions] = (struct pollfd){.fd = input, .events = POLLIN};
    if (poll(fds, (nfds_t)option.sessions + 1, timeout_ms) < 0 && errno != EINTR)
        die("poll", strerror(errno));
    for (int i = 0; i < option.sessions; i++)
        if (fds[i].revents && iscsi_service(session[i].iscsi, fds[i].revents) < 0)
            lost = stopping = true;
    return fds[option.sessions].revents != 0;
}

static uint32_t under_way(void)
{
    uint32_t count = 0;

    for (int i = 0; i < option.sessions; i++)
        count += session[i].under_way;
    return count;
}

/* ---- notes of what a crash must leave ---- */

static void write_state(void)
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

static void check_state(void)
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

/* ---- the run ---- */

static uint64_t percentile(double fraction)
{
    uint64_t want = (uint64_t)((double)done * fraction), seen = 0;

    for (uint64_t us = 0; us < LATENCY_US; us++) {
        seen += latency[us];
        if (seen > want)
            return us;
    }
    return LATENCY_US;
}

static void start_all(void)
{
    for (int i = 0; i < option.sessions; i++) {
        struct session *s = &session[i];
        s->count = cell_count / (uint64_t)option.sessions;
        s->first = s->count * (uint64_t)i;
        s->io = calloc((size_t)option.depth, sizeof *s->io);
        if (s->count < (uint64_t)option.maximum_cells * (uint64_t)option.depth * 2 && option.verify)
            die("--bytes", "the disk is too small for that many commands");
        for (int j = 0; j < option.depth; j++) {
            s->io[j].session = s;
            s->io[j].buffer = calloc((size_t)option.maximum_cells, option.cell_bytes);
            next_io(&s->io[j]);
        }
    }
}

static int run(void)
{
    uint64_t started_us = now_us();
    busy_us = clock_us(CLOCK_PROCESS_CPUTIME_ID);
    begin_us = started_us + (uint64_t)(option.warmup * 1e6);
    end_us = begin_us + (uint64_t)option.seconds * 1000000;
    start_all();
    while (!stopping && now_us() < end_us)
        service(100, -1);
    stopping = true;
    busy_us = clock_us(CLOCK_PROCESS_CPUTIME_ID) - busy_us;
    uint64_t took_us = now_us() - started_us;
    uint64_t give_up = now_us() + 20000000;
    while (!lost && under_way() && now_us() < give_up)
        service(100, -1);
    if (!lost && under_way())
        errors += under_way();
    if (option.state)
        write_state();
    double seconds = (double)option.seconds;
    printf("{\"all_operations\": %" PRIu64 ", \"operations\": %" PRIu64
           ", \"iops\": %.1f, \"mb_s\": %.2f, ",
           all, done, (double)done / seconds, (double)bytes / seconds / 1e6);
    printf("\"p50_us\": %" PRIu64 ", \"p95_us\": %" PRIu64 ", \"p99_us\": %" PRIu64
           ", \"p999_us\": %" PRIu64 ", ",
           percentile(0.5), percentile(0.95), percentile(0.99), percentile(0.999));
    printf("\"busy\": %.3f, \"flushes\": %" PRIu64 ", \"errors\": %" PRIu64
           ", \"data_errors\": %" PRIu64 ", \"lost\": %s}\n",
           (double)busy_us / (double)took_us, flushes, errors, data_errors,
           lost ? "true" : "false");
    if (errors || data_errors)
        return 1;
    return lost ? 3 : 0;
}

/* Do nothing but answer the target until told to go on; false: standard input ended. */
static bool hold(void)
{
    char byte;

    fflush(stdout);
    while (!lost && !service(-1, STDIN_FILENO))
        ;
    return !lost && read(STDIN_FILENO, &byte, 1) == 1;
}

static const struct option long_options[] = {
    {"url", required_argument, NULL, 'u'},
    {"operation", required_argument, NULL, 'o'},
    {"pattern", required_argument, NULL, 'p'},
    {"sessions", required_argument, NULL, 's'},
    {"depth", required_argument, NULL, 'd'},
    {"bytes", required_argument, NULL, 'b'},
    {"seconds", required_argument, NULL, 't'},
    {"warmup", required_argument, NULL, 'w'},
    {"verify", no_argument, NULL, 'v'},
    {"flush-every", required_argument, NULL, 'f'},
    {"cells", required_argument, NULL, 'c'},
    {"state", required_argument, NULL, 'S'},
    {"check", required_argument, NULL, 'C'},
    {"seed", required_argument, NULL, 'r'},
    {"span", required_argument, NULL, 'z'},
    {"header-digest", no_argument, NULL, 'H'},
    {"initiator", required_argument, NULL, 'i'},
    {"luns", required_argument, NULL, 'l'},
    {"hold", no_argument, NULL, 'h'},
    {"cdb", required_argument, NULL, 'x'},
    {NULL, 0, NULL, 0},
};

static void parse_cdb(const char *digits)
{
    unsigned byte;

    while (option.cdb_bytes < CDB_BYTES && sscanf(digits, "%2x", &byte) == 1) {
        option.cdb[option.cdb_bytes++] = (unsigned char)byte;
        digits += strlen(digits) < 2 ? strlen(digits) : 2;
    }
    if (!option.cdb_bytes || *digits)
        die("--cdb", "up to 16 bytes in hexadecimal");
}

static void parse(int argc, char **argv)
{
    int letter;

    while ((letter = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (letter) {
        case 'u':
            option.url = optarg;
            break;
        case 'o':
            option.operation = optarg;
            break;
        case 'p':
            option.pattern = optarg;
            break;
        case 's':
            option.sessions = atoi(optarg);
            break;
        case 'd':
            option.depth = atoi(optarg);
            break;
        case 'b':
            option.cell_bytes = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 't':
            option.seconds = atoi(optarg);
            break;
        case 'w':
            option.warmup = atof(optarg);
            break;
        case 'v':
            option.verify = true;
            break;
        case 'f':
            option.flush_every = atoi(optarg);
            break;
        case 'c':
            option.maximum_cells = atoi(optarg);
            break;
        case 'S':
            option.state = optarg;
            break;
        case 'C':
            option.check = optarg;
            break;
        case 'r':
            option.seed = strtoull(optarg, NULL, 10);
            break;
        case 'z':
            option.span = strtoull(optarg, NULL, 10);
            break;
        case 'H':
            option.header_digest = 1;
            break;
        case 'h':
            option.hold = true;
            break;
        case 'l':
            option.luns = atoi(optarg);
            break;
        case 'i':
            option.initiator = optarg;
            break;
        case 'x':
            parse_cdb(optarg);
            break;
        default:
            exit(2);
        }
    }
    if (strcmp(option.operation, "read") && strcmp(option.operation, "write") &&
        strcmp(option.operation, "mixed") && (option.verify || !sender_of(option.operation)))
        die("--operation", option.operation);
    if (!option.url || option.sessions < 1 || option.sessions > MAXIMUM_SESSIONS ||
        option.depth < 1 || option.seconds < 1 || option.maximum_cells < 1 ||
        option.cell_bytes < SECTOR || option.cell_bytes % SECTOR || option.luns < 1 ||
        (option.luns > 1 && option.verify) || (option.cdb_bytes && option.verify))
        die("usage",
            "--url URL [--sessions N] [--depth N] [--bytes N] [--operation read|write|mixed|unmap…]"
            " [--pattern random|sequential] [--luns N] [--seconds N] [--verify] [--cdb HEX] "
            "[--hold] …");
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    signal(SIGPIPE, SIG_IGN); /* a target that is gone is told by what libiscsi returns */
    random_state = option.seed;
    latency = calloc(LATENCY_US, sizeof *latency);
    for (int i = 0; i < option.sessions; i++) {
        connect_session(&session[i], i);
        clear_attentions(&session[i]);
    }
    learn_capacity(&session[0]);
    cells = calloc(cell_count, sizeof *cells);
    if (!latency || !cells)
        die("memory", strerror(ENOMEM));
    int status;
    if (option.check) {
        check_state();
        status = data_errors != 0;
    } else if (option.hold) {
        printf("{\"sessions\": %d}\n", option.sessions);
        status = hold() ? run() : 0;
        hold();
    } else {
        status = run();
    }
    for (int i = 0; i < option.sessions && !lost; i++)
        iscsi_logout_sync(session[i].iscsi);
    return status;
}
