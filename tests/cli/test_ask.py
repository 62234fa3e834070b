"""The verb ask: questions out, answers in, a file of them, and a reward read as they say."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tiny import random_walks, tiny_diffuser, tiny_reward
from trailward.cli.ask import terminal_plot
from trailward.cli.main import main
from trailward.data.dataset import Dataset, Windows, write_dataset
from trailward.data.episode import Episode
from trailward.data.plan import PlanSpec
from trailward.interop.exported import export_reward
from trailward.judging.readings import readings_arrays
from trailward.learning.answers import Inquiry, read_answers
from trailward.learning.learnt_reward import LearntReward
from trailward.report.readings import question_figure, readings_figure
from trailward.rewards.readings import find_readings
from trailward.rewards.value import RewardToGo

SPEC = PlanSpec(horizon=5, stride=2, observation_dim=2, action_dim=2)
PLAY = random_walks([40] * 12)


def resting(*end: float) -> Dataset:
    paths = [np.linspace(start, end, 8) for start in ((-1.0, 0.0), (2.0, 1.0), (0.0, 2.0))]
    paths = [np.concatenate([path, np.repeat(path[-1:], 6, 0)]) for path in paths]
    return Dataset([Episode(path, np.zeros((len(path) - 1, 2))) for path in paths])


def reward() -> LearntReward:
    diffuser = tiny_diffuser(SPEC)
    learnt = tiny_reward(diffuser)
    windows = Windows(PLAY, SPEC)
    found = find_readings(learnt.model, learnt.normalizer, windows, resting(0.5, 0.5))
    return learnt.read_as(found)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ask")
    reward().save(folder / "reward")
    write_dataset(PLAY, folder / "play-v0")
    return folder


def ask(files: Path, answers: Path, typed: str, patched: pytest.MonkeyPatch, *flags: str) -> int:
    patched.setattr("sys.stdin", io.StringIO(typed))
    return main(
        ["ask", f"--reward={files}/reward", f"--play={files}/play-v0", f"--out={answers}", *flags]
    )


@pytest.mark.parametrize("show", ["plot", "indices", "pictures"])
def test_answers_typed_are_kept_and_weigh_the_readings(
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    show: str,
) -> None:
    answers = tmp_path / "answers.jsonl"
    assert ask(files, answers, "1\nwhat\n=\ns\nsecond\nq\n", monkeypatch, f"--show={show}") == 0
    told = capsys.readouterr().out
    kept = read_answers(answers, SPEC)
    assert [answer.choice for answer in kept] == ["first", "equal", "second"]
    assert len({answer.question.places for answer in kept}) == 3
    assert "After 3 answers the readings" in told
    assert ("X" in told and "*" in told) == (show == "plot")
    assert len(list(tmp_path.glob("*.png"))) == (5 if show == "pictures" else 0)


def test_asked_again_it_goes_on_with_other_questions(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = tmp_path / "answers.jsonl"
    for _ in range(2):
        assert ask(files, answers, "1\n2\n", monkeypatch, "--num-questions=2") == 0
    places = [answer.question.places for answer in read_answers(answers, SPEC)]
    assert len(places) == len(set(places)) == 4


def test_a_program_reads_questions_and_writes_answers_as_json(
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = tmp_path / "answers.jsonl"
    assert ask(files, answers, "first\nequal\n", monkeypatch, "--show=json") == 0
    *questions, result = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["question"] for each in questions] == [0, 1, 2]
    episode, step = questions[0]["first"]["episode"], questions[0]["first"]["step"]
    shown = np.array(questions[0]["first"]["window"])
    assert shown == pytest.approx(
        PLAY.episodes[episode].observations[step : step + 9 : 2], rel=1e-4
    )
    assert result["num_answers"] == 2
    assert sum(result["readings"].values()) == pytest.approx(1)
    assert ask(files, answers, "neither\n", monkeypatch, "--show=json") == 2


def test_a_reward_without_readings_is_refused_in_words(
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny_reward(tiny_diffuser(SPEC)).save(tmp_path / "reward")
    (tmp_path / "play-v0").symlink_to(files / "play-v0")
    assert ask(tmp_path, tmp_path / "answers.jsonl", "", monkeypatch) == 2
    assert "can be read in one way only" in capsys.readouterr().err


def test_a_question_is_drawn_from_where_it_begins_to_its_end() -> None:
    learnt = reward()
    inquiry = Inquiry(
        readings=learnt.readings, normalizer=learnt.normalizer, play=Windows(PLAY, SPEC)
    )
    question = inquiry.next_question()
    plot = terminal_plot(question, learnt, PLAY).splitlines()
    assert len({len(line) for line in plot[1:]}) == 1
    assert "".join(plot).count("X") == 2
    axes = question_figure(question, learnt, PLAY).axes
    assert [ax.get_title() for ax in axes] == ["first", "second"]
    ends = axes[1].lines[1].get_xydata()[[0, -1]]
    assert np.array_equal(ends, question.second[[0, -1]].numpy())


def test_readings_are_drawn_side_by_side_with_what_each_prefers() -> None:
    learnt = reward()
    arrays = readings_arrays(learnt, PLAY)
    axes = readings_figure(arrays).axes
    shown = [ax for ax in axes if ax.get_visible()]
    names = [ax.get_title() for ax in shown]
    assert names[0] == "as-is"
    assert f"{learnt.reading} (chosen)" in names
    assert len(names) == len(learnt.readings.names)
    windows = Windows(PLAY, SPEC)
    pieces, _ = windows.gather(torch.arange(len(windows)))
    best = learnt.with_reading("as-is").plan_rewards(pieces).max()
    preferred = torch.tensor(arrays["reading_preferred"][0]).unsqueeze(0)
    assert learnt.with_reading("as-is").plan_rewards(preferred)[0] <= best + 1e-6
    assert readings_arrays(tiny_reward(tiny_diffuser(SPEC)), PLAY) == {}


def test_a_reward_is_read_as_answers_say_and_saved_so(files: Path, tmp_path: Path) -> None:
    learnt = LearntReward.load(files / "reward")
    inquiry = Inquiry(
        readings=learnt.readings, normalizer=learnt.normalizer, play=Windows(PLAY, SPEC)
    )
    for choice in ("first", "second", "equal"):
        inquiry.tell(inquiry.next_question(), choice)
    answered = learnt.with_answers(inquiry.answers)
    assert answered.reading == "answers"
    assert torch.equal(answered.readings.weights, inquiry.weights)
    answered.save(tmp_path / "answered")
    again = LearntReward.load(tmp_path / "answered")
    observations = PLAY.episodes[0].observations
    assert again.reading == "answers"
    assert np.array_equal(again(observations), answered(observations))
    assert np.array_equal(again.with_reading("default")(observations), learnt(observations))
    assert learnt.with_answers([]).reading == learnt.readings.options.default


def test_a_value_fitted_to_a_reading_guides_in_the_rewards_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trailward.rewards.value._STEPS_ALONE", 400)
    ends = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 1.0))
    play = Dataset([episode for end in ends for episode in resting(*end).episodes])
    diffuser = tiny_diffuser(SPEC)
    learnt, windows = tiny_reward(diffuser), Windows(play, SPEC)
    readings = find_readings(learnt.model, learnt.normalizer, windows, resting(0.0, 0.0))
    learnt = learnt.read_as(readings)
    assert learnt.guide_model is learnt.readings.base
    followed = learnt.with_reading("place:1", play=play)
    assert followed.value is not None
    assert followed.value.alone
    assert followed.guide_model is followed.value
    states = torch.tensor(np.concatenate([episode.observations for episode in play.episodes]))
    normal = learnt.observation_normalizer.normalize(states.float())
    values = followed.value.step_rewards(normal[None])
    assert values.std().item() == pytest.approx(4, rel=0.3)
    assert states[values[0].argmax()].norm() < 0.3
    unread = learnt.with_reading("as-is", play=play)
    assert unread.value is not None
    assert not unread.value.alone
    assert isinstance(unread.guide_model, RewardToGo)


@pytest.mark.parametrize("name", ["as-is", "link:2", "place:1", "answers"])
def test_any_reading_is_exported_as_one_file(name: str, tmp_path: Path) -> None:
    learnt = reward()
    learnt = learnt.read_as(learnt.readings.weighed(learnt.readings.prior()))
    learnt = learnt.with_reading(name)
    program = torch.export.load(export_reward(learnt, tmp_path / "reward.pt2")).module()
    observations = PLAY.episodes[0].observations.astype(np.float32)
    found = program(torch.from_numpy(observations)).numpy()
    assert found == pytest.approx(learnt(observations), abs=1e-5)
    assert np.std(found) > 1e-3
