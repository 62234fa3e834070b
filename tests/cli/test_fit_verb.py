"""The verb ``fit``, from tables to a report."""

import json
from pathlib import Path

import numpy as np
import pytest

from trailward.cli.main import main


def write(path: Path, num: int, door: float, seed: int) -> str:
    generator = np.random.default_rng(seed)
    rows = ["id,time (s),x (m),y (m)"]
    for number in range(num):
        path_y = np.linspace(3, door, 9) + generator.normal(0, 0.1, 9)
        rows += [f"{number},{0.4 * i:.1f},{i:.2f},{y:.3f}" for i, y in enumerate(path_y)]
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def test_from_tables_to_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    play, shown = write(tmp_path / "a.csv", 12, 1.0, 0), write(tmp_path / "b.csv", 3, 5.0, 1)
    flags = ["--most-steps", "10", "--num-plans", "1", "--pixels", "30", "--no-hold-ends"]
    out = tmp_path / "out"
    code = main(["fit", "--play", play, "--demonstrations", shown, "--out", str(out), *flags])
    told = " ".join(capsys.readouterr().err.split())
    assert code == 0, told
    assert "a row 0.4 s" in told
    assert "report ->" in told
    figures = json.loads((out / "fit.json").read_text())
    assert figures["choices"]["most_steps"] == 10
    assert figures["num_demonstrations"] == 3
    assert "gradient steps" in (out / "fit.log").read_text()
    unseen = write(tmp_path / "c.csv", 2, 5.0, 2)
    data = ["--play", play, "--demonstrations", shown, "--reward", str(out / "reward")]
    judged = ["evaluate", "--env", "none", *data, "--out", str(tmp_path / "judged")]
    quick = ["--evaluation.num-windows", "50"]
    assert main([*judged, *quick, "--test", unseen]) == 0, capsys.readouterr().err
    figures = json.loads((tmp_path / "judged" / "evaluation.json").read_text())
    assert (figures["judged"], figures["num_judged"]) == ("test", 2)
    assert main([*judged, *quick, "--test", shown]) == 2
    assert "the reward was learnt from" in " ".join(capsys.readouterr().err.split())
    assert main(["plan", "--reward", str(out / "reward"), "--start", "1", "3"]) == 0
    plan = np.array(json.loads(capsys.readouterr().out)["plans"][0])
    np.testing.assert_allclose(plan[0], [1, 3, 0, 0], atol=1e-4)


def test_groups_and_animals_are_columns_of_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play, shown = write(tmp_path / "a.csv", 12, 1.0, 0), write(tmp_path / "b.csv", 6, 5.0, 1)
    head, *rows = Path(shown).read_text().splitlines()
    known = [f"{row},{'mf'[int(row[0]) % 2]},bird {int(row[0]) // 2}" for row in rows]
    Path(shown).write_text("\n".join([f"{head},sex,animal", *known]) + "\n")
    out = tmp_path / "out"
    flags = ["--most-steps", "10", "--num-plans", "1", "--pixels", "20", "--group-by", "sex"]
    given = ["--play", play, "--demonstrations", shown, "--out", str(out)]
    assert main(["fit", *given, *flags]) == 0, capsys.readouterr().err
    told = " ".join(capsys.readouterr().err.split())
    assert "'animal' tells who made a demonstration" in told
    assert "The rewards of 'm' and 'f' tell" in told
    assert json.loads((out / "groups.json").read_text())["differences"][0]["counts"] == [3, 3]
    assert "Do the groups differ?" in (out / "report.html").read_text()


def test_what_was_learnt_from_is_no_test(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play, shown = write(tmp_path / "a.csv", 12, 1.0, 0), write(tmp_path / "b.csv", 3, 5.0, 1)
    out = tmp_path / "out"
    given = ["--play", play, "--demonstrations", shown, "--test", shown, "--out", str(out)]
    assert main(["fit", *given]) == 2
    assert "it was learnt from, and cannot be called held out" in " ".join(
        capsys.readouterr().err.split()
    )


def test_the_help_names_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--help"])
    assert "--env STR" in capsys.readouterr().out
