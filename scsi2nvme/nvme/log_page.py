"""Get Log Page, in the one form that it has. Spec: NVMe Base 2.0c 5.16."""

from __future__ import annotations

from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand

RETAIN_EVENT = 1 << 15  # of CDW10: RAE


def get_log_page(
    lid: int, nsid: int, length: int, *, offset: int = 0, retain: bool = True, lsp: int = 0
) -> NvmeCommand:
    """Return the command for `length` bytes, whole dwords, from byte `offset`.

    Unless `retain`, the page's asynchronous event is acknowledged, which is the driver's affair.
    """
    numd = length // 4 - 1
    return NvmeCommand(
        AdminOpcode.GET_LOG_PAGE,
        nsid,
        cdw10=lid | lsp << 8 | (RETAIN_EVENT if retain else 0) | (numd & 0xFFFF) << 16,
        cdw11=numd >> 16,
        cdw12=offset & 0xFFFFFFFF,
        cdw13=offset >> 32,
        data_in=length,
        admin=True,
    )
