"""Learn a reward by differentiating through guided sampling (Oliveira 2024, the algorithm).

    for each batch of demonstration windows d_1..d_B:
        s_b  <- first observation of d_b
        x_b  <- guided plan from s_b          # differentiable in phi through every step
        loss <- objective({x_b}, {d_b})
        phi  <- Adam step on d loss / d phi   # second order: the guide is itself a gradient

The denoiser is frozen. :func:`~trailward.learning.problem.matching_loss` is the first three lines,
:func:`_learn` the rest.

The plans of one round are guided by the reward alone, so the reward must also lead round corners.
With several rounds, a value that knows the ways of the play data (:mod:`trailward.rewards.value`)
is fitted to the reward after each, and guides beside it in the next: the reward is left to say
where it is good to be. The weights kept are those that did best on the held-out demonstrations in
the last round, since planning needs its value.
"""

import contextlib
import copy
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from trailward.checkpoint import RunFolder, check_of_finished
from trailward.data.dataset import Dataset, Windows, agreed_columns
from trailward.data.episode import Columns, Episode
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.diffusion.fine_tuning import fine_tune_diffuser
from trailward.diffusion.fitting import check_finite
from trailward.learning.config import LearningConfig
from trailward.learning.files import FINE_TUNED
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.problem import MatchingProblem
from trailward.learning.selection import Record, best_sampling, clip
from trailward.learning.validation import (
    check_combination,
    check_data,
    check_memory_of,
    needs_play,
    within_memory,
)
from trailward.objectives import DirectObjective, Objective, describe_objective, find_objective
from trailward.rewards.avoided import find_avoided
from trailward.rewards.contract import RewardModel, RewardSettings, build_reward
from trailward.rewards.known_region import find_known_region
from trailward.rewards.pace import find_pace
from trailward.rewards.readings import AS_IS, find_readings
from trailward.rewards.value import NoValueError, RewardToGo, Value
from trailward.running.folders import own_if_any
from trailward.running.interruption import Checkpoints

STATE = "learning.safetensors"
_OF_STEPS = ("num_steps", "learning_rate", "weight_decay", "max_gradient_norm")
_MAY_CHANGE = (*_OF_STEPS, "adjoint", "diverged_norm", "fine_tuning", "planning", "reading")


class StopLearning(Exception):  # noqa: N818
    """Raised by ``on_step`` to end learning early, with the best reward so far."""


@dataclass(frozen=True, kw_only=True)
class LearningState:
    """Where learning is, as told after each gradient step, and once more at its end.

    Attributes:
        step: gradient steps done, those of fine-tuning after those of learning.
        num_steps: gradient steps in all, at most.
        loss: of the step; None at the end.
        stage: ``learning`` or ``fine-tuning``.
        ended: why learning ended before its last step; empty otherwise.
        current: what :meth:`reward` calls.
    """

    step: int
    num_steps: int
    loss: float | None
    stage: str
    ended: str
    current: Callable[[], LearntReward]

    @property
    def figures(self) -> dict[str, float | str]:
        """What a progress bar shows: the loss, or why learning ended."""
        if self.loss is not None:
            return {"loss": self.loss}
        return {"ended": self.ended} if self.ended else {}

    def reward(self) -> LearntReward:
        """A copy of the reward as it is now, to judge or to draw while learning goes on."""
        return self.current()


def learn_reward(
    diffuser: Diffuser,
    demonstrations: Dataset,
    folder: str | os.PathLike[str] | None = None,
    *,
    play: Dataset | None = None,
    objective: str | Objective | DirectObjective = "mmd_gaussian",
    reward: RewardModel | RewardSettings | type[RewardModel] | str = "additive",
    sampling: SamplingConfig = SamplingConfig(),
    config: LearningConfig = LearningConfig(),
    on_step: Callable[[LearningState], bool | None] = lambda state: None,
    provenance: Mapping[str, Any] | None = None,
) -> LearntReward:
    """Learn a reward from demonstrations; started again in the same folder, it goes on exactly.

    On resuming you may change the adjoint, settings used after learning and, while steps remain,
    the number of steps, the learning rate, the weight decay, the patience and the limits on
    gradients. Anything else is refused.

    Args:
        diffuser: of the play data.
        demonstrations: environment units; they are normalised as the play data was.
        folder: gets the reward, the checkpoint and TensorBoard's ``logs``; if None, everything
            stays in memory.
        play: play data, environment units. It is required by a value, by fine-tuning, by a
            reward's penalty, by ``starts`` other than ``demonstrations``, and by the objectives
            ``logit`` and ``relative_reward``. It also tells a reward of single steps where it is
            known (:mod:`trailward.rewards.known_region`).
        objective: what is minimised: a name (``mse``, ``mmd_gaussian``, ``mmd_matern``,
            ``mmd_matern32``, ``mmd_matern52``, ``energy``; or, sampling no plans, ``dlsm``,
            ``logit``, ``relative_reward``; or ``module:Name``), or an object.
        reward: a reward model, of which a copy is learnt; the settings of one; its class; or its
            name. A ``staged`` one becomes additive where remembering a place does not explain
            the demonstrations. The members of an ensemble are learnt side by side.
        sampling: how plans are sampled and guided.
        config: how the reward is learnt.
        on_step: told where learning is after each gradient step. Learning ends early, with the
            best reward so far, if it returns False or raises :class:`StopLearning`.
        provenance: kept in the reward's configuration, beside ``config`` and how learning went.

    Returns:
        The reward with the weights that did best on the held-out demonstrations (the last ones,
        if none are held out). ``folder`` holds the best so far at all times.

    Raises:
        DivergedError: if a loss or gradient is not finite or too large; the folder keeps the
            last good reward and checkpoint. With a lower learning rate it goes on from there.
        DataError: if the demonstrations do not fit the diffuser.
        CheckpointError: if the folder's checkpoint is of other data, diffuser or settings.
        FolderError: if the folder holds something else, or another process works in it.
        ValueError: if a setting is unknown, settings do not go together, no demonstration would
            be left to learn from, or play data is needed and there is none.
    """
    began, objective = time.perf_counter(), find_objective(objective)
    columns = agreed_columns(
        {
            "the diffuser's play data": diffuser.columns,
            "the play data": Columns() if play is None else play.columns,
            "the demonstrations": demonstrations.columns,
        }
    )
    if isinstance(reward, RewardSettings):
        reward = reward.numbered(columns.observations, diffuser.spec.observation_dim)
    model, asked, figures = _prepare(
        reward, objective, diffuser, demonstrations, config, has_play=play is not None
    )
    check_memory_of(diffuser, sampling, objective, config, len(model.members()))
    num_learnt = len(demonstrations.episodes) - config.selection.num_held_out
    uses_play = play if needs_play(model, objective, config) else None
    problem = MatchingProblem(
        diffuser=diffuser,
        windows=Windows(demonstrations, diffuser.spec),
        num_learnt=num_learnt,
        play=None if uses_play is None else Windows(uses_play, diffuser.spec),
        objective=objective,
        sampling=sampling,
        config=config,
        num_members=len(model.members()),
    )
    facts = {**(provenance or {}), **_facts(objective, demonstrations.episodes[:num_learnt])}
    run = _Run.begin(problem, model, figures, columns, facts)
    identity = {
        "play data": None if uses_play is None else uses_play.fingerprint,
        "demonstrations": demonstrations.fingerprint,
        "diffuser": diffuser.fingerprint,
        "objective": facts["objective"],
        "reward": asked,
        "sampling": asdict(sampling),
        "learning": _lasting(config, objective),
    }
    place = None if folder is None else Path(folder)
    with own_if_any(place, "reward"):
        with run.files(place, identity) as files:
            run.resume(files)
            run.record.seconds += time.perf_counter() - began
            with Checkpoints(config.selection.evaluate_every, config.num_steps) as due:
                _learn(run, files, due, on_step)
            run.tell(on_step, None)
        kept = Dataset(demonstrations.episodes[:num_learnt])
        return _finish(run, place, play, kept, on_step)


def _facts(objective: Objective | DirectObjective, shown: Sequence[Episode]) -> dict[str, Any]:
    """What is told of how a reward is learnt, and the fingerprints of what it is learnt from."""
    learnt_from = [episode.fingerprint for episode in shown]
    return {"objective": describe_objective(objective), "learnt_from": learnt_from}


def _prepare(
    reward: RewardModel | RewardSettings | type[RewardModel] | str,
    objective: Objective | DirectObjective,
    diffuser: Diffuser,
    demonstrations: Dataset,
    config: LearningConfig,
    *,
    has_play: bool,
) -> tuple[RewardModel, dict[str, Any], Mapping[str, float]]:
    """A fresh reward model for demonstrations, what was asked for, and what they told of it."""
    with torch.random.fork_rng(devices=[]), within_memory():
        fresh = build_reward(reward, diffuser.spec, seed=config.seed)
    asked, count = fresh.to_config(), len(demonstrations.episodes)
    check_data(fresh, objective, config, num_demonstrations=count, has_play=has_play)
    kept = Dataset(demonstrations.episodes[: count - config.selection.num_held_out])
    model, figures = fresh.prepared(kept, diffuser.observation_normalizer)
    check_combination(model, objective, config)
    return model.to(diffuser.device), asked, figures


@dataclass(kw_only=True)
class _Run:
    """Everything that changes while a reward is learnt.

    Attributes:
        problem: what is learnt from what.
        model: the weights of now.
        best: the weights that are kept.
        value: guides beside the reward from the second round on; None if there is but one.
        best_value: the value that the weights kept were learnt beside.
        record: how it goes.
        frame: the learnt reward but for weights, value and figures.
        optimizer: of the model.
    """

    problem: MatchingProblem
    model: RewardModel
    best: RewardModel
    value: Value | None
    best_value: Value | None
    record: Record
    frame: LearntReward
    optimizer: torch.optim.Optimizer

    @classmethod
    def begin(
        cls,
        problem: MatchingProblem,
        model: RewardModel,
        figures: Mapping[str, float],
        columns: Columns,
        provenance: Mapping[str, Any],
    ) -> "_Run":
        """A run before its first gradient step."""
        diffuser, config = problem.diffuser, problem.config
        best = copy.deepcopy(model).requires_grad_(requires_grad=False)
        value = None
        if config.value.num_rounds > 1:
            with torch.random.fork_rng(devices=[]):
                value = Value(diffuser.spec, num_stages=model.num_stages).to(diffuser.device)
            value.requires_grad_(requires_grad=False)
        frame = LearntReward(
            model=best,
            observation_normalizer=diffuser.observation_normalizer,
            action_normalizer=diffuser.action_normalizer,
            sampling=problem.sampling,
            planning=config.planning,
            diffuser_fingerprint=diffuser.fingerprint,
            provenance={**provenance, "learning": asdict(config)},
            columns=columns,
        )
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        return cls(
            problem=problem,
            model=model,
            best=best,
            value=value,
            best_value=copy.deepcopy(value),
            record=Record(figures=dict(figures)),
            frame=frame,
            optimizer=optimizer,
        )

    def files(self, folder: Path | None, identity: Mapping[str, Any]) -> RunFolder:
        """Where the run is kept."""
        modules: dict[str, Any] = {"reward": self.model, "best": self.best}
        if self.value is not None:
            modules |= {"value": self.value, "best_value": self.best_value}
        return RunFolder(
            folder,
            STATE,
            modules=modules,
            optimizers={"adam": self.optimizer},
            identity=identity,
        )

    def resume(self, files: RunFolder) -> None:
        """Go on where the folder's checkpoint is; refuse settings that come too late."""
        config, usual = self.problem.config, asdict(Record())
        before = files.load(like={**usual, "settings": {}})
        if not before or files.state is None:
            return
        self.record = Record(**{name: before[name] for name in usual if name in before})
        done, waited = self.record.step, self.record.is_out_of_patience(config)
        if done >= config.num_steps or waited:
            remedy = "more patience" if waited else f"a num_steps above {done}"
            now = {name: getattr(config, name) for name in _OF_STEPS}
            check_of_finished(files.state, done, before.get("settings", {}), now, remedy=remedy)

    def guide(self, model: RewardModel) -> RewardModel:
        """What guides plans now: from the second round on, the value too."""
        if self.value is None or self.record.round == 0:
            return model
        return RewardToGo(model, self.value)

    def begin_round(self, number: int) -> None:
        """Fit the value to the reward as it is now; from here on it guides too."""
        if self.value is not None:
            self.value.load_state_dict(self.problem.fitted_value(self.model).state_dict())
        self.record.begin_round(number)

    def look(self, files: RunFolder) -> None:
        """Keep the weights if they do better on held-out demonstrations than any before."""
        loss = -float(self.record.step)
        if self.problem.config.selection.num_held_out:
            loss = self.problem.held_out_loss(self.guide(self.model))
            files.log(self.record.step, {"learn/held_out_energy": loss})
        if self.record.is_best(loss):
            self.best.load_state_dict(self.model.state_dict())
            if self.value is not None and self.best_value is not None:
                self.best_value.load_state_dict(self.value.state_dict())

    def keep(self, files: RunFolder, settings: Mapping[str, Any], *, is_judged: bool) -> None:
        """Write the state and, after a look, the best reward: never a reward without a state."""
        facts = {**asdict(self.record), "settings": settings}
        has_state = files.has_state
        if not has_state:
            files.save(facts)
        if is_judged and files.folder is not None:
            self.learnt().save(files.folder)
            shutil.rmtree(files.folder / FINE_TUNED, ignore_errors=True)  # of an earlier reward
        if has_state:
            files.save(facts)

    @property
    def ended(self) -> str:
        """Why no step is left although fewer were done than asked for; empty otherwise."""
        record, config = self.record, self.problem.config
        if record.step >= config.num_steps or not record.is_out_of_patience(config):
            return ""
        return f"patience ran out: the best was step {record.best_step}"

    @property
    def is_done(self) -> bool:
        """Whether no gradient step is left to do."""
        config = self.problem.config
        return self.record.step >= config.num_steps or self.record.is_out_of_patience(config)

    def learnt(self) -> LearntReward:
        """The reward with the weights that are kept."""
        facts = {**self.frame.provenance, "learnt": self.record.to_config()}
        value = self.best_value if self.record.best_round > 0 else None
        return replace(self.frame, model=self.best, value=value, provenance=facts)

    def current(self) -> LearntReward:
        """A copy of the reward with the weights of now."""
        model = copy.deepcopy(self.model).requires_grad_(requires_grad=False)
        value = copy.deepcopy(self.value) if self.record.round > 0 else None
        return replace(self.learnt(), model=model, value=value)

    def tell(
        self, on_step: Callable[[LearningState], bool | None], loss: float | None, tuned: int = 0
    ) -> bool:
        """Tell where learning is; whether it is to go on."""
        config = self.problem.config
        state = LearningState(
            step=self.record.step if not tuned else config.num_steps + tuned,
            num_steps=config.num_steps + config.fine_tuning.num_steps,
            loss=loss,
            stage="fine-tuning" if tuned else "learning",
            ended=self.ended if loss is None else "",
            current=self.current,
        )
        try:
            return on_step(state) is not False
        except StopLearning:
            return False


def _learn(
    run: _Run,
    files: RunFolder,
    due: Checkpoints,
    on_step: Callable[[LearningState], bool | None],
) -> None:
    """The loop of the module's docstring, with a look at held-out demonstrations now and then."""
    problem, model, config = run.problem, run.model, run.problem.config
    settings = {name: getattr(config, name) for name in _OF_STEPS}
    began, goes_on = time.perf_counter() - run.record.seconds, True
    while goes_on and not run.is_done:
        step = run.record.step
        number, share = config.round_of(step)
        if number > run.record.round:  # not so if more steps were asked for on resuming
            run.begin_round(number)
        for group in run.optimizer.param_groups:
            group["lr"] = config.learning_rate * (1 - 0.9 * share)
        is_direct = isinstance(problem.objective, DirectObjective)
        guide = model if is_direct else run.guide(model.separately())
        total = problem.loss(guide, step)
        run.optimizer.zero_grad()
        (total + problem.penalty(model, step)).backward()
        loss, norm = total.item() / problem.num_members, clip(model, config.max_gradient_norm)
        remedy = (
            f"{files.last_good('reward')}: run again with a learning rate below "
            f"{config.learning_rate}, or begin anew in another folder with a smaller guide scale"
        )
        check_finite("learning", loss, norm, step, limit=config.diverged_norm, remedy=remedy)
        run.optimizer.step()
        run.record.step = step + 1
        files.log(step, {"learn/loss": loss, "learn/gradient_norm": norm})
        goes_on = run.tell(on_step, loss)
        is_last = step + 1 == config.num_steps or not goes_on
        is_judged = is_last or (step + 1) % config.selection.evaluate_every == 0
        if is_judged:
            run.look(files)
        if due.due(step + 1) or is_judged:
            run.record.seconds = time.perf_counter() - began
            run.keep(files, settings, is_judged=is_judged)
            due.stop_if_asked()


def _finish(
    run: _Run,
    folder: Path | None,
    play: Dataset | None,
    demonstrations: Dataset,
    on_step: Callable[[LearningState], bool | None],
) -> LearntReward:
    """The reward with what planning needs: value, sampling, fine-tuned diffuser, known region."""
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
    facts = {**learnt.provenance, "learnt": run.record.to_config()}
    learnt = replace(learnt, provenance=facts)
    if folder is not None:
        learnt.save(folder)
    return learnt


def _read(
    run: _Run, learnt: LearntReward, play: Dataset | None, demonstrations: Dataset
) -> LearntReward:
    """The reward with all its readings, read as the settings say, and the value of the reading."""
    reading = run.problem.config.reading
    if play is None or not learnt.is_additive:
        if reading not in ("default", AS_IS):
            msg = (
                f"reading is '{reading}', but this reward can be read as it is only: give play "
                "data and learn a reward of single steps, or leave the reading out"
            )
            raise ValueError(msg)
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


def _lasting(config: LearningConfig, objective: Objective | DirectObjective) -> dict[str, Any]:
    """The settings that must be the same when learning goes on."""
    told = {k: v for k, v in asdict(config).items() if k not in _MAY_CHANGE}
    told["selection"] = {"num_held_out": config.selection.num_held_out}
    if not (isinstance(objective, DirectObjective) and objective.needs_expert):
        del told["expert"]
    return told
