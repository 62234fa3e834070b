"""The verb ``train``: a diffuser of play data."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from trailward.checkpoint import provenance
from trailward.cli.flags import Say, usable_device
from trailward.cli.preset_names import Preset
from trailward.data.dataset import read_dataset
from trailward.data.formats.table import TableLayout
from trailward.data.plan import PlanSpec
from trailward.data.statistics import uninformative
from trailward.diffusion.diffuser import DenoiserConfig, Diffuser
from trailward.diffusion.training import STATE, TrainingConfig, train_diffuser
from trailward.progress import progress
from trailward.running.folders import own_folder


@dataclass(frozen=True)
class Train:
    """Train a diffuser on play data; run again on the same folder, it resumes exactly."""

    play: str
    """Play data: a file or folder of a known format, or a Minari id."""
    out: Path
    """Folder of the model, its checkpoint and TensorBoard logs."""
    preset: Preset | None = None
    """Settings known to work, as the defaults of the flags below."""
    horizon: int = 16
    """Number of plan steps."""
    stride: int = 8
    """Environment steps from one plan step to the next."""
    with_actions: bool = False
    """Whether plans carry actions; if not, an inverse-dynamics model finds them."""
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    device: str = "cpu"
    """The device: cpu, cuda, cuda:1, mps."""
    table: TableLayout = field(default_factory=TableLayout)

    def run(self, say: Say) -> Diffuser:
        """Train a diffuser, or go on training it."""
        with own_folder(self.out, "diffuser", resumes_from=STATE):
            return self._run(say)

    def _run(self, say: Say) -> Diffuser:
        play = read_dataset(self.play, self.table)
        spec = PlanSpec(
            self.horizon, self.stride, play.observation_dim, play.action_dim, self.with_actions
        )
        for told in uninformative(play, num_observations=spec.num_observations):
            say(f"warning: {told}")
        facts = provenance(self.training.seed, play=play.provenance, training=asdict(self.training))
        with progress("training", self.training.num_steps) as report:
            diffuser = train_diffuser(
                play,
                spec,
                self.out,
                denoiser_config=self.denoiser,
                config=self.training,
                device=usable_device(self.device),
                report=report,
                provenance=facts,
            )
        say(f"diffuser -> {self.out}")
        return diffuser
