"""trailward: learn rewards from trails.

Inverse reinforcement learning in trajectory space, fully offline. The pipeline, in the order of
the modules::

    play data -> Windows -> Normalizer -> train_diffuser -> Diffuser
    demonstrations -> Windows -> the play data's Normalizer ----+
    Diffuser + reward model --guide--> plans --Objective--------+-> learn_reward -> LearntReward
    play data + reward model -> fit_value -> Value, which guides beside the reward
    observation -> Planner(Diffuser, reward model) -> action -> environment -> Episode
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
