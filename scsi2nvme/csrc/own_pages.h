/* Memory in whole pages of its own, for what is large and mostly idle: at rest it takes none,
 * where pieces of the heap would keep the pages at their edges, and each its header's. */
#ifndef S2N_OWN_PAGES_H
#define S2N_OWN_PAGES_H

#include <stddef.h>

/* Zeroed, not written to; NULL if there is none. */
void *s2n_own_pages_new(size_t bytes);
/* NULL is nothing. */
void s2n_own_pages_free(void *at, size_t bytes);
/* What it holds is not wanted any more: it takes memory again once it is written to. */
void s2n_own_pages_rest(void *at, size_t bytes);

#endif
