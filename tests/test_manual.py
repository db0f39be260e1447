"""The manual's pages: they are sound, and hold all that there is to say."""

from __future__ import annotations

import argparse
import re
import subprocess
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from scsi2nvme import manual
from scsi2nvme.api.configuration import ConfigFile
from scsi2nvme.cli.verbs import every_verb


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every page as a reader sees it, by its name; groff has nothing to warn of in any."""
    directory = tmp_path_factory.mktemp("man")
    manual.main(directory)
    files = sorted(directory.glob("man?/*"))
    groff = ["groff", "-man", "-Tascii", "-P-cbou", "-ww", "-rLL=2000n", *map(str, files)]
    done = subprocess.run(groff, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    whole = re.split(r"^(\S+)\([58]\) .*\(\d\)$", done.stdout, flags=re.M)
    shown = dict(zip(whole[1::2], whole[2::2], strict=True))
    assert len(shown) == len(files) == len(every_verb()) + 2
    return {name.lower(): " ".join(text.split()) for name, text in shown.items()}


@pytest.mark.parametrize("verb", every_verb(), ids=lambda verb: verb.name)
def test_a_verb_has_a_page_with_all_of_its_help(verb: Any, pages: dict[str, str]) -> None:
    page = pages[f"scsi2nvme-{verb.name}"]
    parser = argparse.ArgumentParser(add_help=False)
    verb.arguments(parser)
    for action in parser._actions:
        assert " ".join((action.help or "").replace("`", "").split()) in page
        for name in action.option_strings:
            assert name in page
    assert " ".join(verb.description.replace("`", "").split()) in page
    for text in (each if isinstance(each, str) else each() for each in verb.epilog):
        for word in text.partition("\n")[2].replace("`", "").split():
            assert word in page
    assert verb.doc in pages["scsi2nvme"]


def test_every_key_of_the_configuration_is_explained(pages: dict[str, str]) -> None:
    page = pages["scsi2nvme.toml"]
    kinds: list[Any] = [ConfigFile]
    for kind in kinds:
        hints = get_type_hints(kind)
        for field in fields(kind):
            assert field.metadata["doc"].replace("`", "") in page
            parts = [part for part in get_args(hints[field.name]) if is_dataclass(part)]
            kinds += [part for part in parts if part not in kinds]
            assert (f"{field.name}]" if parts else f"{field.name} = ") in page


def test_text_is_text_whatever_is_in_it(tmp_path: Path) -> None:
    text = ".TH \\fBa\\fR 'x' `b` -c"
    lines = [*manual.head("x", 8), ".SH A", *manual.verbatim([text, f"  {text}"])]
    file = tmp_path / "x.8"
    file.write_text("\n".join([*lines, ".SH B", manual.prose(text)]) + "\n")
    groff = ["groff", "-man", "-Tascii", "-P-cbou", "-ww", str(file)]
    done = subprocess.run(groff, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.count(text) == 2
    assert text.replace("`", "") in done.stdout
