/* The emulated controller's view of host memory: registered regions and PRPs.
 * Spec: NVMe Base 2.0c 4.1.1. */
#include "emu.h"

#include "little_endian.h"

/* The last region that begins no later may have it, and no other. */
uint8_t *emu_translate(const s2n_emu *emu, uint64_t iova, uint64_t length)
{
    const s2n_region *first = emu->regions;
    uint32_t count = emu->region_count;

    while (count > 1) {
        uint32_t half = count / 2;

        first += first[half].iova <= iova ? half : 0;
        count -= half;
    }
    if (!count || iova < first->iova || length > first->length ||
        iova - first->iova > first->length - length)
        return NULL;
    return first->vaddr + (iova - first->iova);
}

/* Add `length` bytes at `iova`, joining what is contiguous. */
static bool append(const s2n_emu *emu, uint64_t iova, uint64_t length, struct iovec *iov,
                   uint32_t *count)
{
    uint8_t *at = emu_translate(emu, iova, length);

    if (!at)
        return false;
    if (*count && (uint8_t *)iov[*count - 1].iov_base + iov[*count - 1].iov_len == at)
        iov[*count - 1].iov_len += length;
    else
        iov[(*count)++] = (struct iovec){.iov_base = at, .iov_len = length};
    return true;
}

/* Pages of which each is behind the one before. */
struct run {
    uint64_t iova, length;
};

/* They are added at once, if one region has them. */
static bool append_run(const s2n_emu *emu, struct run run, struct iovec *iov, uint32_t *count)
{
    if (!run.length || append(emu, run.iova, run.length, iov, count))
        return true;
    for (uint64_t left = run.length, page; left; left -= page, run.iova += page) {
        page = left < S2N_PAGE ? left : S2N_PAGE;
        if (!append(emu, run.iova, page, iov, count))
            return false;
    }
    return true;
}

/* The last entry of a list's page is a pointer to the next list if, and only
 * if, more than one page of data is still to come. */
static uint16_t map_list(const s2n_emu *emu, uint64_t list, uint32_t bytes, struct iovec *iov,
                         uint32_t *count)
{
    struct run run = {0};

    while (bytes) {
        uint32_t entries = (S2N_PAGE - list % S2N_PAGE) / 8;
        uint32_t pages = (bytes + S2N_PAGE - 1) / S2N_PAGE;
        const uint8_t *at = emu_translate(emu, list, 8 * (entries < pages ? entries : pages));

        for (uint32_t i = 0; at && bytes; i++) {
            uint64_t entry = s2n_get_le64(at + 8 * i);
            uint32_t length = bytes < S2N_PAGE ? bytes : S2N_PAGE;
            if (entry % S2N_PAGE)
                return EMU_PRP_OFFSET_INVALID;
            if (i + 1 == entries && bytes > S2N_PAGE) {
                list = entry;
                break;
            }
            if (entry != run.iova + run.length) {
                if (!append_run(emu, run, iov, count))
                    return EMU_DATA_TRANSFER_ERROR;
                run = (struct run){.iova = entry};
            }
            run.length += length;
            bytes -= length;
        }
        if (!at)
            return EMU_DATA_TRANSFER_ERROR;
    }
    return append_run(emu, run, iov, count) ? EMU_SUCCESS : EMU_DATA_TRANSFER_ERROR;
}

uint16_t emu_map_prps(const s2n_emu *emu, const struct emu_command *command, uint32_t bytes,
                      struct iovec *iov, uint32_t *count)
{
    uint32_t first = S2N_PAGE - command->prp1 % S2N_PAGE;

    *count = 0;
    if (command->prp1 % 4)
        return EMU_PRP_OFFSET_INVALID;
    if (first > bytes)
        first = bytes;
    if (!append(emu, command->prp1, first, iov, count))
        return EMU_DATA_TRANSFER_ERROR;
    bytes -= first;
    if (bytes == 0)
        return EMU_SUCCESS;
    if (bytes > S2N_PAGE) {
        if (command->prp2 % 8)
            return EMU_PRP_OFFSET_INVALID;
        return map_list(emu, command->prp2, bytes, iov, count);
    }
    if (command->prp2 % S2N_PAGE)
        return EMU_PRP_OFFSET_INVALID;
    return append(emu, command->prp2, bytes, iov, count) ? EMU_SUCCESS : EMU_DATA_TRANSFER_ERROR;
}
