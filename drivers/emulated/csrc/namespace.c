/* The emulated controller's namespaces: which file, or disk in memory, each is on, and where. */
#include "emu.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void emu_namespace_free(struct emu_namespace *ns)
{
    if (!ns)
        return;
    for (uint32_t i = 0; i < EMU_STRIPES; i++)
        pthread_rwlock_destroy(&ns->stripes[i].lock);
    if (ns->fd >= 0)
        close(ns->fd);
    emu_zones_free(ns->zones);
    emu_marks_free(ns->marks);
    emu_metadata_free(ns->metadata);
    free(ns);
}

static struct emu_namespace *new_namespace(uint64_t offset, uint64_t blocks, uint32_t block_bytes,
                                           uint32_t flags)
{
    struct emu_namespace *ns = aligned_alloc(64, sizeof *ns);

    if (!ns)
        return NULL;
    memset(ns, 0, sizeof *ns);
    for (uint32_t i = 0; i < EMU_STRIPES; i++)
        pthread_rwlock_init(&ns->stripes[i].lock, NULL);
    atomic_store(&ns->nowait, true);
    ns->fd = -1;
    ns->offset = offset;
    ns->blocks = blocks;
    ns->shift = (uint32_t)__builtin_ctz(block_bytes);
    ns->flags = flags;
    if (flags & EMU_MARKING)
        ns->marks = emu_marks_new(blocks);
    if (flags >> EMU_METADATA_SHIFT)
        ns->metadata = emu_metadata_new(blocks, flags);
    if ((flags & EMU_MARKING && !ns->marks) || (flags >> EMU_METADATA_SHIFT && !ns->metadata)) {
        emu_namespace_free(ns);
        return NULL;
    }
    return ns;
}

/* Give a namespace its file: 0 or -errno. */
static int take_file(struct emu_namespace *ns, int fd)
{
    struct stat file;

    ns->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (ns->fd < 0 || fstat(ns->fd, &file) < 0)
        return -errno;
    ns->device = file.st_dev;
    ns->inode = file.st_ino;
    return 0;
}

/* Whether blocks, and the metadata that they have, are as long, and of the same kind. */
static bool lies_alike(const struct emu_namespace *one, const struct emu_namespace *other)
{
    return one->shift == other->shift &&
           one->flags >> EMU_TYPE_SHIFT == other->flags >> EMU_TYPE_SHIFT;
}

/* Put `ns` (or nothing) in place of a namespace that no command refers to. */
static void replace_namespace(s2n_emu *emu, uint32_t nsid, struct emu_namespace *ns)
{
    struct emu_namespace *old;

    /* With every queue locked nothing new begins; workers need no queue's lock. */
    emu_lock_all(emu);
    old = emu->ns[nsid];
    if (old)
        emu_pool_wait_namespace(emu, old);
    if (old && ns && old->blocks == ns->blocks && old->shift == ns->shift) {
        ns->zones = old->zones;
        old->zones = NULL;
        if (ns->marks && old->marks) {
            struct emu_marks *unused = ns->marks;
            ns->marks = old->marks;
            old->marks = unused;
        }
    }
    if (old && ns && old->metadata && lies_alike(old, ns))
        emu_metadata_inherit(ns->metadata, old->metadata);
    emu->ns[nsid] = ns;
    emu_streams_release(emu, nsid);
    emu_unlock_all(emu);
    emu_namespace_free(old);
}

static int check(uint32_t nsid, uint64_t offset, uint64_t blocks, uint32_t block_bytes,
                 uint32_t flags)
{
    uint32_t shift = block_bytes ? (uint32_t)__builtin_ctz(block_bytes) : 0;

    if (nsid == 0 || nsid > EMU_NAMESPACES || shift < 9 || shift > 16 ||
        block_bytes != UINT32_C(1) << shift || blocks == 0)
        return -EINVAL;
    if (flags & EMU_DIRECT)
        return -EOPNOTSUPP;
    if (flags >> EMU_TYPE_SHIFT & 7 && flags >> EMU_METADATA_SHIFT < EMU_TUPLE_BYTES)
        return -EINVAL;
    return offset > INT64_MAX || blocks > (INT64_MAX - offset) >> shift ? -EFBIG : 0;
}

int s2n_emu_set_namespace(s2n_emu *emu, uint32_t nsid, int fd, uint64_t offset, uint64_t blocks,
                          uint32_t block_bytes, uint32_t flags)
{
    int error = check(nsid, offset, blocks, block_bytes, flags);
    struct emu_namespace *ns;

    if (error)
        return error;
    if (flags >> EMU_TYPE_SHIFT)
        return -EOPNOTSUPP;
    ns = new_namespace(offset, blocks, block_bytes, flags);
    if (!ns)
        return -ENOMEM;
    error = take_file(ns, fd);
    if (error)
        emu_namespace_free(ns);
    else
        replace_namespace(emu, nsid, ns);
    return error;
}

int s2n_emu_set_namespace_in_memory(s2n_emu *emu, uint32_t nsid, const s2n_emu_disk *disk,
                                    uint64_t offset, uint64_t blocks, uint32_t block_bytes,
                                    uint32_t flags)
{
    int error = check(nsid, offset, blocks, block_bytes, flags);
    struct emu_namespace *ns;

    if (error)
        return error;
    if (offset + blocks * block_bytes > disk->bytes)
        return -EFBIG;
    ns = new_namespace(offset, blocks, block_bytes, flags);
    if (!ns)
        return -ENOMEM;
    ns->memory = disk->at + offset;
    replace_namespace(emu, nsid, ns);
    return 0;
}

int s2n_emu_set_zones(s2n_emu *emu, uint32_t nsid, const s2n_emu_zoning *zoning)
{
    struct emu_namespace *ns = nsid && nsid <= EMU_NAMESPACES ? emu->ns[nsid] : NULL;
    struct emu_zones *zones;

    if (!ns)
        return -ENOENT;
    if (!zoning->size || zoning->size > UINT32_MAX || ns->blocks % zoning->size ||
        !zoning->capacity || zoning->capacity > zoning->size)
        return -EINVAL;
    if (emu_zones_are(ns->zones, zoning, ns->blocks))
        return 0;
    zones = emu_zones_new(zoning, ns->blocks);
    if (!zones)
        return -ENOMEM;
    emu_lock_all(emu);
    emu_pool_wait_namespace(emu, ns);
    emu_zones_free(ns->zones);
    ns->zones = zones;
    emu_unlock_all(emu);
    return 0;
}

int s2n_emu_remove_namespace(s2n_emu *emu, uint32_t nsid)
{
    if (nsid == 0 || nsid > EMU_NAMESPACES || !emu->ns[nsid])
        return -ENOENT;
    replace_namespace(emu, nsid, NULL);
    return 0;
}

int s2n_emu_flush(s2n_emu *emu, uint32_t nsid)
{
    if (nsid == UINT32_MAX)
        return emu_flush_all(emu) ? -EIO : 0;
    if (nsid == 0 || nsid > EMU_NAMESPACES || !emu->ns[nsid])
        return -ENOENT;
    return emu_flush(emu->ns[nsid], NULL, NULL, 0, true) ? -EIO : 0;
}

int s2n_emu_erase(s2n_emu *emu, uint32_t nsid)
{
    if (nsid == 0 || nsid > EMU_NAMESPACES || !emu->ns[nsid])
        return -ENOENT;
    if (emu_erase(emu->ns[nsid]))
        return -EIO;
    if (emu->ns[nsid]->zones)
        emu_zones_erased(emu->ns[nsid]->zones);
    return 0;
}

int s2n_emu_overwrite(s2n_emu *emu, uint32_t nsid, uint32_t pattern)
{
    if (nsid == 0 || nsid > EMU_NAMESPACES || !emu->ns[nsid])
        return -ENOENT;
    return emu_overwrite(emu->ns[nsid], pattern) ? -EIO : 0;
}

int s2n_emu_finish_zone(s2n_emu *emu, uint32_t nsid, uint64_t lba)
{
    const struct emu_namespace *ns;

    if (nsid == 0 || nsid > EMU_NAMESPACES || !(ns = emu->ns[nsid]) || !ns->zones)
        return -EINVAL;
    return lba < ns->blocks && emu_zones_finish(ns->zones, lba) ? 0 : -EINVAL;
}

uint64_t s2n_emu_marked(s2n_emu *emu, uint32_t nsid, uint64_t *at)
{
    const struct emu_namespace *ns;

    if (nsid == 0 || nsid > EMU_NAMESPACES || !(ns = emu->ns[nsid]) || *at >= ns->blocks)
        return 0;
    return emu_marks_run(ns->marks, *at, ns->blocks - *at, at);
}
