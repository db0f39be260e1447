/* Streams of writes: which stream identifiers of which namespaces are open.
 * Spec: NVMe Base 2.0c 8.7.3.
 *
 * There are so many in all. A namespace may have some to itself; the others have what is left
 * together. A write opens the stream that it names, and where no more may be open the one of the
 * same share that was opened first is closed: a stream is a hint, and nothing of what is written
 * depends on it. What a write says where none are enabled is ignored, as the standard has it.
 */
#include "emu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { DTYPE_SHIFT = 20, DSPEC_SHIFT = 16, STREAMS = 1, SHARED = 0 };

struct open_stream {
    uint32_t nsid;
    uint16_t id;
};

struct emu_streams {
    pthread_mutex_t lock;
    uint32_t limit; /* of the controller */
    uint32_t open;
    struct open_stream streams[S2N_EMU_STREAMS]; /* as they were opened */
    struct {
        bool enabled;
        uint32_t own;         /* to itself; 0: it shares */
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

static bool known(const s2n_emu *emu, uint32_t nsid)
{
    return emu->streams && nsid && nsid <= EMU_NAMESPACES;
}

static void close_at(struct emu_streams *streams, uint32_t at)
{
    struct open_stream *gone = streams->streams + at;

    memmove(gone, gone + 1, (--streams->open - at) * sizeof *gone);
}

static void close_all(struct emu_streams *streams, uint32_t nsid)
{
    for (uint32_t at = streams->open; at--;)
        if (streams->streams[at].nsid == nsid)
            close_at(streams, at);
}

/* Whose share a namespace's streams are of: its own, or that of all who have none. */
static uint32_t share_of(const struct emu_streams *streams, uint32_t nsid)
{
    return streams->of[nsid].own ? nsid : SHARED;
}

static uint32_t room_of(const struct emu_streams *streams, uint32_t share)
{
    uint32_t room = streams->limit;

    if (share != SHARED)
        return streams->of[share].own;
    for (uint32_t nsid = 1; nsid <= EMU_NAMESPACES; nsid++)
        room -= streams->of[nsid].own;
    return room;
}

/* Close those of a share that were opened first, until no more than so many are open. */
static void close_beyond(struct emu_streams *streams, uint32_t share, uint32_t room)
{
    uint32_t open = 0;

    for (uint32_t at = streams->open; at--;)
        if (share_of(streams, streams->streams[at].nsid) == share && ++open > room)
            close_at(streams, at);
}

int s2n_emu_enable_streams(s2n_emu *emu, uint32_t nsid, bool enabled)
{
    if (!known(emu, nsid))
        return -EINVAL;
    pthread_mutex_lock(&emu->streams->lock);
    if (!enabled) {
        close_all(emu->streams, nsid);
        emu->streams->of[nsid].own = 0;
    }
    emu->streams->of[nsid].enabled = enabled;
    pthread_mutex_unlock(&emu->streams->lock);
    return 0;
}

int s2n_emu_own_streams(s2n_emu *emu, uint32_t nsid, uint32_t count)
{
    struct emu_streams *streams = emu->streams;
    int status = -EINVAL;

    if (!known(emu, nsid))
        return status;
    pthread_mutex_lock(&streams->lock);
    if (count <= room_of(streams, SHARED) + streams->of[nsid].own) {
        streams->of[nsid].own = count;
        close_beyond(streams, share_of(streams, nsid), room_of(streams, share_of(streams, nsid)));
        close_beyond(streams, SHARED, room_of(streams, SHARED));
        status = 0;
    }
    pthread_mutex_unlock(&streams->lock);
    return status;
}

int s2n_emu_open_streams(s2n_emu *emu, uint32_t nsid, uint16_t *ids)
{
    struct emu_streams *streams = emu->streams;
    int count = 0;

    if (!known(emu, nsid))
        return -EINVAL;
    pthread_mutex_lock(&streams->lock);
    for (uint32_t at = 0; at < streams->open; at++)
        if (streams->streams[at].nsid == nsid)
            ids[count++] = streams->streams[at].id;
    pthread_mutex_unlock(&streams->lock);
    return count;
}

/* Where a stream stands that is open; behind the last one if it is not. */
static uint32_t place_of(const struct emu_streams *streams, uint32_t nsid, uint16_t id)
{
    uint32_t at = 0;

    while (at < streams->open &&
           (streams->streams[at].nsid != nsid || streams->streams[at].id != id))
        at++;
    return at;
}

int s2n_emu_close_stream(s2n_emu *emu, uint32_t nsid, uint16_t id)
{
    struct emu_streams *streams = emu->streams;

    if (!known(emu, nsid))
        return -EINVAL;
    pthread_mutex_lock(&streams->lock);
    uint32_t at = place_of(streams, nsid, id);
    if (at < streams->open)
        close_at(streams, at);
    pthread_mutex_unlock(&streams->lock);
    return 0;
}

void emu_streams_release(s2n_emu *emu, uint32_t nsid)
{
    if (!emu->streams)
        return;
    pthread_mutex_lock(&emu->streams->lock);
    close_all(emu->streams, nsid);
    pthread_mutex_unlock(&emu->streams->lock);
}

/* Others may have all to themselves: then the write is of none. */
static void open_stream(struct emu_streams *streams, uint32_t nsid, uint16_t id)
{
    uint32_t share = share_of(streams, nsid), room;

    if (place_of(streams, nsid, id) < streams->open || !(room = room_of(streams, share)))
        return;
    close_beyond(streams, share, room - 1);
    streams->streams[streams->open++] = (struct open_stream){.nsid = nsid, .id = id};
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
