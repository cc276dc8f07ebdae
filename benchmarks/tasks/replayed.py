"""States by replay, for environments that cannot be copied: Box2D's worlds live in C++ memory behind SWIG.

The reset's seed and the actions since bring such a world back to the last bit; the price is a step for each step so
far. Bodies can be put where they were, but what the solver remembers of joints and contacts cannot be read or set from
Python. Of a lander in the air that does not matter, see :class:`Lander`.
"""

import copy
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.tasks.limits import time_limit

Past = tuple[tuple[int, dict[str, Any] | None], Any, tuple[tuple[dict[str, Any], tuple[Any, ...]], ...]]
"""The reset's seed and options; a place that the world can be put to, or None; and the actions since then or the reset,
by the state of the stream that was drawn from meanwhile."""


class Replayed(gym.Wrapper):
    """Remembers how the episode came to where it is, and plays it again on demand."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self._begun: tuple[int, dict[str, Any] | None] | None = None
        self._place: Any = None
        self._past: list[tuple[dict[str, Any], list[Any]]] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As the environment's own; without a seed, with one from its random stream."""
        seed = int(self.unwrapped.np_random.integers(2**31)) if seed is None else seed
        told = self.env.reset(seed=seed, options=options)
        self._begun, self._place, self._past = (seed, options), None, [(self._stream, [])]
        return told

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:  # noqa: ANN401
        """As the environment's own; the action is remembered."""
        self._past[-1][1].append(copy.copy(action))
        return self.env.step(action)

    def state_for_clones(self) -> Past:
        """The episode so far."""
        assert self._begun is not None
        place = self._where()
        if place is not None:
            self._place, self._past = place, [(self._stream, [])]
        return self._begun, self._place, tuple((stream, tuple(actions)) for stream, actions in self._past)

    def become_clone(self, state: Past, rng: np.random.Generator) -> None:
        """Play an episode so far once more; what follows is drawn from a new stream."""
        begun, place, past = state
        if place is None or begun != self._begun:
            self.reset(seed=begun[0], options=begun[1])
        if place is not None:
            self._put(place)
        self._place, self._past = place, []
        fresh = dict(np.random.PCG64(rng.integers(2**63)).state)
        for stream, actions in (*past, (fresh, ())):
            self.unwrapped.np_random = np.random.Generator(np.random.PCG64(0))
            self.unwrapped.np_random.bit_generator.state = stream
            self._past.append((stream, []))
            for action in actions:
                self.step(action)

    @property
    def _stream(self) -> dict[str, Any]:
        return dict(self.unwrapped.np_random.bit_generator.state)

    def _where(self) -> Any:  # noqa: ANN401
        """A place that the world can be put to and from which all goes on as it would have; None: this is not one."""
        return None

    def _put(self, place: Any) -> None:  # noqa: ANN401
        """Put the world of the same episode there."""
        raise NotImplementedError


class Lander(Replayed):
    """LunarLander: in the air, the positions and velocities of three bodies are all there is to know.

    All but what the solver remembers of the legs' joints: of 158 landers put so, the next twenty observations strayed
    by 1e-6 in the median, and those that came down in the meantime touched the ground a step sooner or later at most.
    On the ground, steps are replayed from where a state was last told in the air: the same landing to the eye (6e-3 in
    the median), but 13 of 74 came to rest at another step. The engines' own scatter is larger.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self._limit = time_limit(env)
        self._core: Any = env.unwrapped

    def _where(self) -> Any:  # noqa: ANN401
        core = self._core
        if core.game_over or any(leg.ground_contact for leg in core.legs):
            return None
        bodies = [
            (tuple(body.position), body.angle, tuple(body.linearVelocity), body.angularVelocity)
            for body in (core.lander, *core.legs)
        ]
        wind = (core.wind_idx, core.torque_idx) if core.enable_wind else ()
        return bodies, core.prev_shaping, wind, self._limit._elapsed_steps

    def _put(self, place: Any) -> None:  # noqa: ANN401
        core = self._core
        bodies, core.prev_shaping, wind, self._limit._elapsed_steps = place
        if wind:
            core.wind_idx, core.torque_idx = wind
        for body, (position, angle, velocity, spin) in zip((core.lander, *core.legs), bodies, strict=True):
            body.active = False  # what it touched in its former life is forgotten
            body.active = True
            body.transform = position, angle
            body.linearVelocity, body.angularVelocity, body.awake = velocity, spin, True
        for leg in core.legs:
            leg.joint = _renewed(core.world, leg.joint)
            leg.ground_contact = False
        core.game_over = False


def _renewed(world: Any, joint: Any) -> Any:  # noqa: ANN401
    """The same joint, with nothing left of what it held before."""
    from Box2D import b2

    like = b2.revoluteJointDef(  # type: ignore[attr-defined]
        bodyA=joint.bodyA,
        bodyB=joint.bodyB,
        localAnchorA=joint.GetLocalAnchorA(),
        localAnchorB=joint.GetLocalAnchorB(),
        referenceAngle=joint.GetReferenceAngle(),
        lowerAngle=joint.lowerLimit,
        upperAngle=joint.upperLimit,
        motorSpeed=joint.motorSpeed,
        maxMotorTorque=joint.GetMaxMotorTorque(),
        enableMotor=True,
        enableLimit=True,
    )
    world.DestroyJoint(joint)
    return world.CreateJoint(like)
