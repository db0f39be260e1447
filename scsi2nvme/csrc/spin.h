/* Whether a reactor that has nothing to do looks for requests again and again, or sleeps until it
 * is woken. What it knows is told by its reactor; it reads no clock. */
#ifndef S2N_SPIN_H
#define S2N_SPIN_H

#include <stdbool.h>
#include <stdint.h>

struct s2n_spin {
    uint32_t bound_us; /* of one wait: it is spun for no longer */

    /* Waits. */
    uint64_t since_us; /* the present one began; 0: there is none */
    uint64_t usual_us; /* what they take, a moving average */
    bool looked;       /* in the present one */

    /* Others who want the CPU. */
    uint64_t rest_us, rests_until_us;

    /* What it is worth. */
    bool spins;        /* settled, … */
    bool tries;        /* … and the other way is tried */
    uint64_t came_us;  /* when the last wait ended, … */
    uint64_t serial;   /* … and how many commands had come by then */
    uint64_t usual_ns; /* from one command to the next, by the last sample of the settled way */
    uint32_t samples, patience;
    uint64_t settling, commands, sum_us; /* of the present sample */
};

void s2n_spin_begin(struct s2n_spin *spin, uint32_t bound_us);
/* There is nothing to do, for requests are waited for: look again at once (true), or sleep? */
bool s2n_spin_goes_on(struct s2n_spin *spin, uint64_t now_us);
/* The CPU was offered to others after a look in vain, and had by them for so long. */
void s2n_spin_yielded(struct s2n_spin *spin, uint64_t us, uint64_t now_us);
/* The wait for requests, if it is one, has ended; `serial` commands have come in all. */
void s2n_spin_came(struct s2n_spin *spin, uint64_t now_us, uint64_t serial);
/* Whether others want the CPU, so that nothing is to be spun for. */
bool s2n_spin_rests(const struct s2n_spin *spin, uint64_t now_us);

#endif
