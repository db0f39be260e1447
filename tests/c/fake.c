#include "fake.h"

#include <stdlib.h>
#include <string.h>

#include "fake_plane.h"
#include "fake_reactor.h"
#include "fake_task.h"

struct fake fake;
int64_t fake_blocks;

s2n_plane *fake_start(void)
{
    memset(&fake, 0, sizeof fake);
    fake.pool_bytes = 1 << 26;
    fake_reactor_start();
    fake_tasks_start();
    return fake_plane_start();
}

bool fake_denied(void)
{
    return fake.fail_in && !--fake.fail_in;
}

void *fake_malloc(size_t bytes)
{
    return fake_denied() ? NULL : malloc(bytes);
}

void *fake_calloc(size_t count, size_t bytes)
{
    return fake_denied() ? NULL : calloc(count, bytes);
}
