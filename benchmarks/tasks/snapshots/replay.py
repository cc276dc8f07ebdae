"""States by replay, for environments that cannot be copied: Box2D's worlds live in C++ memory behind SWIG.

The reset's seed and the actions since bring such a world back to the last bit; the price is a step for each step so
far. Bodies can be put where they were, but what the solver remembers of joints and contacts cannot be read or set from
Python. :class:`Lander` does without.
"""

import copy
import math
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base.seeds import branch
from benchmarks.tasks.snapshots.time_limit import time_limit

_FPS = 50  # of LunarLander
_SLOW, _SLOW_TURN = 0.01, math.radians(2)  # metres and radians a second: Box2D lets go to sleep who is slower …
_STILL_AT_MOST = 24  # … for half a second; a step less, and the next one will
_WARM = 6  # steps in which the solver finds the forces of a contact

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
        result = self.env.reset(seed=seed, options=options)
        self._begun, self._place, self._past = (seed, options), None, [(self._stream, [])]
        return result

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
        fresh = dict(branch(rng).bit_generator.state)
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
    """LunarLander: three bodies' positions and velocities, and on the ground what its solver remembers of contacts.

    It forgets that, and what it remembered of the legs' joints, when bodies are put somewhere. In the air that does not
    matter: of 158 landers put so, the next twenty observations strayed by 1e-6 in the median, and those that came down
    in the meantime touched the ground a step sooner or later at most. On the ground, the world goes on for a few steps,
    after each of which the bodies are put back: the solver finds its forces again, and then counts anew for how long
    all have been still, which is what ends an episode. Of 283 landers put so, the next twenty observations strayed by
    3e-5 in the median (3e-3 in the ninth decile), and 261 came to rest at the very step.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self._limit = time_limit(env)
        self._core: Any = env.unwrapped
        self._still = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As the environment's own."""
        self._still = 0
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:  # noqa: ANN401
        """As the environment's own; how long all bodies have been still is counted."""
        result = super().step(action)
        still = self._touches() and all(
            body.linearVelocity.length <= _SLOW and abs(body.angularVelocity) <= _SLOW_TURN for body in self._bodies()
        )
        self._still = self._still + 1 if still else 0
        return result

    def _bodies(self) -> tuple[Any, ...]:
        return self._core.lander, *self._core.legs

    def _touches(self) -> bool:
        return any(leg.ground_contact for leg in self._core.legs)

    def _where(self) -> Any:  # noqa: ANN401
        core = self._core
        if core.game_over:
            return None
        bodies = [
            (tuple(body.position), body.angle, tuple(body.linearVelocity), body.angularVelocity)
            for body in self._bodies()
        ]
        touching = [leg.ground_contact for leg in core.legs]
        wind = (core.wind_idx, core.torque_idx) if core.enable_wind else ()
        return bodies, touching, self._still, core.prev_shaping, wind, self._limit._elapsed_steps

    def _put(self, place: Any) -> None:  # noqa: ANN401
        core = self._core
        bodies, touching, self._still, core.prev_shaping, wind, self._limit._elapsed_steps = place
        if wind:
            core.wind_idx, core.torque_idx = wind
        for body in self._bodies():
            body.active = False  # what it touched in its former life is forgotten
            body.active = True
        for leg in core.legs:
            leg.joint = _renewed(core.world, leg.joint)
        self._put_bodies(bodies)
        if any(touching):
            self._stay(bodies, _WARM)
            for body in self._bodies():
                body.awake = False  # so that it has been still for no time
            self._put_bodies(bodies)
            self._stay(bodies, min(self._still, _STILL_AT_MOST))
        for leg, touches in zip(core.legs, touching, strict=True):
            leg.ground_contact = touches
        core.game_over = False

    def _stay(self, bodies: Any, steps: int) -> None:  # noqa: ANN401
        for _ in range(steps):
            self._core.world.Step(1 / _FPS, 6 * 30, 2 * 30)
            self._put_bodies(bodies)

    def _put_bodies(self, bodies: Any) -> None:  # noqa: ANN401
        for body, (position, angle, velocity, spin) in zip(self._bodies(), bodies, strict=True):
            body.transform = position, angle
            body.linearVelocity, body.angularVelocity, body.awake = velocity, spin, True


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
