"""Claims about what is loaded as the compiled step, and about what its functions take."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kinds import opened, runnable
from plain import digits, plain_losses, trial

from tuner.data.terms import Kind as TermKind
from tuner.data.terms import Terms
from tuner.errors import DeviceError
from tuner.learning import packs
from tuner.learning.activations import ACTIVATIONS
from tuner.learning.compiled import border, selftest
from tuner.learning.compiled import library as loading
from tuner.learning.compiled.border import Model, Visit, aligned, description, difference, model
from tuner.learning.compiled.elf import cut_off
from tuner.learning.compiled.library import Library, found
from tuner.learning.device import describe
from tuner.learning.initialization import initial_state
from tuner.learning.rows import PaddedRows
from tuner.spec.names import MOST_DEPTH

SOURCES = Path(border.__file__).parent
COMPILER = next(filter(None, map(shutil.which, ("cc", "gcc", "clang", "c++", "g++", "clang++"))), None)
CXX = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
needs_a_build = pytest.mark.skipif(not runnable(), reason="no C++ compiler was there when the project was installed")


@pytest.fixture
def anew() -> Iterator[None]:
    """What was found is forgotten, before and after."""
    found.cache_clear()
    yield
    found.cache_clear()


def stand_in(path: Path, text: str) -> None:
    """A library that describes itself with this text, and has nothing else."""
    if COMPILER is None:
        pytest.skip("no C compiler here")
    source, lines = path.with_suffix(".c"), text.replace("\n", "\\n")
    source.write_text(
        "#include <stdio.h>\nlong long tuner_interface(char *to, long long room)"
        f' {{ return snprintf(to, (size_t)room, "%s", "{lines}"); }}\n'
    )
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", path, source], check=True)


def without_description(path: Path) -> None:
    """As builds were before they described themselves."""
    if COMPILER is None:
        pytest.skip("no C compiler here")
    source = path.with_suffix(".c")
    source.write_text("long long tuner_format(void) { return 264144LL; }\n")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", path, source], check=True)


def copied(path: Path, change: Callable[[bytearray], bytes | bytearray]) -> None:
    """A real build, changed."""
    plain = loading.build_path("plain")
    if plain is None:
        pytest.skip("no C++ compiler was there when the project was installed")
    path.write_bytes(change(bytearray(plain.read_bytes())))


def other_machine(content: bytearray) -> bytearray:
    if content[:4] != b"\x7fELF":
        pytest.skip("not an ELF file")
    content[18:20] = b"\xf7\x00"  # e_machine: BPF, which runs nowhere as a shared library
    return content


MADE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no library": (
        lambda path: path.write_text("no library\n"),
        "file too short|invalid ELF header|not a mach-o|slice",
    ),
    "an empty file": (lambda path: path.touch(), "file too short|not a mach-o|slice|too short"),
    "a missing file": (lambda path: None, "No such file|cannot open|no such file"),
    "of before descriptions": (without_description, "from the sources of another version"),
    "another format": (
        lambda path: stand_in(path, description().replace(f"format {border.FORMAT}", "format 99")),
        rf"its format should have {border.FORMAT} where it has 99",
    ),
    "one activation fewer": (
        lambda path: stand_in(path, description().replace(" sigmoid", "")),
        "its activations should have sigmoid where it has nothing more",
    ),
    "one activation more": (
        lambda path: stand_in(path, description().replace("sigmoid", "sigmoid mish")),
        "its activations should have nothing more where it has mish",
    ),
    "losses the other way round": (
        lambda path: stand_in(path, description().replace("mse bce", "bce mse")),
        "its losses should have mse where it has bce",
    ),
    "kinds of terms the other way round": (
        lambda path: stand_in(path, description().replace("square logit", "logit square")),
        "its kinds should have square where it has logit",
    ),
    "a field elsewhere": (
        lambda path: stand_in(path, description().replace("beta:48:4", "beta:52:4")),
        "its Model should have beta:48:4 where it has beta:52:4",
    ),
    "a longer structure": (
        lambda path: stand_in(path, description().replace("State 40", "State 48")),
        "its State should have 40 where it has 48",
    ),
    "fewer structures": (
        lambda path: stand_in(path, description().partition("Visit")[0]),
        "its description should have other lines",
    ),
    "cut to a third": (lambda path: copied(path, lambda content: content[: len(content) // 3]), "the file is cut off"),
    "cut by a byte": (lambda path: copied(path, lambda content: content[:-1]), "the file is cut off"),
    "of another processor": (lambda path: copied(path, other_machine), "for this processor|architecture"),
}


@pytest.mark.parametrize("made", MADE)
def test_a_build_that_is_not_of_this_version_is_refused(
    made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anew: None
) -> None:
    """In one sentence with the file and the reason; then torch trains, unless the compiled step is asked for."""
    path = tmp_path / "_plain.so"
    make, reason = MADE[made]
    make(path)
    with pytest.raises(DeviceError, match=reason) as refused:
        Library(path)
    said = str(refused.value)
    assert said.startswith(f"the compiled step {path} cannot be used, for ")
    assert said.endswith("; install the tuner again.")
    monkeypatch.setattr(loading, "build_path", lambda build: path)
    assert found().step is None
    assert found().refused == (said,)
    assert packs.step_name("cpu", "auto") == "torch"
    assert said.rstrip(".") in describe("cpu", "auto")
    with pytest.raises(DeviceError, match=reason):
        packs.step_name("cpu", "compiled")


@needs_a_build
@pytest.mark.skipif(sys.platform != "linux", reason="the loaders of other systems look for themselves")
def test_a_build_that_is_cut_anywhere_is_refused_before_it_is_mapped(tmp_path: Path) -> None:
    """The loader maps what is missing as well, and the process ends at the first touch: so the length is checked."""
    plain = loading.build_path("plain")
    assert plain is not None
    assert not cut_off(plain)
    content, path = plain.read_bytes(), tmp_path / "_plain.so"
    draw = np.random.default_rng(0)
    lengths = [*range(70), *draw.integers(70, len(content), 40), len(content) - 1]
    for length in lengths:
        path.write_bytes(content[:length])
        with pytest.raises(DeviceError, match=r"is cut off|too short|invalid ELF|cannot read"):
            Library(path)


def test_without_a_build_the_reason_is_that_there_was_no_compiler(monkeypatch: pytest.MonkeyPatch, anew: None) -> None:
    """In `tuner validate`, and where the compiled step is asked for."""
    monkeypatch.setattr(loading, "build_path", lambda build: None)
    assert describe("cpu", "auto") == (
        "cpu (trained by torch's functions, for no C++ compiler was there when the tuner was installed)"
    )
    assert not packs.compiled("cpu", "auto")
    with pytest.raises(DeviceError, match="step: compiled cannot train here, for no C\\+\\+ compiler was there"):
        packs.compiled("cpu", "compiled")


@needs_a_build
def test_a_build_whose_training_is_wrong_is_refused_and_the_next_one_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anew: None
) -> None:
    """Compiled from sources in which AdamW forgets faster: it describes itself well, and fails its self-test."""
    if CXX is None:
        pytest.skip("no C++ compiler here")
    for source in SOURCES.glob("*.?pp"):
        shutil.copy(source, tmp_path)
    name, *others = runnable()
    source, wrong = tmp_path / "step.cpp", tmp_path / f"_{name}.so"
    right = source.read_text()
    assert right.count("0.999f") == 1
    source.write_text(right.replace("0.999f", "0.99f"))
    subprocess.run(
        [CXX, "-shared", "-fPIC", "-std=c++17", "-O0", "-w", "-o", wrong, source], check=True, capture_output=True
    )
    Library(wrong)
    with pytest.raises(DeviceError, match=f"{wrong} cannot be used, for in its self-test .* came to the losses"):
        loading.tested(wrong)
    real = loading.build_path
    monkeypatch.setattr(loading, "build_path", lambda build: wrong if build == name else real(build))
    found.cache_clear()
    step = found().step
    assert (None if step is None else step.name) == next(iter(others), None)
    assert "in its self-test" in found().why
    assert "in its self-test" in describe("cpu", "auto")


@pytest.mark.parametrize("case", list(selftest.cases()), ids=border.LOSSES)
def test_the_self_test_compares_with_pytorchs_numbers(case: selftest.Case) -> None:
    """Each known loss is the plain loop's to a tenth of the tolerance, whatever build or processor is here."""
    assert set(selftest.KNOWN) == set(border.ACTIVATIONS)
    for one in case.trials:
        losses = plain_losses(one, *case.rows, case.loss, 1, terms=case.terms)
        known = case.known[one.point.activation]
        np.testing.assert_allclose([losses[0][0], losses[1][0]], known, rtol=selftest.TOLERANCE / 10)


def test_the_self_test_has_every_part_that_a_trial_may_have() -> None:
    """Kinds, norm, dropout, noise, weight decay, schedule and clipping occur, with every loss, activation and term."""
    points = [one.point for case in selftest.cases() for one in case.trials]
    assert {case.loss for case in selftest.cases()} == set(border.LOSSES)
    assert {kind for case in selftest.cases() if case.terms for kind in case.terms.kinds} == set(TermKind)
    assert {point.activation for point in points} == set(ACTIVATIONS)
    assert {"sparse", "variational", "plain"} <= {point.kind for point in points}
    for name in ("dropout", "input_noise", "weight_decay", "norm", "schedule", "warmup", "clip_norm"):
        assert len({getattr(point, name) for point in points}) == 2


@pytest.mark.parametrize("build", runnable())
def test_every_build_here_passes_its_self_test(build: str) -> None:
    """The best one, and those that ask for less."""
    assert selftest.wrong_numbers(opened(build)) is None


def test_the_description_differs_only_where_it_differs() -> None:
    """This version's own is taken."""
    assert difference(description()) is None


def test_there_is_room_for_the_deepest_network_that_a_study_may_name() -> None:
    """Of every depth up to the largest, both sides."""
    point = trial(0, depth=MOST_DEPTH, width=4, bottleneck=2).point
    assert model(5, point, "mse").layers == border.MOST_LAYERS


def changed(made: Model, **fields: object) -> Model:
    copy = Model.from_buffer_copy(made)
    for name, value in fields.items():
        if isinstance(value, tuple):
            getattr(copy, name)[value[0]] = value[1]
        else:
            setattr(copy, name, value)
    return copy


WRONG = {
    "activation": [99, -1, len(border.ACTIVATIONS)],
    "loss": [2, 3, -1],
    "layers": [0, 3, 68, -2, 2**31 - 1],
    "batch": [0, -1],
    "features": [0, 65, -1],
    "dropped": [-1, 65536],
    "sizes": [(0, 0), (1, 2**31 - 16), (2, 17), (6, 16)],
    "units": [(1, 0), (3, 17)],
    "weights": [(0, -16), (1, 2**62)],
    "biases": [(0, -1), (5, 2**40)],
    "gains": [(0, 2**40), (1, -1)],
}


@pytest.mark.parametrize("build", runnable())
@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
def test_no_index_leads_outside_of_a_table_or_an_array(build: str, field: str, value: object) -> None:
    """Every number that is used as an index is checked at every function, and nothing is written; never a crash."""
    step, one, data = opened(build), trial(0, norm="layer", dropout=0.1), PaddedRows.of(*digits(20, 8))
    good, state = model(64, one.point, "mse"), initial_state(one, 64)
    work = aligned(step.room(good, 64))
    before = state.parameters.copy()
    visit = Visit(data.train_NF, np.arange(20), None, None, 0, 0)
    wrong = changed(good, **{field: value})
    calls: list[Callable[[], object]] = [
        lambda: step.train(wrong, visit, state, work),
        lambda: step.measure(wrong, data.validation_VF, 64, state.parameters, work),
        lambda: step.encode(wrong, data.validation_VF, 64, state.parameters),
    ]
    for call in calls:
        with pytest.raises((ValueError, MemoryError, IndexError)):
            call()
    assert np.array_equal(state.parameters, before)


WRONG_TERMS: dict[str, tuple[object, str]] = {
    "kinds": (np.array([0, 5, 2, 2]), "kinds must be numbers"),
    "a kind below": (np.array([0, -1, 2, 2]), "kinds must be numbers"),
    "a level without a group": (np.array([0, 2, 2, 2]), "groups must hold exactly"),
    "a group of numbers": (np.array([0, 1, 2, 1]), "groups must hold exactly"),
    "a group elsewhere": (np.array([2, 2, 0, 0]), "groups must hold exactly"),
    "a group too long": ([[2, 5]], "groups must be ranges"),
    "an empty group": ([[2, 2]], "groups must be ranges"),
    "a group before the first": ([[-2, 2]], "groups must be disjoint"),
    "groups that overlap": ([[2, 4], [3, 4]], "groups must be disjoint"),
    "groups out of order": ([[3, 4], [2, 3]], "groups must be disjoint"),
}


@pytest.mark.parametrize("build", runnable())
@pytest.mark.parametrize("wrong", WRONG_TERMS)
def test_no_term_leads_outside_of_its_arrays(build: str, wrong: str) -> None:
    """Kinds and groups are checked at every function; so is that terms are there with the loss that has them."""
    value, said = WRONG_TERMS[wrong]
    kinds, ones = np.array([0, 1, 2, 2], np.int32), np.ones(4, np.float32)
    groups = np.array([[2, 4]], np.int32)
    if isinstance(value, np.ndarray):
        kinds = value.astype(np.int32)
    else:
        groups = np.array(value, np.int32)
    step, one = opened(build), trial(0)
    bad = model(4, one.point, "mixed", Terms(kinds, groups, ones, ones, ones, True, (1.0, 1.0, 1.0)))
    rows, parameters = np.zeros((8, 16), np.float32), initial_state(one, 4).parameters
    for call in (
        lambda: step.room(bad, 8),
        lambda: step.measure(bad, rows, 8, parameters, aligned(10**6)),
        lambda: step.encode(bad, rows, 8, parameters),
    ):
        with pytest.raises(ValueError, match=said):
            call()


@pytest.mark.parametrize("build", runnable())
@pytest.mark.parametrize("fields", [{"loss": 0}, {"terms": None}])
def test_terms_are_there_with_the_loss_that_has_them_alone(build: str, fields: dict[str, object]) -> None:
    """Another loss with terms is refused, and the loss by terms without."""
    ones, step = np.ones(4, np.float32), opened(build)
    terms = Terms(np.zeros(4, np.int32), np.zeros((0, 2), np.int32), ones, ones, ones, True, (1.0, 1.0, 1.0))
    good = model(4, trial(0).point, "mixed", terms)
    assert step.room(good, 8) > 0
    with pytest.raises(ValueError, match="terms must be given"):
        step.room(changed(good, **fields), 8)


@pytest.mark.parametrize("build", runnable())
def test_no_row_or_room_is_taken_on_trust(build: str) -> None:
    """Row numbers out of range, arrays that are too short or of another type, and chunks of nothing are refused."""
    step, one, data = opened(build), trial(0), PaddedRows.of(*digits(20, 8))
    good, state = model(64, one.point, "mse"), initial_state(one, 64)
    work = aligned(step.room(good, 20))
    visit = Visit(data.train_NF, np.arange(20), None, None, 0, 0)
    noise = np.zeros((19, 64), np.float32)
    short = replace(state, parameters=state.parameters[:-1])
    wrong: list[Callable[[], object]] = [
        *(
            lambda row=row: step.train(good, replace(visit, order_N=np.array([0, row])), state, work)
            for row in (20, -1)
        ),
        lambda: step.train(good, replace(visit, order_N=np.arange(20, dtype=np.int32)), state, work),
        lambda: step.train(good, replace(visit, noise_NF=noise), state, work),
        lambda: step.train(good, replace(visit, train_NF=data.train_NF[:, :48].copy()), state, work),
        lambda: step.train(good, replace(visit, position=-1), state, work),
        lambda: step.train(good, visit, short, work),
        lambda: step.train(good, visit, state, work[:-1]),
        lambda: step.measure(good, data.validation_VF, 0, state.parameters, work),
        lambda: step.measure(good, data.validation_VF, 128, state.parameters, work),
        lambda: step.encode(good, data.validation_VF, -1, state.parameters),
        lambda: step.room(good, 0),
        lambda: step.activate(99, np.zeros(16, np.float32)),
        lambda: step.activate(-1, np.zeros(16, np.float32)),
        lambda: step.activate(0, np.zeros(17, np.float32)),
        lambda: step.activate(0, np.zeros(16)),
    ]
    for call in wrong:
        with pytest.raises(ValueError, match=r"must"):
            call()
    assert step.train(good, visit, state, work) > 0
