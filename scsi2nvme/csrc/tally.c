/* Where a latency or a failure is counted, and how a tally is read. */
#include "tally.h"

/* Sub-buckets of a power of two: a latency is told with an error of a quarter, at most. */
enum { SUB_BITS = 2, SUB_BUCKETS = 1 << SUB_BITS };

uint8_t s2n_tally_bucket(uint64_t us)
{
    if (us < SUB_BUCKETS)
        return (uint8_t)us;
    unsigned power = 63u - (unsigned)__builtin_clzll(us);
    unsigned within = us >> (power - SUB_BITS) & (SUB_BUCKETS - 1);
    unsigned bucket = (power - SUB_BITS + 1) * SUB_BUCKETS + within;
    return (uint8_t)(bucket < S2N_LATENCY_BUCKETS ? bucket : S2N_LATENCY_BUCKETS - 1);
}

/* Where an answer is counted: the last place if there is no other left. */
static unsigned place_of(struct s2n_failures *failures, uint32_t answer)
{
    unsigned place = 0;

    for (; place < S2N_FAILURES - 1; place++) {
        uint32_t there = failures->answer[place];
        if (!there)
            atomic_compare_exchange_strong(&failures->answer[place], &there, answer);
        if (!there || there == answer)
            break;
    }
    return place;
}

void s2n_tally_failed(struct s2n_tally *tally, struct s2n_failures *failures, uint8_t kind,
                      uint32_t answer)
{
    s2n_tally_add(&tally->failure[place_of(failures, answer)], 1);
    s2n_tally_add(&tally->kind[kind].failed, 1);
}

static uint64_t read_one(const _Atomic uint64_t *count)
{
    return atomic_load_explicit(count, memory_order_acquire);
}

void s2n_tally_read(const struct s2n_tally *tally, const struct s2n_failures *failures,
                    s2n_statistics *sum)
{
    for (unsigned i = 0; i < S2N_COUNTED_KINDS; i++) {
        const struct s2n_tally_kind *from = &tally->kind[i];
        sum->kind[i].bytes += read_one(&from->bytes);
        sum->kind[i].failed += read_one(&from->failed);
        sum->kind[i].latency_us += read_one(&from->latency_us);
        for (unsigned j = 0; j < S2N_LATENCY_BUCKETS; j++)
            sum->kind[i].latency[j] += read_one(&from->latency[j]);
    }
    for (unsigned i = 0; i < S2N_FAILURES; i++)
        sum->failure[i].count += read_one(&tally->failure[i]);
    for (unsigned i = 0; i < S2N_FAILURES - 1; i++)
        sum->failure[i].answer = failures->answer[i];
    sum->aborted += read_one(&tally->aborted);
    /* Last: what was answered had begun. */
    sum->begun += read_one(&tally->begun);
}
