"""A run of learning: what changes from step to step, what is kept of it, and how it goes on."""

import copy
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from trailward.checkpoint import RunFolder, check_of_finished
from trailward.data.episode import Columns
from trailward.learning.config import LearningConfig
from trailward.learning.files import FINE_TUNED
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.problem import MatchingProblem
from trailward.learning.selection import Record
from trailward.objectives import DirectObjective, Objective
from trailward.rewards.contract import RewardModel
from trailward.rewards.value import RewardToGo, Value

STATE = "learning.safetensors"
OF_STEPS = ("num_steps", "learning_rate", "weight_decay", "max_gradient_norm")
_MAY_CHANGE = (*OF_STEPS, "adjoint", "diverged_norm", "fine_tuning", "planning", "reading")


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


@dataclass(kw_only=True)
class Run:
    """Everything that changes while a reward is learnt.

    Attributes:
        problem: what is learnt from what.
        model: the weights of now.
        best: the weights that are kept.
        value: guides beside the reward from the second round on; None if there is but one.
        best_value: the value that the weights kept were learnt beside.
        record: how it goes.
        frame: the learnt reward but for weights, value and figures.
        fresh: the model as it was before the first gradient step.
        optimizer: of the model.
    """

    problem: MatchingProblem
    model: RewardModel
    best: RewardModel
    value: Value | None
    best_value: Value | None
    record: Record
    frame: LearntReward
    fresh: RewardModel
    optimizer: torch.optim.Optimizer

    @classmethod
    def begin(
        cls,
        problem: MatchingProblem,
        model: RewardModel,
        figures: Mapping[str, float],
        columns: Columns,
        provenance: Mapping[str, Any],
    ) -> "Run":
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
            fresh=copy.deepcopy(best),
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
            now = {name: getattr(config, name) for name in OF_STEPS}
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

    def begins_anew(self, files: RunFolder) -> bool:
        """Begin anew with less weight decay if the reward does not tell demonstrations apart."""
        config = self.problem.config
        if not config.selection.least_auc or self.model.num_stages > 1:
            return False
        self.record.auc = self.problem.auc(self.best)
        if not self.record.may_ease(config):
            return False
        self.record = self.record.eased()
        self.model.load_state_dict(self.fresh.state_dict())
        self.optimizer.state.clear()
        files.end_curves()
        return True

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
        facts = {**self.frame.provenance, "learnt": self.record.to_config(self.problem.config)}
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


def lasting(config: LearningConfig, objective: Objective | DirectObjective) -> dict[str, Any]:
    """The settings that must be the same when learning goes on."""
    told = {k: v for k, v in asdict(config).items() if k not in _MAY_CHANGE}
    told["selection"] = {"num_held_out": config.selection.num_held_out}
    if not (isinstance(objective, DirectObjective) and objective.needs_expert):
        del told["expert"]
    return told
