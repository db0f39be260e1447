/* Windows through the IOMMU of a VFIO container.
 * Spec: <linux/vfio.h>, VFIO_TYPE1v2_IOMMU. */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vfio.h"
#include "window.h"

struct vfio_window {
    s2n_window window; /* first: found from the window */
    int container;
};

static int map(s2n_window *window, uint64_t offset, void *memory, uint64_t length)
{
    struct vfio_iommu_type1_dma_map argument = {
        .argsz = sizeof argument,
        .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
        .vaddr = (uintptr_t)memory,
        .iova = window->iova + offset,
        .size = length,
    };

    return ioctl(((struct vfio_window *)window)->container, VFIO_IOMMU_MAP_DMA, &argument) ? -errno
                                                                                           : 0;
}

/* It can be refused only where the device was given back, and all its mappings with it. */
static void unmap(s2n_window *window)
{
    struct vfio_iommu_type1_dma_unmap argument = {
        .argsz = sizeof argument, .iova = window->iova, .size = window->length};

    (void)ioctl(((struct vfio_window *)window)->container, VFIO_IOMMU_UNMAP_DMA, &argument);
}

static void release(s2n_window *window)
{
    close(((struct vfio_window *)window)->container);
    free(window);
}

s2n_window *s2n_window_vfio(int container, uint64_t iova, uint64_t length)
{
    static const struct s2n_window_ops ops = {map, unmap, release};
    struct vfio_window *vfio = malloc(sizeof *vfio);

    if (!vfio)
        return NULL;
    vfio->window = (s2n_window){&ops, iova, length};
    /* The transport may be let go of before, and its descriptor's number used anew. */
    vfio->container = fcntl(container, F_DUPFD_CLOEXEC, 0);
    if (vfio->container < 0) {
        free(vfio);
        return NULL;
    }
    return &vfio->window;
}

void s2n_window_free(s2n_window *window)
{
    if (window)
        window->ops->free(window);
}
