"""Jobs that ask which of two recorded pieces is better, and show what the answers tell.

The same questions as of ``trailward ask``, and the same file of answers.
"""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from trailward.data.dataset import Windows
from trailward.errors import DataError
from trailward.learning.answers import Answer, Inquiry, read_answers, write_answers
from trailward.learning.learnt_reward import LearntReward
from trailward.web.drawn import ANSWERS, Drawn
from trailward.web.learning import DEPLOYED, keep_reward
from trailward.web.worker import Control

_SURE = 0.8
_MEANT = {
    "as-is": "a slope to climb",
    "link": "a peak, where only the best counts",
    "place": "a place to be",
}


def question(control: Control, board: str, skipped: int = 0) -> dict[str, Any]:
    """Two recorded pieces to choose between, and what the answers so far tell.

    Args:
        control: of the job.
        board: whose reward it is about.
        skipped: questions that were passed over.
    """
    mine = Drawn(control.root, board)
    learnt, inquiry = _inquiry(mine, control)
    answers = _answers(mine, learnt)
    inquiry.answers, inquiry.num_asked = answers, len(answers) + max(0, int(skipped))
    asked, place = inquiry.next_question(), list(mine.environment.position)
    pieces = [
        learnt.spec.split(piece[None])[0][0][:, place] for piece in (asked.first, asked.second)
    ]
    weights = inquiry.weights.tolist()
    read = learnt.with_answers(answers) if answers else learnt
    return {
        "number": len(answers),
        "pieces": [piece.numpy().astype(float).round(3).tolist() for piece in pieces],
        "weights": [
            {"name": name, "says": _in_words(name), "weight": round(weight, 4)}
            for name, weight in zip(inquiry.readings.names, weights, strict=True)
        ],
        "says": _verdict(dict(zip(inquiry.readings.names, weights, strict=True)), len(answers)),
        "map": mine.ground.picture(read),
    }


def answer(
    control: Control, board: str, number: int, choice: str, skipped: int = 0
) -> dict[str, Any]:
    """Keep an answer, and ask the next question.

    Args:
        control: of the job.
        board: whose reward it is about.
        number: of the question; an answer to another than the one asked now is not taken.
        choice: ``first``, ``second`` or ``equal``.
        skipped: questions that were passed over before.
    """
    mine = Drawn(control.root, board)
    learnt, inquiry = _inquiry(mine, control)
    before = _answers(mine, learnt)
    if number == len(before):
        inquiry.answers, inquiry.num_asked = before, len(before) + max(0, int(skipped))
        given = Answer(question=inquiry.next_question(), choice=choice)
        write_answers([given], mine.folder / ANSWERS)
    return question(control, board, skipped)


def forget(control: Control, board: str) -> dict[str, Any]:
    """Remove all answers, and ask anew."""
    mine = Drawn(control.root, board)
    (mine.folder / ANSWERS).unlink(missing_ok=True)
    return question(control, board)


def settle(control: Control, board: str) -> dict[str, Any]:
    """Read the reward as the answers say, so that plans follow it."""
    mine = Drawn(control.root, board)
    learnt = _reward(mine)
    answers = _answers(mine, learnt)
    if not answers:
        remedy = "answer a question first"
        raise DataError("there are no answers", place="answers", value=0, remedy=remedy)
    control.progress("Finding the ways to what you meant", 0, 1)
    read = replace(learnt.with_answers(answers, play=mine.play(control)), sampling=DEPLOYED)
    shown = mine.read("reward/page.json") | {"map": mine.ground.picture(read)}
    keep_reward(mine, read, shown)
    return shown


def _reward(board: Drawn) -> LearntReward:
    learnt = board.reward
    if learnt is None:
        msg, remedy = "questions are about what a reward leaves open", "learn one first"
        raise DataError(msg, place="reward", remedy=remedy)
    if learnt.family is None:
        msg = "this reward was learnt before there were readings"
        raise DataError(msg, place="readings", remedy="learn it again")
    return learnt


def _inquiry(board: Drawn, control: Control) -> tuple[LearntReward, Inquiry]:
    learnt = _reward(board)
    config = board.folder / "reward" / "config.json"
    board.play(control)
    return learnt, _inquiry_of(str(board.root), board.name, config.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _inquiry_of(root: str, name: str, written: int) -> Inquiry:
    board = Drawn(Path(root), name)
    learnt = _reward(board)
    play = board.play(Control(board.root, lambda message: None))
    return Inquiry(
        readings=learnt.readings, normalizer=learnt.normalizer, play=Windows(play, learnt.spec)
    )


def _answers(board: Drawn, learnt: LearntReward) -> list[Answer]:
    file = board.folder / ANSWERS
    return read_answers(file, learnt.spec) if file.exists() else []


def _in_words(name: str) -> str:
    kind, _, number = name.partition(":")
    if kind == "link":
        return f"a peak, sharpness {float(number):g}"
    if kind == "place":
        return f"a place, radius {float(number):g}"
    return _MEANT["as-is"]


def _verdict(weights: dict[str, float], count: int) -> str:
    """What is known now, in a sentence."""
    kinds = dict.fromkeys(_MEANT, 0.0)
    for name, weight in weights.items():
        kinds[name.partition(":")[0]] += weight
    if not kinds["place"]:
        return "These demonstrations come to rest nowhere in common, so it is no place they show."
    meant = max(kinds, key=lambda kind: kinds[kind])
    if not count or kinds[meant] < _SURE:
        return "These demonstrations cannot tell a slope from a place."
    return (
        f"These demonstrations cannot tell a slope from a place; your answers say: {_MEANT[meant]}."
    )
