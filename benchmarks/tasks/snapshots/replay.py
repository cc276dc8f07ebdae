"""States by replay, for environments that cannot be copied: Box2D's worlds are in C++ memory behind SWIG.

Replaying the actions since the reset with its seed reproduces a world exactly, at the cost of all steps so far. Python
can set the bodies' positions, but can neither read nor set the solver's memory of joints and contacts. :class:`Lander`
works around that.
"""

import copy
import math
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base.seeds import branch
from benchmarks.tasks.snapshots.time_limit import time_limit

_FPS = 50  # of LunarLander
_SLOW, _SLOW_TURN = 0.01, math.radians(2)  # metres and radians per second: Box2D puts slower bodies to sleep …
_MAX_STILL = 24  # … after half a second (25 steps)
_WARM_UP = 6  # steps in which the solver finds the forces of a contact

Past = tuple[tuple[int, dict[str, Any] | None], Any, tuple[tuple[dict[str, Any], tuple[Any, ...]], ...]]
"""The reset's seed and options; a placement of the world, or None; and the actions since the placement or the reset,
grouped by the state of the random stream at their beginning."""


class Replayed(gym.Wrapper):
    """Records the episode's actions and replays them on demand."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self._start: tuple[int, dict[str, Any] | None] | None = None
        self._place: Any = None
        self._past: list[tuple[dict[str, Any], list[Any]]] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment; without a seed, with one from its random stream."""
        seed = int(self.unwrapped.np_random.integers(2**31)) if seed is None else seed
        result = self.env.reset(seed=seed, options=options)
        self._start, self._place, self._past = (seed, options), None, [(self._stream, [])]
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:  # noqa: ANN401
        """Take a step and record the action."""
        self._past[-1][1].append(copy.copy(action))
        return self.env.step(action)

    def state_for_clones(self) -> Past:
        """The episode so far."""
        assert self._start is not None
        place = self._where()
        if place is not None:
            self._place, self._past = place, [(self._stream, [])]
        return self._start, self._place, tuple((stream, tuple(actions)) for stream, actions in self._past)

    def become_clone(self, state: Past, rng: np.random.Generator) -> None:
        """Replay an episode, then continue with a new random stream."""
        start, place, past = state
        if place is None or start != self._start:
            self.reset(seed=start[0], options=start[1])
        if place is not None:
            self._put(place)
        self._place, self._past = place, []
        new_stream = dict(branch(rng).bit_generator.state)
        for stream, actions in (*past, (new_stream, ())):
            self.unwrapped.np_random = np.random.Generator(np.random.PCG64(0))
            self.unwrapped.np_random.bit_generator.state = stream
            self._past.append((stream, []))
            for action in actions:
                self.step(action)

    @property
    def _stream(self) -> dict[str, Any]:
        return dict(self.unwrapped.np_random.bit_generator.state)

    def _where(self) -> Any:  # noqa: ANN401
        """The world's placement if it determines the rest of the episode; None if it does not."""
        return None

    def _put(self, place: Any) -> None:  # noqa: ANN401
        """Restore a placement of the same episode's world."""
        raise NotImplementedError


class Lander(Replayed):
    """LunarLander: the positions and velocities of three bodies and, on the ground, the solver's memory of contacts.

    Placing the bodies erases that memory and the one of the legs' joints. In the air this hardly matters: the next
    twenty observations of 158 placed landers differed by 1e-6 (median), and landers that came down within them touched
    the ground at most one step sooner or later. On the ground, the world runs for a few steps, and the bodies are
    placed again after
    each: the solver finds its forces, and counts for how long all bodies have been still, which ends an episode. The
    next twenty observations of 283 landers placed in this way differed by 3e-5 (median; 3e-3 in the ninth decile), and
    261 came to rest at the same step.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self._limit = time_limit(env)
        self._core: Any = env.unwrapped
        self._still = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment."""
        self._still = 0
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:  # noqa: ANN401
        """Take a step and count for how long all bodies have been still."""
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
            body.active = False  # erases the body's contacts
            body.active = True
        for leg in core.legs:
            leg.joint = _renewed(core.world, leg.joint)
        self._put_bodies(bodies)
        if any(touching):
            self._stay(bodies, _WARM_UP)
            for body in self._bodies():
                body.awake = False  # resets the count of still steps
            self._put_bodies(bodies)
            self._stay(bodies, min(self._still, _MAX_STILL))
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
    """A new joint with the same definition, without the old joint's state."""
    from Box2D import b2

    definition = b2.revoluteJointDef(  # type: ignore[attr-defined]
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
    return world.CreateJoint(definition)
