/* Memory, counted: the linker has whoever asks for it, or gives it back, come here. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "fake.h"

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *at, size_t bytes);
void __real_free(void *at);
void *__real_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *at, size_t bytes);
void __wrap_free(void *at);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *at, size_t bytes);

static void *counted(void *at)
{
    fake_blocks += at != NULL;
    return at;
}

void *__wrap_malloc(size_t bytes)
{
    return counted(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return counted(__real_calloc(count, bytes));
}

void *__wrap_realloc(void *at, size_t bytes)
{
    return at ? __real_realloc(at, bytes) : __wrap_malloc(bytes);
}

void __wrap_free(void *at)
{
    fake_blocks -= at != NULL;
    __real_free(at);
}

void *__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if (fake_denied())
        return MAP_FAILED;
    fake.mapped += (int64_t)bytes;
    return __real_mmap64(at, bytes, protection, flags, fd, offset);
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return __wrap_mmap64(at, bytes, protection, flags, fd, offset);
}

int __wrap_munmap(void *at, size_t bytes)
{
    fake.mapped -= (int64_t)bytes;
    return __real_munmap(at, bytes);
}
