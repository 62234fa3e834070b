"""Recordings in, a judged reward out: everything that is needed is chosen, and said.

play, demonstrations -> choose -> rates, held ends -> train_diffuser -> plans from every row
-> the reward (a log-ratio) -> cross-validation beside naive maps -> the reading that is kept
"""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from trailward.checkpoint import provenance, read_json, readable
from trailward.data.angles import find_angles, with_angles
from trailward.data.dataset import Dataset, Windows, with_choices
from trailward.data.entries import place_entries
from trailward.data.plan import PlanSpec
from trailward.data.tracks import TrackRows, hold_ends, rate_entries, with_rates
from trailward.diffusion.diffuser import DenoiserConfig, Diffuser, SamplingConfig
from trailward.diffusion.training import Batches, TrainingConfig, train_diffuser
from trailward.errors import DataError
from trailward.fitting.choices import GUIDE, Choices, choose
from trailward.fitting.plausibility import compare_movement, warnings_of
from trailward.fitting.roll_outs import RollOuts
from trailward.judging.cross_validation import (
    Chance,
    CrossValidation,
    Judge,
    Reading,
    auc,
    chance,
    cross_validate,
)
from trailward.judging.forecast import (
    FORECAST,
    HERE,
    WINDOWS,
    RewardJudge,
    forecast_plans,
    mean_features,
)
from trailward.judging.naive import (
    ENDS,
    DensityMaps,
    EndDensity,
    NearestNeighbours,
    RateRegression,
    is_map,
)
from trailward.judging.place_map import Walls
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.log_ratio import RandomFeatures
from trailward.progress import Watch, unwatched
from trailward.randomness import numpy_generator
from trailward.rewards import AdditiveReward, AdditiveSettings
from trailward.running.files import write_json

LEARNT = (FORECAST, WINDOWS, HERE)
"""Readings of the learnt reward."""

STAGES = "stages.json"
"""Of training: the held-out loss after each, and why it ended."""

OF_ACTIONS: dict[str, Any] = {"batch_size": 256, "optimizer": "adam", "action_weight": 5.0}
"""Settings of training where plans hold actions."""

_FIRST_STEPS, _WORTH, _OF_TIME, _OF_TIME_ALONE, _LEAST_GROWTH = 400, 0.03, 0.45, 0.6, 1.3
_HELD_OUT, _MOST_HELD, _NUM_JUDGED = 0.1, 30, 512
_BETTER, _ODD = 0.03, 0.5

Say = Callable[[str], None]


@dataclass(frozen=True)
class Recordings:
    """Tracks as they are learnt from, and more that are judged only.

    Attributes:
        dataset: all of them, with rates; environment units.
        num_known: tracks, the first ones, that are learnt from.
        demonstrations: numbers of those among them that are demonstrations.
        places: entries of the recording; those after them are rates that were added.
        animals: who made each demonstration; each another one if None.
        groups: which group each demonstration is of; None if they are not grouped.
        attributes: what else is known of each demonstration, such as its id.
    """

    dataset: Dataset
    num_known: int
    demonstrations: tuple[int, ...]
    places: int
    animals: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def judged(self) -> range:
        """Numbers of the tracks that are judged only."""
        return range(self.num_known, len(self.dataset.episodes))

    def animals_of(self, tracks: Sequence[int]) -> list[str]:
        """Who made each of some tracks; of those not known each another one."""
        known = dict(zip(self.demonstrations, self.animals or (), strict=False))
        return [known.get(track, f"track {track}") for track in tracks]

    def described(self, track: int) -> str:
        """A demonstration by its number, from 0, and what is known of it, such as its id."""
        number = self.demonstrations.index(track) if track in self.demonstrations else track
        known = [f"{name} {values[number]}" for name, values in self.attributes.items()]
        return f"{number} ({', '.join(known)})" if known else str(number)

    @classmethod
    def of(
        cls, play: Dataset, demonstrations: Dataset, test: Dataset | None, choices: Choices
    ) -> "Recordings":
        """Bring recordings together; play tracks that are demonstrations or judged count as those.

        Args:
            play: environment units.
            demonstrations: environment units.
            test: judged only; None for none.
            choices: whether rates are added, and the attributes that tell who made a
                demonstration and its group.

        Raises:
            DataError: if a track to be judged is a demonstration: it was learnt from; or
                demonstrations have no such attribute.
        """
        own = {episode.fingerprint for episode in demonstrations.episodes}
        unseen = [] if test is None else list(test.episodes)
        for number, episode in enumerate(unseen):
            if episode.fingerprint in own:
                msg = (
                    f"track {number} of the test data is one of the demonstrations: it was learnt "
                    "from, and cannot be called held out"
                )
                remedy = "leave it out of one of the two"
                raise DataError(msg, place="test", value=number, remedy=remedy)
        others = play.without(demonstrations, *([] if test is None else [test]))
        if not others:
            msg = "play data holds nothing but the demonstrations"
            raise DataError(msg, place="play", value=0, remedy="give recordings of others too")
        together = replace(
            play, episodes=[*others, *demonstrations.episodes, *unseen], attributes={}
        )
        dataset = with_rates(together, choices.time_step) if choices.add_rates else together
        num_known = len(others) + len(demonstrations.episodes)
        shown = tuple(range(len(others), num_known))
        asked = (choices.animal, choices.group_by)
        animals, groups = (_attribute(demonstrations, name) for name in asked)
        known = demonstrations.attributes
        return cls(dataset, num_known, shown, play.observation_dim, animals, groups, known)


def _attribute(demonstrations: Dataset, name: str | None) -> tuple[str, ...] | None:
    """What is known of each demonstration under a name."""
    if name is None:
        return None
    if name not in demonstrations.attributes:
        there = ", ".join(demonstrations.attributes)
        remedy = f"choose one of {there}" if there else "leave it out: they have none"
        msg = f"demonstrations have no attribute '{name}'"
        raise DataError(msg, place="attribute", value=name, remedy=remedy)
    return tuple(demonstrations.attributes[name])


@dataclass(frozen=True)
class Prepared:
    """What does not depend on the demonstrations: the diffuser, and plans from every row.

    Attributes:
        recordings: what is judged.
        choices: what it was made with.
        diffuser: of the play data.
        rows: of all tracks.
        windows: features of recorded windows, see :class:`RewardJudge`.
        forecasts: features of plans.
        ends: where plans end, the entries of the recording; environment units.
        features: of the reward.
        figures: of training, and how plans move.
    """

    recordings: Recordings
    choices: Choices
    diffuser: Diffuser
    rows: TrackRows
    windows: Float[np.ndarray, "row feature"]
    forecasts: Float[np.ndarray, "row feature"]
    ends: Float[np.ndarray, "row plan entry"]
    features: RandomFeatures
    figures: Mapping[str, Any]

    @cached_property
    def judges(self) -> list[Judge]:
        """The learnt reward first, then the naive ways."""
        places = replace(self.rows, values=self.rows.values[:, : self.recordings.places])
        ends = [EndDensity(places, self.ends)] if self.choices.hold_ends else []
        return [
            self.reward_judge,
            *ends,
            DensityMaps(places),
            RateRegression(self.rows, self.choices.seed),
            NearestNeighbours(self.rows),
        ]

    @cached_property
    def reward_judge(self) -> RewardJudge:
        """The learnt reward."""
        choices = self.choices
        return RewardJudge(
            self.rows,
            self.features,
            self.windows,
            self.forecasts,
            num_steps=1 if choices.hold_ends else choices.horizon,
            reach=(choices.horizon - 1) * choices.stride,
            ridge=choices.ridge,
            by_time=choices.weigh_by == "time",
        )


def prepare(
    recordings: Recordings,
    choices: Choices,
    folder: str | os.PathLike[str],
    *,
    minutes: float = 10.0,
    walls: Walls | None = None,
    say: Say = lambda text: None,
    watch: Watch = unwatched,
) -> Prepared:
    """Train the diffuser and let it plan from every row.

    Args:
        recordings: what is learnt from and judged.
        choices: how.
        folder: gets the diffuser and its checkpoint; run again, training goes on.
        minutes: training stops when it has taken 45% of them, or 60% if there is no fine-tuning.
        walls: that plans may not cross.
        say: told what happens.
        watch: shows how far training and planning are.
    """
    longer = recordings.dataset
    if choices.hold_ends:
        reach = (choices.horizon - 1) * choices.stride
        longer = hold_ends(longer, reach, rate_entries(longer))
    learnt_from = longer.pick(range(recordings.num_known))
    seconds = minutes * 60 * (_OF_TIME_ALONE if choices.way == GUIDE else _OF_TIME)
    diffuser, trained = _train(learnt_from, choices, folder, seconds, say, watch)
    rows = TrackRows.of(recordings.dataset, num_known=recordings.num_known, most=choices.most_rows)
    normalizer = diffuser.observation_normalizer
    features = RandomFeatures.draw(
        normalizer.shift.double().numpy(),
        normalizer.scale.double().numpy(),
        num_directions=choices.num_directions,
        generator=numpy_generator(choices.seed, "fit: features"),
        seen=choices.features,
        unmoved=choices.unmoved,
    )
    began = time.monotonic()
    with watch("planning from every row", len(rows.values)) as report:
        plans = forecast_plans(
            diffuser, rows.values, num_plans=choices.num_plans, seed=choices.seed, report=report
        )
    say(f"{plans.shape[0] * plans.shape[1]:,} plans in {time.monotonic() - began:.0f} s")
    recorded = _windows(longer, rows, choices)
    last = slice(-1, None) if choices.hold_ends else slice(None)
    movement = _movement(recordings, recorded, plans, walls)
    return Prepared(
        recordings,
        choices,
        diffuser,
        rows,
        mean_features(features, recorded[:, last]),
        mean_features(features, plans[:, :, last]),
        plans[:, :, -1, : recordings.places],
        features,
        {"training": trained, "movement": movement},
    )


def _train(
    learnt_from: Dataset,
    choices: Choices,
    folder: str | os.PathLike[str],
    seconds: float,
    say: Say,
    watch: Watch,
) -> tuple[Diffuser, dict[str, Any]]:
    """Train in stages that double, until held-out windows are denoised no better, or time is up.

    The last stage has as many steps as time is left for.
    """
    count = len(learnt_from.episodes)
    num_held = min(_MOST_HELD, math.ceil(_HELD_OUT * count)) if count >= 10 else 0
    order = numpy_generator(choices.seed, "fit: held out").permutation(count)
    parts = [
        learnt_from.pick(sorted(some.tolist()))
        for some in (order[num_held:], order[:num_held] if num_held else order)
    ]
    spec = PlanSpec(
        horizon=choices.horizon,
        stride=choices.stride,
        observation_dim=learnt_from.observation_dim,
        action_dim=learnt_from.action_dim,
        with_actions=choices.with_actions,
    )
    stages = Path(folder) / STAGES
    before, losses = _stages(stages)
    began, spent = time.monotonic(), before["seconds"]
    while True:
        steps = _FIRST_STEPS
        if losses:
            growth = 1 if before["why"] else min(2, seconds / max(spent, 1e-6))
            steps = round(growth * losses[-1][0])
        steps = min(steps, choices.most_steps)
        config = _training(choices, steps)
        network = DenoiserConfig(choices.network, width=choices.width, depth=choices.depth)
        with watch(f"training, stage {len(losses) + 1}", steps) as report:
            diffuser = train_diffuser(
                parts[0],
                spec,
                folder,
                denoiser_config=network,
                config=config,
                report=report,
                provenance=provenance(choices.seed, choices=asdict(choices)),
            )
        if before["why"]:
            say(f"the diffuser was trained before, with {steps} gradient steps")
            return diffuser, before | {"held_out": num_held}
        losses.append((steps, _held_out_loss(diffuser, parts[1], config)))
        spent = before["seconds"] + time.monotonic() - began
        say(f"{steps} gradient steps, {spent:.0f} s: held-out denoising loss {losses[-1][1]:.4f}")
        no_time = _LEAST_GROWTH * spent > seconds
        why = _why_stop(losses, steps >= choices.most_steps, no_time)
        found = {"losses": losses, "seconds": spent, "why": why}
        write_json(stages, found)
        if why:
            say(f"training stops: {why}")
            return diffuser, found | {"held_out": num_held}


def _training(choices: Choices, num_steps: int) -> TrainingConfig:
    return TrainingConfig(
        num_steps=num_steps,
        num_warmup=50,
        learning_rate=1.5e-3,
        normalizer="gaussian",
        seed=choices.seed,
        num_inverse_dynamics_steps=1000,
        **(OF_ACTIONS if choices.with_actions else {}),
    )


def _stages(file: Path) -> tuple[dict[str, Any], list[tuple[int, float]]]:
    """What is kept of the stages of training so far; and the steps and loss of each.

    Raises:
        CheckpointError: if the file is damaged.
    """
    before: Any = {"losses": [], "seconds": 0.0, "why": ""}
    if file.exists():
        remedy = "remove the folder, or give another --out"
        before = read_json(file, remedy=remedy)
        with readable(file, remedy, wrong="this is not what was written"):
            before = {
                "losses": [(int(steps), float(loss)) for steps, loss in before["losses"]],
                "seconds": float(before["seconds"]),
                "why": str(before["why"]),
            }
            if before["why"] and not before["losses"]:
                raise ValueError("there is no stage")
    return before, before["losses"]


def _why_stop(losses: Sequence[tuple[int, float]], all_done: bool, no_time: bool) -> str:  # noqa: FBT001
    """Why no further stage of training is worth it; empty if one is."""
    if len(losses) > 1 and losses[-1][1] > (1 - _WORTH) * losses[-2][1]:
        return "held-out plans are denoised no better"
    if no_time:
        return "another stage would take more time than there is"
    return "all steps are done" if all_done else ""


@torch.no_grad()
def _held_out_loss(diffuser: Diffuser, held: Dataset, config: TrainingConfig) -> float:
    """The denoising loss of windows that were not trained on; the same noise each time."""
    judged = replace(config, batch_size=_NUM_JUDGED, seed=config.seed + 1)
    batches = Batches(Windows(held, diffuser.spec), diffuser.normalizer, judged)
    losses = [batches.loss(diffuser.denoiser, diffuser.schedule, draw) for draw in range(4)]
    return float(torch.stack(losses).mean())


def _windows(
    longer: Dataset, rows: TrackRows, choices: Choices
) -> Float[np.ndarray, "row horizon entry"]:
    """The recorded window that begins at each row; beyond the end of its track the last row."""
    offsets = np.cumsum([0, *(len(episode) + 1 for episode in longer.episodes)])
    everything = np.concatenate([episode.observations for episode in longer.episodes])
    wanted = (offsets[rows.track] + rows.time)[:, None] + choices.stride * np.arange(
        choices.horizon
    )
    return everything[np.minimum(wanted, offsets[rows.track + 1][:, None] - 1)]


def _movement(
    recordings: Recordings, recorded: np.ndarray, plans: np.ndarray, walls: Walls | None
) -> dict[str, Any] | None:
    place = place_entries(recordings.dataset)
    if place is None:
        return None
    return compare_movement(recorded[..., list(place)], plans[:, 0][..., list(place)], walls)


@dataclass(frozen=True)
class Fitted:
    """A reward that was learnt and judged.

    Attributes:
        prepared: the diffuser and what it was judged on.
        shown: numbers of the demonstrations.
        validation: what left-out demonstrations say of every reading; None of one demonstration,
            and of one animal.
        naive: the best naive map, by cross-validation.
        learnt: the best reading of the learnt reward.
        kept: the reading to use: the learnt one, unless a naive one does better.
        reward: the learnt reward, to be saved and planned with.
        weights: of its features.
        planning: how the planner was made; None without actions.
        roll_outs: returns in an environment; None if there was none.
    """

    prepared: Prepared
    shown: tuple[int, ...]
    validation: CrossValidation | None
    naive: str
    learnt: str
    kept: str
    reward: LearntReward
    weights: Float[np.ndarray, "feature"]
    planning: Mapping[str, Any] | None = None
    roll_outs: Mapping[str, Any] | None = None

    @cached_property
    def readings(self) -> dict[str, Reading]:
        """Every reading, after all demonstrations were shown."""
        return {
            name: reading
            for judge in self.prepared.judges
            for name, reading in judge.values(self.shown).items()
        }

    @property
    def others(self) -> list[int]:
        """Numbers of the tracks that were learnt from and are not known to be demonstrations."""
        return _others(self.prepared.recordings, self.shown)

    def scores(self, reading: str | None = None, part: str = "whole") -> Float[np.ndarray, "track"]:
        """The score of every track; by the reading that was kept if none is named."""
        return self.readings[reading or self.kept].scores(self.prepared.rows, part)

    def scores_of_rows(self) -> Float[np.ndarray, "row"]:
        """The learnt reward's forecast at every row."""
        return self.prepared.forecasts @ self.weights

    @property
    def ends(self) -> str | None:
        """The best density of ends, by cross-validation; None where tracks are not held there."""
        names = [] if self.validation is None else list(self.validation.ranks)
        own = [name for name in names if name.startswith(ENDS)]
        return self.validation.best(own) if self.validation is not None and own else None

    def test_chance(self, reading: str | None = None, part: str = "whole") -> Chance:
        """How the tracks that were judged only rank, with an interval among the unlike."""
        scores = self.scores(reading, part)
        judged = self.prepared.recordings.judged
        return chance(np.array([auc(scores[[n]], scores[self.others]) for n in judged]))

    def test_auc(self, reading: str | None = None, part: str = "whole") -> float:
        """How the tracks that were judged only rank above those not known to be demonstrations."""
        scores = self.scores(reading, part)
        return auc(scores[list(self.prepared.recordings.judged)], scores[self.others])


def judge_demonstrations(prepared: Prepared, shown: Sequence[int] | None = None) -> Fitted:
    """Learn the reward, judge it beside the naive ways, and keep the reading that does best.

    Args:
        prepared: the diffuser and its plans.
        shown: numbers of the demonstrations; those of the recordings if None.
    """
    shown = tuple(prepared.recordings.demonstrations if shown is None else shown)
    own = (FORECAST, HERE) if prepared.choices.hold_ends else LEARNT
    validation, naive, learnt, kept = None, "", own[0], own[0]
    animals = prepared.recordings.animals_of(shown)
    if len(set(animals)) > 1:
        others = _others(prepared.recordings, shown)
        validation = cross_validate(prepared.judges, prepared.rows, shown, others, animals=animals)
        rivals = [name for name in validation.ranks if name not in LEARNT]
        naive = validation.best([name for name in rivals if is_map(name)])
        learnt, best = validation.best(own), validation.best(rivals)
        kept = best if validation.is_ahead(best, learnt, least=_BETTER) else learnt
    weights = prepared.reward_judge.learn(shown)
    reward = learnt_reward(prepared, shown, weights)
    return Fitted(prepared, shown, validation, naive, learnt, kept, reward, weights)


def learnt_reward(
    prepared: Prepared, shown: Sequence[int], weights: Float[np.ndarray, "feature"]
) -> LearntReward:
    """The reward as a model: an additive one without hidden layers, linear in its features."""
    choices, diffuser, features = prepared.choices, prepared.diffuser, prepared.features
    seen = choices.features or tuple(range(len(features.shift)))
    settings = AdditiveSettings(
        features=choices.features or None,
        hidden=(),
        unmoved=choices.unmoved,
        num_local=features.directions.shape[1],
        local_frequency=float(2 / math.sqrt(len(seen))),
    )
    model = AdditiveReward(diffuser.spec, settings)
    scale = 1 / math.sqrt(features.directions.shape[1])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        local: Any = model.local
        local[0].directions.copy_(torch.as_tensor(features.directions[list(seen)]))
        linear = next(each for each in local[1].modules() if isinstance(each, torch.nn.Linear))
        linear.weight.copy_(torch.as_tensor(scale * weights)[None])
    episodes = prepared.recordings.dataset.episodes
    facts = provenance(
        choices.seed,
        objective="log_ratio",
        choices=asdict(choices),
        learnt_from=[episodes[track].fingerprint for track in shown],
    )
    return LearntReward(
        model=model.requires_grad_(requires_grad=False),
        observation_normalizer=diffuser.observation_normalizer,
        action_normalizer=diffuser.action_normalizer,
        sampling=SamplingConfig(scale=1.0),
        diffuser_fingerprint=diffuser.fingerprint,
        provenance=facts,
        columns=diffuser.columns,
    )


def odd_demonstrations(validation: CrossValidation, reading: str) -> list[int]:
    """Demonstrations that the others do not know: ranked below half of the play data."""
    return [int(number) for number in np.flatnonzero(validation.ranks[reading] < _ODD)]


def fit(
    play: Dataset,
    demonstrations: Dataset,
    folder: str | os.PathLike[str],
    *,
    minutes: float = 10.0,
    test: Dataset | None = None,
    walls: Walls | None = None,
    roll_outs: RollOuts | None = None,
    overrides: Mapping[str, Any] | None = None,
    say: Say = lambda text: None,
    watch: Watch = unwatched,
    **map_settings: Any,
) -> Fitted:
    """Learn a reward from recordings and judge it; everything is chosen by looking at them.

    Args:
        play: recordings of everybody, environment units.
        demonstrations: recordings of those whose aim is asked for; they may be in ``play`` too.
        folder: gets the diffuser, the reward, the map, the figures and the report.
        minutes: how long it may take, about.
        test: further recordings of those, to judge by; never learnt from.
        walls: of the place.
        roll_outs: where the planner is rolled out; nowhere if None.
        overrides: choices made already (:class:`~trailward.fitting.choices.Choices`).
        say: told what is chosen and done, in sentences.
        watch: shows how far training and planning are, such as
            :func:`~trailward.progress.progress`.
        map_settings: ``place``, ``pixels``, ``near`` and ``y_down`` of
            :func:`~trailward.fitting.outputs.write_outputs`.

    Raises:
        DataError: if the data does not fit together, what is to be judged was learnt from, or
            nothing can act in the environment, since no actions were recorded.
    """
    from trailward.fitting.groups import fit_groups, write_groups
    from trailward.fitting.outputs import write_outputs

    folder = Path(folder)
    if roll_outs is not None:
        roll_outs.check(play)
    play, demonstrations, *others = _as_inside(play, demonstrations, *([test] if test else []))
    test = others[0] if others else None
    choices, told = choose(play, demonstrations, overrides)
    told.append(f"This may take {minutes:g} minutes, about half of it training (--minutes).")
    for sentence in told:
        say(sentence)
    recordings = Recordings.of(play, demonstrations, test, choices)
    prepared = prepare(
        recordings, choices, folder / "diffuser", minutes=minutes, walls=walls, say=say, watch=watch
    )
    say("judging: the demonstrations are left out in turn, by every reading")
    fitted = judge_demonstrations(prepared)
    fitted = _with_planner(fitted, folder, seconds=60 * minutes, say=say, watch=watch)
    if roll_outs is not None:
        say(f"roll-outs in {roll_outs.environment.name}")
        episodes = [recordings.dataset.episodes[track] for track in fitted.shown]
        found = roll_outs.run(fitted.reward, prepared.diffuser, episodes, seed=choices.seed)
        fitted = replace(fitted, roll_outs=found)
    shown = map_settings | {"walls": walls, "say": say}
    of_groups = []
    if choices.group_by is not None:
        of_groups = write_groups(fit_groups(fitted), folder, **shown)
    write_outputs(fitted, folder, told, of_groups=of_groups, **shown)
    return fitted


def _with_planner(
    fitted: Fitted, folder: Path, *, seconds: float, say: Say, watch: Watch
) -> Fitted:
    """The same with a reward that plans, if actions were recorded."""
    from trailward.fitting.acting import fine_tuned
    from trailward.fitting.guiding import guided

    if fitted.prepared.choices.way == GUIDE:
        learning = folder / "learning"
        return guided(fitted, learning, seconds=seconds, say=say, watch=watch)
    if fitted.prepared.choices.with_actions:
        return fine_tuned(fitted, folder / "fine-tuning", seconds=seconds, say=say)
    return fitted


def _as_inside(play: Dataset, *others: Dataset) -> list[Dataset]:
    """Recordings with actions as plans hold them; others as they are.

    Angles are sine and cosine, and every choice that was made anywhere has an entry.
    """
    given = [play, *others]
    if not play.action_dim:
        return given
    angles, count = find_angles(play), max(data.action_dim for data in given)
    return [with_choices(with_angles(data, angles), count) for data in given]


def warnings_about(fitted: Fitted) -> list[str]:
    """What a reader must know before trusting the reward, in sentences."""
    told = []
    validation, movement = fitted.validation, fitted.prepared.figures["movement"]
    if validation is None:
        told.append(
            "There is but one demonstration, or one animal: nothing could be left out to judge by."
        )
    else:
        if fitted.kept not in LEARNT:
            told.append(
                f"The learnt reward does worse than '{fitted.kept}' on demonstrations left out "
                f"({validation.score(fitted.learnt):.3f} against "
                f"{validation.score(fitted.kept):.3f}): use that, or give more demonstrations."
            )
        odd = odd_demonstrations(validation, fitted.learnt)
        if odd:
            recordings = fitted.prepared.recordings
            numbers = "; ".join(recordings.described(fitted.shown[number]) for number in odd)
            told.append(
                f"Demonstration {numbers} (counted from 0) is unlike the others: left out, it "
                "ranks below half of the play data. Look at it; without it the map may differ."
            )
    return told + ([] if movement is None else warnings_of(movement))


def _others(recordings: Recordings, shown: Sequence[int]) -> list[int]:
    return [track for track in range(recordings.num_known) if track not in shown]
