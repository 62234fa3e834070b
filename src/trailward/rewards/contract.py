"""The contract of reward models: plans to one number each; higher is better. Model space in.

A reward model is a PyTorch module that is a :class:`RewardModel`. What is not overridden does
nothing, so a model with ``step_rewards`` alone can be learnt, saved, made pessimistic, planned
with and exported.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from trailward.data.dataset import Dataset
from trailward.data.normalizer import Normalizer
from trailward.data.plan import PlanSpec
from trailward.errors import SettingsError
from trailward.registry import Registry
from trailward.typing import (
    Past,
    PerPlan,
    Plans,
    Scalar,
    StageRewards,
    Stages,
    StagesOfSteps,
    StepRewards,
)


@dataclass(frozen=True, kw_only=True)
class RewardSettings:
    """What a kind of reward model can be told, beside the layout of plans.

    Each kind has a dataclass of its own, made from this one, whose fields are JSON values. By
    itself it is that of kinds that have nothing to set.
    """

    kind: ClassVar[Any] = None

    def numbered(self, names: Sequence[str], count: int) -> "RewardSettings":
        """The same with entries of the observation by number, where they were named.

        Args:
            names: of the entries of the observation; none if they have no names.
            count: how many entries there are.

        Raises:
            DataError: if a name is not there.
        """
        return self

    def build(self, spec: PlanSpec, *, seed: int | None = None) -> "RewardModel":
        """A reward model with fresh weights.

        Args:
            spec: what a plan holds.
            seed: PyTorch's is set to it; left as it is if None.

        Raises:
            SettingsError: if the settings do not fit the plans.
            TypeError: if no kind of reward model has these settings.
        """
        if self.kind is None:
            raise TypeError(f"{self} belongs to no reward model; name its class instead")
        if seed is not None:
            torch.manual_seed(seed)
        return self.kind(spec, self)


class RewardModel(nn.Module):
    """A reward of plans; abstract, and concrete kinds are never subclassed.

    A kind is built from ``(spec, settings)`` and passes both on to this constructor. It must
    define :meth:`step_rewards` or, if it rewards whole plans only, ``per_step = False`` and
    :meth:`forward`.

    A reward may depend on what came before. What it remembers of that is its *stage*, a number
    from 0 to ``num_stages - 1``; 0 where nothing came before. Most have one stage.

    Args:
        spec: what a plan holds.
        settings: of the kind; saved with the reward.
        inputs: entries of a plan step that the reward sees; all if None.

    Attributes:
        inputs: the same, as a tensor of whole numbers.
        sees_actions: whether an action is among them.
        per_step: whether the reward of a plan is the mean of rewards of its steps. Only such a
            reward can say what a single observation is worth.
        num_stages: how many stages there are.
        Settings: the dataclass of its settings.

    Raises:
        SettingsError: if an input is not an entry of a plan step.
    """

    inputs: Tensor
    per_step: bool = True
    num_stages: int = 1
    Settings: ClassVar[type[RewardSettings]] = RewardSettings

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "Settings" in vars(cls) and "kind" not in vars(cls.Settings):
            cls.Settings.kind = cls

    def __init__(
        self,
        spec: PlanSpec,
        settings: RewardSettings = RewardSettings(),
        *,
        inputs: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.spec, self.settings = spec, settings
        seen = tuple(range(spec.transition_dim) if inputs is None else inputs)
        outside = [entry for entry in seen if not 0 <= entry < spec.transition_dim]
        if outside or not seen:
            last = spec.transition_dim - 1
            remedy = f"name at least one entry of a plan step, each in 0 to {last}"
            raise SettingsError(f"inputs are {seen}", place="inputs", value=seen, remedy=remedy)
        self.sees_actions = max(seen) >= spec.observation_dim
        self.register_buffer("inputs", torch.tensor(seen), persistent=False)

    def observe(self, steps: Plans, past: Past | None = None) -> Stages:
        """The stage at each of a sequence of plan steps.

        Args:
            steps: model space, in the order of time; observations alone will do if the stage does
                not depend on actions.
            past: the stage before the first of them; 0 if None.
        """
        return torch.zeros(steps.shape[:2], dtype=torch.long, device=steps.device)

    def step_rewards(self, plan: Plans, past: StagesOfSteps | None = None) -> StepRewards:
        """The reward of each plan step by itself.

        Args:
            plan: model space; observations alone will do if the reward sees no actions.
            past: the stage that each plan step is judged in, shape (batch, horizon), or one for
                all steps of a plan, shape (batch, 1). If None, those that the plan leads through
                if nothing came before it: ``observe(plan)``.

        Raises:
            TypeError: if the model rewards whole plans only.
        """
        raise TypeError(
            f"a '{self.name}' reward is of whole plans; learn an 'additive' one"
            if not self.per_step
            else f"{type(self).__name__} defines no step_rewards"
        )

    def forward(self, plan: Plans, past: StagesOfSteps | None = None) -> PerPlan:
        """The reward of each plan: the mean of its step rewards, unless it is of whole plans."""
        return self.step_rewards(plan, past).mean(-1)

    def stage_rewards(self, plan: Plans) -> StageRewards:
        """The reward of each plan step in each stage there is."""
        stages = torch.arange(self.num_stages, device=plan.device)
        return torch.stack(
            [self.step_rewards(plan, stage.expand(len(plan), 1)) for stage in stages], -1
        )

    def members(self) -> Sequence["RewardModel"]:
        """The rewards that this is the mean of; itself, if it is no ensemble."""
        return (self,)

    def penalty(self, plan: Plans) -> Scalar:
        """What learning keeps small on play data, beside the objective; 0 for most."""
        return plan.new_zeros(())

    def reference(self, first: Plans, horizon: int) -> Plans | None:
        """Plans that a planner is to make others near; None for most: it makes them from noise.

        Args:
            first: the first step of each, model space, shape (batch, 1, entry).
            horizon: plan steps.
        """
        return None

    def violation(self, plan: Plans) -> PerPlan:
        """How far each plan does what no demonstrator did; 0 for most rewards.

        A planner keeps the candidate of least violation.

        Args:
            plan: model space.
        """
        return plan.new_zeros(len(plan))

    def prepared(
        self, demonstrations: Dataset, normalizer: Normalizer
    ) -> tuple["RewardModel", Mapping[str, float]]:
        """The reward model that demonstrations call for, before it is learnt.

        Args:
            demonstrations: those that it will be learnt from, environment units.
            normalizer: of observations.

        Returns:
            This model or a simpler one, and figures that tell why.
        """
        return self, {}

    @property
    def is_penalized(self) -> bool:
        """Whether :meth:`penalty` depends on the weights, so that learning needs play data."""
        plan = self.inputs.new_zeros((1, 1, self.spec.transition_dim), dtype=torch.float32)
        with torch.enable_grad():
            return self.penalty(plan).requires_grad

    def separately(self) -> "RewardModel":
        """The same where each member judges an equal part of the batch; itself without members."""
        return self

    @property
    def name(self) -> str:
        """What the kind is called: as registered, or ``module:Name``."""
        return REWARDS.name_of(type(self))

    def to_config(self) -> dict[str, Any]:
        """What :func:`from_config` builds the same model from, but for its weights; JSON values."""
        return {"model": self.name, "settings": asdict(self.settings)}

    @classmethod
    def from_settings(
        cls, settings: Mapping[str, Any], spec: PlanSpec, *, allow_import: bool = False
    ) -> "RewardModel":
        """A model with fresh weights.

        Args:
            settings: fields of ``Settings``; the usual ones for those left out.
            spec: what a plan holds.
            allow_import: whether parts named ``module:Name`` may import their modules.
        """
        if cls.Settings is RewardSettings:
            return cls(spec)
        return cls(spec, cls.Settings(**settings))

    if TYPE_CHECKING:  # what calling a module gives

        def __call__(self, plan: Plans, past: StagesOfSteps | None = None) -> PerPlan:
            """As :meth:`forward`."""
            ...

        def to(self, *args: Any, **kwargs: Any) -> Self:
            """Move it to a device, as any module."""
            ...


REWARDS: Registry[type[RewardModel]] = Registry("rewards")
"""Kinds of reward models by name; a kind is built from ``(spec, settings)``."""


def from_config(
    config: Mapping[str, Any], spec: PlanSpec, *, allow_import: bool = False
) -> RewardModel:
    """A model with fresh weights, of what :meth:`RewardModel.to_config` gave.

    Args:
        config: the kind's name and its settings.
        spec: what a plan holds.
        allow_import: whether a kind named ``module:Name`` may import its module.

    Raises:
        UnknownPartError: if the kind is unknown, or its module may not be imported.
        TypeError: if a setting is unknown.
        SettingsError: if the settings do not fit.
    """
    kind = REWARDS.find(config["model"], may_import=allow_import)
    return kind.from_settings(config["settings"], spec, allow_import=allow_import)


def build_reward(
    reward: "RewardModel | RewardSettings | type[RewardModel] | str",
    spec: PlanSpec,
    *,
    seed: int | None = None,
) -> RewardModel:
    """A reward model of whatever stands for one.

    Args:
        reward: a model, of which a copy is made; settings; a class; or its name, as registered or
            ``module:Name``. Of a class or a name the settings are the usual ones.
        spec: what a plan holds.
        seed: PyTorch's is set to it before weights are drawn; left as it is if None.

    Raises:
        UnknownPartError: if there is no such kind.
        SettingsError: if the settings do not fit, or a model is of other plans.
    """
    if isinstance(reward, RewardModel):
        if reward.spec != spec:
            msg = f"the reward is of plans {reward.spec}, the diffuser's are {spec}"
            raise SettingsError(msg, place="reward", value=reward.spec, remedy="build it anew")
        return copy.deepcopy(reward)
    if isinstance(reward, RewardSettings) and reward.kind is not None:
        return reward.build(spec, seed=seed)
    kind: Any = REWARDS.find(reward) if isinstance(reward, str) else reward
    if not (isinstance(kind, type) and issubclass(kind, RewardModel)):
        raise TypeError(f"{reward} stands for no reward model; give a subclass of RewardModel")
    if seed is not None:
        torch.manual_seed(seed)
    return kind.from_settings({}, spec)
