"""Every verb of the command line on a toy run, and what bad input gets."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from refusals import refused
from trailward.acting.planner import Planner
from trailward.cli.demo import _claim
from trailward.cli.evaluate import _of_clone
from trailward.cli.main import main
from trailward.cli.preset_names import Preset
from trailward.cli.presets import PRESETS
from trailward.data.dataset import read_dataset, write_dataset
from trailward.data.episode import Columns
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.environments.halfcheetah import environment as halfcheetah
from trailward.environments.pointmaze.environment import PointMaze
from trailward.report.page import table

TINY = [
    "--training.num-steps=6", "--training.batch-size=4", "--training.checkpoint-every=2",
    "--denoiser.width=16", "--denoiser.depth=1", "--horizon=6",
    "--training.num-inverse-dynamics-steps=20",
]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")

    def run(*arguments: str) -> None:
        assert main(arguments) == 0, arguments

    run("collect", "--what=play", f"--out={folder}/play", "--num-steps=3000")
    run("collect", "--what=demonstrations", f"--out={folder}/demonstrations", "--num-episodes=3")
    run("train", f"--play={folder}/play", f"--out={folder}/diffuser", *TINY)
    run(
        "learn", f"--demonstrations={folder}/demonstrations", f"--out={folder}/reward",
        f"--diffuser={folder}/diffuser", "--learning.num-steps=2", "--learning.batch-size=4",
        "--learning.selection.evaluate-every=1",
    )  # fmt: skip
    run(
        "evaluate", f"--reward={folder}/reward", f"--play={folder}/play",
        f"--demonstrations={folder}/demonstrations", f"--out={folder}/evaluation",
        f"--diffuser={folder}/diffuser", "--evaluation.num-episodes=2",
        "--evaluation.episode-steps=20", "--evaluation.num-plans=5",
        "--evaluation.num-windows=1000", "--evaluation.clone-steps=20",
    )  # fmt: skip
    run(
        "report", f"--evaluation={folder}/evaluation", f"--out={folder}/report",
        f"--reward={folder}/reward",
    )  # fmt: skip
    return folder


def test_every_stage_leaves_what_it_says(runs: Path) -> None:
    for made in (
        "play-v0/data/metadata.json",
        "diffuser/weights.safetensors",
        "diffuser/logs",
        "reward/config.json",
        "evaluation/evaluation.json",
        "report/index.html",
        "report/reward.png",
        "report/dynamics_map.png",
    ):
        assert (runs / made).exists(), made


def test_figures_have_intervals_around_their_values(runs: Path) -> None:
    figures = json.loads((runs / "evaluation/evaluation.json").read_text())
    distance = figures["erc_windows"]["distance"]
    assert distance["count"] >= 1000
    assert 0 <= distance["low"] <= distance["value"] <= distance["high"] <= 1
    assert figures["return"]["demonstrator"]["count"] == figures["return"]["clone"]["count"] == 2
    assert len(figures["dynamics_error"]["learnt"]["by_step"]) == 6


@pytest.mark.parametrize(
    ("ahead", "said", "meaning"),
    [(1.0, "does no worse", "takes seconds, and does no worse"), (-1.0, "", "naive")],
)
def test_a_clone_that_does_no_worse_is_named(
    runs: Path, ahead: float, said: str, meaning: str
) -> None:
    figures = json.loads((runs / "evaluation/evaluation.json").read_text())
    returns = figures["return"]
    returns["clone"]["value"] = returns["learnt"]["value"] + ahead
    (row,) = [row for row in table(figures, PointMaze("umaze")) if "clone" in row.what]
    assert meaning in row.meaning
    told = _of_clone(returns)
    assert said in told
    assert bool(told) == bool(said)


def test_plans_start_where_they_are_asked_to(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = (1.0, -1.0, 0.5, 0.0)
    arguments = ["plan", "--start", *map(str, start), f"--diffuser={runs}/diffuser"]
    assert main([*arguments, f"--reward={runs}/reward", "--num-plans=2"]) == 0
    plans = json.loads(capsys.readouterr().out)["plans"]
    assert len(plans) == 2
    assert plans[0][0] == pytest.approx(start, abs=1e-5)


def test_plans_that_carry_actions_are_printed_with_them(
    action_diffuser: Diffuser, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    action_diffuser.save(tmp_path / "diffuser")
    spec, start = action_diffuser.spec, [0.1] * action_diffuser.spec.observation_dim
    arguments = ["plan", f"--diffuser={tmp_path}/diffuser", "--start", *map(str, start)]
    assert main([*arguments, "--num-plans=2", "--seed=3"]) == 0
    told = json.loads(capsys.readouterr().out)
    sampling = SamplingConfig(num_steps=min(8, action_diffuser.schedule.num_steps))
    plans = Planner(action_diffuser, sampling, seed=3).plan(np.array([start] * 2))
    actions = spec.split(plans)[1]
    assert actions is not None
    actions = action_diffuser.action_normalizer.unnormalize(actions)
    np.testing.assert_allclose(told["actions"], actions, rtol=1e-6)


def test_training_goes_on_where_it_was(runs: Path) -> None:
    before = (runs / "diffuser/weights.safetensors").read_bytes()
    again = ["train", f"--play={runs}/play", f"--out={runs}/diffuser", *TINY]
    assert main(again) == 0
    assert (runs / "diffuser/weights.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["collect", "--what=play", "--out={}/play"], "exists"),
        (["collect", "--what=play", "--out={}/new", "--maze=nowhere"], "maze 'nowhere' is unknown"),
        (["collect", "--what=play", "--out={}/new", "--maze=111/101/110"], "open at its border"),
        (
            ["collect", "--what=demonstrations", "--out={}/new", "--task=goal:0,0"],
            "not a free cell",
        ),
        (
            ["collect", "--env=halfcheetah", "--what=demonstrations", "--out={}/new"],
            "with environment 'halfcheetah' it can be play, mixture, medium, expert",
        ),
        (["collect", "--what=expert", "--out={}/new"], "it can be play, demonstrations"),
        (
            ["collect", "--env=halfcheetah", "--what=play", "--out={}/new", "--policies={}/play"],
            "play holds no model",
        ),
        (["collect", "--what=play", "--out={}/new.1"], "'new.1-v0' is not a name that Minari"),
        (
            ["collect", "--env=Hoper-v5", "--what=play", "--out={}/new"],
            "environment 'Hoper-v5' cannot be made",
        ),
        (["collect", "--env=swamp", "--what=play", "--out={}/new"], "'swamp' is not among the"),
        (
            ["collect", "--env=Hopper-v5", "--what=play", "--out={}/new"],
            "there is no packaged ladder of policies of 'Hopper-v5'",
        ),
        (["collect", "--what=play", "--out={}/new", "--num-steps=0"], "num_steps is 0"),
        (
            ["collect", "--what=demonstrations", "--out={}/new", "--num-episodes=0"],
            "num_episodes is 0",
        ),
        (
            ["collect", "--what=play", "--out={}/new", "--episode-steps=0"],
            "episode_steps is 0; it must be at least 1",
        ),
        (["train", "--play={}/nothing", "--out={}/new"], "neither a folder"),
        (["demo", "--out={}/new", "--objective=kl"], "objective 'kl' is unknown"),
        (["demo", "--out={}/new", "--task=goal:0,0"], "not a free cell"),
        (["demo", "--out={}/new", "--env=Hopper-v5"], "choose one of halfcheetah"),
        (["benchmark", "--out={}/new", "--seeds=-1"], "seeds are (-1,); they must be at least 0"),
        (["benchmark", "--out={}/new", "--cpus-per-cell=0"], "cpus_per_cell is 0.0; it must be"),
        (["learn", "--demonstrations={}/play", "--out={}/new", "--diffuser=no"], "neither a model"),
        (
            [
                "learn", "--demonstrations={}/demonstrations", "--out={}/new",
                "--diffuser={}/diffuser", "--learning.value.num-rounds=2",
            ],
            "need play data",
        ),
        (["plan", "--start", "1", "2", "--diffuser={}/diffuser"], "start has 2 entries"),
        (["report", "--evaluation={}/play-v0", "--out={}/new"], "holds no evaluation.json"),
        (["train", "--play={}/play", "--out={}/new", "--device=abacus"], "device 'abacus'"),
        (["plan", "--start", "1", "2", "0", "0", "--diffuser={}/reward"], "not 'diffuser'"),
    ],
)  # fmt: skip
def test_bad_input_gets_a_clear_error_and_leaves_nothing(
    runs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main([argument.replace("{}", str(runs)) for argument in arguments]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (runs / "new").exists()
    assert not (runs / "new-v0").exists()


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--objective=kl", "objective 'kl' is unknown"),
        ("--learning.num-steps=0", "num_steps is 0"),
        ("--sampling.sampler=euler", "sampler 'euler' is unknown"),
        ("--learning.adjoint=none", "adjoint 'none' is unknown"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str, words: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["learn", "--demonstrations=data", "--diffuser=umaze", f"--out={tmp_path}/new", flag])
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert words in " ".join((captured.out + captured.err).replace("│", " ").split())
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        (["--env=halfcheetah", "--what=play"], "--task=goal:1,1"),
        (["--what=play"], "--num-episodes=3"),
        (["--env=halfcheetah", "--what=expert"], "--action-noise=1"),
        (["--env=halfcheetah", "--what=runner-up"], "--action-noise=1"),
        (["--env=Hopper-v5", "--what=policy"], "--maze=large"),
    ],
)
def test_flags_of_another_environment_or_recipe_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], flag: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["collect", *given, f"--out={tmp_path}/new", flag])
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert flag.partition("=")[0] in captured.out + captured.err
    assert not (tmp_path / "new-v0").exists()


@pytest.mark.parametrize("bad", ["demonstrations", "play"])
def test_data_of_other_entries_is_refused_by_name(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: str
) -> None:
    file, out = tmp_path / "tracks.csv", tmp_path / "new"
    file.write_text("episode,frame,x,y\n0,0,1,2\n0,1,3,4\n", encoding="utf-8")
    sources = {"demonstrations": f"{runs}/demonstrations", "play": f"{runs}/play", bad: str(file)}
    given = [f"--{name}={source}" for name, source in sources.items()]
    words = "tracks.csv: observations and actions have (2, 0) entries, the plans (4, 2)"
    for verb in ["learn"], ["evaluate", "--env=none", f"--reward={runs}/reward"]:
        asked = [*verb, *given, f"--out={out}", f"--diffuser={runs}/diffuser"]
        assert main(asked) == 2
        assert words in " ".join(capsys.readouterr().err.split())
        assert not out.exists()


def test_data_of_other_names_than_the_rewards_is_refused(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play = read_dataset(f"{runs}/play")
    names = play.columns.observations
    turned = replace(play, columns=Columns(names[::-1]))
    data = [f"--play={write_dataset(turned, tmp_path / 'turned')}", f"--out={tmp_path}/new"]
    reward = [f"--reward={runs}/reward", f"--diffuser={runs}/diffuser"]
    demonstrations = f"--demonstrations={runs}/demonstrations"
    assert main(["evaluate", "--env=none", *reward, *data, demonstrations]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert f"turned-v0 are {', '.join(names[::-1])};" in told
    assert f"what the reward was learnt from: {', '.join(names)}" in told
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("verb", "arguments", "out", "words"),
    [
        ("learn", ["--demonstrations={}/demonstrations", "--diffuser={}/diffuser"], "diffuser",
         "holds a diffuser, not a reward"),
        ("train", ["--play={}/play"], "reward", "holds a reward, not a diffuser"),
        ("report", ["--evaluation={}/evaluation"], "reward", "holds a reward, not a report"),
        ("inspect", ["{}/play"], "evaluation", "holds an evaluation, not an inspection"),
        ("demo", [], "diffuser", "holds a diffuser, not a demo"),
        ("train", ["--play={}/play"], "play-v0", "holds a dataset, not a diffuser"),
        ("evaluate", ["--play={}/play", "--demonstrations={}/demonstrations", "--reward={}/reward",
                      "--diffuser={}/diffuser", "--task=goal:3,1", "--evaluation.num-episodes=2",
                      "--evaluation.episode-steps=20", "--evaluation.num-plans=5",
                      "--evaluation.num-windows=1000", "--evaluation.clone-steps=20"], "evaluation",
         "was made with task None, now it is goal:3,1"),
    ],
)  # fmt: skip
def test_a_folder_that_holds_something_else_is_left_as_it_is(
    runs: Path,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    arguments: list[str],
    out: str,
    words: str,
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (runs / out).rglob("*")}
    given = [argument.replace("{}", str(runs)) for argument in arguments]
    assert main([verb, *given, f"--out={runs}/{out}"]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert {path: path.stat().st_mtime_ns for path in (runs / out).rglob("*")} == before


def test_a_reward_without_its_checkpoint_is_not_written_over(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs / "reward", tmp_path / "reward")
    (tmp_path / "reward/learning.safetensors").unlink()
    weights = (tmp_path / "reward/weights.safetensors").read_bytes()
    asked = [f"--demonstrations={runs}/demonstrations", f"--diffuser={runs}/diffuser"]
    assert main(["learn", *asked, f"--out={tmp_path}/reward", "--learning.num-steps=2"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "holds a finished reward but not learning.safetensors" in told
    assert (tmp_path / "reward/weights.safetensors").read_bytes() == weights


def test_a_demo_whose_mark_was_cut_off_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "demo.json").touch()
    settings = {"preset": "umaze", "seed": 0}
    _claim(tmp_path, settings)
    assert json.loads((tmp_path / "demo.json").read_text()) == settings
    with refused(place=str(tmp_path), value=settings, remedy="--out"):
        _claim(tmp_path, settings | {"seed": 1})


def test_results_say_which_version_made_them(runs: Path) -> None:
    figures = json.loads((runs / "evaluation/evaluation.json").read_text())
    assert figures["provenance"]["versions"]["trailward"].count(".") == 2
    assert b"Software\x00trailward " in (runs / "report/erc.png").read_bytes()


def test_data_of_another_task_is_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", f"--reward={runs}/reward", f"--play={runs}/play", "--task=goal:3,1"]
    data = [f"--demonstrations={runs}/demonstrations", f"--out={runs}/new"]
    assert main([*arguments, *data, f"--diffuser={runs}/diffuser"]) == 2
    assert "the demonstrations: task is corner, not goal:3,1" in " ".join(
        capsys.readouterr().err.split()
    )


def test_policies_are_trained_packaged_and_rolled_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = [
        "policies", f"--out={tmp_path}/policies", "--num-steps=60", "--snapshot-every=20",
        "--num-envs=2", "--num-random-steps=10", "--width=8", "--batch-size=4",
        "--num-replay=100", "--num-evaluated=1", "--seed=3", "--num-policies=3",
    ]  # fmt: skip
    assert main(train) == 0
    assert "3 policies -> " in capsys.readouterr().err
    config = json.loads((tmp_path / "policies/ladder/config.json").read_text())
    assert config["provenance"]["seed"] == config["provenance"]["training"]["seed"] == 3
    ladder = f"--policies={tmp_path}/policies/ladder"
    sizes = {"play": 4, "mixture": 5, "medium": 2, "expert": 2, "runner-up": 2}
    for what, count in sizes.items():
        size = "--num-steps=40" if what in ("play", "mixture") else "--num-episodes=2"
        arguments = [f"--what={what}", size, "--episode-steps=10", f"--out={tmp_path}/{what}"]
        assert main(["collect", "--env=halfcheetah", *arguments, ladder, "--seed=5"]) == 0
        data = read_dataset(tmp_path / what)
        assert len(data.episodes) == count
        assert (data.provenance["seed"], data.provenance["what"]) == (5, what)
        assert data.provenance["environment"] == "HalfCheetah-v5"


@pytest.mark.parametrize("name", PRESETS)
def test_what_a_preset_collects_can_be_collected(name: str) -> None:
    settings = PRESETS[name]
    for recipe in (settings.play, settings.demonstrations, settings.quick().play):
        assert type(recipe) in settings.environment.recipes.values()
    cheetah = name.endswith("halfcheetah")
    assert settings.environment.name == ("HalfCheetah-v5" if cheetah else "maze")
    assert vars(settings.quick().play)["num_steps"] == 20_000
    assert set(PRESETS) == set(get_args(Preset))


@pytest.mark.parametrize("verb", ["train", "learn", "evaluate"])
def test_a_preset_is_filled_in_without_a_complaint(verb: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--preset=umaze", "--help"])
    assert stopped.value.code == 0


def test_a_reward_is_learnt_judged_and_reported_on_halfcheetah(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halfcheetah, "film", lambda episode, tell: None)

    def run(*arguments: str) -> None:
        assert main(arguments) == 0, arguments

    cheetah, given = "--env=halfcheetah", f"--demonstrations={tmp_path}/expert"
    short = ["--episode-steps=16", "--seed=3"]
    run("collect", cheetah, "--what=play", f"--out={tmp_path}/play", "--num-steps=160", *short)
    run("collect", cheetah, "--what=expert", f"--out={tmp_path}/expert", "--num-episodes=3", *short)
    run(
        "train", f"--play={tmp_path}/play", f"--out={tmp_path}/diffuser", *TINY, "--horizon=4",
        "--stride=1", "--with-actions", "--denoiser.network=mlp",
    )  # fmt: skip
    run(
        "learn", given, f"--play={tmp_path}/play", f"--out={tmp_path}/reward",
        f"--diffuser={tmp_path}/diffuser", "--learning.num-steps=2", "--learning.batch-size=4",
        "--learning.selection.evaluate-every=1", "--learning.starts=both", "--sampling.num-steps=3",
    )  # fmt: skip
    run(
        "evaluate", cheetah, f"--reward={tmp_path}/reward", f"--play={tmp_path}/play", given,
        f"--out={tmp_path}/evaluation", f"--diffuser={tmp_path}/diffuser",
        "--evaluation.num-episodes=2", "--evaluation.episode-steps=16",
        "--evaluation.num-windows=100", "--evaluation.clone-steps=0",
    )  # fmt: skip
    figures = json.loads((tmp_path / "evaluation/evaluation.json").read_text())
    assert figures["environment"] == "HalfCheetah-v5"
    assert set(figures["return"]) == {"unguided", "learnt", "demonstrator"}
    assert figures["return"]["demonstrator"]["count"] == 2
    assert "score" not in figures  # it is of 1000 steps
    run(
        "report", f"--evaluation={tmp_path}/evaluation", f"--out={tmp_path}/report",
        f"--reward={tmp_path}/reward",
    )  # fmt: skip
    for picture in ("velocity", "reward_by_velocity", "erc", "loss"):
        assert (tmp_path / f"report/{picture}.png").exists()
    assert "HalfCheetah-v5" in (tmp_path / "report/index.html").read_text()


def test_output_that_nobody_reads_to_its_end_is_no_complaint() -> None:
    command = [sys.executable, "-m", "trailward", "fit", "--help-all"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize(
    ("command", "shown"),
    [("fit", False), ("fit --env maze", False), ("fit --help-all", True), ("collect", True)],
)
def test_help_shows_the_flags_that_matter_first(
    command: str, shown: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command.split() + ([] if "--help-all" in command else ["--help"])
    with pytest.raises(SystemExit):
        main(arguments)
    told = capsys.readouterr().out
    assert ("--num-steps" in told or "--horizon" in told) == shown
    assert ("--maze" in told) == ("maze" in command or command == "collect")


def test_help_tells_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for verb in ("collect", "policies", "train", "learn", "plan", "evaluate", "report", "demo"):
        assert verb in shown
