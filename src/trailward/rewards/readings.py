"""What demonstrations leave open: rewards that explain them alike, and the one that is chosen.

Demonstrations of "go to that corner" and of "be at that place" are nearly the same recordings.
From them alone no method can tell a slope from a place; the smoothness of its network decides. So
a learnt reward ``h`` comes with a family of *readings* of the same demonstrations:

    as-is      h
    link:B     exp(B * (h - top) / deviation)        the higher B, the less anything but the top
    place:R    2 ** -(distance / R) ** 4             to be where demonstrators come to rest

``top`` is the 99.9% quantile of ``h`` over play data and ``deviation`` its standard deviation
there. The distance is to the place where demonstrators rest; its unit is, entry by entry, what all
but the fastest tenth of the play data's plan steps stay below, so half of the reward is left R
plan steps away. Where demonstrators never rest, as in a gait, there is no such reading, and the
reason is kept.

One reading is the default: the place, if play data lies beyond it on every side. For a reward that
grew in some direction would have led demonstrators on. Otherwise the reward as it is. A person may
choose another, or answer a few questions (:mod:`trailward.learning.answers`): then the reading
``answers`` is the mean of all, weighted by how well each explains the answers.

All readings have one scale: the deviation of a plan's mean reward over play data is that of ``h``.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trailward.data.dataset import Dataset, Windows
from trailward.data.normalizer import Normalizer
from trailward.data.plan import PlanSpec
from trailward.data.resting import resting_place, usual_changes
from trailward.errors import SettingsError
from trailward.randomness import generator
from trailward.rewards.contract import REWARDS, RewardModel, RewardSettings, from_config
from trailward.typing import Past, Plans, Scalar, Stages, StagesOfSteps, StepRewards

AS_IS, ANSWERS, DEFAULT = "as-is", "answers", "default"
SHARPNESSES = (0.5, 1.0, 2.0, 4.0)
RADII = tuple(2.0 ** (half / 2) for half in range(-3, 4))
_USUAL_PLACE = "place:1"

_TOP, _DEPTH = 0.999, 0.02
_NUM_WINDOWS, _NUM_DIRECTIONS, _AT_ONCE = 4000, 512, 2000


@dataclass(frozen=True, kw_only=True)
class ReadingsSettings(RewardSettings):
    """Which readings there are; the numbers that data tells are in the model itself.

    Attributes:
        chosen: the reading that is used.
        default: the reading that data alone suggests.
        sharpnesses: of the links.
        radii: of the place; none if demonstrators never rest.
        notes: why the default is what it is, and why readings are missing.
    """

    chosen: str = AS_IS
    default: str = AS_IS
    sharpnesses: tuple[float, ...] = SHARPNESSES
    radii: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()


class Readings(RewardModel):
    """A learnt reward, read in the way that is chosen.

    :func:`find_readings` makes one; :meth:`read` chooses another reading.

    Args:
        base: the learnt reward, of single steps.
        settings: which readings there are.
    """

    Settings = ReadingsSettings
    seen: Tensor
    top: Tensor
    deviation: Tensor
    place: Tensor
    unit: Tensor
    spread: Tensor
    scales: Tensor
    weights: Tensor

    def __init__(self, base: RewardModel, settings: ReadingsSettings) -> None:
        super().__init__(base.spec, settings, inputs=base.inputs.tolist())
        self.base: Any = base
        self.num_stages, self.options = base.num_stages, settings
        self.register_buffer("seen", _places(base), persistent=False)
        self.register_buffer("top", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))
        self.register_buffer("place", torch.zeros(len(self.seen)))
        self.register_buffer("unit", torch.ones(len(self.seen)))
        self.register_buffer("spread", torch.ones(()))
        self.register_buffer("scales", torch.ones(len(self.names)))
        self.register_buffer("weights", torch.zeros(len(self.names)))
        self._check(settings.chosen)

    @property
    def names(self) -> tuple[str, ...]:
        """The readings there are, but for ``answers``, which is made of them."""
        links = tuple(f"link:{each:g}" for each in self.options.sharpnesses)
        return (AS_IS, *links, *(f"place:{each:.2g}" for each in self.options.radii))

    @property
    def chosen(self) -> str:
        """The reading that is used."""
        return self.options.chosen

    @property
    def has_answers(self) -> bool:
        """Whether anybody has answered questions, so that there is a reading ``answers``."""
        return bool(self.weights.sum() > 0)

    def read(self, name: str) -> "Readings":
        """The same with another reading chosen.

        Args:
            name: one of :attr:`names`, ``answers``, or ``default``.

        Raises:
            SettingsError: if there is no such reading.
        """
        name = self.options.default if name == DEFAULT else name
        self._check(name)
        return self._with(chosen=name)

    def weighed(self, weights: Float[Tensor, "reading"]) -> "Readings":
        """The same with the mean of all readings chosen.

        Args:
            weights: how likely each of :attr:`names` is, adding to 1.
        """
        found = self._with(chosen=ANSWERS)
        found.weights = weights.to(self.weights)
        return found

    def prior(self, *, on_default: float = 0.5) -> Float[Tensor, "reading"]:
        """How likely each reading is before anybody has answered.

        Args:
            on_default: the default's share; the others have the rest in equal parts.
        """
        rest = (1 - on_default) / max(1, len(self.names) - 1)
        found = torch.full((len(self.names),), rest, device=self.weights.device)
        found[self.names.index(self.options.default)] = on_default
        return found / found.sum()

    def observe(self, steps: Plans, past: Past | None = None) -> Stages:
        """As the learnt reward."""
        return self.base.observe(steps, past)

    def step_rewards(self, plan: Plans, past: StagesOfSteps | None = None) -> StepRewards:
        """The reward of each plan step in the reading that is chosen."""
        if self.chosen == AS_IS:
            return self.base.step_rewards(plan, past)
        if self.chosen != ANSWERS:
            return self.every([self.chosen], plan, past)[0]
        return torch.einsum("r,rbh->bh", self.weights, self.every(self.names, plan, past))

    def every(
        self, names: Sequence[str], plan: Plans, past: StagesOfSteps | None = None
    ) -> Float[Tensor, "reading batch horizon"]:
        """The reward of each plan step in several readings, all of one scale.

        Args:
            names: of :attr:`names`.
            plan: model space.
            past: as of :meth:`~trailward.rewards.contract.RewardModel.step_rewards`.
        """
        learnt = self.base.step_rewards(plan, past)
        height = ((learnt - self.top) / self.deviation).clamp(max=1.0)
        offset = (plan[..., self.seen] - self.place) / self.unit
        squared = offset.square().sum(-1)
        found = []
        for name in names:
            kind, _, _ = name.partition(":")
            index = self.names.index(name)
            if kind == "link":
                raw = (self.options.sharpnesses[index - 1] * height).exp()
            elif kind == "place":
                radius = self.options.radii[index - 1 - len(self.options.sharpnesses)]
                raw = 2.0 ** -((squared / radius**2) ** 2)
            else:
                raw = learnt
            found.append(self.scales[index] * raw)
        return torch.stack(found)

    @torch.no_grad()
    def plan_rewards(self, plans: Plans) -> Float[Tensor, "reading batch"]:
        """The mean reward of each plan in each of :attr:`names`, model space in.

        Its unit is the deviation of plans' mean rewards over play data, the same in all readings.
        """
        parts = [self.every(self.names, part).mean(-1) for part in plans.split(_AT_ONCE)]
        return torch.cat(parts, -1) / self.spread

    def members(self) -> Sequence[RewardModel]:
        """Of the reward as it is, and of its links: those of the learnt reward, read alike."""
        parts = self.base.members()
        if len(parts) == 1 or not self.chosen.startswith((AS_IS, "link")):
            return (self,)
        return tuple(self._with(base=part) for part in parts)

    def penalty(self, plan: Plans) -> Scalar:
        """As the learnt reward."""
        return self.base.penalty(plan)

    def to_config(self) -> dict[str, Any]:
        """The learnt reward's configuration with which readings there are."""
        own = {name: getattr(self.options, name) for name in ("chosen", "default")}
        lists = ("sharpnesses", "radii", "notes")
        own |= {name: list(getattr(self.options, name)) for name in lists}
        return {"model": self.name, "settings": {"base": self.base.to_config(), **own}}

    @classmethod
    def from_settings(
        cls, settings: Mapping[str, Any], spec: PlanSpec, *, allow_import: bool = False
    ) -> "Readings":
        """Readings of a reward with fresh weights; of an additive one if none is named."""
        learnt = settings.get("base") or {"model": "additive", "settings": {}}
        base = from_config(learnt, spec, allow_import=allow_import)
        return cls(base, _settings_of(settings))

    @classmethod
    def of(
        cls, base: RewardModel, settings: Mapping[str, Any], state: Mapping[str, Tensor]
    ) -> "Readings":
        """Readings of a learnt reward, as they were saved.

        Args:
            base: the learnt reward.
            settings: JSON values.
            state: what data tells, by name.
        """
        found = Readings(base, _settings_of(settings)).to(base.inputs.device)
        own = {f"base.{name}": value for name, value in base.state_dict().items()}
        found.load_state_dict({**own, **state})
        return found.requires_grad_(requires_grad=False)

    def _with(self, *, base: RewardModel | None = None, chosen: str | None = None) -> "Readings":
        options = replace(self.options, chosen=chosen or self.chosen)
        found = Readings(base or self.base, options).to(self.top.device)
        for name, value in self.named_buffers(recurse=False):
            setattr(found, name, value)
        return found.requires_grad_(requires_grad=False)

    def _check(self, name: str) -> None:
        if name in (*self.names, ANSWERS):
            return
        known = ", ".join((*self.names, ANSWERS))
        why = "".join(f"; {note}" for note in self.options.notes)
        msg, remedy = f"reading '{name}' is not there", f"choose one of {known}{why}"
        raise SettingsError(msg, place="reading", value=name, remedy=remedy)


REWARDS.register("readings")(Readings)


def find_readings(
    base: RewardModel, normalizer: Normalizer, play: Windows, demonstrations: Dataset
) -> Readings:
    """The readings of a learnt reward, with the default one chosen.

    Args:
        base: the learnt reward, of single steps.
        normalizer: of whole transitions.
        play: windows of play data, environment units.
        demonstrations: environment units.
    """
    picks = play.draw(_NUM_WINDOWS, generator(0, "readings: windows"))
    plans, mask = play.batch(picks, normalizer)
    plans = plans[mask.all(1)] if bool(mask.all(1).any()) else plans
    seen = _places(base)
    steps = list(plans[..., seen].double().cpu().numpy())
    unit = torch.as_tensor(usual_changes(steps, 1)).to(plans)
    place, why = _resting_place(base, normalizer, play.spec, demonstrations, unit)
    notes, default = [why] if why else [], AS_IS
    if place is not None:
        beyond = halfspace_depth(place, plans[..., seen].flatten(0, 1))
        default = _USUAL_PLACE if beyond > _DEPTH else AS_IS
        notes.append(
            f"demonstrators rest at a place beyond which, on every side, there is {beyond:.1%} of "
            f"the play data or more; the default is '{default}' since that is "
            f"{'above' if default == _USUAL_PLACE else 'not above'} {_DEPTH:.0%}"
        )
    settings = ReadingsSettings(
        chosen=default,
        default=default,
        radii=RADII if place is not None else (),
        notes=tuple(notes),
    )
    found = Readings(copy.deepcopy(base), settings).to(plans.device)
    _measure(found, plans, place, unit)
    return found.requires_grad_(requires_grad=False)


@torch.no_grad()
def _measure(
    readings: Readings,
    plans: Plans,
    place: Float[Tensor, "entry"] | None,
    unit: Float[Tensor, "entry"],
) -> None:
    """Fill in what data tells: top, deviation, place, unit and scales."""
    rewards = torch.cat([readings.base.step_rewards(part) for part in plans.split(_AT_ONCE)])
    readings.top = torch.quantile(rewards.flatten()[:: _stride(rewards)], _TOP)
    readings.deviation = rewards.std().clamp(min=1e-8)
    if place is not None:
        readings.place, readings.unit = place, unit
    spread = readings.plan_rewards(plans).std(-1)
    readings.scales = torch.where(spread > 1e-8, spread[0] / spread.clamp(min=1e-8), 0.0)
    readings.scales[0], readings.spread = 1.0, spread[0].clamp(min=1e-8)


def _settings_of(values: Mapping[str, Any]) -> ReadingsSettings:
    """Settings from JSON values."""
    own: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if name != "base"
    }
    return ReadingsSettings(**own)


def halfspace_depth(place: Float[Tensor, "entry"], cloud: Float[Tensor, "sample entry"]) -> float:
    """The least share of a cloud that lies beyond a place, over directions (Tukey 1975).

    0 at the edge of the cloud, at most about a half in its middle. In more than one dimension 512
    random directions are tried, and those from the cloud's mean through the place and to each
    side along an entry.
    """
    size = len(place)
    draw = torch.randn(_NUM_DIRECTIONS, size, generator=generator(0, "readings: directions"))
    axes = torch.eye(size)
    outward = (place - cloud.mean(0)).cpu().unsqueeze(0)
    directions = torch.cat([draw, axes, -axes, outward]).to(cloud)
    directions = directions / cloud.std(0).clamp(min=1e-8)
    ahead = (cloud - place) @ directions.T > 0
    return float(ahead.float().mean(0).min())


def _places(base: RewardModel) -> Tensor:
    """The entries of the observation that the reward sees."""
    return base.inputs[base.inputs < base.spec.observation_dim]


def _stride(rewards: Tensor) -> int:
    return 1 + rewards.numel() // 2**22  # torch.quantile takes 2 ** 24 numbers at most


def _resting_place(
    base: RewardModel,
    normalizer: Normalizer,
    spec: PlanSpec,
    demonstrations: Dataset,
    unit: Float[Tensor, "entry"],
) -> tuple[Float[Tensor, "entry"] | None, str]:
    """Where demonstrators come to rest, model space; or None and the reason."""
    if base.num_stages > 1:
        return None, "there is no reading of a place: this reward remembers what came before"
    seen = _places(base)
    if not len(seen):
        return None, "there is no reading of a place: this reward sees actions alone"
    entries = seen.cpu().numpy()
    shift, scale = (
        each[seen].double().cpu().numpy() for each in (normalizer.shift, normalizer.scale)
    )
    paths = [
        (episode.observations[:, entries] - shift) / scale for episode in demonstrations.episodes
    ]
    place, why = resting_place(paths, unit.double().cpu().numpy(), spec.stride)
    if place is None:
        return None, f"there is no reading of a place: {why}"
    return torch.as_tensor(place).to(unit), ""
