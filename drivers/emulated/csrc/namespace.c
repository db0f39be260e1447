/* The emulated controller's namespaces: which file each is, and where in it. */
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
    free(ns);
}

static struct emu_namespace *new_namespace(int fd)
{
    struct emu_namespace *ns = aligned_alloc(64, sizeof *ns);
    struct stat file;

    if (!ns)
        return NULL;
    memset(ns, 0, sizeof *ns);
    for (uint32_t i = 0; i < EMU_STRIPES; i++)
        pthread_rwlock_init(&ns->stripes[i].lock, NULL);
    atomic_store(&ns->nowait, true);
    ns->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (ns->fd < 0 || fstat(ns->fd, &file) < 0) {
        emu_namespace_free(ns);
        return NULL;
    }
    ns->device = file.st_dev;
    ns->inode = file.st_ino;
    return ns;
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
    emu->ns[nsid] = ns;
    emu_unlock_all(emu);
    emu_namespace_free(old);
}

int s2n_emu_set_namespace(s2n_emu *emu, uint32_t nsid, int fd, uint64_t offset, uint64_t blocks,
                          uint32_t block_bytes, uint32_t flags)
{
    struct emu_namespace *ns;
    uint32_t shift = block_bytes ? (uint32_t)__builtin_ctz(block_bytes) : 0;

    if (nsid == 0 || nsid > EMU_NAMESPACES || shift < 9 || shift > 16 ||
        block_bytes != UINT32_C(1) << shift || blocks == 0)
        return -EINVAL;
    if (flags & EMU_DIRECT)
        return -EOPNOTSUPP;
    if (offset > INT64_MAX || blocks > (INT64_MAX - offset) >> shift)
        return -EFBIG;
    ns = new_namespace(fd);
    if (!ns)
        return errno ? -errno : -ENOMEM;
    ns->offset = offset;
    ns->blocks = blocks;
    ns->shift = shift;
    ns->flags = flags;
    replace_namespace(emu, nsid, ns);
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
    return emu_erase(emu->ns[nsid]) ? -EIO : 0;
}
