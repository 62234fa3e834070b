"""The verb ``ask``: a few questions about recorded pieces, which settle what is meant."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from trailward.cli.flags import Say, read_for
from trailward.data.dataset import Dataset, Windows
from trailward.data.entries import observations_of
from trailward.data.formats.table import TableLayout
from trailward.errors import DataError
from trailward.judging.readings import drawn_entries
from trailward.learning.answers import (
    CHOICES,
    WRONG_SHARE,
    Inquiry,
    Question,
    read_answers,
    write_answers,
)
from trailward.learning.learnt_reward import LearntReward
from trailward.report.readings import question_figure
from trailward.running.files import write_figure
from trailward.running.folders import own_file

_KEYS = {"1": "first", "2": "second", "=": "equal", "s": "skip", "q": "quit"}
_ROWS, _COLUMNS = 18, 36

Show = Literal["plot", "pictures", "indices", "json"]


@dataclass(frozen=True)
class Ask:
    """Ask which of two recorded pieces the demonstrator would rather do, and keep the answers."""

    reward: Path
    """The learnt reward's folder."""
    play: str
    """Play data that the pieces are taken from: a file or folder of a known format."""
    out: Path
    """The file that gets the answers, a line of JSON each. Those that it holds already count."""
    num_questions: int = 10
    """Number of questions."""
    show: Show = "plot"
    """How pieces are shown: as a plot in the terminal; as pictures beside the file of answers; as
    indices (episode and environment step); or as json, a line a question, for a program."""
    wrong_share: float = WRONG_SHARE
    """The share of answers that may be wrong."""
    seed: int = 0
    """Seed for the pieces that questions are made of."""
    allow_import: bool = False
    """Whether a part named module:Name in a folder may import its module, which executes it."""
    table: TableLayout = field(default_factory=TableLayout)

    def run(self, say: Say) -> Inquiry:
        """Ask on the standard output, read answers from the standard input.

        An answer is ``first``, ``second``, ``equal``, ``skip`` or ``quit``, or its key: 1, 2, =, s
        or q. The end of the input is ``quit``.

        Raises:
            DataError: if the reward has no readings, or an answer is none of these in ``json``.
        """
        with own_file(self.out):
            return self._run(say)

    def _run(self, say: Say) -> Inquiry:
        learnt = LearntReward.load(self.reward, allow_import=self.allow_import)
        play = read_for(self.play, learnt, self.table)
        inquiry = Inquiry(
            readings=learnt.readings,
            normalizer=learnt.normalizer,
            play=Windows(play, learnt.spec),
            wrong_share=self.wrong_share,
            seed=self.seed,
            answers=read_answers(self.out, learnt.spec) if self.out.exists() else [],
        )
        inquiry.num_asked = len(inquiry.answers)
        for number in range(self.num_questions):
            question = inquiry.next_question()
            self._show(question, number, learnt, play, say)
            choice = self._answer(say)
            if choice == "quit":
                break
            if choice in CHOICES:
                inquiry.tell(question, choice)
                write_answers(inquiry.answers[-1:], self.out)
        self._conclude(inquiry, say)
        return inquiry

    def _show(
        self, question: Question, number: int, learnt: LearntReward, play: Dataset, say: Say
    ) -> None:
        if self.show == "json":
            say(json.dumps({"question": number, **question.to_config()}))
            return
        length = learnt.spec.num_observations - 1
        asked = f"Question {number + 1} of {self.num_questions}"
        say(f"{asked}: which would the demonstrator rather do?")
        for name, (episode, step) in zip(CHOICES, question.places, strict=False):
            say(f"  {name}: episode {episode}, environment steps {step} to {step + length}")
        if self.show == "plot":
            say(terminal_plot(question, learnt, play))
        if self.show == "pictures":
            picture = self.out.with_name(f"{self.out.stem}-question-{number + 1}.png")
            write_figure(picture, question_figure(question, learnt, play), dpi=110)
            say(f"  picture -> {picture}")

    def _answer(self, say: Say) -> str:
        while True:
            if self.show != "json":
                say("1 first, 2 second, = alike, s skip, q quit:")
            line = sys.stdin.readline()
            typed = line.strip().lower()
            choice = _KEYS.get(typed, typed) if line else "quit"
            if choice in _KEYS.values():
                return choice
            if self.show == "json":
                msg, remedy = f"the answer is '{typed}'", f"it can be {', '.join(_KEYS.values())}"
                raise DataError(msg, place="answer", value=typed, remedy=remedy)

    def _conclude(self, inquiry: Inquiry, say: Say) -> None:
        weights = inquiry.weights.tolist()
        found = dict(zip(inquiry.readings.names, weights, strict=True))
        if self.show == "json":
            say(json.dumps({"num_answers": len(inquiry.answers), "readings": found}))
            return
        say(f"\nAfter {len(inquiry.answers)} answers the readings of the demonstrations are:")
        for name, weight in sorted(found.items(), key=lambda pair: -pair[1]):
            say(f"  {name:<12} {weight:6.1%}  {'#' * round(40 * weight)}")
        say(f"Answers -> {self.out}. Use them: trailward learn ... --answers {self.out}")


def terminal_plot(question: Question, learnt: LearntReward, play: Dataset) -> str:
    """Both pieces side by side in characters: play data is dots, a piece goes from o to X."""
    entries = list(drawn_entries(learnt, play))
    dots = observations_of(play)[:, entries]
    low, high = dots.min(0), dots.max(0)
    panels = []
    for piece in (question.first, question.second):
        path = learnt.spec.split(piece[None])[0][0][:, entries].numpy()
        panel = np.full((_ROWS, _COLUMNS), " ")
        _draw(panel, dots[:: max(1, len(dots) // 20_000)], ".", low, high)
        _draw(panel, _dense(path), "*", low, high)
        _draw(panel, path[:1], "o", low, high)
        _draw(panel, path[-1:], "X", low, high)
        panels.append(["".join(row) for row in panel])
    title = "first".ljust(_COLUMNS) + "    second"
    return "\n".join([title, *(f"{one}    {other}" for one, other in zip(*panels, strict=True))])


def _dense(path: np.ndarray) -> np.ndarray:
    """The same path with points between, so that its line has no gaps."""
    times = np.linspace(0, len(path) - 1, 20 * len(path))
    columns = [np.interp(times, np.arange(len(path)), column) for column in path.T]
    return np.stack(columns, -1)


def _draw(
    panel: np.ndarray, points: np.ndarray, mark: str, low: np.ndarray, high: np.ndarray
) -> None:
    share = (points - low) / np.maximum(high - low, 1e-9)
    column = np.clip((share[:, 0] * _COLUMNS).astype(int), 0, _COLUMNS - 1)
    row = np.clip(((1 - share[:, 1]) * _ROWS).astype(int), 0, _ROWS - 1)
    panel[row, column] = mark
