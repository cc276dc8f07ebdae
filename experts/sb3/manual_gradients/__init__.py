"""stable-baselines3's learners on small networks, with their gradients written by hand.

Small networks spend much of their time on the bookkeeping of automatic differentiation and on gradients that nobody
uses. Plain operations take 0.6 of the time of PPO's update and 0.7 of SAC's and TD3's; PPO also acts by them. Rollouts,
buffers, the optimisers' state and everything else stay stable-baselines3's, and so do the numbers, to the last digits
of a float.
"""

from collections.abc import Callable

from stable_baselines3 import DDPG, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm

from experts.sb3.manual_gradients import off_policy, ppo


def use_manual_gradients(model: BaseAlgorithm, count_flops: Callable[[float], None]) -> None:
    """Replace how a model acts and updates, if it is one that this package knows; all others stay as they are.

    A changed model cannot be deep-copied or saved by stable-baselines3: take its parameters.

    Args:
        model: an algorithm of stable-baselines3, which is changed.
        count_flops: told the operations of products, since the layers' own hooks are not called.
    """
    if type(model) is PPO and ppo.is_known(model):
        learner = ppo.Ppo(model, count_flops)
        model.policy.forward = learner.act  # type: ignore[method-assign]
    elif type(model) is SAC and off_policy.is_known(model):
        learner = off_policy.Sac(model, count_flops)
    elif type(model) in (TD3, DDPG) and off_policy.is_known(model):
        learner = off_policy.Td3(model, count_flops)
    else:
        return
    model.train = learner.train  # type: ignore[method-assign]
