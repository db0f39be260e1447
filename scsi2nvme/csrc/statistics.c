/* What is counted of tasks, and how it is read. */
#include "statistics.h"

#include "hot_provisioning.h"
#include "state.h"
#include "tally.h"
#include "task_data.h"
#include "unit.h"

_Static_assert(S2N_COUNTED_OTHER + 1 == S2N_COUNTED_KINDS, "each kind has its place");

/* Without counting nothing else is otherwise: bench.counting sees what it costs. */
#ifdef S2N_UNCOUNTED
enum { COUNTS = false };
#else
enum { COUNTS = true };
#endif

static uint8_t kind_of(const s2n_task *task)
{
    const struct s2n_hot_row *row = task->row;

    if (!row)
        return S2N_COUNTED_OTHER;
    return row->unmap.mask && s2n_hot_bits(task->cdb, row->unmap) ? S2N_COUNTED_DISCARD
                                                                  : row->counted;
}

/* The blocks that a list of UNMAP's names. */
static uint64_t listed_blocks(s2n_task *task)
{
    uint32_t length, at = S2N_UNMAP_HEADER;
    uint64_t blocks = 0;

    if (task->data_out_length < S2N_UNMAP_HEADER)
        return 0;
    const uint8_t *header = s2n_task_span_at(task, 0, &length);
    uint32_t count = s2n_unmap_descriptors(header, task->data_out_length);
    for (uint32_t i = 0; i < count; i++, at += S2N_UNMAP_DESCRIPTOR)
        blocks += s2n_unmap_blocks(s2n_task_span_at(task, at, &length));
    return blocks;
}

/* Spec: SAM-5 5.3.1. */
static bool ended_well(const s2n_task *task)
{
    return task->status == S2N_GOOD || task->status == S2N_CONDITION_MET;
}

/* Bytes that were moved, or discarded. */
static uint64_t bytes_of(s2n_task *task, uint8_t kind)
{
    if (!ended_well(task))
        return 0;
    if (kind == S2N_COUNTED_DISCARD) {
        bool listed = task->row->transfer == S2N_TRANSFER_BYTES;
        uint64_t blocks = listed ? listed_blocks(task) : s2n_hot_count(task->row, task->cdb);
        return task->lu ? blocks << task->lu->block_shift : 0;
    }
    if (task->direction != S2N_IN)
        return task->data_out_length;
    /* What the initiator did not prepare for is not sent. */
    uint32_t room = task->expected > task->portion_at ? task->expected - task->portion_at : 0;
    return task->data_in_length < room ? task->data_in_length : room;
}

static struct s2n_tally *tally_of(const s2n_task *task)
{
    return task->local ? &task->local->tally : NULL;
}

inline void s2n_count_begun(s2n_task *task)
{
    struct s2n_tally *of_unit = tally_of(task);

    if (!COUNTS || !task->nexus || task->tallied)
        return;
    task->tallied = true;
    task->begun_us = task->reactor->now_us;
    s2n_tally_add(&task->nexus->tally.begun, 1);
    if (of_unit)
        s2n_tally_add(&of_unit->begun, 1);
}

/* Spec: SPC-4 4.5.3 (fixed format), 4.5.2 (descriptor format). */
static uint32_t sense_code(const s2n_task *task)
{
    const uint8_t *sense = task->sense;

    if (task->sense_length >= 14 && (sense[0] & 0x7e) == 0x70)
        return (sense[2] & 15u) << 16 | (uint32_t)sense[12] << 8 | sense[13];
    if (task->sense_length >= 8 && (sense[0] & 0x7e) == 0x72)
        return (sense[1] & 15u) << 16 | (uint32_t)sense[2] << 8 | sense[3];
    return 0;
}

void s2n_count_cold(const s2n_task *task)
{
    if (COUNTS && task->lu && !task->portion_at)
        s2n_tally_add(&task->local->cold[s2n_hot_number(task->row)], 1);
}

/* One more that took so long, and moved so many bytes if it ended well. */
static inline void add(struct s2n_tally_kind *kind, unsigned bucket, uint64_t us, uint64_t bytes)
{
    s2n_tally_add(&kind->latency[bucket], 1);
    s2n_tally_add(&kind->latency_us, us);
    s2n_tally_add(&kind->bytes, bytes);
}

static void failed(s2n_task *task, uint8_t kind)
{
    struct s2n_tally *of_unit = tally_of(task);
    uint32_t answer = (uint32_t)task->status << 24 | sense_code(task);

    s2n_tally_failed(&task->nexus->tally, &task->nexus->failures, kind, answer);
    if (of_unit)
        s2n_tally_failed(of_unit, &task->lu->failures, kind, answer);
}

/* A portion that others follow is no answer: its bytes are kept until there is one. What was
 * aborted is answered with nothing, and may have no data any more. */
inline void s2n_count_answered(s2n_task *task)
{
    if (!COUNTS || !task->tallied || task->aborted)
        return;
    uint8_t kind = kind_of(task);
    task->moved_bytes += bytes_of(task, kind);
    if (task->status == S2N_GOOD && s2n_task_portion_follows(task))
        return;
    task->tallied = false;
    uint64_t us = task->reactor->now_us - task->begun_us;
    uint64_t bytes = task->status == S2N_GOOD ? task->moved_bytes : 0;
    uint8_t bucket = s2n_tally_bucket(us);
    struct s2n_tally *of_unit = tally_of(task);
    add(&task->nexus->tally.kind[kind], bucket, us, bytes);
    if (of_unit)
        add(&of_unit->kind[kind], bucket, us, bytes);
    if (!ended_well(task))
        failed(task, kind);
}

inline void s2n_count_gone(s2n_task *task)
{
    struct s2n_tally *of_unit = tally_of(task);

    if (!COUNTS || !task->tallied)
        return;
    task->tallied = false;
    s2n_tally_add(&task->nexus->tally.aborted, 1);
    if (of_unit)
        s2n_tally_add(&of_unit->aborted, 1);
}

/* ---- reading ---- */

void s2n_lu_statistics(const s2n_lu *lu, s2n_statistics *out)
{
    *out = (s2n_statistics){0};
    for (uint32_t i = 0; i < lu->reactors; i++)
        s2n_tally_read(&lu->local[i].tally, &lu->failures, out);
}

uint32_t s2n_lu_cold(const s2n_lu *lu, uint64_t *out, uint32_t maximum)
{
    uint32_t count = maximum < S2N_ROWS + 1 ? maximum : S2N_ROWS + 1;

    for (uint32_t row = 0; row < count; row++) {
        out[row] = 0;
        for (uint32_t i = 0; i < lu->reactors; i++)
            out[row] += atomic_load_explicit(&lu->local[i].cold[row], memory_order_relaxed);
    }
    return count;
}

void s2n_nexus_statistics(const s2n_nexus *nexus, s2n_statistics *out)
{
    *out = (s2n_statistics){0};
    s2n_tally_read(&nexus->tally, &nexus->failures, out);
}
