"""How a reward is learnt, split by what it is for, and how agents plan with it afterwards."""

from dataclasses import dataclass, field

from trailward.data.episode import MAX_SEED
from trailward.diffusion.adjoint import parse_adjoint
from trailward.diffusion.fine_tuning import FineTuningConfig
from trailward.errors import SettingsError, at_least, at_most, below_one

STARTS = ("demonstrations", "play", "both")
"""Where sampled plans start while a reward is learnt."""

CHOICES = ("plausible", "reward")
"""What a planner chooses by among candidates."""


@dataclass(frozen=True, kw_only=True)
class PlanningConfig:
    """How agents plan with a reward; saved with it, so that what is judged is what is deployed.

    Attributes:
        num_candidates: plans sampled at each observation, of which one is kept.
        choose: which candidate is kept: the most ``plausible``
            (:meth:`~trailward.diffusion.diffuser.Diffuser.implausibility`; guidance has seen to
            the reward already), or that of highest ``reward``.
        replan_every: environment steps between plans, 1 to the plan's reach; the plan's stride if
            None.
    """

    num_candidates: int = 1
    choose: str = "plausible"
    replan_every: int | None = None

    def __post_init__(self) -> None:
        at_least(1, self, "num_candidates")
        at_most(10_000_000, self, "num_candidates")
        if self.choose not in CHOICES:
            msg, remedy = f"choose is '{self.choose}'", "it can be 'plausible' or 'reward'"
            raise SettingsError(msg, place="choose", value=self.choose, remedy=remedy)


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """What held-out demonstrations decide: when to stop, which weights to keep, how to guide.

    Attributes:
        num_held_out: demonstrations held out to judge the reward by. If 0, the last weights are
            kept.
        evaluate_every: gradient steps between looks at them.
        patience: looks without improvement after which learning stops.
        scale_factors: factors on the guide's scale that are tried once all is learnt; the pair of
            factor and stop step that does best is kept.
        stop_steps: values of the guide's ``stop_step`` that are tried with them; if there are
            none, it stays as it is.
        least_auc: how often, at least, a window of the demonstrations learnt from must be worth
            more than one of play data. A reward that does not reach that is learnt anew with a
            fifth of the weight decay, and once more with a fifth of that. Needs play data; 0 asks
            for nothing, and so does a reward that remembers.
    """

    num_held_out: int = 1
    evaluate_every: int = 20
    patience: int = 5
    scale_factors: tuple[float, ...] = (1.0,)
    stop_steps: tuple[int, ...] = ()
    least_auc: float = 0.0

    def __post_init__(self) -> None:
        at_least(0, self, "num_held_out", "least_auc")
        at_most(1, self, "least_auc")
        at_least(1, self, "evaluate_every", "patience")
        if not self.scale_factors or not all(factor > 0 for factor in self.scale_factors):
            remedy = "give at least one, all above 0"
            msg, value = f"scale_factors are {self.scale_factors}", self.scale_factors
            raise SettingsError(msg, place="scale_factors", value=value, remedy=remedy)
        if any(stop_step < 0 for stop_step in self.stop_steps):
            remedy = "none may be below 0"
            msg, value = f"stop_steps are {self.stop_steps}", self.stop_steps
            raise SettingsError(msg, place="stop_steps", value=value, remedy=remedy)


@dataclass(frozen=True, kw_only=True)
class ValueSchedule:
    """When a value is fitted to the reward, to guide plans beside it or in its place.

    Attributes:
        num_rounds: rounds of equal length; after each but the last a value is fitted, which guides
            beside the reward in the next (:func:`~trailward.rewards.value.fit_value`).
        discount: if above 0, a value is fitted once all is learnt, discounted by this much an
            environment step. It guides plans in the reward's place
            (:func:`~trailward.rewards.value.fit_discounted_value`).
    """

    num_rounds: int = 1
    discount: float = 0.0

    def __post_init__(self) -> None:
        at_least(1, self, "num_rounds")
        below_one("discount", self.discount)
        if self.discount and self.num_rounds > 1:
            rounds, discount = self.num_rounds, self.discount
            place, remedy = "num_rounds and discount", "set num_rounds to 1 or discount to 0"
            msg = f"num_rounds is {rounds} and discount {discount}, which call for different values"
            raise SettingsError(msg, place=place, value=(rounds, discount), remedy=remedy)


@dataclass(frozen=True, kw_only=True)
class ExpertConfig:
    """How the expert denoiser of ``relative_reward`` is trained; other objectives need none.

    Attributes:
        num_steps: gradient steps.
        learning_rate: Adam's, falling to 0 linearly.
    """

    num_steps: int = 300
    learning_rate: float = 3e-4

    def __post_init__(self) -> None:
        at_least(1, self, "num_steps")
        at_least(0, self, "learning_rate")


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """How a reward is learnt.

    Attributes:
        num_steps: gradient steps at most.
        batch_size: demonstration windows in a batch, and as many plans or, where the objective
            needs them, play windows. Each member of an ensemble gets half as many (rounded up),
            so that five cost two and a half times what one does.
        learning_rate: Adam's, falling to a tenth linearly.
        weight_decay: AdamW's. It keeps the reward smooth and its pull on plans moderate.
            Without it the reward grows for as long as it is learnt, and drives plans off the play
            data.
        starts: where plans start: at the first observations of the ``demonstrations``' windows
            that they are compared with, at those of ``play`` windows, or half and half (``both``).
            From where demonstrations pass, play data may well continue like them by itself, and
            little is left to learn a reward from. ``mse``, which compares each plan with its own
            demonstration, needs ``demonstrations``. If the objective samples no plans, this is
            only where those start that held-out demonstrations are judged by.
        local_penalty: weight of the reward model's penalty on play data
            (:meth:`~trailward.rewards.contract.RewardModel.penalty`), which keeps the local part
            of an additive reward small.
        adjoint: ``full``, ``checkpointed`` or ``last:K``; ignored by objectives that sample no
            plans.
        max_gradient_norm: norm that gradients are scaled down to.
        diverged_norm: norm of a gradient above which learning stops with an error.
        selection: what held-out demonstrations decide.
        value: when a value is fitted.
        expert: how the expert denoiser of ``relative_reward`` is trained.
        fine_tuning: how the diffuser is fine-tuned to the reward once all is learnt.
        planning: how agents will plan with the reward.
        reading: how the reward is read once it is learnt (:mod:`trailward.rewards.readings`):
            ``default``, as data suggests; ``as-is``; ``link:B`` or ``place:R``. Needs play data.
        seed: seed for weights, batches and noise.
    """

    num_steps: int = 200
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 5.0
    starts: str = "demonstrations"
    local_penalty: float = 0.3
    adjoint: str = "full"
    max_gradient_norm: float = 1.0
    diverged_norm: float = 1e6
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    value: ValueSchedule = field(default_factory=ValueSchedule)
    expert: ExpertConfig = field(default_factory=ExpertConfig)
    fine_tuning: FineTuningConfig = field(default_factory=FineTuningConfig)
    planning: PlanningConfig = field(default_factory=PlanningConfig)
    reading: str = "default"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.starts not in STARTS:
            msg, remedy = f"starts is '{self.starts}'", f"choose {', '.join(STARTS)}"
            raise SettingsError(msg, place="starts", value=self.starts, remedy=remedy)
        parse_adjoint(self.adjoint)
        at_least(1, self, "num_steps", "batch_size")
        at_most(MAX_SEED, self, "seed")
        at_least(0, self, "local_penalty", "learning_rate", "weight_decay")

    def is_last_round(self, number: int) -> bool:
        """Whether no round follows this one (from 0)."""
        return number + 1 == self.value.num_rounds

    def round_of(self, step: int) -> tuple[int, float]:
        """The round (from 0) that a gradient step belongs to, and the share of it that is done."""
        number, done = divmod(step * self.value.num_rounds, self.num_steps)
        return number, done / self.num_steps
