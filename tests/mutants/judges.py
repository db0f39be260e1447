"""Which fast tests judge a file, the soonest to fail first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SANITIZED = "sanitized/"  # and a program's name: who notices under a sanitizer alone


@dataclass(frozen=True)
class Stage:
    """What is run at once: executables of `tests/c`, or what pytest is to run."""

    programs: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    sanitized: bool = False  # the programs, under ASan and UBSan


@dataclass(frozen=True)
class _Rule:
    """Of what lies under a prefix: globs of C tests and of those that fuzz, then of pytest.

    `forked` judge first, in a process that has imported them all, and what they test.
    """

    prefix: str
    programs: tuple[str, ...] = ()
    fuzz: tuple[str, ...] = ()
    tests: tuple[tuple[str, ...], ...] = ()
    forked: tuple[str, ...] = ()


_MODEL = ("tests/model/test_model.py",)
_CORE = ("tests/test_engine.py", "tests/test_first_failing_block.py", "tests/test_portions.py")
_CARRIED = ("tests/native", "tests/target/iscsi")
_TRANSLATION = (
    *_CORE,
    *("tests/commands", "tests/scsi", "tests/nvme"),
    *("tests/test_status_map.py", "tests/test_unit_attentions.py"),
)
_DRIVER = ("tests/drivers/nvme", "tests/nvme")
_SERVICE = ("tests/service",)
# What is passed through without a daemon, and with one, which is another process.
_PASSED = ("tests/cli/test_passable.py", "tests/service/test_by_hand.py")
_PASSING = (
    ("tests/cli/test_passing.py", "tests/cli/test_passing_by_one.py"),
    ("tests/cli/test_asking.py", "tests/cli/test_scsi_passthru.py", "tests/cli/test_firmware.py"),
    ("tests/cli/test_namespace_verbs.py", "tests/cli/test_dumps.py", "tests/cli/test_wrong.py"),
)
_RULES = (
    _Rule(
        "scsi2nvme/csrc/",
        (
            *("test_hot*", "test_blocks*", "test_verify*", "test_drain*", "test_pool*"),
            *("test_unit*", "test_heap*", "test_reactor*", "test_spin*"),
            *("test_task*", "test_plane*"),
            *("test_alone*", "test_compare*"),
        ),
        tests=(("tests/native", *_CORE), ("tests/service", "tests/target/iscsi"), _MODEL),
    ),
    _Rule(
        "target/iscsi/csrc/",
        ("test_iscsi*",),
        ("fuzz_iscsi",),
        (("tests/target/iscsi",), ("tests/integration/test_residuals.py",)),
    ),
    _Rule("target/tcmu/csrc/", ("test_tcmu*",), ("fuzz_tcmu",), (("tests/target/tcmu",),)),
    _Rule(
        "drivers/nvme/csrc/",
        ("test_qpair*", "test_reactor*", "test_plane*", "test_task*", "test_drain*"),
        ("fuzz_nvme",),
        (("tests/native",), ("tests/drivers/nvme", "tests/test_first_failing_block.py")),
    ),
    _Rule(
        "drivers/emulated/csrc/",
        ("test_emulated*",),
        tests=(("tests/native",), ("tests/drivers/emulated", "tests/drivers/nvme"), _MODEL),
    ),
    _Rule(
        "scsi2nvme/commands/",
        tests=(
            ("tests/test_ctables.py", "tests/service/test_tokens.py"),
            ("tests/fuzz/test_properties.py", *_MODEL),
        ),
        forked=_TRANSLATION,
    ),
    _Rule("scsi2nvme/engine.py", tests=(_MODEL,), forked=_TRANSLATION),
    _Rule("scsi2nvme/status_map.py", tests=(_MODEL,), forked=_TRANSLATION),
    _Rule("scsi2nvme/unit/", tests=(_SERVICE, _MODEL), forked=_TRANSLATION),
    _Rule("scsi2nvme/nvme/", tests=(_DRIVER, *_PASSING[:1], _SERVICE), forked=_TRANSLATION),
    _Rule(
        "scsi2nvme/executor.py",
        tests=(("tests/test_executor.py",), ("tests/service", *_CORE), _MODEL),
    ),
    _Rule("scsi2nvme/service/by_hand.py", tests=_PASSING, forked=_SERVICE),
    _Rule("scsi2nvme/service/", tests=(_CARRIED, _MODEL), forked=_SERVICE),
    _Rule("drivers/nvme/", tests=(("tests/drivers/emulated",), *_PASSING[:1]), forked=_DRIVER),
    *(
        _Rule(f"scsi2nvme/{name}", tests=_PASSING, forked=_PASSED)
        for name in (
            *("api/passing.py", "cli/passing/", "cli/verbs/passing.py"),
            *("cli/daemon/passing.py", "cli/daemon/by_hand.py"),
        )
    ),
)


def forked_of(path: str) -> tuple[str, ...]:
    """Return the tests that judge a file first, in forks of a process that has imported them."""
    return _rule(path).forked


def beside_forks(stage: Stage, forked: tuple[str, ...]) -> Stage:
    """Return a stage without the tests that judge in forks."""
    return Stage(tests=tuple(test for test in stage.tests if not test.startswith(forked)))


def stage_of(judge: str) -> Stage:
    """Return one program, or one test, that noticed a mutant, as a stage of its own."""
    if judge.startswith(("tests/c/", SANITIZED)):
        return Stage(programs=(Path(judge).name,), sanitized=judge.startswith(SANITIZED))
    return Stage(tests=(judge,))


def judges_of(path: str, near: Sequence[str] = ()) -> tuple[Stage, ...]:
    """Return what judges a file, in turn: C first, and of each kind first what `near` names.

    What all C tests let pass they run once more where a leak, or a byte beyond, is a failure.
    """
    first = [stage_of(judge) for judge in near if judge.startswith("tests/c/")]
    if tests := tuple(judge for judge in near if not judge.startswith("tests/c/")):
        first.append(Stage(tests=tests))
    stages = [*first, *_stages_of(path)]
    native = [stage for stage in stages if stage.programs]
    if programs := tuple(dict.fromkeys(name for stage in native for name in stage.programs)):
        native.append(Stage(programs, sanitized=True))
    return (*native, *(stage for stage in stages if stage.tests))


def _rule(path: str) -> _Rule:
    return next(rule for rule in _RULES if path.startswith(rule.prefix))


def _stages_of(path: str) -> tuple[Stage, ...]:
    rule = _rule(path)
    word = Path(path).stem.split("_")[0]
    globs = sorted(rule.programs, key=lambda name: not name.startswith(f"test_{word}"))
    stages = [Stage(programs=tuple(_programs(name))) for name in (*globs, *rule.fuzz)]
    stages += [Stage(tests=tests) for tests in (_own(path, rule), rule.forked, *rule.tests)]
    return tuple(stage for stage in stages if stage.programs or stage.tests)


def subjects() -> list[str]:
    """Return the files that are mutated, relative to the checkout."""
    files = {path for rule in _RULES for path in _under(ROOT / rule.prefix)}
    return sorted(str(path.relative_to(ROOT)) for path in files)


def _under(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return [path for path in place.rglob("*") if path.suffix in (".c", ".py")]


def _programs(name: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / "tests/c").glob(f"{name}.c"))


def _own(path: str, rule: _Rule) -> tuple[str, ...]:
    """Return the modules that are named after a file, of the folders whose tests are forked."""
    folders = [name for name in rule.forked if not name.endswith(".py")]
    return tuple(test for folder in folders for test in _of_its_name(path, folder))


def _of_its_name(path: str, folder: str) -> list[str]:
    """Return the modules of `folder` that are named after a file's package, or the file.

    As many words of the name count as any module shares.
    """
    for name in (Path(path).parent.name, Path(path).stem):
        words = name.split("_")
        for count in range(len(words), 0, -1):
            found = sorted((ROOT / folder).glob(f"test_{'_'.join(words[:count])}*.py"))
            if found:
                return [str(each.relative_to(ROOT)) for each in found]
    return []
