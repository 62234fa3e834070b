"""The verb ``learn``: a reward from demonstrations."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from trailward.checkpoint import provenance
from trailward.cli.flags import Say, flag_value, read_for, usable_device
from trailward.cli.preset_names import Preset
from trailward.data.dataset import check_time_steps
from trailward.data.formats.table import TableLayout
from trailward.data.statistics import uninformative
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.learning.answers import WRONG_SHARE, read_answers
from trailward.learning.config import LearningConfig
from trailward.learning.learn_reward import learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.run import STATE
from trailward.objectives import find_objective
from trailward.pretrained import model_folder
from trailward.progress import progress
from trailward.rewards import (
    REWARDS,
    AdditiveSettings,
    EnsembleSettings,
    RewardModel,
    RewardSettings,
)
from trailward.rewards.readings import DEFAULT
from trailward.running.folders import own_folder


@dataclass(frozen=True)
class Learn:
    """Learn a reward from demonstrations; run again on the same folder, it resumes exactly."""

    demonstrations: str
    """Demonstrations: a file or folder of a known format, or a Minari id."""
    out: Path
    """Folder of the reward, its checkpoint and TensorBoard logs."""
    diffuser: str
    """A diffuser's folder, or the name of a packaged one; a preset may name it."""
    play: str | None = None
    """Play data. Required by more than one round, a discounted value, fine-tuning, a local part,
    starts other than demonstrations, a least AUC, and the objectives logit and relative_reward."""
    preset: Preset | None = None
    """Settings known to work, as the defaults of the flags below."""
    objective: str = "mmd_gaussian"
    """What is minimised: mse, mmd_gaussian, mmd_matern, mmd_matern32, mmd_matern52 or energy;
    without sampling plans dlsm, logit or relative_reward; or one of your own, as module:Name."""
    ensemble: int | None = None
    """Rewards learnt side by side in one run, used as their mean: where they disagree, the reward
    is a guess."""
    reward: RewardSettings = field(default_factory=AdditiveSettings)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    answers: Path | None = None
    """Answers to the questions of 'trailward ask': the reward is read as they say."""
    wrong_share: float = WRONG_SHARE
    """The share of answers that may be wrong."""
    device: str = "cpu"
    """The device: cpu, cuda, cuda:1, mps."""
    allow_import: bool = False
    """Whether a part named module:Name in a folder may import its module, which executes it."""
    table: TableLayout = field(default_factory=TableLayout)

    def __post_init__(self) -> None:
        find_objective(self.objective)  # refuses one that is unknown

    def run(self, say: Say) -> LearntReward:
        """Learn a reward, or go on learning it."""
        with own_folder(self.out, "reward", resumes_from=STATE):
            return self._run(say)

    def _run(self, say: Say) -> LearntReward:
        objective = find_objective(self.objective)
        diffuser = Diffuser.load(
            model_folder(self.diffuser),
            device=usable_device(self.device),
            allow_import=self.allow_import,
        )
        demonstrations = read_for(self.demonstrations, diffuser, self.table)
        play = None if self.play is None else read_for(self.play, diffuser, self.table)
        given = {"the play data": diffuser.provenance.get("play") or {}}
        check_time_steps(given | {"the demonstrations": demonstrations.provenance})
        for told in uninformative(demonstrations):
            say(f"warning: of the demonstrations: {told}")
        facts = provenance(
            self.learning.seed,
            demonstrations=demonstrations.provenance,
            diffuser=self.diffuser,
        )
        answers = [] if self.answers is None else read_answers(self.answers, diffuser.spec)
        config = self.learning
        if getattr(self.reward, "reading", DEFAULT) != DEFAULT:
            config = replace(config, reading=getattr(self.reward, "reading", DEFAULT))
        reward: Any = _chosen(self.reward)
        if self.ensemble is not None and self.ensemble != 1:
            reward = EnsembleSettings(member=reward, num_members=self.ensemble)
        began = time.perf_counter()
        total = self.learning.num_steps + self.learning.fine_tuning.num_steps
        with progress("learning", total) as report:
            learnt = learn_reward(
                diffuser,
                demonstrations,
                self.out,
                play=play,
                objective=objective,
                reward=reward,
                sampling=self.sampling,
                config=config,
                on_step=lambda state: report(state.step, **state.figures),
                provenance=facts,
            )
        if answers:
            learnt = learnt.with_answers(answers, wrong_share=self.wrong_share, play=play)
            learnt.save(self.out)
        told = learnt.provenance["learnt"]
        if told["times_eased"]:
            say(
                f"weight decay was lowered from {config.weight_decay:g} to {told['weight_decay']:g}"
                ": with more, play data was worth as much as the demonstrations"
            )
        if told["warning"]:
            say(f"warning: {told['warning']}")
        if learnt.avoided is not None:
            count = len(learnt.avoided.places)
            say(f"demonstrators avoid {count} place{'s' * (count > 1)}; plans go round")
        if learnt.pace is not None:
            say(f"no step of theirs is longer than {learnt.pace.most:.3g}; plans keep to that")
        say(f"reward -> {self.out} in {time.perf_counter() - began:.0f} s, read {learnt.reading}")
        return learnt


def kind_for(
    kind: type[Learn], arguments: Sequence[str], given: Mapping[str, Any]
) -> tuple[type[Any], dict[str, Any]]:
    """The verb with the flags of the kind of reward that ``--reward.model`` or a preset names."""
    before = given.get("reward", AdditiveSettings())
    name = flag_value(arguments, "--reward.model") or REWARDS.name_of(before.kind)
    settings = REWARDS.find(name).Settings
    flags, usual = _flags(name, settings), type(before)()
    kept = {each.name for each in fields(settings)} & {each.name for each in fields(before)}
    changed = {n: getattr(before, n) for n in kept if getattr(before, n) != getattr(usual, n)}
    space = {"__annotations__": {"reward": flags}, "reward": field(default_factory=flags)}
    space |= {"__doc__": kind.__doc__, "__module__": kind.__module__}
    verb = dataclass(frozen=True)(type(kind.__name__, (kind,), space))
    return verb, {**given, "reward": flags(**changed)}


def _flags(name: str, settings: type[RewardSettings]) -> type[Any]:
    """Flags of the settings of a kind of reward, and its name."""
    doc = "What kind of reward: additive, staged, linear, mlp, conv, or module:Name."
    read = "How it is read once it is learnt: default, as-is, link:B, place:R; see 'trailward ask'."
    space = {
        "__annotations__": {"model": str, "reading": str},
        "model": field(default=name, metadata={"help": doc}),
        "reading": field(default=DEFAULT, metadata={"help": read}),
        "__doc__": settings.__doc__,
    }
    return dataclass(frozen=True, kw_only=True)(type(settings.__name__, (settings,), space))


def _chosen(reward: Any) -> RewardSettings | type[RewardModel]:
    """The settings, without the kind's name that their flags had; or the class, without any."""
    name = getattr(reward, "model", None)
    if name is None:
        return reward
    kind = REWARDS.find(name)
    if kind.Settings is RewardSettings:
        return kind
    own = {each.name: getattr(reward, each.name) for each in fields(kind.Settings)}
    return kind.Settings(**own)
