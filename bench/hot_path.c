/* 4 KiB reads through translation, task and queue pair alone, against a device that
 * completes at once: what one costs, in CPU time; or in instructions, under
 * `valgrind --tool=callgrind --toggle-collect=measure`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../tests/c/bench.h"

enum { DEPTH = 32, BLOCKS = 8 };

static void round_of_reads(struct op *op, uint32_t lba)
{
    uint64_t one = 1;

    for (uint32_t i = 0; i < DEPTH; i++) {
        op[i].completed = false;
        begin_read(&op[i], 0, 0, lba + i * BLOCKS, BLOCKS);
    }
    if (write(bench.reactor->wake.fd, &one, sizeof one) != sizeof one)
        abort();
    s2n_reactor_round(bench.reactor);
    for (uint32_t i = 0; i < DEPTH; i++)
        if (!op[i].completed)
            abort();
}

__attribute__((noinline)) static void measure(uint32_t rounds)
{
    static struct op op[DEPTH];

    for (uint32_t i = 0; i < rounds; i++)
        round_of_reads(op, i % 4096 * DEPTH);
}

int main(int argc, char **argv)
{
    uint32_t rounds = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : 20000;
    struct timespec begin, end;

    bench_open(64, 16 << 20);
    bench.device.automatic = true;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    measure(rounds);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    double ns = (double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec);
    printf("%.1f ns of CPU per read\n", ns / rounds / DEPTH);
    bench_close();
    return 0;
}
