/* The emulated controller's zoned namespaces: states and write pointers of zones, and the
 * commands that look at them. Spec: ZNS Command Set 1.1b 2.1.1, 3.
 *
 * What changes zones holds `lock` until it is done: a write is where its write pointer was. To
 * open a zone beyond the limits is refused; the controller closes none by itself. */
#include "emu.h"

#include "little_endian.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ENTRY_BYTES = 64, SEQUENTIAL_WRITE_REQUIRED = 2, PARTIAL = 1 << 16, SELECT_ALL = 1 << 8 };

enum state {
    EMPTY = 0x1,
    IMPLICITLY_OPENED = 0x2,
    EXPLICITLY_OPENED = 0x3,
    CLOSED = 0x4,
    FULL = 0xE,
};

enum action { CLOSE = 1, FINISH, OPEN, RESET };

struct zone {
    uint64_t written; /* blocks from its start to the write pointer */
    enum state state;
    bool excursion; /* the controller has finished it by itself */
};

struct emu_zones {
    pthread_mutex_t lock;
    s2n_emu_zoning as;
    uint64_t count;
    uint64_t open, active;
    struct zone zone[];
};

static bool is_open(enum state state)
{
    return state == IMPLICITLY_OPENED || state == EXPLICITLY_OPENED;
}

static bool is_active(enum state state)
{
    return is_open(state) || state == CLOSED;
}

static void set_state(struct emu_zones *zones, struct zone *zone, enum state state)
{
    zones->open += (uint64_t)is_open(state) - (uint64_t)is_open(zone->state);
    zones->active += (uint64_t)is_active(state) - (uint64_t)is_active(zone->state);
    zone->state = state;
    zone->excursion = false;
}

static uint64_t start_of(const struct emu_zones *zones, const struct zone *zone)
{
    return (uint64_t)(zone - zones->zone) * zones->as.size;
}

/* Whether a zone may be opened, which it is not. */
static uint16_t room(const struct emu_zones *zones, const struct zone *zone)
{
    if (zones->as.maximum_active && !is_active(zone->state) &&
        zones->active >= zones->as.maximum_active)
        return EMU_TOO_MANY_ACTIVE_ZONES;
    if (zones->as.maximum_open && zones->open >= zones->as.maximum_open)
        return EMU_TOO_MANY_OPEN_ZONES;
    return EMU_SUCCESS;
}

/* ---- reads and writes ---- */

static uint16_t check_write(const struct emu_zones *zones, const struct zone *zone,
                            const struct emu_command *command)
{
    if (zone->state == FULL)
        return EMU_ZONE_IS_FULL;
    if (command->slba != start_of(zones, zone) + zone->written)
        return EMU_ZONE_INVALID_WRITE;
    if (command->blocks > zones->as.capacity - zone->written)
        return EMU_ZONE_BOUNDARY;
    return is_open(zone->state) ? EMU_SUCCESS : room(zones, zone);
}

/* Write where the write pointer is. The lock is held. */
static uint16_t write_zone(struct emu_namespace *ns, struct zone *zone,
                           const struct emu_command *command, struct emu_part *part, emu_run *run,
                           bool may_block)
{
    struct emu_zones *zones = ns->zones;
    uint16_t status = check_write(zones, zone, command);

    if (status)
        return status;
    status = run(ns, command, part->iov, part->iov_count, may_block);
    if (status) /* what was written of it lies beyond the write pointer */
        return status;
    if (!is_open(zone->state))
        set_state(zones, zone, IMPLICITLY_OPENED);
    zone->written += command->blocks;
    if (zone->written == zones->as.capacity)
        set_state(zones, zone, FULL);
    return EMU_SUCCESS;
}

static struct zone *zone_of(struct emu_zones *zones, uint64_t lba)
{
    return &zones->zone[lba / zones->as.size];
}

uint16_t emu_zone_read(struct emu_namespace *ns, struct emu_part *part, emu_run *run,
                       bool may_block)
{
    const struct emu_command *command = &part->command;

    if (command->slba % ns->zones->as.size + command->blocks > ns->zones->as.size)
        return EMU_ZONE_BOUNDARY;
    return run(ns, command, part->iov, part->iov_count, may_block);
}

uint16_t emu_zone_write(struct emu_namespace *ns, struct emu_part *part, emu_run *run,
                        bool may_block)
{
    struct emu_zones *zones = ns->zones;
    uint16_t status;

    if (may_block)
        pthread_mutex_lock(&zones->lock);
    else if (pthread_mutex_trylock(&zones->lock))
        return EMU_WOULD_BLOCK;
    status =
        write_zone(ns, zone_of(zones, part->command.slba), &part->command, part, run, may_block);
    pthread_mutex_unlock(&zones->lock);
    return status;
}

uint16_t emu_zone_append(struct emu_namespace *ns, struct emu_part *part, emu_run *run,
                         bool may_block)
{
    struct emu_zones *zones = ns->zones;
    struct emu_command placed = part->command;
    struct zone *zone = zone_of(zones, placed.slba);
    uint16_t status;

    if (placed.slba % zones->as.size || placed.blocks > zones->as.append_limit)
        return EMU_INVALID_FIELD;
    if (may_block)
        pthread_mutex_lock(&zones->lock);
    else if (pthread_mutex_trylock(&zones->lock))
        return EMU_WOULD_BLOCK;
    placed.slba += zone->written;
    status = write_zone(ns, zone, &placed, part, run, may_block);
    pthread_mutex_unlock(&zones->lock);
    if (!status)
        part->result = placed.slba;
    return status;
}

/* ---- Zone Management Receive ---- */

static bool is_listed(const struct zone *zone, uint32_t states)
{
    static const uint8_t listed[] = {0, EMPTY, IMPLICITLY_OPENED, EXPLICITLY_OPENED, CLOSED, FULL};

    return !states || (states < sizeof listed && listed[states] == zone->state);
}

/* Copy bytes to where the host wants them, as far as there is room; false when it is full. */
static bool put(struct iovec **iov, uint32_t *count, const uint8_t *from, size_t bytes)
{
    while (bytes && *count) {
        size_t part = bytes < (*iov)->iov_len ? bytes : (*iov)->iov_len;

        memcpy((*iov)->iov_base, from, part);
        from += part;
        bytes -= part;
        emu_advance(iov, count, part);
    }
    return !bytes;
}

static void describe(const struct emu_zones *zones, const struct zone *zone, uint8_t *entry)
{
    uint64_t start = start_of(zones, zone);

    memset(entry, 0, ENTRY_BYTES);
    entry[0] = SEQUENTIAL_WRITE_REQUIRED;
    entry[1] = (uint8_t)(zone->state << 4);
    entry[2] = zone->excursion;
    s2n_put_le64(entry + 8, zones->as.capacity);
    s2n_put_le64(entry + 16, start);
    s2n_put_le64(entry + 24, zone->state == FULL ? UINT64_MAX : start + zone->written);
}

/* How many zones there are to tell of, at most `room` of them. */
static uint64_t number(const struct emu_zones *zones, const struct zone *first, uint32_t states,
                       uint64_t most)
{
    uint64_t found = 0;

    for (const struct zone *zone = first; zone < zones->zone + zones->count && found < most; zone++)
        found += is_listed(zone, states);
    return found;
}

uint16_t emu_zone_receive(struct emu_namespace *ns, const struct emu_command *command,
                          struct iovec *iov, uint32_t count, bool may_block)
{
    struct emu_zones *zones = ns->zones;
    uint32_t states = command->cdw13 >> 8 & 0xFF;
    uint64_t fitting = ((uint64_t)command->cdw12 + 1) * 4 / ENTRY_BYTES;
    struct zone *zone = zone_of(zones, command->slba);
    uint8_t entry[ENTRY_BYTES] = {0};
    uint64_t left;

    if (command->cdw13 & 0xFF || states > 7 || !fitting)
        return EMU_INVALID_FIELD;
    if (!may_block)
        return EMU_WOULD_BLOCK;
    pthread_mutex_lock(&zones->lock);
    fitting--;
    s2n_put_le64(entry,
                 number(zones, zone, states, command->cdw13 & PARTIAL ? fitting : UINT64_MAX));
    put(&iov, &count, entry, sizeof entry);
    left = fitting;
    for (; left && zone < zones->zone + zones->count; zone++) {
        if (!is_listed(zone, states))
            continue;
        describe(zones, zone, entry);
        put(&iov, &count, entry, sizeof entry);
        left--;
    }
    memset(entry, 0, sizeof entry);
    while (count)
        put(&iov, &count, entry, sizeof entry);
    pthread_mutex_unlock(&zones->lock);
    return EMU_SUCCESS;
}

/* ---- Zone Management Send ---- */

static uint16_t reset(struct emu_namespace *ns, struct zone *zone)
{
    struct emu_zones *zones = ns->zones;
    struct emu_command whole = {
        .slba = start_of(zones, zone), .blocks = (uint32_t)zones->as.size, .cdw12 = EMU_DEAC};
    uint16_t status = EMU_SUCCESS;

    if (zone->state != EMPTY)
        status = emu_write_zeroes(ns, &whole, NULL, 0, true);
    if (status)
        return status;
    set_state(zones, zone, EMPTY);
    zone->written = 0;
    return EMU_SUCCESS;
}

static uint16_t open_explicitly(struct emu_zones *zones, struct zone *zone)
{
    uint16_t status = is_open(zone->state) ? EMU_SUCCESS : room(zones, zone);

    if (!status)
        set_state(zones, zone, EXPLICITLY_OPENED);
    return status;
}

static uint16_t change(struct emu_namespace *ns, struct zone *zone, uint32_t action)
{
    struct emu_zones *zones = ns->zones;

    switch (action) {
    case CLOSE:
        if (!is_active(zone->state))
            return EMU_INVALID_ZONE_TRANSITION;
        set_state(zones, zone, CLOSED);
        return EMU_SUCCESS;
    case FINISH:
        set_state(zones, zone, FULL);
        return EMU_SUCCESS;
    case OPEN:
        return zone->state == FULL ? EMU_INVALID_ZONE_TRANSITION : open_explicitly(zones, zone);
    case RESET:
        return reset(ns, zone);
    default:
        return EMU_INVALID_FIELD;
    }
}

/* Whether Select All means a zone. */
static bool suits(const struct zone *zone, uint32_t action)
{
    switch (action) {
    case CLOSE:
        return is_open(zone->state);
    case FINISH:
        return is_active(zone->state);
    case OPEN:
        return zone->state == CLOSED;
    default:
        return zone->state != EMPTY;
    }
}

uint16_t emu_zone_send(struct emu_namespace *ns, const struct emu_command *command,
                       struct iovec *iov, uint32_t count, bool may_block)
{
    struct emu_zones *zones = ns->zones;
    uint32_t action = command->cdw13 & 0xFF;
    uint16_t status = EMU_SUCCESS;

    (void)iov, (void)count;
    if (action < CLOSE || action > RESET)
        return EMU_INVALID_FIELD;
    if (!(command->cdw13 & SELECT_ALL) && command->slba % zones->as.size)
        return EMU_INVALID_FIELD;
    if (!may_block)
        return EMU_WOULD_BLOCK;
    pthread_mutex_lock(&zones->lock);
    if (!(command->cdw13 & SELECT_ALL))
        status = change(ns, zone_of(zones, command->slba), action);
    else
        for (uint64_t i = 0; i < zones->count && !status; i++)
            if (suits(&zones->zone[i], action))
                status = change(ns, &zones->zone[i], action);
    pthread_mutex_unlock(&zones->lock);
    return status;
}

bool emu_zones_finish(struct emu_zones *zones, uint64_t lba)
{
    struct zone *zone = zone_of(zones, lba);
    bool active;

    pthread_mutex_lock(&zones->lock);
    active = is_active(zone->state);
    if (active) {
        set_state(zones, zone, FULL);
        zone->excursion = true;
    }
    pthread_mutex_unlock(&zones->lock);
    return active;
}

/* ---- life ---- */

struct emu_zones *emu_zones_new(const s2n_emu_zoning *as, uint64_t blocks)
{
    uint64_t count = blocks / as->size;
    struct emu_zones *zones = malloc(sizeof *zones + count * sizeof zones->zone[0]);

    if (!zones)
        return NULL;
    *zones = (struct emu_zones){.as = *as, .count = count};
    pthread_mutex_init(&zones->lock, NULL);
    for (uint64_t i = 0; i < count; i++)
        zones->zone[i] = (struct zone){.state = EMPTY};
    return zones;
}

void emu_zones_free(struct emu_zones *zones)
{
    if (!zones)
        return;
    pthread_mutex_destroy(&zones->lock);
    free(zones);
}

bool emu_zones_are(const struct emu_zones *zones, const s2n_emu_zoning *as, uint64_t blocks)
{
    return zones && zones->count == blocks / as->size && zones->as.size == as->size &&
           zones->as.capacity == as->capacity;
}

void emu_zones_erased(struct emu_zones *zones)
{
    pthread_mutex_lock(&zones->lock);
    for (uint64_t i = 0; i < zones->count; i++) {
        set_state(zones, &zones->zone[i], EMPTY);
        zones->zone[i].written = 0;
    }
    pthread_mutex_unlock(&zones->lock);
}
