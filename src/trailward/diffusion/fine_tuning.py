"""Fine-tune a diffuser to a learnt reward: train it further on what the reward likes best.

Guidance asks a value's gradient to lead plans to the demonstrator's behaviour, against what most
of the play data does. Where play data holds many behaviours, and the demonstrator's is rare in it,
that takes so strong a pull that plans leave the play data. Here the pull goes into the denoiser's
own weights: it is trained further on play windows, those drawn most whose episodes the reward
ranks with the demonstrations, and on the demonstrations themselves. Its plans need no guidance.

With a discount a window is judged by what follows it, not by its whole episode, as ILID (arXiv
2405.17476) and TAILO (Yan et al. 2023) do, so an episode may hold many behaviours. It is
reward-weighted regression (Peters and Schaal 2007) with a diffusion model in the place of a
policy, and the learnt reward in that of the true one.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trailward.data.dataset import Dataset, Windows
from trailward.data.episode import Episode
from trailward.diffusion.diffuser import Diffuser
from trailward.diffusion.training import MAY_CHANGE, Batches, TrainingConfig, train_denoiser
from trailward.errors import above, at_least, at_most, below_one
from trailward.progress import Report

_NUM_WARMUP, _AVERAGE_DECAY = 100, 0.99
_SMALLEST, _BEST = 1e-8, 0.05
_LEAST_SHARE, _ALONE, _IF_ALONE = 0.25, 0.99, 0.5
"""Shares of demonstrations: the least, from where on they are nearly alone, and theirs then."""

Rewards = Float[np.ndarray, "time"]


@dataclass(frozen=True, kw_only=True)
class FineTuningConfig:
    """How a diffuser is fine-tuned to a reward.

    Attributes:
        num_steps: gradient steps; 0 is no fine-tuning.
        batch_size: windows in a batch.
        learning_rate: the highest learning rate, as in
            :class:`~trailward.diffusion.training.TrainingConfig`.
        action_weight: weight of actions in the loss; take that which the diffuser was trained with.
        demonstration_share: share of a batch that is demonstration windows, on average. If None,
            their windows are as likely as those of play episodes that are as good, but a quarter at
            least. Where next to no play data comes near them (less than 1% would be drawn of it),
            they are half, beside the best of play data: from a few demonstrations alone plans are
            soon lost.
        sharpness: an episode is drawn e times less often than a demonstration if its return falls
            short of theirs by this many deviations of the episodes' returns; with a discount, a
            window by what follows it.
        discount: discount of what follows a window, an environment step; 0 judges whole episodes.
            Where recordings mix behaviours, take 0.95 and a sharpness of 0.07.
    """

    num_steps: int = 0
    batch_size: int = 256
    learning_rate: float = 1e-3
    action_weight: float = 1.0
    demonstration_share: float | None = None
    sharpness: float = 0.1
    discount: float = 0.0

    def __post_init__(self) -> None:
        at_least(1, self, "batch_size")
        at_least(0, self, "num_steps", "learning_rate", "action_weight")
        if self.demonstration_share is not None:
            at_least(0, self, "demonstration_share")
            at_most(1, self, "demonstration_share")
        above(0, self, "sharpness")
        below_one("discount", self.discount)

    def training(self, seed: int) -> TrainingConfig:
        """The same as settings of the training loop."""
        return TrainingConfig(
            num_steps=self.num_steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            num_warmup=_NUM_WARMUP,
            average_decay=_AVERAGE_DECAY,
            optimizer="adam",
            action_weight=self.action_weight,
            seed=seed,
        )


def fine_tune_diffuser(
    diffuser: Diffuser,
    rewards: Callable[[Episode], Rewards],
    play: Dataset,
    demonstrations: Dataset,
    folder: Path | None,
    *,
    config: FineTuningConfig,
    least: float | None = None,
    seed: int = 0,
    report: Report = lambda done, **figures: None,
) -> Diffuser:
    """A diffuser whose unguided plans are what the reward likes best; resumes exactly.

    Args:
        diffuser: stays as it is.
        rewards: the learnt reward of each step of an episode.
        play: play data, environment units.
        demonstrations: environment units.
        folder: gets the checkpoint and TensorBoard's ``logs``; if None, none are kept.
        config: how it is trained.
        least: the least reward of the data, above which rewards of an episode are summed
            (:func:`anchored_returns`); that of the worst play episode's mean if None.
        seed: of batches and noise.
        report: told the gradient steps done and the loss.

    Raises:
        DivergedError: if a loss or gradient is not finite.
        CheckpointError: if the folder's checkpoint is of other data or settings.
    """
    episodes, count = [*play.episodes, *demonstrations.episodes], len(play.episodes)
    windows = Windows(Dataset(episodes), diffuser.spec)
    played = windows.episode < count
    logs = np.zeros(int(played.sum()))
    if config.demonstration_share != 1:
        found = [rewards(episode) for episode in episodes]
        steps = step_log_weights(episodes, found, count, config=config, least=least)
        logs = at_windows(windows, steps)
    weights = _window_weights(windows, logs, config.demonstration_share)
    of_episodes = np.bincount(windows.episode.numpy(), weights.numpy())
    training = config.training(seed)
    identity = {
        "play data": play.fingerprint,
        "demonstrations": demonstrations.fingerprint,
        "diffuser": diffuser.fingerprint,
        "window weights": [round(float(weight), 6) for weight in of_episodes],
        "fine_tuning": {k: v for k, v in asdict(config).items() if k not in MAY_CHANGE},
        "seed": seed,
    }
    network = copy.deepcopy(diffuser.denoiser).requires_grad_().train()
    batches = Batches(windows, diffuser.normalizer, training, weights)
    average = train_denoiser(network, diffuser.schedule, batches, folder, identity, report)
    average.requires_grad_(requires_grad=False).eval()
    facts = {"fine_tuned_from": diffuser.fingerprint, "fine_tuning": asdict(config), "seed": seed}
    return replace(diffuser, denoiser=average, provenance=facts)


def step_log_weights(
    episodes: Sequence[Episode],
    rewards: Sequence[Rewards],
    num_played: int,
    *,
    config: FineTuningConfig,
    least: float | None = None,
) -> list[Float[np.ndarray, "time"]]:
    """How likely the windows that begin at each step of play data are to be drawn, as logarithms.

    0 is as likely as a demonstration's window. Without a discount all windows of an episode are as
    likely as its return says (:func:`anchored_returns`, :func:`log_weights`). With one,
    ``min(0, (f - d) / (sharpness * s))`` where ``f`` is what follows
    (:func:`what_follows`), ``s`` its deviation over play data, and ``d`` its mean in the
    demonstrations, or what is reached in a twentieth of the play data if that is less. Where the
    environment ends episodes, that of the whole one is added: a fall is further ahead than a
    discount sees.

    Args:
        episodes: play data, then demonstrations.
        rewards: the learnt reward of each step of each.
        num_played: how many are play data.
        config: sharpness and discount.
        least: the least reward of the data; that of the worst play episode's mean if None.
    """
    means = np.array([each.mean() for each in rewards])
    least = float(means[:num_played].min()) if least is None else least
    returns = anchored_returns(episodes, means, least=least)
    sharpness = config.sharpness
    whole = log_weights(returns[:num_played], returns[num_played:], sharpness=sharpness)
    if not config.discount:
        pairs = zip(whole, rewards[:num_played], strict=True)
        return [np.full(len(each), log) for log, each in pairs]
    after = [
        what_follows(each, config.discount, end=least if episode.terminated else None)
        for episode, each in zip(episodes, rewards, strict=True)
    ]
    played, shown = np.concatenate(after[:num_played]), np.concatenate(after[num_played:])
    aim = min(float(shown.mean()), float(np.quantile(played, 1 - _BEST)))
    cuts = np.cumsum([len(each) for each in after[:num_played]])[:-1]
    logs = np.split(log_weights(played, np.array([aim]), sharpness=sharpness), cuts)
    if not any(episode.terminated for episode in episodes):
        return logs
    return [log + each for log, each in zip(whole, logs, strict=True)]


def what_follows(rewards: Rewards, discount: float, *, end: float | None = None) -> Rewards:
    """The discounted mean of the rewards from each step on.

    Args:
        rewards: of each step of an episode.
        discount: of a step.
        end: the reward after the last step for ever; the mean of the last ones if None.
    """
    if end is None:
        end = float(rewards[-max(1, round(1 / (1 - discount))) :].mean())
    found, onward = np.empty(len(rewards)), end
    for time in reversed(range(len(rewards))):
        found[time] = onward = (1 - discount) * rewards[time] + discount * onward
    return found


def anchored_returns(
    episodes: Sequence[Episode], means: Float[np.ndarray, "episode"], *, least: float
) -> Float[np.ndarray, "episode"]:
    """The learnt return of each episode, which counts what a fall forgoes.

    ``(mean - least) * length``. The shift of a learnt reward means nothing, and by its sum short
    episodes could be worth the most or the least; above the least reward of the data, every step
    survived adds. Only an episode that the environment ended has a length of its own; one that
    was cut short, or does not tell, counts as if it had gone on alike to the longest one's end.

    Args:
        episodes: environment units.
        means: the learnt mean reward of each.
        least: the least reward of the data.
    """
    longest = max(len(episode) for episode in episodes)
    lengths = [len(episode) if episode.terminated else longest for episode in episodes]
    return (means - least) * np.array(lengths)


def log_weights(
    played: Float[np.ndarray, "episode"],
    shown: Float[np.ndarray, "demonstration"],
    *,
    sharpness: float,
) -> Float[np.ndarray, "episode"]:
    """How likely play episodes, or steps of them, are to be drawn, as logarithms: 0 at most.

    ``min(0, (r - d) / (sharpness * s))`` for an episode of return ``r``, where ``d`` is the
    mean return of the demonstrations and ``s`` the deviation over play episodes: those at least
    as good as the demonstrations are as likely as they; worse ones less.

    Args:
        played: learnt return of each play episode.
        shown: the same of each demonstration.
        sharpness: see :class:`FineTuningConfig`.
    """
    return np.minimum(0, played - shown.mean()) / (sharpness * max(played.std(), _SMALLEST))


def at_windows(
    windows: Windows, steps: Sequence[Float[np.ndarray, "time"]]
) -> Float[np.ndarray, "window"]:
    """What is known of each step of the first episodes, at the windows that begin there.

    Args:
        windows: of these episodes, and of others after them.
        steps: of each step of each; a window that begins later takes the last.
    """
    last = np.array([len(each) - 1 for each in steps])
    begin = (last + 1).cumsum() - last - 1
    known = (windows.episode < len(steps)).numpy()
    episode, first = windows.episode.numpy()[known], windows.first.numpy()[known]
    return np.concatenate(steps)[begin[episode] + np.minimum(first, last[episode])]


def _window_weights(
    windows: Windows, logs: Float[np.ndarray, "window"], demonstration_share: float | None
) -> Float[Tensor, "window"]:
    """The weight of each window; all add up to 1.

    Args:
        windows: of play data, then of demonstrations.
        logs: of those of play data, as logarithms; those of demonstrations are 0.
        demonstration_share: see :class:`FineTuningConfig`.
    """
    weights = torch.zeros(len(windows), dtype=torch.float64)
    weights[: len(logs)] = torch.as_tensor(logs)
    if demonstration_share is None:
        alike = weights.softmax(0)
        natural = alike[len(logs) :].sum()
        if _LEAST_SHARE <= natural <= _ALONE:
            return alike.float()
        demonstration_share = _LEAST_SHARE if natural < _LEAST_SHARE else _IF_ALONE
    played, shown = weights.tensor_split([len(logs)])
    parts = (1 - demonstration_share) * played.softmax(0), demonstration_share * shown.softmax(0)
    return torch.cat(parts).float()
