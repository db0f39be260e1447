/* Logical units, and the nexuses that see them under LUNs. */
#include "unit.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "drain.h"

enum { NLB_BLOCKS = 65536 };

/* ---- logical units ---- */

s2n_lu *s2n_lu_new(s2n_controller *controller, const s2n_lu_params *params)
{
    uint32_t count = controller->plane->reactor_count;
    size_t size = sizeof(s2n_lu) + count * sizeof(struct s2n_lu_local);
    s2n_lu *lu = calloc(1, size);

    if (!lu)
        return NULL;
    atomic_init(&lu->controller, controller);
    lu->reactors = count;
    pthread_mutex_init(&lu->claims.lock, NULL);
    s2n_lu_update(lu, params);
    atomic_store(&lu->aside, true);
    return lu;
}

static uint32_t at_most(uint32_t value, uint32_t limit)
{
    return value < limit ? value : limit;
}

void s2n_lu_update(s2n_lu *lu, const s2n_lu_params *params)
{
    lu->params = *params;
    /* A command of no blocks would go on for ever; more than NLB says cannot be told. */
    if (!lu->params.maximum_blocks)
        lu->params.maximum_blocks = 1;
    lu->params.maximum_blocks = at_most(lu->params.maximum_blocks, NLB_BLOCKS);
    lu->params.atomic_blocks = at_most(lu->params.atomic_blocks, lu->params.maximum_blocks);
    if (!lu->params.atomic_alignment)
        lu->params.atomic_alignment = 1;
    lu->params.verify_blocks = at_most(lu->params.verify_blocks, NLB_BLOCKS);
    lu->params.write_zeroes_blocks = at_most(lu->params.write_zeroes_blocks, NLB_BLOCKS);
    atomic_store_explicit(&lu->block_shift, params->block_shift, memory_order_relaxed);
    atomic_store_explicit(&lu->tuple_bytes, params->tuple_bytes, memory_order_relaxed);
    atomic_store_explicit(&lu->zoned, params->zone_blocks, memory_order_relaxed);
}

void s2n_lu_move(s2n_lu *lu, s2n_controller *controller)
{
    atomic_store_explicit(&lu->controller, controller, memory_order_release);
}

void s2n_lu_set_left(s2n_lu *lu, bool left)
{
    atomic_store(&lu->left, left);
}

void s2n_lu_set_descriptor_sense(s2n_lu *lu, bool descriptor)
{
    atomic_store_explicit(&lu->descriptor_sense, descriptor, memory_order_relaxed);
}

void s2n_lu_free(s2n_lu *lu)
{
    for (uint32_t i = 0; i < lu->reactors; i++) {
        s2n_drains_done(&lu->local[i]);
        s2n_ranges_free(&lu->local[i]);
        free(lu->local[i].watch);
    }
    pthread_mutex_destroy(&lu->claims.lock);
    free(lu);
}

/* ---- nexuses ---- */

s2n_nexus *s2n_nexus_new(uint64_t cookie)
{
    s2n_nexus *nexus = calloc(1, sizeof *nexus);

    if (!nexus)
        return NULL;
    nexus->cookie = cookie;
    return nexus;
}

static struct s2n_slot *slot_at(s2n_nexus *nexus, unsigned lun)
{
    struct s2n_slot *group =
        atomic_load_explicit(&nexus->group[lun / S2N_SLOT_GROUP], memory_order_acquire);

    return group ? &group[lun % S2N_SLOT_GROUP] : NULL;
}

/* Single-level LUNs: peripheral device addressing on bus 0, or flat space. Spec:
 * SAM-5 4.7. */
inline struct s2n_slot *s2n_nexus_slot(s2n_nexus *nexus, const uint8_t *lun)
{
    uint64_t levels;

    memcpy(&levels, lun, sizeof levels);
    levels = be64toh(levels);
    unsigned first = (unsigned)(levels >> 48);
    if (levels << 16 || first >= 0x8000 || (first > 0xff && first < 0x4000))
        return NULL;
    return slot_at(nexus, first & 0x3fff);
}

inline struct s2n_share *s2n_nexus_share(s2n_nexus *nexus, const s2n_controller *controller)
{
    struct s2n_holding *holding = atomic_load_explicit(&nexus->holdings, memory_order_acquire);

    while (holding && holding->controller != controller)
        holding = holding->next;
    return holding ? &holding->share : NULL;
}

/* See that there is a share of a controller's buffers. */
static bool has_share(s2n_nexus *nexus, const s2n_controller *controller)
{
    if (s2n_nexus_share(nexus, controller))
        return true;
    struct s2n_holding *holding = calloc(1, sizeof *holding);
    if (!holding)
        return false;
    holding->controller = controller;
    holding->next = atomic_load_explicit(&nexus->holdings, memory_order_relaxed);
    atomic_store_explicit(&nexus->holdings, holding, memory_order_release);
    return true;
}

int s2n_nexus_prepare(s2n_nexus *nexus, s2n_controller *controller)
{
    return has_share(nexus, controller) ? 0 : -ENOMEM;
}

int s2n_nexus_map(s2n_nexus *nexus, uint16_t lun, s2n_lu *lu)
{
    if (lun >= S2N_SLOT_GROUPS * S2N_SLOT_GROUP)
        return -EINVAL;
    if (lu && !has_share(nexus, lu->controller))
        return -ENOMEM;
    struct s2n_slot *slot = slot_at(nexus, lun);
    if (!slot) {
        struct s2n_slot *group = calloc(S2N_SLOT_GROUP, sizeof *group);
        if (!group)
            return -ENOMEM;
        atomic_store_explicit(&nexus->group[lun / S2N_SLOT_GROUP], group, memory_order_release);
        slot = slot_at(nexus, lun);
    }
    atomic_store(&slot->aside, true);
    atomic_store_explicit(&slot->lu, lu, memory_order_release);
    return 0;
}

void s2n_nexus_set_aside(s2n_nexus *nexus, uint16_t lun, bool aside)
{
    struct s2n_slot *slot = lun < S2N_SLOT_GROUPS * S2N_SLOT_GROUP ? slot_at(nexus, lun) : NULL;

    if (slot)
        atomic_store_explicit(&slot->aside, aside, memory_order_release);
}

bool s2n_nexus_hot_on(s2n_nexus *nexus, uint32_t reactor)
{
    for (unsigned i = 0; i < S2N_SLOT_GROUPS; i++) {
        struct s2n_slot *group = atomic_load(&nexus->group[i]);
        for (unsigned j = 0; group && j < S2N_SLOT_GROUP; j++) {
            const s2n_lu *lu = atomic_load(&group[j].lu);
            if (lu && !lu->controller->queue[reactor].hot)
                return false;
        }
    }
    return true;
}

void s2n_nexus_free(s2n_nexus *nexus)
{
    for (unsigned i = 0; i < S2N_SLOT_GROUPS; i++)
        free(atomic_load(&nexus->group[i]));
    for (struct s2n_holding *holding = atomic_load(&nexus->holdings), *next; holding;
         holding = next) {
        next = holding->next;
        free(holding);
    }
    free(nexus);
}
