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
 * no blocks, or few, are measured as well (--operation unmap, and so on). With --pause it waits
 * so many microseconds after each time that answers were there: what goes on beside something
 * else need not take all of a processor.
 *
 * Prints one JSON object. Exit status: 0, 1 data or command errors, 2 usage or
 * connection, 3 the target went away (with --state: the note was written).
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "iscsi_load.h"

struct options option = {.operation = "read",
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

struct session session[MAXIMUM_SESSIONS];
struct cell *cells;
uint64_t cell_count, block_bytes;
uint64_t all, done, bytes, errors, data_errors, flushes;
uint32_t *latency;
uint64_t begin_us, end_us;
static uint64_t busy_us;
bool stopping, lost;

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t now_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

void die(const char *what, const char *why)
{
    fprintf(stderr, "iscsi-load: %s: %s\n", what, why);
    exit(2);
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

/* The first of the latencies, in us, that are counted together: an eighth of it is their range. */
static uint64_t together(uint64_t us)
{
    int bits = us < 16 ? 0 : 60 - __builtin_clzll(us);

    return us >> bits << bits;
}

static void print_histogram(void)
{
    uint64_t count = 0;
    const char *separator = "";

    printf("\"histogram\": {");
    for (uint64_t us = 0; us < LATENCY_US; us++) {
        count += latency[us];
        if (count && together(us) != together(us + 1)) {
            printf("%s\"%" PRIu64 "\": %" PRIu64, separator, together(us), count);
            separator = ", ";
            count = 0;
        }
    }
    printf("}, ");
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
            s->io[j].buffer = calloc(2 * (size_t)option.maximum_cells, option.cell_bytes);
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
    while (!stopping && now_us() < end_us) {
        service(100, -1);
        if (option.pause_us)
            usleep(option.pause_us);
    }
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
    print_histogram();
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
    {"pause", required_argument, NULL, 'P'},
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
        case 'P':
            option.pause_us = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'x':
            parse_cdb(optarg);
            break;
        default:
            exit(2);
        }
    }
    if (strcmp(option.operation, "read") && strcmp(option.operation, "write") &&
        strcmp(option.operation, "mixed") &&
        (option.verify || !is_other_operation(option.operation)))
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
    seed_commands(option.seed);
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
