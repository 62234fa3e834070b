"""What planning needs of a learnt reward: reading, value, sampling, known region, fine-tuning."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from trailward.data.dataset import Dataset, Windows
from trailward.diffusion.fine_tuning import fine_tune_diffuser
from trailward.errors import SettingsError
from trailward.learning.files import FINE_TUNED
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.run import LearningState, Run
from trailward.learning.selection import best_sampling
from trailward.rewards.avoided import find_avoided
from trailward.rewards.known_region import find_known_region
from trailward.rewards.pace import find_pace
from trailward.rewards.readings import AS_IS, find_readings
from trailward.rewards.value import NoValueError


def finish(
    run: Run,
    folder: Path | None,
    play: Dataset | None,
    demonstrations: Dataset,
    on_step: Callable[[LearningState], bool | None],
) -> LearntReward:
    """The reward with what planning needs: value, sampling, fine-tuned diffuser, known region.

    Args:
        run: that has ended.
        folder: gets the fine-tuned diffuser's checkpoint; None keeps none.
        play: play data, environment units; without it there is nothing but the sampling.
        demonstrations: that were learnt from, environment units.
        on_step: told of each gradient step of fine-tuning.

    Raises:
        SettingsError: if a reading is asked for that this reward does not have.
        DivergedError: if fine-tuning diverges.
    """
    began, problem, config = time.perf_counter(), run.problem, run.problem.config
    learnt = _read(run, run.learnt(), play, demonstrations)
    if config.value.discount:
        learnt = replace(learnt, value=problem.discounted_value(learnt.model))
    learnt = replace(learnt, sampling=best_sampling(problem, learnt.guide_model))
    if play is not None and learnt.is_additive:
        recorded = problem.play or Windows(play, problem.diffuser.spec)
        region = find_known_region(
            learnt.model, problem.diffuser.normalizer, recorded, problem.windows, seed=config.seed
        )
        learnt = replace(learnt, known_region=region)

    def report(done: int, **figures: float | str) -> None:
        """Fine-tuning is not ended early: a diffuser half tuned plans worse than either."""
        run.tell(on_step, float(figures["loss"]) if "loss" in figures else None, done)

    if config.fine_tuning.num_steps and play is not None:
        fine_tuned = fine_tune_diffuser(
            problem.diffuser,
            learnt.rewards_along,
            play,
            demonstrations,
            None if folder is None else folder / FINE_TUNED,
            config=config.fine_tuning,
            least=None if learnt.known_region is None else float(learnt.known_region.floor),
            seed=config.seed,
            report=report,
        )
        learnt = replace(learnt, fine_tuned=fine_tuned)
    run.record.seconds += time.perf_counter() - began
    facts = {**learnt.provenance, "learnt": run.record.to_config(config)}
    learnt = replace(learnt, provenance=facts)
    if folder is not None:
        learnt.save(folder)
    return learnt


def _read(
    run: Run, learnt: LearntReward, play: Dataset | None, demonstrations: Dataset
) -> LearntReward:
    """The reward with all its readings, read as the settings say, and the value of the reading."""
    reading = run.problem.config.reading
    if play is None or not learnt.is_additive:
        if reading not in ("default", AS_IS):
            msg = f"reading is '{reading}', but this reward can be read as it is only"
            remedy = "give play data and learn a reward of single steps, or leave the reading out"
            raise SettingsError(msg, place="reading", value=reading, remedy=remedy)
        return learnt
    normalizer = run.problem.diffuser.normalizer
    windows = run.problem.play or Windows(play, learnt.spec)
    found = find_readings(learnt.model, normalizer, windows, demonstrations).read(reading)
    avoided = find_avoided(found, normalizer, windows, demonstrations)
    learnt = replace(learnt, avoided=avoided)
    if found.options.radii and not learnt.spec.with_actions:
        seen, stride = found.seen.tolist(), learnt.spec.stride
        learnt = replace(learnt, pace=find_pace(play, demonstrations, stride=stride, seen=seen))
    if not learnt.guides_alone(found) or run.problem.config.value.discount:
        return learnt.read_as(found)
    with contextlib.suppress(NoValueError):
        model = found.base if found.chosen == AS_IS else found
        value = run.problem.fitted_value(model, windows, alone=True, tolls=avoided)
        learnt = replace(learnt, value=value)
    return learnt.read_as(found)
