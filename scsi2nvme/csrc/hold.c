/* Blocks that hot tasks hold alone. */
#include "hold.h"

#include <stddef.h>
#include <stdlib.h>

#include "state.h"
#include "task_life.h"
#include "unit.h"

static uint64_t token_of(const s2n_task *task)
{
    return S2N_HOT_TOKEN | s2n_task_number(task);
}

/* On whichever reactor. */
static void call_its_turn(struct s2n_claim *claim)
{
    struct s2n_hold *hold = (struct s2n_hold *)((char *)claim - offsetof(struct s2n_hold, claim));

    s2n_reactor_call(hold->reactor, hold->its_turn, hold);
}

struct s2n_hold *s2n_hold_new(s2n_task *task, void (*its_turn)(void *hold),
                              void (*done)(struct s2n_drain *drain))
{
    struct s2n_hold *hold = calloc(1, sizeof *hold);
    struct s2n_blocks blocks = s2n_task_blocks(task);
    s2n_plane *plane = task->reactor->plane;

    if (!hold)
        return NULL;
    hold->reactor = task->reactor;
    hold->task = task;
    hold->its_turn = its_turn;
    hold->drain = (struct s2n_drain){
        .done = done, .plane = plane, .lu = task->lu, .blocks = blocks, .token = token_of(task)};
    atomic_init(&hold->drain.reactors_left, plane->reactor_count);
    hold->claim =
        (struct s2n_claim){.blocks = blocks, .party = task->nexus, .ended_wait = call_its_turn};
    enum s2n_claim_state state = s2n_claim_alone(&task->lu->claims, &hold->claim);
    hold->queued = state == S2N_CLAIM_WAITS;
    if (state != S2N_CLAIM_NONE)
        return hold;
    free(hold);
    return NULL;
}

void s2n_hold_free(struct s2n_hold *hold)
{
    if (hold->claim.state == S2N_CLAIM_HELD)
        s2n_claim_end(&hold->drain.lu->claims, &hold->claim);
    free(hold);
}

bool s2n_hold_grant(struct s2n_hold *hold)
{
    hold->granted = true;
    if (hold->task)
        return true;
    s2n_hold_free(hold);
    return false;
}

/* What waits goes at once; what has been told of its turn does when that comes here. */
static void leave_queue(struct s2n_hold *hold)
{
    hold->task = NULL;
    if (s2n_claim_give_up(&hold->drain.lu->claims, &hold->claim))
        free(hold);
}

void s2n_hold_end(struct s2n_hold *hold)
{
    s2n_lu *lu = hold->drain.lu;
    s2n_plane *plane = hold->drain.plane;
    uint64_t token = hold->drain.token;
    uint32_t own = hold->reactor->index;

    if (hold->queued) {
        leave_queue(hold);
        return;
    }
    hold->task = NULL;
    if (hold->granted)
        s2n_hold_free(hold); /* else when it is, which this brings about */
    for (uint32_t i = 0; i < lu->reactors; i++)
        if (i != own)
            s2n_range_remove_on(&plane->reactor[i], &lu->local[i], token);
    s2n_range_remove(&lu->local[own], token);
}
