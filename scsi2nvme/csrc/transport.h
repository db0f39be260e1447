/* What a transport has for the users of a controller: memory that both reach, doorbells,
 * windows. Each kind is made by a function of its transport's header (drivers/). */
#ifndef S2N_TRANSPORT_H
#define S2N_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* cdef begin */

enum {
    S2N_MAXIMUM_REACTORS = 64, /* each has a queue pair and an interrupt of a controller */
};

/* DMA memory as the owner of a queue pair gives it out: `vaddr` is ours, `iova`
 * the controller's address of the same byte. */
typedef struct {
    uint8_t *vaddr;
    uint64_t iova;
    uint64_t length;
} s2n_region;

/* How doorbells of one controller are rung. */
typedef struct s2n_port s2n_port;

void s2n_port_free(s2n_port *port);

/* A range of a controller's addresses in which memory of others appears, page by page. */
typedef struct s2n_window s2n_window;

void s2n_window_free(s2n_window *window);

/* cdef end */

#endif
