/* Streams of writes: which stream identifiers of a namespace are open.
 * Spec: NVMe Base 2.0c 8.7.3.
 *
 * A write opens the stream that it names, and where as many are open as there may be the one that
 * was opened first is closed: a stream is a hint, and nothing of what is written depends on it.
 * What a write says where none are enabled is ignored, as the standard has it.
 */
#include "emu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { DTYPE_SHIFT = 20, DSPEC_SHIFT = 16, STREAMS = 1 };

struct emu_streams {
    pthread_mutex_t lock;
    uint32_t limit; /* of one namespace */
    struct {
        bool enabled;
        uint32_t open;
        uint16_t ids[S2N_EMU_STREAMS];
    } of[EMU_NAMESPACES + 1]; /* by NSID */
};

void emu_streams_free(struct emu_streams *streams)
{
    if (streams)
        pthread_mutex_destroy(&streams->lock);
    free(streams);
}

int s2n_emu_set_streams(s2n_emu *emu, uint32_t limit)
{
    if (!limit || limit > S2N_EMU_STREAMS || emu->streams)
        return -EINVAL;
    emu->streams = calloc(1, sizeof *emu->streams);
    if (!emu->streams)
        return -ENOMEM;
    pthread_mutex_init(&emu->streams->lock, NULL);
    emu->streams->limit = limit;
    return 0;
}

int s2n_emu_enable_streams(s2n_emu *emu, uint32_t nsid, bool enabled)
{
    if (!emu->streams || !nsid || nsid > EMU_NAMESPACES)
        return -EINVAL;
    pthread_mutex_lock(&emu->streams->lock);
    if (!enabled)
        emu->streams->of[nsid].open = 0;
    emu->streams->of[nsid].enabled = enabled;
    pthread_mutex_unlock(&emu->streams->lock);
    return 0;
}

int s2n_emu_open_streams(s2n_emu *emu, uint32_t nsid, uint16_t *ids)
{
    int count;

    if (!emu->streams || !nsid || nsid > EMU_NAMESPACES)
        return -EINVAL;
    pthread_mutex_lock(&emu->streams->lock);
    count = (int)emu->streams->of[nsid].open;
    memcpy(ids, emu->streams->of[nsid].ids, (size_t)count * sizeof *ids);
    pthread_mutex_unlock(&emu->streams->lock);
    return count;
}

static uint32_t place_of(const struct emu_streams *streams, uint32_t nsid, uint16_t id)
{
    uint32_t at = 0;

    while (at < streams->of[nsid].open && streams->of[nsid].ids[at] != id)
        at++;
    return at;
}

int s2n_emu_close_stream(s2n_emu *emu, uint32_t nsid, uint16_t id)
{
    struct emu_streams *streams = emu->streams;
    uint32_t at;

    if (!streams || !nsid || nsid > EMU_NAMESPACES)
        return -EINVAL;
    pthread_mutex_lock(&streams->lock);
    at = place_of(streams, nsid, id);
    if (at < streams->of[nsid].open)
        streams->of[nsid].ids[at] = streams->of[nsid].ids[--streams->of[nsid].open];
    pthread_mutex_unlock(&streams->lock);
    return 0;
}

void emu_streams_release(s2n_emu *emu, uint32_t nsid)
{
    if (!emu->streams)
        return;
    pthread_mutex_lock(&emu->streams->lock);
    emu->streams->of[nsid].open = 0;
    pthread_mutex_unlock(&emu->streams->lock);
}

static void open_stream(struct emu_streams *streams, uint32_t nsid, uint16_t id)
{
    uint16_t *ids = streams->of[nsid].ids;

    if (place_of(streams, nsid, id) < streams->of[nsid].open)
        return;
    if (streams->of[nsid].open == streams->limit)
        memmove(ids, ids + 1, --streams->of[nsid].open * sizeof *ids);
    ids[streams->of[nsid].open++] = id;
}

uint16_t emu_streams_meet(const s2n_emu *emu, const struct emu_command *command)
{
    struct emu_streams *streams = emu->streams;
    uint16_t id = (uint16_t)(command->cdw13 >> DSPEC_SHIFT);
    uint16_t status = EMU_SUCCESS;

    if (!streams)
        return EMU_SUCCESS;
    pthread_mutex_lock(&streams->lock);
    if (streams->of[command->nsid].enabled) {
        if ((command->cdw12 & EMU_DTYPE) >> DTYPE_SHIFT != STREAMS)
            status = EMU_INVALID_FIELD;
        else if (id)
            open_stream(streams, command->nsid, id);
    }
    pthread_mutex_unlock(&streams->lock);
    return status;
}
