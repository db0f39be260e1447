/* What reservations let pass, of which all controllers of a subsystem are told at once, in
 * whichever process they are.
 *
 * A command passes the gate when it is carried out, not when it is fetched: it counts itself into
 * the turn of the moment, looks whether its host is denied what it does, and counts itself out when
 * it has ended. Whoever changes what is denied waits, before the change is acknowledged, until all
 * that may have looked before have ended: first the stragglers of the last turn, of which no new
 * ones come, then, with a new turn begun, those of this one. So a write of a host that has been
 * fenced is on the medium before the fence is told of, or never.
 */
#include "emu.h"

#include <errno.h>
#include <sys/mman.h>
#include <time.h>

struct slot {
    _Alignas(64) _Atomic uint32_t under_way[2]; /* by turn */
    _Atomic uint8_t denied[EMU_NAMESPACES + 1]; /* by NSID */
};

struct emu_gate {
    _Atomic uint32_t turn;
    struct slot slots[S2N_EMU_CONTROLLERS];
};

enum { PAUSE_NS = 20000, LONGEST_PAUSES = 500 };

uint32_t s2n_emu_gate_bytes(void)
{
    return sizeof(struct emu_gate);
}

int s2n_emu_open_gate(s2n_emu *emu, int fd, uint32_t slot)
{
    struct emu_gate *gate;

    if (slot >= S2N_EMU_CONTROLLERS || emu->gate)
        return -EINVAL;
    gate = mmap(NULL, sizeof *gate, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (gate == MAP_FAILED)
        return -errno;
    for (uint32_t turn = 0; turn < 2; turn++)
        atomic_store(&gate->slots[slot].under_way[turn], 0);
    emu_lock_all(emu);
    emu->slot = slot;
    emu->gate = gate;
    emu_unlock_all(emu);
    return 0;
}

void emu_gate_close(s2n_emu *emu)
{
    if (emu->gate)
        munmap(emu->gate, sizeof *emu->gate);
    emu->gate = NULL;
}

void s2n_emu_deny(s2n_emu *emu, uint32_t slot, uint32_t nsid, uint8_t denied)
{
    if (emu->gate && slot < S2N_EMU_CONTROLLERS && nsid <= EMU_NAMESPACES)
        atomic_store(&emu->gate->slots[slot].denied[nsid], denied);
}

bool emu_gate_enter(s2n_emu *emu, uint32_t nsid, uint8_t access, uint32_t *turn)
{
    struct slot *slot = &emu->gate->slots[emu->slot];

    *turn = atomic_load(&emu->gate->turn) & 1;
    atomic_fetch_add(&slot->under_way[*turn], 1);
    if (!(atomic_load(&slot->denied[nsid]) & access))
        return true;
    emu_gate_leave(emu, *turn);
    return false;
}

void emu_gate_leave(s2n_emu *emu, uint32_t turn)
{
    atomic_fetch_sub(&emu->gate->slots[emu->slot].under_way[turn], 1);
}

/* Wait until nothing of a turn is under way in the slots that are in use: false after a while. */
static bool wait_for(struct emu_gate *gate, uint32_t slots, uint32_t turn)
{
    struct timespec pause = {.tv_nsec = PAUSE_NS};
    uint32_t pauses = 0;

    for (uint32_t slot = 0; slot < S2N_EMU_CONTROLLERS;) {
        if (!(slots >> slot & 1) || !atomic_load(&gate->slots[slot].under_way[turn]))
            slot++;
        else if (pauses++ == LONGEST_PAUSES)
            return false;
        else
            nanosleep(&pause, NULL);
    }
    return true;
}

int s2n_emu_settle(s2n_emu *emu, uint32_t slots)
{
    struct emu_gate *gate = emu->gate;
    uint32_t turn;

    if (!gate)
        return 0;
    turn = atomic_load(&gate->turn) & 1;
    if (!wait_for(gate, slots, !turn))
        return -EAGAIN;
    atomic_store(&gate->turn, !turn);
    return wait_for(gate, slots, turn) ? 0 : -EAGAIN;
}
