/* Windows through the IOMMU of a VFIO container. */
#ifndef S2N_VFIO_H
#define S2N_VFIO_H

#include "transport.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* cdef begin */

/* Of the IOMMU of a VFIO container, a descriptor that stays the caller's. NULL: errno tells. */
s2n_window *s2n_window_vfio(int container, uint64_t iova, uint64_t length);

/* cdef end */

#endif
