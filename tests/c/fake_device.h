/* What carries out tasks in tests of front ends: at once, or when they say so, with a small disk.
 */
#ifndef S2N_FAKE_DEVICE_H
#define S2N_FAKE_DEVICE_H

#include "front_end.h"

/* End a task that was held. `data` is copied. */
void fake_end(s2n_task *task, uint8_t status, uint32_t sense_length, const uint8_t *data,
              uint32_t data_length);
/* Carry out a task that was held. */
void fake_carry_out(s2n_task *task);

#endif
