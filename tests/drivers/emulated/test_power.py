"""The emulated controller's power states."""

from __future__ import annotations

import pytest

from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER, POWER_STATE
from tests.drivers.emulated.host import Host, get_feature, identify, on_host, set_feature

POWER, APST = 0x02, 0x0C


def table(*entries: tuple[int, int]) -> bytes:
    """Return a table of (state, milliseconds)."""
    rows = [(state << 3 | ms << 8).to_bytes(8, "little") for state, ms in entries]
    return b"".join(rows).ljust(256, b"\0")


@pytest.mark.parametrize(
    ("options", "non_operational", "apsta"),
    [({}, [False, True], 0), ({"power_states": 5}, [False, False, False, True, True], 1)],
)
def test_which_states_there_are(
    options: dict[str, int], non_operational: list[bool], apsta: int
) -> None:
    @on_host(**options)
    async def check(host: Host) -> None:
        controller = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
        raw = controller.bytes("psds")
        states = [POWER_STATE.parse(raw[32 * n :]) for n in range(controller.npss + 1)]
        assert [bool(state.nops) for state in states] == non_operational
        watts = [state.mp / (10000 if state.mxps else 100) for state in states]
        assert watts == sorted(watts, reverse=True)
        assert controller.apsta == apsta
        last = len(states) - 1
        await host.ok(set_feature(POWER, last))
        assert (await host.execute(get_feature(POWER))).dw0 == last
        refused = await host.execute(set_feature(POWER, last + 1))
        assert refused.status == StatusCode.INVALID_FIELD

    check()


@on_host(power_states=5)
async def test_the_table_of_transitions_is_kept_until_a_reset(host: Host) -> None:
    wanted = table((3, 100), (3, 100), (3, 100), (4, 2000))
    await host.ok(set_feature(APST, 1, data_out=wanted))
    assert await host.ok(get_feature(APST, data_in=256)) == wanted
    assert (await host.execute(get_feature(APST, data_in=256))).dw0 == 1
    host.disable()
    host.enable()
    assert await host.ok(get_feature(APST, data_in=256)) == bytes(256)


@pytest.mark.parametrize("state", [2, 5])
def test_a_table_leads_to_states_that_rest(state: int) -> None:
    @on_host(power_states=5)
    async def check(host: Host) -> None:
        refused = await host.execute(set_feature(APST, 1, data_out=table((state, 100))))
        assert refused.status == StatusCode.INVALID_FIELD

    check()


@on_host()
async def test_two_states_have_no_transitions(host: Host) -> None:
    assert (await host.execute(get_feature(APST, data_in=256))).status == StatusCode.INVALID_FIELD
    refused = await host.execute(set_feature(APST, 1, data_out=table()))
    assert refused.status == StatusCode.INVALID_FIELD
