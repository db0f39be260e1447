"""Callgrind's output, and which layer a function belongs to."""

from __future__ import annotations

from pathlib import Path

from bench import instructions

PROFILE = """\
version: 1
positions: line
events: Ir

ob=(1) _dataplane.abi3.so
fl=(1) hot.c
fn=(1) s2n_hot
10 100
+1 20
cfn=(2) place.part.0
calls=3 40
12 9000
* 5

fn=(2)
40 7
-2 2

fn=(3) memcpy@@GLIBC_2.14
0 50
""".splitlines()


def test_calls_are_not_counted_twice() -> None:
    assert instructions.self_costs(PROFILE) == {
        "s2n_hot": 125,
        "place.part.0": 9,
        "memcpy@@GLIBC_2.14": 50,
    }


def test_clones_count_as_their_layer_and_strangers_as_other() -> None:
    layers = {"s2n_hot": "translation and reactor", "place": "NVMe driver"}
    sums = instructions.by_layer(instructions.self_costs(PROFILE), layers)
    assert sums["translation and reactor"] == 125
    assert sums["NVMe driver"] == 9
    assert sums[instructions.OTHER] == 50


def test_definitions_are_told_from_declarations_and_calls() -> None:
    source = """
static int place(struct queue *q,
                 int n)
{
    return other(q);
}

void declared(int n);

uint64_t *s2n_find(void)
{
}
"""
    assert instructions.defined_functions(source) == {"place", "s2n_find"}


def test_every_layer_has_functions_in_the_tree() -> None:
    root = Path(__file__).parents[2]
    assert set(instructions.layers_of_functions(root).values()) == set(instructions.LAYERS)
