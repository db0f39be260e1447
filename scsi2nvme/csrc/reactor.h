/* A reactor's thread and its rounds. */
#ifndef S2N_REACTOR_H
#define S2N_REACTOR_H

struct s2n_reactor;

int s2n_reactor_start(struct s2n_reactor *reactor);
void s2n_reactor_stop(struct s2n_reactor *reactor);
/* Wait for something, and do what there is to do: the thread does nothing else. */
void s2n_reactor_round(struct s2n_reactor *reactor);
void s2n_reactor_close(struct s2n_reactor *reactor);

#endif
