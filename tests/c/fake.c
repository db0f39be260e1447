#include "fake.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fake_plane.h"
#include "fake_reactor.h"
#include "fake_task.h"

struct fake fake;

s2n_plane *fake_start(void)
{
    memset(&fake, 0, sizeof fake);
    fake.pool_bytes = 1 << 26;
    fake_reactor_start();
    fake_tasks_start();
    return fake_plane_start();
}

static bool denied(void)
{
    return fake.fail_in && !--fake.fail_in;
}

void *fake_malloc(size_t bytes)
{
    return denied() ? NULL : malloc(bytes);
}

void *fake_calloc(size_t count, size_t bytes)
{
    return denied() ? NULL : calloc(count, bytes);
}

void *fake_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return denied() ? MAP_FAILED : mmap(at, bytes, protection, flags, fd, offset);
}
