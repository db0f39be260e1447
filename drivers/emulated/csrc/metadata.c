/* The emulated controller's metadata: what blocks have besides their data, and the protection
 * information in it, which is made, checked and moved as commands say.
 * Spec: NVM Command Set 1.0c 2.1.6, 5.2.
 *
 * It is in memory, as are the blocks, and under their locks. Protection information is kept
 * inverted: of blocks that nobody has written, or that were deallocated, it is all ones, and the
 * rest zeroes, which are pages that take no room.
 */
#include "emu.h"

#include "little_endian.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MOST_BYTES = 255, TYPE_3 = 3 };

enum { PRACT = 8, CHECK_GUARD = 4, CHECK_APPLICATION = 2, CHECK_REFERENCE = 1 }; /* PRINFO */

struct emu_metadata {
    uint8_t *at;
    size_t bytes;
};

/* ---- how it lies ---- */

static uint32_t size_of(const struct emu_namespace *ns)
{
    return ns->flags >> EMU_METADATA_SHIFT;
}

static uint32_t type_of(const struct emu_namespace *ns)
{
    return ns->flags >> EMU_TYPE_SHIFT & 7;
}

static size_t block_bytes(const struct emu_namespace *ns)
{
    return (size_t)1 << ns->shift;
}

/* Where in a block's metadata the protection information is. */
static uint32_t tuple_at(const struct emu_namespace *ns)
{
    return ns->flags & EMU_TUPLE_FIRST ? 0 : size_of(ns) - EMU_TUPLE_BYTES;
}

static void invert_tuple(const struct emu_namespace *ns, uint8_t *metadata)
{
    if (!type_of(ns))
        return;
    for (uint32_t i = tuple_at(ns), end = i + EMU_TUPLE_BYTES; i < end; i++)
        metadata[i] ^= 0xFF;
}

static void load(const struct emu_namespace *ns, uint64_t lba, uint8_t *metadata)
{
    memcpy(metadata, ns->metadata->at + lba * size_of(ns), size_of(ns));
    invert_tuple(ns, metadata);
}

static void store(const struct emu_namespace *ns, uint64_t lba, const uint8_t *metadata)
{
    uint8_t *at = ns->metadata->at + lba * size_of(ns);

    memcpy(at, metadata, size_of(ns));
    invert_tuple(ns, at);
}

struct emu_metadata *emu_metadata_new(uint64_t blocks, uint32_t flags)
{
    struct emu_metadata *metadata = malloc(sizeof *metadata);
    void *at = MAP_FAILED;

    if (!metadata)
        return NULL;
    if (!__builtin_mul_overflow(blocks, flags >> EMU_METADATA_SHIFT, &metadata->bytes))
        at = mmap(NULL, metadata->bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        free(metadata);
        return NULL;
    }
    madvise(at, metadata->bytes, MADV_DONTFORK);
    madvise(at, metadata->bytes, MADV_DONTDUMP);
    metadata->at = at;
    return metadata;
}

void emu_metadata_free(struct emu_metadata *metadata)
{
    if (!metadata)
        return;
    if (metadata->at)
        munmap(metadata->at, metadata->bytes);
    free(metadata);
}

void emu_metadata_inherit(struct emu_metadata *metadata, struct emu_metadata *old)
{
    void *at = mremap(old->at, old->bytes, metadata->bytes, MREMAP_MAYMOVE);

    if (at == MAP_FAILED)
        return;
    munmap(metadata->at, metadata->bytes);
    metadata->at = at;
    old->at = NULL;
}

void emu_metadata_forget(struct emu_namespace *ns, uint64_t first, uint64_t blocks)
{
    if (ns->metadata)
        emu_zero_memory(ns->metadata->at + first * size_of(ns), blocks * size_of(ns), true);
}

/* ---- what a command says of it ---- */

static uint32_t prinfo_of(const struct emu_command *command)
{
    return command->cdw12 >> 26 & 0xF;
}

static bool acts(const struct emu_namespace *ns, const struct emu_command *command)
{
    return type_of(ns) && prinfo_of(command) & PRACT;
}

/* Whether metadata come from the host, or go there: not where they are protection information and
 * nothing else, and the controller inserts and strips that. */
static bool moves(const struct emu_namespace *ns, const struct emu_command *command)
{
    return !(acts(ns, command) && size_of(ns) == EMU_TUPLE_BYTES);
}

uint32_t emu_metadata_beside(const struct emu_namespace *ns, const struct emu_command *command)
{
    bool beside = moves(ns, command) && !(ns->flags & EMU_EXTENDED);

    return beside ? command->blocks * size_of(ns) : 0;
}

uint64_t emu_metadata_interleaved(const struct emu_namespace *ns, const struct emu_command *command)
{
    bool interleaved = moves(ns, command) && ns->flags & EMU_EXTENDED;

    return interleaved ? (uint64_t)command->blocks * size_of(ns) : 0;
}

uint16_t emu_metadata_check(const struct emu_namespace *ns, const struct emu_command *command)
{
    uint32_t prinfo = prinfo_of(command), type = type_of(ns);
    bool compares = command->opcode == EMU_COMPARE || command->opcode == EMU_VERIFY;

    if (!type)
        return EMU_SUCCESS;
    if (compares && prinfo & PRACT)
        return EMU_INVALID_PROTECTION;
    if (command->opcode == EMU_WRITE_ZEROES && prinfo & ~(uint32_t)PRACT)
        return EMU_INVALID_PROTECTION;
    if (!(prinfo & CHECK_REFERENCE))
        return EMU_SUCCESS;
    if (type == TYPE_3 || (type == 1 && command->cdw14 != (uint32_t)command->slba))
        return EMU_INVALID_PROTECTION;
    return EMU_SUCCESS;
}

/* ---- tuples ---- */

static uint32_t get_be(const uint8_t *at, uint32_t bytes)
{
    uint32_t value = 0;

    while (bytes--)
        value = value << 8 | *at++;
    return value;
}

static void put_be(uint8_t *at, uint32_t bytes, uint32_t value)
{
    while (bytes--) {
        at[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

/* Of the data, and of the metadata before the tuple. */
static uint16_t guard_of(const struct emu_namespace *ns, const uint8_t *data,
                         const uint8_t *metadata)
{
    return emu_guard(emu_guard(0, data, block_bytes(ns)), metadata, tuple_at(ns));
}

/* The reference tag of a command's block `n`. */
static uint32_t reference_of(const struct emu_namespace *ns, const struct emu_command *command,
                             uint32_t n)
{
    return type_of(ns) == TYPE_3 ? command->cdw14 : command->cdw14 + n;
}

static void make_tuple(const struct emu_namespace *ns, const struct emu_command *command,
                       uint32_t n, const uint8_t *data, uint8_t *metadata)
{
    uint8_t *tuple = metadata + tuple_at(ns);

    put_be(tuple, 2, guard_of(ns, data, metadata));
    put_be(tuple + 2, 2, command->cdw15 & 0xFFFF);
    put_be(tuple + 4, 4, reference_of(ns, command, n));
}

static uint16_t check_tuple(const struct emu_namespace *ns, const struct emu_command *command,
                            uint32_t n, const uint8_t *data, const uint8_t *metadata)
{
    const uint8_t *tuple = metadata + tuple_at(ns);
    uint32_t application = get_be(tuple + 2, 2), reference = get_be(tuple + 4, 4);
    uint32_t checks = prinfo_of(command), mask = command->cdw15 >> 16;

    if (application == 0xFFFF && (type_of(ns) != TYPE_3 || reference == 0xFFFFFFFF))
        return EMU_SUCCESS;
    if (checks & CHECK_GUARD && get_be(tuple, 2) != guard_of(ns, data, metadata))
        return EMU_GUARD_CHECK;
    if (checks & CHECK_APPLICATION && (application ^ command->cdw15) & mask)
        return EMU_APPLICATION_TAG_CHECK;
    if (checks & CHECK_REFERENCE && reference != reference_of(ns, command, n))
        return EMU_REFERENCE_TAG_CHECK;
    return EMU_SUCCESS;
}

/* ---- the host's buffers ---- */

struct host {
    struct iovec *iov;
    uint32_t count;
    uint8_t *beside; /* metadata in a buffer of their own; NULL: behind each block */
};

static struct host host_of(const struct emu_part *part)
{
    return (struct host){part->iov, part->iov_count, part->command.metadata};
}

static void copy(struct host *host, uint8_t *ours, size_t bytes, bool out)
{
    while (bytes) {
        size_t piece = bytes < host->iov->iov_len ? bytes : host->iov->iov_len;

        memcpy(out ? host->iov->iov_base : ours, out ? ours : host->iov->iov_base, piece);
        emu_advance(&host->iov, &host->count, piece);
        ours += piece;
        bytes -= piece;
    }
}

static void copy_metadata(struct host *host, uint8_t *ours, size_t bytes, bool out)
{
    if (!host->beside) {
        copy(host, ours, bytes, out);
        return;
    }
    memcpy(out ? host->beside : ours, out ? ours : host->beside, bytes);
    host->beside += bytes;
}

/* ---- commands ---- */

static uint8_t *address(const struct emu_namespace *ns, uint64_t lba)
{
    return ns->memory + (lba << ns->shift);
}

static uint16_t fail_at(struct emu_part *part, uint64_t lba, uint16_t status)
{
    if (status)
        part->lba = lba;
    return status;
}

static uint16_t check_block(const struct emu_namespace *ns, struct emu_part *part, uint32_t n,
                            const uint8_t *data, const uint8_t *metadata)
{
    if (!type_of(ns))
        return EMU_SUCCESS;
    return fail_at(part, part->command.slba + n,
                   check_tuple(ns, &part->command, n, data, metadata));
}

uint16_t emu_metadata_read(struct emu_namespace *ns, struct emu_part *part)
{
    const struct emu_command *command = &part->command;
    struct host host = host_of(part);
    uint8_t metadata[MOST_BYTES];

    for (uint32_t n = 0; n < command->blocks; n++) {
        uint8_t *data = address(ns, command->slba + n);
        uint16_t status;

        load(ns, command->slba + n, metadata);
        status = check_block(ns, part, n, data, metadata);
        if (status)
            return status;
        if (command->opcode == EMU_VERIFY)
            continue;
        copy(&host, data, block_bytes(ns), true);
        if (moves(ns, command))
            copy_metadata(&host, metadata, size_of(ns), true);
    }
    return EMU_SUCCESS;
}

/* Take a block and its metadata from the host, and check them, or make what is to be made. */
static uint16_t take_block(struct emu_namespace *ns, struct emu_part *part, uint32_t n,
                           struct host *host, uint8_t *block)
{
    uint8_t *metadata = block + block_bytes(ns);

    copy(host, block, block_bytes(ns), false);
    if (moves(ns, &part->command))
        copy_metadata(host, metadata, size_of(ns), false);
    if (!acts(ns, &part->command))
        return check_block(ns, part, n, block, metadata);
    make_tuple(ns, &part->command, n, block, metadata);
    return EMU_SUCCESS;
}

/* Nothing is written unless all of it passes: a command is as atomic when it fails. */
uint16_t emu_metadata_write(struct emu_namespace *ns, struct emu_part *part)
{
    const struct emu_command *command = &part->command;
    size_t each = block_bytes(ns) + size_of(ns);
    struct host host = host_of(part);
    uint8_t *taken = malloc(command->blocks * each);
    uint16_t status = taken ? EMU_SUCCESS : EMU_INTERNAL_ERROR;

    for (uint32_t n = 0; n < command->blocks && !status; n++)
        status = take_block(ns, part, n, &host, taken + n * each);
    for (uint32_t n = 0; n < command->blocks && !status; n++) {
        const uint8_t *block = taken + n * each;

        memcpy(address(ns, command->slba + n), block, block_bytes(ns));
        store(ns, command->slba + n, block + block_bytes(ns));
    }
    free(taken);
    return status;
}

/* Whether what a host sent is what the medium has, but for the protection information. */
static bool equal(const struct emu_namespace *ns, const uint8_t *data, const uint8_t *metadata,
                  const uint8_t *block)
{
    const uint8_t *theirs = block + block_bytes(ns);
    uint32_t tuple = type_of(ns) ? tuple_at(ns) : size_of(ns);
    uint32_t behind = type_of(ns) ? tuple + EMU_TUPLE_BYTES : tuple;

    return !memcmp(data, block, block_bytes(ns)) && !memcmp(metadata, theirs, tuple) &&
           !memcmp(metadata + behind, theirs + behind, size_of(ns) - behind);
}

uint16_t emu_metadata_compare(struct emu_namespace *ns, struct emu_part *part)
{
    const struct emu_command *command = &part->command;
    struct host host = host_of(part);
    uint8_t metadata[MOST_BYTES];
    uint8_t *block = malloc(block_bytes(ns) + size_of(ns));
    uint16_t status = block ? EMU_SUCCESS : EMU_INTERNAL_ERROR;

    for (uint32_t n = 0; n < command->blocks && !status; n++) {
        const uint8_t *data = address(ns, command->slba + n);

        load(ns, command->slba + n, metadata);
        status = check_block(ns, part, n, data, metadata);
        copy(&host, block, block_bytes(ns), false);
        copy_metadata(&host, block + block_bytes(ns), size_of(ns), false);
        if (!status && !equal(ns, data, metadata, block))
            status = fail_at(part, command->slba + n, EMU_COMPARE_FAILURE);
    }
    free(block);
    return status;
}

/* What tuples the metadata, which are forgotten, are to have is made if PRACT says so. */
void emu_metadata_zeroed(struct emu_namespace *ns, const struct emu_command *command)
{
    uint8_t metadata[MOST_BYTES] = {0};

    if (!ns->metadata || command->cdw12 & EMU_DEAC || !acts(ns, command))
        return;
    for (uint32_t n = 0; n < command->blocks; n++) {
        uint8_t *tuple = metadata + tuple_at(ns);

        /* The guard of zeroes is zero. */
        put_be(tuple + 2, 2, command->cdw15 & 0xFFFF);
        put_be(tuple + 4, 4, reference_of(ns, command, n));
        store(ns, command->slba + n, metadata);
    }
}
