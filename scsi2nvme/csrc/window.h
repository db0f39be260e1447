/* Memory that a controller's driver does not own, shown to the controller page by page:
 * a window is the range of the controller's addresses in which that happens. Each
 * transport that can do so fills in the operations; a window is used by one thread. */
#ifndef S2N_WINDOW_H
#define S2N_WINDOW_H

#include "transport.h"

struct s2n_window_ops {
    /* Let the controller read and write `length` bytes of `memory` at `offset` of the
     * window, whole pages all; negative errno. */
    int (*map)(s2n_window *window, uint64_t offset, void *memory, uint64_t length);
    /* Take back everything: no transfer reaches it when this returns. */
    void (*unmap)(s2n_window *window);
    void (*free)(s2n_window *window);
};

struct s2n_window {
    const struct s2n_window_ops *ops;
    uint64_t iova, length; /* page aligned */
    /* the transport's own members follow in its enclosing structure */
};

#endif
