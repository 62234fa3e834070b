"""Answers: how they weigh readings, which question is asked next, and their file."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from refusals import refused
from tiny import seeded
from trailward.data.dataset import Dataset, Windows
from trailward.data.episode import Episode
from trailward.data.normalizer import Normalizer
from trailward.data.plan import PlanSpec
from trailward.errors import SettingsError
from trailward.learning.answers import (
    CHOICES,
    Answer,
    Inquiry,
    Question,
    information,
    read_answers,
    weigh,
    write_answers,
)
from trailward.rewards.contract import RewardModel
from trailward.rewards.readings import Readings, find_readings
from trailward.typing import Plans, StagesOfSteps, StepRewards

SPEC = PlanSpec(horizon=4, stride=2, observation_dim=2, action_dim=0)
IDENTITY = Normalizer(torch.zeros(2), torch.ones(2))
GOAL = (1.0, 0.0)


class Hill(RewardModel):
    """Minus the distance to the goal."""

    def step_rewards(self, plan: Plans, past: StagesOfSteps | None = None) -> StepRewards:
        """Of each plan step."""
        return -(plan - torch.tensor(GOAL)).norm(dim=-1)


def episode(path: np.ndarray) -> Episode:
    return Episode(path, np.zeros((len(path) - 1, 0)))


def play() -> Windows:
    """Restless walks anywhere between -3 and 3."""
    generator = np.random.default_rng(0)
    walks = []
    for _ in range(80):
        path = generator.uniform(-3, 3, 2) + (0.15 * generator.standard_normal((41, 2))).cumsum(0)
        walks.append(episode(np.clip(path, -3, 3)))
    return Windows(Dataset(walks), SPEC)


def readings() -> Readings:
    shown = [np.linspace((x, x - 1.0), GOAL, 15) for x in (-2.0, -1.0, 2.0, 2.5)]
    rests = [episode(np.concatenate([way, np.repeat(way[-1:], 8, 0)])) for way in shown]
    return find_readings(Hill(SPEC), IDENTITY, play(), Dataset(rests))


def inquiry(**options: object) -> Inquiry:
    return Inquiry(readings=readings(), normalizer=IDENTITY, play=play(), **options)  # pyright: ignore[reportArgumentType]


def at(x: float, y: float) -> torch.Tensor:
    return torch.tensor([x, y]).expand(SPEC.horizon, 2)


def question(first: torch.Tensor, second: torch.Tensor) -> Question:
    return Question(first=first, second=second, places=((0, 0), (1, 3)))


def answered_by(name: str, *, count: int = 10, wrong: float = 0.0, seed: int = 0) -> Inquiry:
    """A teacher who means one of the readings, and errs in a share of the answers."""
    asked, meant = inquiry(seed=seed), readings().read(name)
    generator = np.random.default_rng(seed)
    for _ in range(count):
        now = asked.next_question()
        first, second = (float(meant(IDENTITY.normalize(p[None]))) for p in (now.first, now.second))
        apart = (first - second) / float(meant.spread)
        right = "equal" if abs(apart) < 0.1 else CHOICES[apart < 0]
        others = [choice for choice in CHOICES if choice != right]
        asked.tell(now, str(generator.choice(others)) if generator.random() < wrong else right)
    return asked


def test_without_answers_the_weights_are_the_prior() -> None:
    found, names = readings(), readings().names
    weights = weigh(found, IDENTITY, [])
    assert torch.equal(weights, found.prior())
    assert weights[names.index(found.options.default)] == pytest.approx(0.5)
    assert weights.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("wrong", [0.0, 0.1])
@pytest.mark.parametrize("name", ["as-is", "link:2", "place:0.71", "place:2"])
def test_ten_answers_find_the_reading_that_is_meant(name: str, wrong: float) -> None:
    asked = answered_by(name, count=10 if wrong == 0 else 20, wrong=wrong)
    meant, found = asked.readings.read(name), asked.readings.weighed(asked.weights)
    plans, _ = asked.play.batch(asked.play.draw(500, seeded()), IDENTITY)
    pair = torch.stack([meant(plans), found(plans)])
    assert torch.corrcoef(pair)[0, 1] > 0.9


def test_an_answer_moves_weight_to_readings_that_expect_it() -> None:
    found = readings()
    far_off, nearer = at(-2.5, 0.0), at(-1.0, 0.0)  # both far outside every small place
    slope, place = found.names.index("as-is"), found.names.index("place:0.5")
    for choice, rises, falls in (("second", slope, place), ("equal", place, slope)):
        answer = Answer(question=question(far_off, nearer), choice=choice)
        change = weigh(found, IDENTITY, [answer]) / found.prior()
        assert change[rises] > 1 > change[falls]


def test_an_answer_may_be_wrong() -> None:
    found = readings()
    against = Answer(question=question(at(*GOAL), at(-3.0, -3.0)), choice="second")
    for share, least in ((0.0, 0.0), (0.3, 0.01)):
        weights = weigh(found, IDENTITY, 3 * [against], wrong_share=share)
        assert weights.min() >= least * found.prior().min()
    assert torch.isfinite(weigh(found, IDENTITY, 50 * [against], wrong_share=0.0)).all()


def test_the_order_of_answers_does_not_matter() -> None:
    asked = answered_by("place:1", count=6)
    turned = weigh(asked.readings, IDENTITY, asked.answers[::-1])
    assert torch.allclose(turned, asked.weights, atol=1e-6)


def test_information_is_that_of_the_tables() -> None:
    chances = torch.tensor([[[1.0, 0.5, 0.8]], [[0.0, 0.5, 0.2]]])  # 2 choices, 1 reading, 3 pairs
    assert torch.allclose(information(chances, torch.ones(1)), torch.zeros(3), atol=1e-7)
    apart = torch.tensor([[[1.0, 0.5], [0.0, 0.5]], [[0.0, 0.5], [1.0, 0.5]]])
    told = information(apart, torch.tensor([0.5, 0.5]))
    assert torch.allclose(told, torch.tensor([0.5, 0.5]).log().abs() * torch.tensor([1.0, 0.0]))


def test_questions_are_of_recorded_pieces_never_twice_alike_and_quick() -> None:
    asked, windows = inquiry(), play()
    began = time.perf_counter()
    questions = [asked.next_question() for _ in range(5)]
    assert time.perf_counter() - began < 5 * 2
    assert len({now.places for now in questions}) == 5
    for now in questions:
        for piece, (number, step) in zip((now.first, now.second), now.places, strict=True):
            index = torch.nonzero((windows.episode == number) & (windows.first == step))[0]
            assert torch.equal(windows.gather(index)[0][0], piece)


def test_chosen_questions_tell_more_than_random_ones() -> None:
    asked = inquiry()
    told = asked.next_question()
    pairs = [
        question(p, q)
        for p, q in zip(
            asked.play.gather(torch.arange(40))[0],
            asked.play.gather(torch.arange(400, 440))[0],
            strict=True,
        )
    ]
    entropy = lambda w: float(torch.special.entr(w).sum())
    left = lambda q: min(
        entropy(weigh(asked.readings, IDENTITY, [Answer(question=q, choice=c)])) for c in CHOICES
    )
    assert left(told) < np.mean([left(pair) for pair in pairs])


def test_answers_go_to_a_file_and_back(tmp_path: Path) -> None:
    asked = answered_by("place:1", count=4)
    file = tmp_path / "new" / "answers.jsonl"
    write_answers(asked.answers[:1], file)
    write_answers(asked.answers[1:], file)
    assert [json.loads(line)["answer"] for line in file.read_text().splitlines()] == [
        answer.choice for answer in asked.answers
    ]
    again = read_answers(file, SPEC)
    assert [a.question.places for a in again] == [a.question.places for a in asked.answers]
    assert torch.allclose(weigh(asked.readings, IDENTITY, again), asked.weights, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        (lambda facts: facts.pop("first"), "'first'"),
        (lambda facts: facts.update(answer="both"), "both"),
        (lambda facts: facts["second"].update(window=[[0.0, 1.0]]), (1, 2)),
        (lambda facts: facts["second"]["window"][0].__setitem__(0, float("nan")), "nan"),
    ],
)
def test_a_line_that_is_no_answer_is_named(tmp_path: Path, change, value: object) -> None:
    answer = Answer(question=question(at(0, 0), at(1, 1)), choice="first")
    good = {"answer": answer.choice, **answer.question.to_config()}
    bad = json.loads(json.dumps(good))
    change(bad)
    file = tmp_path / "answers.jsonl"
    file.write_text(f"{json.dumps(good)}\n\n{json.dumps(bad)}\n")
    with refused(place=f"{file}, line 3", value=value, remedy="ask again"):
        read_answers(file, SPEC)


def test_an_answer_that_is_no_choice_is_refused() -> None:
    with refused(place="answer", value="both", remedy="first, second, equal"):
        Answer(question=question(at(0, 0), at(1, 1)), choice="both")


def test_pieces_of_other_plans_are_refused() -> None:
    longer = torch.zeros((7, 2))
    answer = Answer(question=question(longer, longer), choice="equal")
    with refused(place="answer 0", value=(7, 2)):
        weigh(readings(), IDENTITY, [answer])


def test_a_share_of_wrong_answers_of_one_is_refused() -> None:
    with refused(SettingsError, place="wrong_share", value=1.0, remedy="at least 0 and below 1"):
        weigh(readings(), IDENTITY, [], wrong_share=1.0)


def test_play_shorter_than_a_plan_gives_no_questions() -> None:
    short = Windows(Dataset([episode(np.zeros((3, 2)))]), SPEC)
    with refused(place="play", value=None, remedy="longer"):
        Inquiry(readings=readings(), normalizer=IDENTITY, play=short)
