/* What goes wrong in the emulated controller: on request, and the record of it. */
#include "emu.h"

#include <errno.h>
#include <sys/eventfd.h>

static bool has_range(uint8_t opcode)
{
    return opcode != EMU_FLUSH && opcode != EMU_DATASET_MANAGEMENT;
}

static bool hits(const s2n_emu_fault *fault, const struct emu_command *command)
{
    if (fault->nsid && fault->nsid != command->nsid)
        return false;
    if (fault->opcode != 0xFF && fault->opcode != command->opcode)
        return false;
    return !has_range(command->opcode) ||
           (command->slba <= fault->lba_last && command->slba + command->blocks > fault->lba_first);
}

inline bool emu_fault_match(s2n_emu *emu, const struct emu_command *command, s2n_emu_fault *out)
{
    bool found = false;

    if (atomic_load_explicit(&emu->fault_count, memory_order_relaxed) == 0)
        return false;
    pthread_mutex_lock(&emu->misfortune_lock);
    for (uint32_t i = 0, count = emu->fault_count; i < count && !found; i++) {
        if (!hits(&emu->faults[i], command))
            continue;
        if (emu->faults[i].after) {
            emu->faults[i].after--;
            continue;
        }
        found = true;
        *out = emu->faults[i];
        if (emu->faults[i].count && --emu->faults[i].count == 0) {
            emu->faults[i] = emu->faults[count - 1];
            emu->fault_count = count - 1;
        }
    }
    pthread_mutex_unlock(&emu->misfortune_lock);
    return found;
}

int s2n_emu_add_fault(s2n_emu *emu, const s2n_emu_fault *fault)
{
    int result = 0;

    if (fault->action > 2 || fault->lba_first > fault->lba_last)
        return -EINVAL;
    pthread_mutex_lock(&emu->misfortune_lock);
    if (emu->fault_count == EMU_FAULTS)
        result = -ENOSPC;
    else
        emu->faults[emu->fault_count++] = *fault;
    pthread_mutex_unlock(&emu->misfortune_lock);
    return result;
}

void s2n_emu_clear_faults(s2n_emu *emu)
{
    pthread_mutex_lock(&emu->misfortune_lock);
    emu->fault_count = 0;
    pthread_mutex_unlock(&emu->misfortune_lock);
}

void emu_log_error(s2n_emu *emu, const s2n_emu_error *error)
{
    pthread_mutex_lock(&emu->misfortune_lock);
    if (emu->error_count == EMU_ERRORS) { /* the oldest gives way */
        emu->error_first = (emu->error_first + 1) % EMU_ERRORS;
        emu->error_count--;
    }
    emu->errors[(emu->error_first + emu->error_count++) % EMU_ERRORS] = *error;
    pthread_mutex_unlock(&emu->misfortune_lock);
    eventfd_write(emu->admin_eventfd, 1);
}

int s2n_emu_next_error(s2n_emu *emu, s2n_emu_error *out)
{
    int found = 0;

    pthread_mutex_lock(&emu->misfortune_lock);
    if (emu->error_count) {
        *out = emu->errors[emu->error_first];
        emu->error_first = (emu->error_first + 1) % EMU_ERRORS;
        emu->error_count--;
        found = 1;
    }
    pthread_mutex_unlock(&emu->misfortune_lock);
    return found;
}
