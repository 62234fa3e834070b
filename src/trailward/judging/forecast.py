"""What a reward says of where tracks are heading: the reward of plans from where they are.

A reward of single steps says where it is good to be. Someone who is heading there has not arrived
yet; a diffuser of the play data knows where people like them go. The *forecast* of a row is the
mean reward of unguided plans that start there: the value of that row under whoever made the play
data. As plans do not depend on the reward, they are sampled once for all rewards.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float

from trailward.data.tracks import TrackRows
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.judging.cross_validation import Reading
from trailward.learning.log_ratio import RandomFeatures, fit_logit
from trailward.randomness import generator

FORECAST, HERE, WINDOWS = (f"learnt reward, {of}" for of in ("forecast", "here", "windows"))

_AT_ONCE = 4096


@torch.no_grad()
def forecast_plans(
    diffuser: Diffuser,
    rows: Float[np.ndarray, "row observation"],
    *,
    num_plans: int,
    num_steps: int = 5,
    seed: int = 0,
    report: Callable[[int], None] = lambda done: None,
) -> Float[np.ndarray, "row plan horizon observation"]:
    """Unguided plans from each row, environment units; float32.

    Args:
        diffuser: of the play data.
        rows: where the plans start, environment units.
        num_plans: plans from each row.
        num_steps: reverse steps of the sampler; as many as the diffuser has, if that is fewer.
        seed: of the plans' noise.
        report: told how many rows are done.
    """
    num_steps = min(num_steps, diffuser.schedule.num_steps)
    sampling = SamplingConfig(num_steps=num_steps, stop_step=0)
    noise = generator(seed, "forecast: noise", device=diffuser.device)
    normalizer = diffuser.observation_normalizer
    found, done = [], 0
    starts = normalizer.normalize(torch.as_tensor(rows, device=diffuser.device)).float()
    for some in starts.split(max(1, _AT_ONCE // num_plans)):
        many = some.repeat_interleave(num_plans, 0)
        plans = diffuser.sample_plans(many, sampling, generator=noise)
        observations, _ = diffuser.spec.split(plans)
        found.append(normalizer.unnormalize(observations).float().cpu().numpy())
        done += len(some)
        report(done)
    flat = np.concatenate(found)
    return flat.reshape(len(rows), num_plans, *flat.shape[1:])


@dataclass(frozen=True)
class RewardJudge:
    """The additive reward that tells demonstrated windows from play windows, and its forecast.

    It is learnt as :mod:`trailward.learning.log_ratio` says. Its readings are ``here``, the reward
    of each row; ``windows``, that of the recorded window that begins there; and ``forecast``, that
    of the plans from there. In a forecast later rows of a track count more: what someone is up to
    shows the better the longer they are watched.

    Attributes:
        rows: as plans hold them.
        features: of the reward.
        windows: features of the window that begins at each row: the mean over the plan steps that
            the reward is learnt from.
        forecasts: the same of the plans from each row, the mean over plans.
        num_steps: plan steps that these are the mean of.
        reach: rows of the recording that a window reaches over.
        ridge: of the logistic regression.
        by_time: whether rows weigh alike, not tracks.
    """

    rows: TrackRows
    features: RandomFeatures
    windows: Float[np.ndarray, "row feature"]
    forecasts: Float[np.ndarray, "row feature"]
    num_steps: int
    reach: int
    ridge: float
    by_time: bool = False

    @cached_property
    def _here(self) -> Float[np.ndarray, "row feature"]:
        return self.features(self.rows.values)

    def learn(self, shown: Sequence[int]) -> Float[np.ndarray, "feature"]:
        """Weights of the features whose sum is the reward of a step.

        What entries that nobody moves tell by themselves, such as the weather of the days that were
        demonstrated, is taken off: the reward is of the rest, given these.

        Args:
            shown: numbers of the tracks that are demonstrations; one that stands there twice
                counts twice.
        """
        alike = np.ones(len(self.rows.track)) if self.by_time else self.rows.track_weights
        weights = np.where(self.rows.known, alike, 0.0)
        times = np.bincount(shown, minlength=len(self.rows.lengths))
        marked = weights * times[self.rows.track]
        of_unmoved, found = self.features.of_unmoved, np.zeros(self.windows.shape[1])
        for part, sign in ((~of_unmoved, 1.0), (of_unmoved, -1.0)):
            if part.any():
                seen = self.num_steps * self.windows[:, part]
                found[part] = sign * fit_logit(seen, marked, weights, ridge=self.ridge)
        return found

    def values(self, shown: Sequence[int]) -> Mapping[str, Reading]:
        """See :class:`~trailward.judging.cross_validation.Judge`."""
        weights = self.learn(shown)
        return {
            FORECAST: Reading(self.forecasts @ weights, self.rows.time + 1.0),
            HERE: Reading(self._here @ weights),
            WINDOWS: Reading(self.windows @ weights, reach=self.reach),
        }


def mean_features(
    features: RandomFeatures, plans: Float[np.ndarray, "row *axes entry"]
) -> Float[np.ndarray, "row feature"]:
    """The mean features of everything that follows each row; float32."""
    flat = plans.reshape(len(plans), -1, plans.shape[-1])
    parts = np.array_split(flat, max(1, -(-flat.shape[0] * flat.shape[1] // 200_000)))
    return np.concatenate([features(part).mean(1) for part in parts])
