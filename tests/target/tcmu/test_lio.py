"""The kernel's target configuration, against a stand-in of rtslib's objects."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scsi2nvme.target.portal_address import PortalAddress
from scsi2nvme.target.tcmu import lio as lio_module
from scsi2nvme.target.tcmu.lio import Backstore, Chap, LioError, Publication, export, unexport

IQN = "iqn.2026-11.test:disk"
ALICE, BOB = "iqn.2026-11.test:alice", "iqn.2026-11.test:bob"
FIRST = Backstore(0, "nvme-0-1", "nvme/0/1", 1 << 30, "", "one")
SECOND = Backstore(1, "nvme-0-2", "nvme/0/2", 1 << 30, "hw_block_size=4096", "two")
HERE = PortalAddress("127.0.0.1", 3260)


class RTSLibError(Exception):
    """As rtslib raises."""


class Lio:
    """What rtslib has of interest: objects that exist once they were made."""

    RTSLibError = RTSLibError

    def __init__(self, dbroot: Path) -> None:
        self.dbroot = dbroot
        self.storages: list[Any] = []
        self.target_nodes: dict[str, Any] = {}
        self.saved: list[str] = []
        self.made: list[str] = []
        lio = self

        class RTSRoot:
            _preferred_dbroot = str(dbroot / "nowhere")

            def __new__(cls) -> Any:
                return lio._root()

        self._root_class = RTSRoot

    # rtslib's names

    @property
    def RTSRoot(self) -> Any:  # noqa: N802
        return self._root_class

    def _root(self) -> Any:
        preferred = Path(self._root_class._preferred_dbroot)
        if not preferred.is_dir():  # since 2.1.67
            raise RTSLibError(f"Cannot set dbroot to {preferred}.")
        return SimpleNamespace(
            dbroot=str(self.dbroot),
            storage_objects=iter(self.storages),
            targets=iter(self.target_nodes.values()),
            save_to_file=self._save,
        )

    def _save(self, path: str) -> None:
        self.saved.append(path)

    def FabricModule(self, name: str) -> str:  # noqa: N802
        assert name == "iscsi"
        return name

    def UserBackedStorageObject(self, name: str, **given: Any) -> Any:  # noqa: N802
        if given["size"] > 1 << 40:
            raise RTSLibError("Cannot enable\nthe device")
        storage = SimpleNamespace(name=name, plugin="user", **given)
        storage.attached_luns = []
        storage.delete = lambda: self.storages.remove(storage)
        self.storages.append(storage)
        self.made.append(name)
        return storage

    def Target(self, fabric: str, iqn: str) -> Any:  # noqa: N802
        if iqn not in self.target_nodes:
            target = SimpleNamespace(wwn=iqn, tpgs=[])
            target.delete = lambda: self._delete_target(target)
            self.target_nodes[iqn] = target
        return self.target_nodes[iqn]

    def _delete_target(self, target: Any) -> None:
        for group in target.tpgs:
            for lun in list(group.luns):
                lun.delete()
        del self.target_nodes[target.wwn]

    def TPG(self, target: Any, tag: int) -> Any:  # noqa: N802
        if not target.tpgs:
            group = SimpleNamespace(
                enable=False, network_portals=[], luns=[], node_acls=[], attributes={}
            )
            group.set_attribute = group.attributes.__setitem__
            target.tpgs.append(group)
        return target.tpgs[0]

    def _member(self, of: list[Any], **what: Any) -> Any:
        member = SimpleNamespace(**what)
        member.delete = lambda: of.remove(member)
        of.append(member)
        self.made.append(str(what))
        return member

    def NetworkPortal(self, group: Any, ip_address: str, port: int) -> Any:  # noqa: N802
        return self._member(group.network_portals, ip_address=ip_address, port=port)

    def LUN(self, group: Any, lun: int, storage_object: Any) -> Any:  # noqa: N802
        member = self._member(group.luns, lun=lun, storage_object=storage_object)
        storage_object.attached_luns.append(member)

        def delete() -> None:
            group.luns.remove(member)
            storage_object.attached_luns.remove(member)

        member.delete = delete

    def NodeACL(self, group: Any, node_wwn: str) -> Any:  # noqa: N802
        return self._member(group.node_acls, node_wwn=node_wwn, mapped_luns=[])

    def MappedLUN(self, acl: Any, mapped_lun: int, tpg_lun: int) -> Any:  # noqa: N802
        assert mapped_lun == tpg_lun
        return self._member(acl.mapped_luns, mapped_lun=mapped_lun)

    # For tests

    @property
    def group(self) -> Any:
        return self.target_nodes[IQN].tpgs[0]


@pytest.fixture
def lio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lio:
    monkeypatch.setattr(lio_module, "SAVED", (tmp_path / "debian", tmp_path / "everyone"))
    return Lio(tmp_path / "target")


def test_everyone_may_log_in_by_default(lio: Lio) -> None:
    export(lio, Publication(IQN, [FIRST, SECOND], [HERE]))
    assert [(row.name, row.config, row.size, row.wwn, row.control) for row in lio.storages] == [
        ("nvme-0-1", "nvme/0/1", 1 << 30, "one", "max_data_area_mb=64"),
        ("nvme-0-2", "nvme/0/2", 1 << 30, "two", "hw_block_size=4096,max_data_area_mb=64"),
    ]
    assert [(row.lun, row.storage_object.name) for row in lio.group.luns] == [
        (0, "nvme-0-1"),
        (1, "nvme-0-2"),
    ]
    assert [(row.ip_address, row.port) for row in lio.group.network_portals] == [
        ("127.0.0.1", 3260)
    ]
    assert lio.group.enable
    assert lio.group.attributes == {
        "authentication": 0,
        "generate_node_acls": 1,
        "cache_dynamic_acls": 1,
        "demo_mode_write_protect": 0,
    }
    assert len(lio.saved) == 1


@pytest.mark.parametrize("name", ["debian", "everyone"])
def test_the_kernel_keeps_things_where_the_system_looks_for_them(
    lio: Lio, tmp_path: Path, name: str
) -> None:
    """Whichever directory our own rtslib would have; where the system has none, it is made."""
    if name == "debian":
        (tmp_path / name).mkdir()
    export(lio, Publication(IQN, [FIRST], [HERE]))
    assert lio.RTSRoot._preferred_dbroot == str(tmp_path / name)
    assert lio.saved == [str(tmp_path / name / "saveconfig.json")]


def test_the_kernel_can_keep_reservations(lio: Lio) -> None:
    export(lio, Publication(IQN, [FIRST], [HERE]))
    assert (lio.dbroot / "pr").is_dir()


@pytest.mark.parametrize("initiators", [(), (ALICE, BOB)])
def test_again_changes_nothing(lio: Lio, initiators: tuple[str, ...]) -> None:
    wanted = Publication(IQN, [FIRST, SECOND], [HERE, PortalAddress("::1", 3260)], initiators)
    export(lio, wanted)
    lio.made.clear()
    export(lio, wanted)
    assert lio.made == []
    assert len(lio.storages) == len(lio.group.luns) == len(lio.group.network_portals) == 2


def test_only_the_named_may_log_in(lio: Lio) -> None:
    chap, mutual = Chap("host", "a secret"), Chap("disk", "another")
    export(lio, Publication(IQN, [FIRST], [HERE], [ALICE], chap, mutual))
    (acl,) = lio.group.node_acls
    assert acl.node_wwn == ALICE
    assert [row.mapped_lun for row in acl.mapped_luns] == [0]
    assert (acl.chap_userid, acl.chap_password) == ("host", "a secret")
    assert (acl.chap_mutual_userid, acl.chap_mutual_password) == ("disk", "another")
    assert lio.group.attributes["authentication"] == 1
    assert lio.group.attributes["generate_node_acls"] == 0


def test_what_is_no_longer_asked_for_goes(lio: Lio) -> None:
    export(lio, Publication(IQN, [FIRST, SECOND], [HERE], [ALICE, BOB], Chap("a", "b")))
    export(lio, Publication(IQN, [SECOND], [PortalAddress("10.0.0.1", 3261)], [BOB]))
    assert [row.lun for row in lio.group.luns] == [1]
    assert [row.ip_address for row in lio.group.network_portals] == ["10.0.0.1"]
    assert [row.node_wwn for row in lio.group.node_acls] == [BOB]
    assert lio.group.node_acls[0].chap_userid == ""


def test_another_backstore_of_that_name_is_left_alone(lio: Lio) -> None:
    lio.UserBackedStorageObject("nvme-0-1", config="nvme/7/1", size=1)
    with pytest.raises(LioError, match="nvme/7/1"):
        export(lio, Publication(IQN, [FIRST], [HERE]))
    assert lio.target_nodes == {}


def test_a_backstore_that_targetcli_made_is_used(lio: Lio) -> None:
    lio.UserBackedStorageObject("disk0", config="nvme/0/1", size=1 << 30)
    export(lio, Publication(IQN, [FIRST], [HERE]))
    assert [row.storage_object.name for row in lio.group.luns] == ["disk0"]


def test_a_refusal_is_one_line(lio: Lio) -> None:
    big = Backstore(0, "big", "nvme/0/3", 1 << 50, "", "x")
    with pytest.raises(LioError, match="Cannot enable the device"):
        export(lio, Publication(IQN, [big], [HERE]))


def test_unexport(lio: Lio) -> None:
    assert not unexport(lio, IQN)
    export(lio, Publication(IQN, [FIRST], [HERE], [ALICE]))
    other = lio.UserBackedStorageObject("image", config="qcow//image", size=1)
    lio.LUN(lio.group, 9, other)
    assert unexport(lio, IQN)
    assert lio.target_nodes == {}
    assert [row.name for row in lio.storages] == ["image"]
    assert not unexport(lio, IQN)
