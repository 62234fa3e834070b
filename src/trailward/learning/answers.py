"""Which reading of demonstrations is meant: a few answers of a person settle it.

A question shows two recorded pieces, each as long as a plan; the answer is which of them the
demonstrator would rather have done: the first, the second, or both alike. How likely an answer is
under a reading, whose mean rewards of the pieces are ``a`` and ``b`` (in deviations over play
data), is a Bradley-Terry model with ties (Davidson 1970), of which a stated share is wrong::

    first : second : equal  =  exp(5 (a - b) / 2) : exp(5 (b - a) / 2) : 4
    p(answer) = (1 - wrong) * model + wrong / 3

Readings start from a prior on the default one and are weighed by what they say of the answers. The
next question is the pair, out of many drawn at random, whose answer tells most about which reading
is meant (its mutual information; Biyik et al. 2019, arXiv 1910.04365). Nothing is learnt anew, so
a question takes a moment. It takes neither an environment nor actions, unless the reward sees them.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trailward.data.dataset import Windows
from trailward.data.formats.guard import readable
from trailward.data.normalizer import Normalizer
from trailward.data.plan import PlanSpec
from trailward.errors import DataError, below_one
from trailward.randomness import generator
from trailward.rewards.readings import Readings
from trailward.running.files import write_file

CHOICES = ("first", "second", "equal")
"""What can be answered."""

WRONG_SHARE = 0.1
"""The share of answers that may be wrong, unless told otherwise."""

_RATIONALITY, _TIES = 5.0, 4.0
_NUM_PIECES, _NUM_PAIRS = 1500, 3000

Piece = Float[Tensor, "horizon transition"]
"""A window of recorded data, environment units."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Question:
    """Two recorded pieces to choose between.

    Attributes:
        first: the one piece, environment units.
        second: the other.
        places: the episode and the environment step at which each begins.
    """

    first: Piece
    second: Piece
    places: tuple[tuple[int, int], tuple[int, int]]

    def to_config(self) -> dict[str, Any]:
        """JSON values; all that an answer's file keeps of it."""
        parts = zip(("first", "second"), self.places, (self.first, self.second), strict=True)
        return {
            name: {"episode": episode, "step": step, "window": _rounded(piece)}
            for name, (episode, step), piece in parts
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer:
    """A question and what was chosen.

    Attributes:
        question: what was asked.
        choice: one of :data:`CHOICES`.

    Raises:
        DataError: if the choice is another.
    """

    question: Question
    choice: str

    def __post_init__(self) -> None:
        if self.choice not in CHOICES:
            msg, remedy = f"the answer is '{self.choice}'", f"it can be {', '.join(CHOICES)}"
            raise DataError(msg, place="answer", value=self.choice, remedy=remedy)


def weigh(
    readings: Readings,
    normalizer: Normalizer,
    answers: Sequence[Answer],
    *,
    wrong_share: float = WRONG_SHARE,
) -> Float[Tensor, "reading"]:
    """How likely each reading is, given answers.

    Args:
        readings: of the learnt reward.
        normalizer: of whole transitions.
        answers: their order does not matter.
        wrong_share: the share of answers that may be wrong.

    Raises:
        DataError: if pieces are of other plans than the reward's.
        SettingsError: if the share is not at least 0 and below 1.
    """
    below_one("wrong_share", wrong_share)
    weights = readings.prior()
    if not answers:
        return weights
    expected = (readings.spec.horizon, readings.spec.transition_dim)
    for index, answer in enumerate(answers):
        for piece in (answer.question.first, answer.question.second):
            if (shape := tuple(piece.shape)) != expected:
                place, remedy = f"answer {index}", "ask anew, with this reward"
                msg = f"{place} is about pieces of shape {shape}, the reward's plans are {expected}"
                raise DataError(msg, place=place, value=shape, remedy=remedy)
    pairs = [torch.stack([getattr(a.question, name) for a in answers]) for name in CHOICES[:2]]
    returns = [_returns(readings, normalizer, each) for each in pairs]
    chosen = torch.tensor([CHOICES.index(each.choice) for each in answers])
    likely = _chances(returns[0], returns[1], wrong_share)[chosen, :, torch.arange(len(chosen))]
    logs = weights.log() + likely.clamp(min=1e-12).log().sum(0).to(weights)
    return logs.softmax(0)


@dataclass(kw_only=True)
class Inquiry:
    """Questions, one after another, and what the answers tell.

    Args:
        readings: of the learnt reward.
        normalizer: of whole transitions.
        play: windows to make questions of, environment units.
        wrong_share: the share of answers that may be wrong.
        seed: for the pieces that questions are made of.
        answers: given before.

    Raises:
        DataError: if no play episode is as long as a plan.
    """

    readings: Readings
    normalizer: Normalizer
    play: Windows
    wrong_share: float = WRONG_SHARE
    seed: int = 0
    answers: list[Answer] = field(default_factory=list)
    num_asked: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        picks = self.play.draw(_NUM_PIECES, generator(self.seed, "answers: pieces"))
        pieces, mask = self.play.gather(picks.unique())
        real = mask.all(1)
        if not bool(real.any()):
            msg = "no play episode is as long as a plan"
            raise DataError(msg, place="play", remedy="record longer ones")
        self._picks, self._pieces = picks.unique()[real], pieces[real]
        self._returns_of_pieces = _returns(self.readings, self.normalizer, self._pieces)

    @property
    def weights(self) -> Float[Tensor, "reading"]:
        """How likely each reading is now."""
        return weigh(self.readings, self.normalizer, self.answers, wrong_share=self.wrong_share)

    def next_question(self) -> Question:
        """The question whose answer tells most; another one at each call."""
        draw = generator(self.seed, "answers: pairs", self.num_asked)
        self.num_asked += 1
        pairs = torch.randint(len(self._pieces), (2, _NUM_PAIRS), generator=draw)
        first, second = self._returns_of_pieces[:, pairs[0]], self._returns_of_pieces[:, pairs[1]]
        told = information(_chances(first, second, self.wrong_share), self.weights.cpu())
        one, other = pairs[:, int(told.argmax())].tolist()
        return Question(
            first=self._pieces[one],
            second=self._pieces[other],
            places=(self._place(one), self._place(other)),
        )

    def tell(self, question: Question, choice: str) -> None:
        """Take an answer into account.

        Raises:
            DataError: if it is none of :data:`CHOICES`.
        """
        self.answers.append(Answer(question=question, choice=choice))

    def _place(self, index: int) -> tuple[int, int]:
        pick = self._picks[index]
        return int(self.play.episode[pick]), int(self.play.first[pick])


def information(
    chances: Float[Tensor, "choice reading pair"], weights: Float[Tensor, "reading"]
) -> Float[Tensor, "pair"]:
    """What an answer is expected to tell about which reading is meant, in nats.

    The mutual information of the two: the entropy of the answer less its mean entropy once the
    reading is known.
    """
    mean = torch.einsum("crp,r->cp", chances, weights)
    known = torch.einsum("crp,r->p", torch.special.entr(chances), weights)
    return torch.special.entr(mean).sum(0) - known


def write_answers(answers: Sequence[Answer], file: str | os.PathLike[str]) -> Path:
    """Add answers to a file of JSON lines, one an answer, with the pieces they are about.

    Raises:
        StorageError: if it could not be written; what it held is as it was.
    """
    path = Path(file)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for answer in answers:
        lines.append(json.dumps({"answer": answer.choice, **answer.question.to_config()}))
    return write_file(path, "".join(f"{line}\n" for line in lines))


def read_answers(file: str | os.PathLike[str], spec: PlanSpec) -> list[Answer]:
    """Read what :func:`write_answers` wrote.

    Args:
        file: JSON lines.
        spec: of the reward's plans.

    Raises:
        DataError: names the line that cannot be used.
        OSError: if there is no such file.
    """
    answers, again = [], "take the line out, or ask again"
    with readable(file, "a file of answers", again):
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                answers.append(_answer(json.loads(line), spec))
            except Exception as error:  # noqa: BLE001 - a line may be wrong in every way
                place = f"{file}, line {number}"
                msg = f"{place}: this is no answer: {error}"
                value = error.value if isinstance(error, DataError) else str(error)
                raise DataError(msg, place=place, value=value, remedy=again) from None
    return answers


def _answer(facts: dict[str, Any], spec: PlanSpec) -> Answer:
    pieces, places = [], []
    for name in CHOICES[:2]:
        part = facts[name]
        piece = torch.tensor(part["window"], dtype=torch.float32)
        shape, expected = tuple(piece.shape), (spec.horizon, spec.transition_dim)
        place = f"the {name} window"
        if shape != expected:
            remedy = f"give numbers of shape {expected}"
            raise DataError(f"{place} has shape {shape}", place=place, value=shape, remedy=remedy)
        if not piece.isfinite().all():
            value = f"{float(piece[~piece.isfinite()][0])}"
            remedy = "every value must be finite"
            raise DataError(f"{place} holds {value}", place=place, value=value, remedy=remedy)
        pieces.append(piece)
        places.append((int(part["episode"]), int(part["step"])))
    question = Question(first=pieces[0], second=pieces[1], places=(places[0], places[1]))
    return Answer(question=question, choice=facts["answer"])


def _returns(
    readings: Readings, normalizer: Normalizer, pieces: Float[Tensor, "piece horizon transition"]
) -> Float[Tensor, "reading piece"]:
    found = readings.plan_rewards(normalizer.normalize(pieces.to(normalizer.shift.device)))
    return found.cpu()


def _chances(
    first: Float[Tensor, "reading pair"], second: Float[Tensor, "reading pair"], wrong: float
) -> Float[Tensor, "choice reading pair"]:
    """How likely each choice is under each reading."""
    half = _RATIONALITY / 2 * (first - second)
    ties = torch.full_like(half, torch.tensor(_TIES).log().item())
    return (1 - wrong) * torch.stack([half, -half, ties]).softmax(0) + wrong / 3


def _rounded(piece: Piece) -> list[list[float]]:
    return [[float(f"{value:.6g}") for value in step] for step in piece.tolist()]
