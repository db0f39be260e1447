/* Doorbells and register access over QEMU's qtest socket. */
#ifndef S2N_QTEST_H
#define S2N_QTEST_H

#include "transport.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* cdef begin */

/* A port over a QEMU qtest socket; also the register access of that transport.
 * `bar0` is the guest physical address of the registers. Takes over `fd`. */
s2n_port *s2n_port_qtest(int fd, uint64_t bar0, uint32_t stride);
/* Memory and I/O space access over qtest; negative errno if the socket died.
 * `command` is a whole qtest line without its newline; the value of a read
 * command goes to `value`. Callable from any thread. */
int s2n_qtest_command(s2n_port *port, const char *command, uint64_t *value);

/* cdef end */

#endif
