"""The verb ``learn``: a reward from demonstrations."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from trailward.checkpoint import provenance
from trailward.cli.flags import Say, read_for, usable_device
from trailward.cli.preset_names import Preset
from trailward.data.dataset import check_time_steps
from trailward.data.formats.table import TableLayout
from trailward.data.statistics import uninformative
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.folders import own_folder
from trailward.learning.learn_reward import STATE, learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.problem import LearningConfig
from trailward.pretrained import model_folder
from trailward.progress import progress
from trailward.rewards.models import RewardConfig


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
    """Play data: needed by a value, by a reward's local part, by starts elsewhere than at
    demonstrations and by the objectives logit and relative_reward."""
    preset: Preset | None = None
    """Settings known to work, as the defaults of the flags below."""
    ensemble: int | None = None
    """Rewards learnt side by side in one run, used as their mean: where they disagree, the reward
    is a guess. The same as --reward.num-members."""
    reward: RewardConfig = field(default_factory=RewardConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    device: str = "cpu"
    """Where: cpu, cuda, cuda:1, mps."""
    table: TableLayout = field(default_factory=TableLayout)

    def run(self, say: Say) -> LearntReward:
        """Learn a reward, or go on learning it."""
        with own_folder(self.out, "reward", resumes_from=STATE):
            return self._run(say)

    def _run(self, say: Say) -> LearntReward:
        diffuser = Diffuser.load(model_folder(self.diffuser), device=usable_device(self.device))
        demonstrations = read_for(self.demonstrations, diffuser.spec, self.table)
        play = None if self.play is None else read_for(self.play, diffuser.spec, self.table)
        given = {"the play data": diffuser.provenance.get("play") or {}}
        check_time_steps(given | {"the demonstrations": demonstrations.provenance})
        for told in uninformative(demonstrations):
            say(f"warning: of the demonstrations: {told}")
        facts = provenance(
            self.learning.seed,
            demonstrations=demonstrations.provenance,
            diffuser=self.diffuser,
        )
        reward = self.reward
        if self.ensemble is not None:
            reward = replace(reward, num_members=self.ensemble)
        began = time.perf_counter()
        total = self.learning.num_steps + self.learning.tuning.num_steps
        with progress("learning", total) as report:
            learnt = learn_reward(
                diffuser,
                demonstrations,
                self.out,
                play=play,
                reward_config=reward,
                sampling=self.sampling,
                config=self.learning,
                report=report,
                provenance=facts,
            )
        say(f"reward -> {self.out} in {time.perf_counter() - began:.0f} s")
        return learnt
