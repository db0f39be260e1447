/* What the controller has forgotten, and what is not to come to it any more. */
#ifndef S2N_RECALL_H
#define S2N_RECALL_H

#include "task.h"

struct s2n_queue;

/* End the fused pairs under way, which the controller has forgotten: sent again, one would meet
 * what it wrote itself. They fail. */
void s2n_queue_end_fused(struct s2n_queue *queue);
/* The hot tasks of a logical unit are the engine's, as far as the device has nothing of them, or
 * once it has none any more, unless they are done: with `forgotten`, it knows of nothing any more.
 * See s2n_lu_recall. */
void s2n_queue_recall(struct s2n_queue *queue, const s2n_lu *lu, bool forgotten);

#endif
