"""Judge a learnt reward where no true one is known: from recorded data alone, no environment."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from trailward.data.dataset import Dataset, Windows
from trailward.data.entries import entry_names, observations_of, place_entries, rates_of_change
from trailward.data.statistics import compare_support
from trailward.diffusion.diffuser import Diffuser
from trailward.environments import Evaluation
from trailward.errors import DataError
from trailward.judging.config import EvaluationConfig
from trailward.judging.dynamics import plan_observations
from trailward.judging.evaluate import facts_of
from trailward.judging.naive import judge_naively
from trailward.judging.place_map import Walls, map_arrays
from trailward.judging.readings import judge_kept
from trailward.judging.statistics import Estimate, bootstrap
from trailward.judging.track_ranks import chances_of
from trailward.learning.config import LearningConfig
from trailward.learning.disagreement import agreement, can_disagree
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.problem import MatchingProblem
from trailward.objectives.matching import EnergyDistance
from trailward.rewards.contract import RewardModel
from trailward.rewards.known_region import known_share

ACTIONS = "actions"
"""The name that all entries of actions together go by among feature shares."""

_NUM_JUDGED, _NUM_DRAWS, _NUM_SHUFFLES, _NUM_PLANS = 64, 4, 5, 16
_LEAST_AUC, _MOST_STYLE, _SAME_DISTANCE, _LEAST_KNOWN = 0.6, 0.5, 1e-3, 0.9
_BETTER = 0.05


def judge_without_truth(
    learnt: LearntReward,
    diffuser: Diffuser,
    play: Dataset,
    demonstrations: Dataset,
    config: EvaluationConfig,
    *,
    test: Dataset | None = None,
    walls: Walls | None = None,
    stage: Callable[[str], None] = lambda name: None,
) -> Evaluation:
    """What can be known of a reward from data: ranks, AUC, distance, shares and warnings.

    Args:
        learnt: the reward judged.
        diffuser: the planner's.
        play: episodes that the demonstrations are ranked among, environment units.
        demonstrations: what the reward was learnt from, in the same order.
        config: ``num_windows`` and ``seed`` are used.
        test: demonstrations to judge by that nothing was learnt from; those held out if None.
        walls: drawn over the reward map.
        stage: told what is being done.

    Raises:
        DataError: if the data is of another environment, or a track to judge by was learnt from.
    """
    kept, judged = _judged(learnt, demonstrations, test)
    windows = {"play": Windows(play, learnt.spec), "demonstrations": Windows(kept, learnt.spec)}
    stage("demonstrations against play data")
    ranking = rank_demonstrations(learnt, play, kept, config)
    stage("held-out distance")
    distance = held_out_distance(learnt, diffuser, play, kept)
    stage("feature shares")
    shares = feature_shares(learnt, play, count=config.num_windows, seed=config.seed)
    support = compare_support(play, demonstrations, seed=config.seed)
    figures = {
        "environment": "none",
        **facts_of(learnt, demonstrations, config),
        "num_judged": len(kept.episodes),
        "judged": judged,
        **ranking.figures,
        "held_out_distance": distance,
        "feature_shares": shares,
        "support": asdict(support),
    }
    if can_disagree(learnt):
        figures["ensemble_agreement"] = agreement(learnt, observations_of(play))
    figures |= _known_shares(learnt, diffuser, windows, config)
    stage("plans from every row")
    figures["tracks"] = chances_of(
        learnt, diffuser, play, kept, learnt_from=judged == "all", seed=config.seed
    )
    plans = guided_plans(learnt, diffuser, play, config)
    limits = judge_kept(learnt, plans, play, demonstrations, stride=1)
    figures["naive"] = judge_naively(play, demonstrations, seed=config.seed)
    warnings = {
        "known": _about_known(figures.get("known", {})),
        "support": " ".join(f"{finding}." for finding in support.findings()),
        "style": _about_style(shares, play),
        "ranking": _about_ranking(ranking.figures),
        "naive": _about_naive(figures["naive"], figures),
        "plans": _about_plans(distance),
        **limits.figures.pop("warnings"),
    }
    figures |= limits.figures
    figures["warnings"] = {name: text for name, text in warnings.items() if text}
    arrays = ranking.arrays | limits.arrays
    place = place_entries(play)
    if place is not None:
        stage("reward map")
        labels = play.columns.observation_labels(play.observation_dim)
        figures["place"] = [labels[entry] for entry in place]
        arrays |= map_arrays(learnt, play, demonstrations, place, walls)
        arrays["plans"] = plans[..., list(place)]
    return Evaluation(figures, arrays)


def _known_shares(
    learnt: LearntReward, diffuser: Diffuser, data: Mapping[str, Windows], config: EvaluationConfig
) -> dict[str, Any]:
    """How much of each data the reward knows; nothing if it has no known region."""
    if learnt.known_region is None:
        return {}
    shares = {
        name: known_share(
            learnt.model,
            learnt.known_region,
            diffuser.normalizer,
            windows,
            count=config.num_windows,
            seed=config.seed,
        )
        for name, windows in data.items()
    }
    return {"known": shares}


def guided_plans(
    learnt: LearntReward, diffuser: Diffuser, play: Dataset, config: EvaluationConfig
) -> Float[np.ndarray, "plan horizon observation"]:
    """Plans that the reward guides from random play observations, environment units."""
    rows = observations_of(play)
    picks = np.random.default_rng(config.seed).choice(len(rows), _NUM_PLANS)
    planner = config.planner(diffuser, learnt, guided=True)
    return plan_observations(planner.diffuser, planner.plan(rows[picks]))


def held_out_demonstrations(learnt: LearntReward, demonstrations: Dataset) -> Dataset:
    """The demonstrations that the reward was not learnt from; all, if there are none.

    Args:
        learnt: its provenance tells the fingerprints of those that it was learnt from. One of
            version 0.1 tells how many, the last ones, it was not.
        demonstrations: in the same order as they were learnt from.
    """
    known = learnt.provenance.get("learnt_from")
    if known is not None:
        episodes = enumerate(demonstrations.episodes)
        unseen = [number for number, each in episodes if each.fingerprint not in known]
        return demonstrations.pick(unseen) if unseen else demonstrations
    learning = learnt.provenance.get("learning", {})
    count = learning.get("selection", learning).get("num_held_out", 0)  # version 0.1: flat
    total = len(demonstrations.episodes)
    return demonstrations.pick(range(total - count if 0 < count < total else 0, total))


def _judged(
    learnt: LearntReward, demonstrations: Dataset, test: Dataset | None
) -> tuple[Dataset, str]:
    """The demonstrations to judge by, and what they are: held out, or all that were learnt from."""
    if test is None:
        kept = held_out_demonstrations(learnt, demonstrations)
        known = learnt.provenance.get("learnt_from")
        whole = len(kept.episodes) == len(demonstrations.episodes)
        if known is None or not whole:
            return kept, "all" if whole else "held out"
        seen = any(episode.fingerprint in known for episode in kept.episodes)
        return kept, "all" if seen else "held out"
    known = {*learnt.provenance.get("learnt_from", ())}
    known |= {each.fingerprint for each in demonstrations.episodes}
    for number, episode in enumerate(test.episodes):
        if episode.fingerprint in known:
            msg = f"track {number} of the test data is one that the reward was learnt from"
            remedy = "leave it out, for it cannot be called held out"
            raise DataError(msg, place="test", value=number, remedy=remedy)
    return test, "test"


def rank_demonstrations(
    learnt: LearntReward, play: Dataset, demonstrations: Dataset, config: EvaluationConfig
) -> Evaluation:
    """How far the learnt reward holds demonstrations for better than play data.

    Returns:
        ``rank``: where each demonstration would stand among the play episodes, by mean learnt
        reward, 1 the best; ``auc_episodes`` and ``auc_windows`` (:func:`separation`). The arrays
        are the rewards that they are of.
    """
    datasets = {"play": play, "demonstrations": demonstrations}
    means = {
        name: np.array([learnt.mean_reward(episode) for episode in data.episodes])
        for name, data in datasets.items()
    }
    pieces = {name: _window_rewards(learnt, data, config) for name, data in datasets.items()}
    numbers = {name: np.arange(len(rewards)) for name, rewards in means.items()}
    ranks = [int(1 + (means["play"] > mean).sum()) for mean in means["demonstrations"]]
    figures = {
        "rank": {"among": len(play.episodes), "ranks": ranks},
        "auc_episodes": asdict(
            separation(
                (means["demonstrations"], numbers["demonstrations"]),
                (means["play"], numbers["play"]),
            )
        ),
        "auc_windows": asdict(separation(pieces["demonstrations"], pieces["play"])),
    }
    arrays = {f"episode_rewards_{name}": rewards for name, rewards in means.items()}
    arrays |= {f"window_rewards_{name}": rewards for name, (rewards, _) in pieces.items()}
    return Evaluation(figures, arrays)


def separation(
    shown: tuple[Float[np.ndarray, "demonstrated"], Int[np.ndarray, "demonstrated"]],
    known: tuple[Float[np.ndarray, "played"], Int[np.ndarray, "played"]],
    *,
    seed: int = 0,
) -> Estimate:
    """AUC: the probability that a demonstration's reward is above play data's; ties count half.

    1 is perfect, 1/2 is chance. The interval resamples whole episodes of both together, as pieces
    of an episode resemble each other; its ``count`` is the number of episodes. With pieces of one
    demonstration alone it is from 0 to 1: one shows nothing of how others differ.

    Args:
        shown: rewards of pieces of demonstrations, and the number of the episode each is from.
        known: the same of play data.
        seed: of the bootstrap.
    """
    _, levels = np.unique(np.concatenate([shown[0], known[0]]), return_inverse=True)
    split = len(shown[0])
    num_shown, num_known = int(shown[1].max()) + 1, int(known[1].max()) + 1

    def auc(picks: Int[np.ndarray, "episode"]) -> float:
        times = np.bincount(picks, minlength=num_shown + num_known)
        ours = np.bincount(levels[:split], times[shown[1]], levels.max() + 1)
        theirs = np.bincount(levels[split:], times[num_shown + known[1]], levels.max() + 1)
        pairs = ours.sum() * theirs.sum()
        below = theirs.cumsum() - theirs / 2
        return float((ours * below).sum() / pairs) if pairs else float("nan")

    found = bootstrap(auc, np.arange(num_shown + num_known), seed=seed)
    return found if num_shown > 1 else replace(found, low=0.0, high=1.0)


def held_out_distance(
    learnt: LearntReward, diffuser: Diffuser, play: Dataset, demonstrations: Dataset
) -> dict[str, Any]:
    """Energy distance of plans to demonstrations, guided and unguided, with the same noise.

    Plans start where they did when the reward was learnt. The mean over four draws of 64 windows.

    Args:
        learnt: guides the plans.
        diffuser: makes the plans; those of a fine-tuned one count as guided.
        play: for starts elsewhere than at demonstrations.
        demonstrations: not learnt from, environment units.
    """
    starts = learnt.provenance.get("learning", {}).get("starts", "demonstrations")
    unguided = replace(learnt.sampling, scale=0.0)
    plain = MatchingProblem(
        diffuser=diffuser,
        windows=Windows(demonstrations, diffuser.spec),
        num_learnt=0,
        play=Windows(play, diffuser.spec),
        objective=EnergyDistance(),
        sampling=unguided,
        config=LearningConfig(starts=starts),
    )
    guided = replace(plain, sampling=learnt.sampling)
    if learnt.fine_tuned is not None:
        guided = replace(plain, diffuser=learnt.fine_tuned)
    return {
        "starts": starts,
        "unguided": _mean_distance(plain, learnt.guide_model),
        "guided": _mean_distance(guided, learnt.guide_model),
    }


def feature_shares(
    learnt: LearntReward, play: Dataset, *, count: int, seed: int
) -> dict[str, float]:
    """The share of the learnt reward that each entry of the observation carries, in play data.

    An entry's weight is ``E[(r(x) - r(x'))^2] / 2``, where x' is x with the entry taken from
    another piece of play data: the part of the reward's variance that is lost without it, its
    total effect (Jansen 1999; Saltelli et al. 2010, table 2). Weights are divided by their sum.
    Where entries depend on each other, x' may be unlike any play data, and of two that tell the
    same the reward may use either.

    Args:
        learnt: of single observations, or of whole plans; then an entry is shuffled in all steps.
        play: environment units.
        count: pieces: observations, or windows for rewards of whole plans and staged ones.
        seed: of the draw and the shuffles.

    Returns:
        Shares by name, sum 1; entries of actions together are ``actions``. All 0 if the reward is
        the same everywhere.
    """
    generator = torch.Generator().manual_seed(seed)
    windows = Windows(play, learnt.spec)
    drawn, mask = windows.gather(windows.draw(count, generator))
    if learnt.is_additive and learnt.num_stages == 1:
        steps = drawn[mask]
        drawn = steps[torch.randperm(len(steps), generator=generator)[:count]].unsqueeze(1)
    names = entry_names(play)
    groups = {name: slice(entry, entry + 1) for entry, name in enumerate(names)}
    if learnt.spec.with_actions:
        groups[ACTIONS] = slice(learnt.spec.observation_dim, None)
    rewards = learnt.plan_rewards(drawn)
    weights = {}
    for name, entries in groups.items():
        lost = []
        for _ in range(_NUM_SHUFFLES):
            shuffled = drawn.clone()
            order = torch.randperm(len(drawn), generator=generator)
            shuffled[..., entries] = drawn[order][..., entries]
            lost.append(((rewards - learnt.plan_rewards(shuffled)) ** 2).mean() / 2)
        weights[name] = float(np.mean(lost))
    total = sum(weights.values())
    return {name: weight / total if total else 0.0 for name, weight in weights.items()}


def _window_rewards(
    learnt: LearntReward, data: Dataset, config: EvaluationConfig
) -> tuple[Float[np.ndarray, "window"], Int[np.ndarray, "window"]]:
    """Learnt reward of random windows, padded ones only if there are no others; their episodes."""
    windows = Windows(data, learnt.spec)
    picks = windows.draw(config.num_windows, torch.Generator().manual_seed(config.seed))
    drawn, mask = windows.gather(picks)
    whole = mask.all(1) if mask.all(1).any() else torch.ones(len(mask), dtype=torch.bool)
    return learnt.plan_rewards(drawn[whole]), windows.episode[picks][whole].numpy()


def _mean_distance(problem: MatchingProblem, guide: RewardModel) -> float:
    draws = [
        replace(problem, config=replace(problem.config, seed=seed)).held_out_loss(
            guide, num_windows=_NUM_JUDGED
        )
        for seed in range(_NUM_DRAWS)
    ]
    return float(np.mean(draws))


def _about_known(shares: Mapping[str, float]) -> str:
    elsewhere = [
        f"{1 - share:.0%} of the {what}"
        for what, share in (
            ("play data", shares.get("play", 1.0)),
            ("demonstrations", shares.get("demonstrations", 1.0)),
        )
        if share < _LEAST_KNOWN
    ]
    if not elsewhere:
        return ""
    return (
        f"The reward is a guess in {' and '.join(elsewhere)}: nothing that it was learnt from "
        "comes near. Learn it anew with this data, or judge what is like the data it was learnt "
        "from."
    )


def _about_style(shares: Mapping[str, float], play: Dataset) -> str:
    rates = zip(entry_names(play), rates_of_change(play), strict=True)
    style = [name for name, of in rates if of is not None] + [ACTIONS] * (ACTIONS in shares)
    share = sum(shares[name] for name in style)
    if share <= _MOST_STYLE:
        return ""
    names = ", ".join(name for name in style if shares[name] > 0)
    return (
        f"{share:.0%} of the reward is carried by how the demonstrations move ({names}), not by "
        "where they are: it may explain their style rather than their aim. Name the entries that "
        "the task is about with --reward.features."
    )


def _about_ranking(figures: Mapping[str, Any]) -> str:
    auc = figures["auc_windows"]["value"]
    if auc >= _LEAST_AUC:
        return ""
    return (
        f"The reward hardly tells demonstrations from play data: a demonstration's window is worth "
        f"more than a play window in {auc:.0%} of pairs, and chance is 50%. Either play data does "
        "what is demonstrated as often, or the reward was not learnt: learn longer, or let plans "
        "start elsewhere too (--learning.starts both)."
    )


def _about_naive(naive: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    if not naive:
        return ""
    best = max(naive, key=lambda name: naive[name]["whole"]["rank"])
    ranks = [parts["whole"]["rank"] for parts in figures["tracks"].values()]
    value, own = naive[best]["whole"]["rank"], max([figures["auc_episodes"]["value"], *ranks])
    if value <= own + _BETTER:
        return ""
    return (
        f"A naive way does better: by '{best}' a demonstration that was left out is above "
        f"{value:.0%} of the play episodes, by the reward {own:.0%}. Use that, or let 'trailward "
        "fit' choose how a reward is learnt and read."
    )


def _about_plans(distance: Mapping[str, Any]) -> str:
    guided, unguided = distance["guided"], distance["unguided"]
    if abs(guided - unguided) <= _SAME_DISTANCE * unguided:
        return (
            "The reward hardly moves plans: guided and unguided ones are as far from the "
            f"demonstrations ({guided:.4g} and {unguided:.4g}). It is flat, or the guide is too "
            "weak: learn longer, with a lower --learning.weight-decay or a larger --sampling.scale."
        )
    if guided > unguided:
        return (
            f"Plans that the reward guides are further from the demonstrations ({guided:.4g}) than "
            f"unguided ones ({unguided:.4g}): it does not explain them, or pulls too hard. See "
            "'When it fails' in How to choose."
        )
    return ""
