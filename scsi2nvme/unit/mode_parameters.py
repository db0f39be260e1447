"""The mode parameters of one logical unit: what MODE SELECT has set, and saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Any

from scsi2nvme.fields import Values
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.protection import NO_APPLICATION_TAG, Protection
from scsi2nvme.records import dataclass
from scsi2nvme.typed import table
from scsi2nvme.unit.block_device import BlockDevice
from scsi2nvme.unit.mode_pages import PAGES
from scsi2nvme.unit.mode_pages.application_tag import APPLICATION_TAG, application_tags
from scsi2nvme.unit.mode_pages.control import CONTROL
from scsi2nvme.unit.mode_pages.page import ModePage, PageControl
from scsi2nvme.unit.store import Store, load_as


def pages_of(facts: NamespaceFacts) -> tuple[tuple[str, bytes], ...]:
    """Return the mode pages of a namespace, by key, with their default values."""
    return tuple(
        (page.key, page.layout.build(**page.defaults(facts)))
        for page in PAGES
        if page.supported(facts)
    )


class ModeParameters:
    """The mode parameters of one logical unit, but for the controller's features.

    Saved values outlive a restart; a logical unit reset returns to them.
    Spec: SPC-4 5.10 (current, default, saved and changeable values).
    """

    def __init__(self, device: BlockDevice, store: Store, changed: Callable[[], None]) -> None:
        """Return to what `store` holds; `changed` is called after every change."""
        self._device = device
        self._store = store
        self._changed = changed
        # The block length that MODE SELECT asked FORMAT UNIT for. Spec: SBC-3 6.4.2.1.
        self.pending_block_bytes: int | None = None
        # And of what they are: facts and capacity.
        self._defaults: dict[str, tuple[NamespaceFacts, int, bytes]] = {}
        self._saved = self._load()
        self._current = dict(self._saved)

    @property
    def swp(self) -> bool:
        """Software write protect. Spec: SPC-4 7.5.8."""
        return self._control("swp")

    @property
    def descriptor_sense(self) -> bool:
        """D_SENSE: sense data in descriptor format. Spec: SPC-4 7.5.8."""
        return self._control("d_sense")

    @property
    def task_aborted_status(self) -> bool:
        """TAS: TASK ABORTED for commands that another nexus aborts. Spec: SPC-4 7.5.8."""
        return self._control("tas")

    @property
    def owns_application_tags(self) -> bool:
        """ATO: application tags are the initiators' own. Spec: SPC-4 7.5.8."""
        return self._control("ato")

    def protection(self, kept: Protection) -> Protection:
        """Return what is `kept` of protection information with what initiators say of their tags.

        Where they own these, such as the controller makes are of blocks that are not checked, and
        others are what page 0Ah/02h says, if that is enabled. Spec: SBC-4 5.16, 5.40 (WRPROTECT).
        """
        control = self.page(CONTROL)
        if not control.ato:
            return kept
        expected = application_tags(self.page(APPLICATION_TAG)) if control.atmpe else ()
        return replace(kept, application_tag=NO_APPLICATION_TAG, expected=expected)

    def _control(self, name: str) -> bool:
        return bool(self.field(CONTROL, name))

    def field(self, page: ModePage, name: str) -> int:
        """Return the current value of a page's field."""
        return self.page(page)[name]

    def page(self, page: ModePage) -> Values:
        """Return the current values of a page."""
        return page.layout.parse(self.values(page, PageControl.CURRENT))

    def values(self, page: ModePage, control: PageControl) -> bytes:
        """Return a page's bytes; its header, and a field that is a feature, are zero."""
        if control is PageControl.CHANGEABLE:
            return page.changeable_bits(self._device.facts)
        default = self._default(page)
        if control is PageControl.DEFAULT:
            return default
        chosen = self._current if control is PageControl.CURRENT else self._saved
        values = chosen.get(page.key)
        if values is None:
            return default
        # What may not change follows the namespace, whatever was set or saved before.
        changeable = page.changeable_bits(self._device.facts)
        return bytes(
            was & ~bits | now & bits
            for was, now, bits in zip(default, values, changeable, strict=True)
        )

    def _default(self, page: ModePage) -> bytes:
        """Return a page's default values, worked out anew for other facts or capacity."""
        device, facts = self._device, self._device.facts
        capacity = device.capacity_blocks
        known = self._defaults.get(page.key)
        if known is None or known[0] is not facts or known[1] != capacity:
            fields = {**page.defaults(facts), **page.derived(device)}
            known = facts, capacity, page.layout.build(**fields)
            self._defaults[page.key] = known
        return known[2]

    def change(self, page: ModePage, values: bytes) -> None:
        """Make `values` a page's current ones. The caller has checked them."""
        self._current[page.key] = values
        self._changed()

    def save(self) -> None:
        """Save the current values of every page; UnsavedState leaves the saved ones as they are."""
        current = dict(self._current)
        for page in PAGES:
            if page.unsaved and page.key in current:
                values = bytearray(current[page.key])
                page.layout.write(values, **dict.fromkeys(page.unsaved, 0))
                current[page.key] = bytes(values)
        pages = {key: values.hex() for key, values in current.items()}
        self._store.save(self._store_key, {"pages": pages})
        self._saved = current

    def reset(self) -> None:
        """Return to the saved values: a logical unit reset. Spec: SPC-4 5.10."""
        self._current = dict(self._saved)
        self.pending_block_bytes = None

    @property
    def _store_key(self) -> str:
        return f"mode/{self._device.state_key}"

    def _load(self) -> dict[str, bytes]:
        """Return what was saved; a page whose layout has another size counts as unsaved."""
        former = self._device.former_state_key
        saved = load_as(self._store, self._store_key, former and f"mode/{former}", _pages) or {}
        sizes = {page.key: page.layout.size for page in PAGES}
        return {key: values for key, values in saved.items() if sizes.get(key) == len(values)}


@dataclass(frozen=True)
class _Saved:
    """What `save` writes down: pages in hexadecimal."""

    pages: dict[str, str] = field(default_factory=dict)


def _pages(value: Mapping[str, Any]) -> dict[str, bytes]:
    """Return saved pages by their keys; ValueError if these are none."""
    return {key: bytes.fromhex(values) for key, values in table(value, _Saved).pages.items()}
