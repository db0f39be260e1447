"""Mode page 0Ah and its subpage 01h."""

from __future__ import annotations

from collections.abc import Mapping

from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.unit.mode_pages.page import ModePage


def _control_defaults(facts: NamespaceFacts) -> Mapping[str, int]:
    minutes = facts.controller.edstt if facts.controller_bit("oacs", 4) else 0
    return {
        "tst": 1,  # a task set for each I_T nexus
        "gltsd": 1,
        "queue_algorithm_modifier": 1,  # tasks are reordered without restriction
        "tas": 1,
        "busy_timeout_period": 0xFFFF,
        "self_test_completion_time": min(minutes * 60, 0xFFFF),
    }


def _tagged(facts: NamespaceFacts) -> bool:
    """Whether blocks have application tags that initiators can send."""
    return facts.moves_protection


CONTROL = ModePage(
    0x0A,
    Structure(
        "Control",
        12,
        (
            Field("tst", 2, 5, 3, "task set type"),
            Field("tmf_only", 2, 4, 1),
            Field("dpicz", 2, 3, 1),
            Field("d_sense", 2, 2, 1, "sense data in descriptor format"),
            Field("gltsd", 2, 1, 1),
            Field("rlec", 2, 0, 1),
            Field("queue_algorithm_modifier", 3, 4, 4),
            Field("nuar", 3, 3, 1),
            Field("qerr", 3, 1, 2),
            Field("vs", 4, 7, 1),
            Field("rac", 4, 6, 1),
            Field("ua_intlck_ctrl", 4, 4, 2),
            Field("swp", 4, 3, 1, "software write protect"),
            Field("ato", 5, 7, 1, "application tags are the initiators' own"),
            Field("tas", 5, 6, 1, "task aborted status"),
            Field("atmpe", 5, 5, 1, "page 0Ah/02h says what they are to be"),
            Field("rwwp", 5, 4, 1),
            Field("autoload_mode", 5, 0, 3),
            Field("busy_timeout_period", 8, 0, 16, "100 ms, FFFFh: no limit"),
            Field("self_test_completion_time", 10, 0, 16, "seconds, of the extended self-test"),
        ),
        spec="SPC-4 7.5.8",
    ),
    changeable=("d_sense", "swp", "tas", "ato", "atmpe"),
    only_where={"ato": _tagged, "atmpe": _tagged},
    defaults=_control_defaults,
    wrong=lambda values, device: "atmpe" if values.atmpe and not values.ato else "",
)


def _extension_defaults(facts: NamespaceFacts) -> Mapping[str, int]:
    """Another host, or its operator, may set the controller's clock as we do."""
    return {"tcmos": facts.timestamp, "scsip": facts.timestamp}


CONTROL_EXTENSION = ModePage(
    0x0A,
    Structure(
        "Control Extension",
        32,
        (
            Field("tcmos", 4, 2, 1, "others than SET TIMESTAMP may set the timestamp"),
            Field("scsip", 4, 1, 1, "SET TIMESTAMP may, all the same"),
            Field("ialuae", 4, 0, 1),
            Field("initial_command_priority", 5, 0, 4),
            Field("maximum_sense_data_length", 6),
        ),
        spec="SPC-4 7.5.9",
    ),
    subpage=0x01,
    defaults=_extension_defaults,
)


PAGES = (CONTROL, CONTROL_EXTENSION)
