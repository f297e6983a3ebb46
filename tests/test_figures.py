"""The papers' toy figures: what their quick versions show, and the files that they write."""

from __future__ import annotations

import csv
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from controlnet.adaptation import DFC
from controlnet.base import Array
from controlnet.cli import main
from controlnet.data.student_teacher import make_task
from controlnet.errors import DivergedError, InputError, StorageError
from controlnet.figures import FIGURES, conditions, draw, student
from controlnet.pictures import files
from controlnet.pictures.look import empty_figure
from controlnet.pictures.table import Table

LAWS = ("DFC", "DFC-SS", "DFC-SSA")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("figures")


@functools.cache
def drawn(name: str, folder: Path) -> list[Path]:
    return draw(name, folder, quick=True)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(rows: list[dict[str, str]], name: str, **where: str) -> Array:
    chosen = [row for row in rows if all(row[key] == value for key, value in where.items())]
    assert chosen, where
    return np.array([float(row[name] or "nan") for row in chosen])


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_written_in_all_formats(name: str, folder: Path) -> None:
    paths = drawn(name, folder)
    assert [path.name for path in paths] == [f"{name}.{kind}" for kind in ("csv", "svg", "png", "pdf")]
    starts = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}
    for path in paths[1:]:
        assert path.read_bytes().startswith(starts[path.suffix])
    assert len(read(paths[0])) > 1
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("law", LAWS)
def test_trained_feedback_keeps_condition_two_and_stability(law: str, folder: Path) -> None:
    """Trained: 0.95 at the end, from 0.97; the random weights that stay: 0.48 to 0.73."""
    rows = read(drawn("fig3", folder)[0])
    trained, stays = ({"law": law, "feedback": kind} for kind in ("trained", "fixed random"))
    inside, left = column(rows, "condition_two_mean", **trained), column(rows, "condition_two_mean", **stays)
    assert inside.min() > 0.94 and left.max() < 0.75
    assert column(rows, "condition_two_min", **trained).min() > 0.9 > column(rows, "condition_two_min", **stays).max()
    worst, other = column(rows, "abscissa_max", **trained), column(rows, "abscissa_max", **stays)
    assert worst.max() < -1.5 and (other > worst + 0.5).all()
    assert column(rows, "loop_abscissa_max", **trained).max() < -0.4
    assert column(rows, "loop_abscissa_max", **stays).max() > -0.3
    for name in ("without_steady_state", "unstable", "diverged"):
        assert not column(rows, name, **trained).any()


@pytest.mark.parametrize("law", LAWS)
def test_random_feedback_may_be_unstable_before_the_forward_weights_have_aligned(law: str, folder: Path) -> None:
    """29 of 32 samples of the second student have no stable steady state; all of the first, whose abscissa is worse."""
    rows = read(drawn("fig3", folder)[0])
    first, second = ({"law": law, "feedback": "fixed random", "student": student} for student in "01")
    assert not column(rows, "without_steady_state", **first).any()
    assert column(rows, "without_steady_state", **second)[0] > 20 and column(rows, "abscissa_max", **second)[0] > 0.5
    assert column(rows, "abscissa_max", **first).max() > -0.6


@pytest.mark.parametrize("law", LAWS)
def test_with_trained_feedback_updates_are_nearer_to_minimum_norm_than_to_backpropagation(
    law: str, folder: Path
) -> None:
    rows = read(drawn("fig3", folder)[0])
    to_mn, to_bp = (column(rows, name, law=law, feedback="trained") for name in ("angle_to_mn", "angle_to_bp"))
    assert (to_mn < to_bp - 10).all() and to_mn.max() < 25
    assert column(rows, "angle_to_mn", law=law, feedback="fixed random").min() > 40


@pytest.mark.parametrize("student", "01")
@pytest.mark.parametrize("law", LAWS)
def test_the_fixed_product_loses_condition_two_as_the_weights_move(law: str, student: str, folder: Path) -> None:
    rows = [row for row in read(drawn("fig3", folder)[0]) if row["student"] == student]
    trained, product = (
        column(rows, "condition_two_mean", law=law, feedback=kind) for kind in ("trained", "fixed product")
    )
    assert product[0] > 0.95 and (np.diff(product) < 0).all()
    assert product[-1] < trained[-1] - 0.02
    loss = column(rows, "loss", law=law, feedback="trained")
    assert (np.diff(loss) < 0).all() and loss[-1] < 0.8 * loss[0]


def test_samples_that_have_not_settled_are_counted(folder: Path) -> None:
    """With the published gain no sample comes within 1e-5 of rest in the published time."""
    rows = read(drawn("fig3", folder)[0])
    assert (column(rows, "unsettled", law="DFC") == column(rows, "samples", law="DFC")).all()
    assert np.isnan(column(rows, "unsettled", law="DFC-SS")).all()


def test_learned_feedback_weights_lie_in_the_row_space(folder: Path) -> None:
    rows = read(drawn("fig2", folder)[0])
    before = column(rows, "outside", kind="learning", updates="0")
    last = max((row["updates"] for row in rows if row["updates"]), key=int)
    after = column(rows, "outside", kind="learning", updates=last)
    assert before.min() > 0.5 and after.max() < 0.12
    assert column(rows, "outside", kind="stable in row space").max() < 1e-6
    assert column(rows, "abscissa", kind="stable in row space").max() < 0
    assert column(rows, "abscissa", kind="learning", updates=last).max() < 0
    transpose = np.array([column(rows, pc, kind="transpose")[0] for pc in ("pc1", "pc2")])
    ends = np.stack([column(rows, pc, kind="learning", updates=last) for pc in ("pc1", "pc2")], axis=1)
    assert np.linalg.norm(ends - transpose, axis=1).max() < 0.1


@pytest.mark.parametrize(("network", "share", "degrees"), [("linear", 0.997, 5), ("tanh", 0.97, 12)])
def test_feedback_weights_learn_alone(network: str, share: float, degrees: float, folder: Path) -> None:
    rows = read(drawn("feedback-learning", folder)[0])
    inside = column(rows, "condition_two_mean", network=network)
    assert inside[0] < 0.6 and inside[-1] > share
    away = {
        name: column(rows, f"angle_to_{name}", network=network) for name in ("transpose", "pseudoinverse", "damped")
    }
    assert all(angle[0] > 60 and angle[-1] < 20 for angle in away.values())
    assert away["damped"][-1] < degrees


def test_output_comes_to_the_reference_and_control_to_its_steady_state(folder: Path) -> None:
    rows = read(drawn("fig1d", folder)[0])
    for i in range(2):
        u, rest, y, r = (column(rows, name) for name in (f"u{i}", f"u{i}_steady", f"y{i}", f"r{i}"))
        assert u[0] == y[0] == 0
        assert abs(u[-1] - rest[-1]) < 0.01 * abs(rest[-1])
        assert abs(y[-1] - r[-1]) < 0.01 * abs(r[-1])


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_threads(folder: Path, tmp_path: Path) -> None:
    paths = drawn("feedback-learning", folder)
    again = draw("feedback-learning", tmp_path / "new", quick=True, threads=1)
    for one, other in zip(paths, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
    other_seed = draw("feedback-learning", tmp_path, quick=True, seed=1)
    assert other_seed[0].read_bytes() != paths[0].read_bytes()


def test_unknown_names_and_seeds_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        draw("fig9", tmp_path / "new")
    assert str(caught.value) == "figure: expected one of fig1d, fig2, fig3, feedback-learning, got 'fig9'"
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="seed: expected a number >= 0, got -1"):
        draw("fig2", tmp_path, seed=-1)


def test_a_folder_that_cannot_be_made_is_named_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(conditions, "compute", lambda *_: pytest.fail("computed"))
    with pytest.raises(StorageError, match=r"cannot use .*file: .*choose another folder"):
        draw("fig3", tmp_path / "file")


def test_files_stay_as_they_were_if_one_cannot_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, figure = Table(("a",), [(1.0,)]), empty_figure(2, 2, "nothing")
    old = [path.read_bytes() for path in files.write(tmp_path, "some", figure, table)]

    def broken(figure: Any, kind: str) -> bytes:
        if kind == "pdf":
            raise MemoryError
        return b"new"

    monkeypatch.setattr(files, "_rendered", broken)
    with pytest.raises(MemoryError):
        files.write(tmp_path, "some", figure, Table(("a",), [(2.0,)]))
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == sorted(old)


def test_a_training_that_diverges_ends_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    room = student.Classroom(student.QUICK, 1, 0)
    law, network = DFC("analytic"), room.student("fixed random")
    calls = iter(range(100))
    propose = DFC.propose

    def failing(self: DFC, loop: Any, lesson: Any) -> Any:
        if next(calls) == 3:
            raise DivergedError(1, 0.1, 0)
        return propose(self, loop, lesson)

    monkeypatch.setattr(DFC, "propose", failing)
    moments = list(room.course(network, law, sleeping=False))
    assert [(moment.updates, moment.diverged) for moment in moments] == [(0, False), (4, True)]
    monkeypatch.setattr(DFC, "propose", propose)
    task = room.task()
    lesson = room.lesson(moments[-1].network, task.test_inputs, task.test_targets)
    assert conditions.look(law, lesson, moments[-1])["diverged"] == 1


def test_unstable_samples_are_counted_and_not_averaged(folder: Path) -> None:
    """Feedback of the wrong sign: no steady state that is stable, and the abscissa of all samples says so."""
    room = student.Classroom(student.QUICK, 1, 0)
    network = room.student("fixed product")
    network = network.with_parameters({f"Q{i}": -Q for i, Q in enumerate(network.feedback or ())})
    task = room.task()
    lesson = room.lesson(network, task.test_inputs, task.test_targets)
    seen = conditions.look(DFC("steady-state"), lesson, student.Moment(0, network, False))
    assert seen["without_steady_state"] == seen["samples"] == student.QUICK.test_samples
    assert seen["abscissa_median"] > 0.5 and np.isnan(seen["loop_abscissa_max"])
    assert np.isnan(seen["angle_to_mn"])


def test_one_teacher_for_all_samples() -> None:
    task = make_task((4, 6, 3), 50, 20, np.random.SeedSequence(0))
    assert task.inputs.shape == (50, 4) and task.test_targets.shape == (20, 3)
    assert np.abs(task.inputs).max() <= 1
    longer = make_task((4, 6, 3), 60, 10, np.random.SeedSequence(0))
    np.testing.assert_array_equal(
        np.concatenate([task.targets, task.test_targets])[:, 0],
        np.concatenate([longer.targets, longer.test_targets])[:, 0],
    )


def test_tables_write_numbers_and_gaps() -> None:
    table = Table(("name", "value"))
    table.add(name="a, b", value=1 / 3)
    table.add(name="c", value=float("nan"))
    assert table.as_csv() == b'name,value\n"a, b",0.333333333\nc,\n'
    assert table.kinds("name") == ["a, b", "c"]
    assert table.select(name="c")["value"].shape == (1,)


# --- on the command line


def test_the_command_draws_into_a_folder(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["figure", "feedback-learning", "--quick", "--out", str(tmp_path / "new")])
    assert result.exit_code == 0
    files = [Path(line) for line in result.output.splitlines()]
    assert [file.name for file in files] == [f"feedback-learning.{kind}" for kind in ("csv", "svg", "png", "pdf")]
    assert all(file.stat().st_size > 0 for file in files)


def test_the_command_names_the_figures_it_knows(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["figure", "fig9", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert result.output.strip() == f"Error: figure: expected one of {', '.join(FIGURES)}, got 'fig9'"
    assert not list(tmp_path.iterdir())


def test_the_figures_are_listed() -> None:
    listed = json.loads(CliRunner().invoke(main, ["list", "--json"]).output)
    assert listed["figures"].keys() == FIGURES.keys()
