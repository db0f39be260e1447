"""Callgrind's output, and which layer a source belongs to."""

from __future__ import annotations

from pathlib import Path

from bench import instructions

PROFILE = """\
version: 1
positions: line
events: Ir

ob=(1) _dataplane.abi3.so
fl=(1) /here/build/editable/../../scsi2nvme/csrc/hot.c
fn=(1) s2n_hot
10 100
+1 20
fi=(2) ../../drivers/csrc/little_endian.h
5 30
fe=(1)
cfi=(3) /here/scsi2nvme/csrc/pool.c
cfn=(2) place.part.0
calls=3 40
12 9000
* 5

fl=(3)
fn=(2)
40 7
-2 2

fl=(4) ./string/memmove.S
fn=(3) memcpy@@GLIBC_2.14
0 50
""".splitlines()


def test_what_was_inlined_counts_as_its_own_and_calls_not_twice() -> None:
    assert instructions.costs_of_files(PROFILE) == {
        "/here/build/editable/../../scsi2nvme/csrc/hot.c": 125,
        "../../drivers/csrc/little_endian.h": 30,
        "/here/scsi2nvme/csrc/pool.c": 9,
        "./string/memmove.S": 50,
    }


def test_sources_count_as_their_layer_and_strangers_as_other() -> None:
    sums = instructions.by_layer(instructions.costs_of_files(PROFILE))
    assert sums["translation"] == 125
    assert sums["NVMe driver"] == 30
    assert sums["reactor, tasks, buffers, counting"] == 9
    assert sums[instructions.OTHER] == 50


def test_every_layer_has_sources_in_the_tree() -> None:
    root = Path(__file__).parents[2]
    sources = (str(each) for each in root.glob("*/**/csrc/*.[ch]"))
    assert set(map(instructions.layer_of, sources)) == {*instructions.LAYERS, instructions.OTHER}
