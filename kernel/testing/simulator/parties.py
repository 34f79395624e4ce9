"""Third parties who are given callback tokens, and use them well, twice, late, with other content, or never."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec.structs import replace

from kernel.core.codec import from_json
from kernel.core.tokens import Token, read_token, write_token
from kernel.errors import InvalidInput, NotDeployed, NotFound, OnewriteError, Refused
from kernel.ports import RunRef
from kernel.shell import callback
from kernel.shell.environment import MINUTE, SECOND, Environment
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.people import Equip
from kernel.testing.simulator.watch import Watch
from kernel.testing.simulator.world import Actor, World

PAUSE = 20.0
"""Seconds until a third party who was not answered, or not by a deployment that can, asks again."""
PATIENCE = 200
"""How often they do."""

Say = Callable[[Environment, str], callback.Answered]


class Parties:
    """All of them, each an actor for each thing that they say."""

    def __init__(self, world: World, watch: Watch, equip: Equip, cancel: Callable[[RunRef, Chance], None]) -> None:
        """Nobody was given anything. ``cancel`` has somebody cancel a run."""
        self._cancel = cancel
        self._world = world
        self._watch = watch
        self._equip = equip

    def given(self, text: str, limit: int, heartbeat: int | None) -> None:
        """A stage hands out a token, for so many milliseconds; who gets it makes up their mind what to do with it."""
        token = read_token(text)
        assert token is not None  # noqa: S101 - the kernel has just made it
        chance = Chance(self._world.seed, "party", token.run, token.stage, token.seq)
        now = self._world.now
        beats = heartbeat is not None and chance.happens(0.8)
        if heartbeat is not None and beats:
            self._plan(now + heartbeat // 2, token, partial(self._beats, chance, chance.pick((2, 6, 20))))
        if chance.happens(0.15):  # whoever wanted the answer wants it no more
            at = now + chance.below(2 * SECOND)
            self._world.plan(at, partial(self._cancel, RunRef(token.tenant, token.run), chance))
            self._plan(at + chance.below(SECOND), token, self._answer(token, chance))
        soon = chance.pick((0, 300, 5 * SECOND, MINUTE))
        late = limit + chance.pick((0, 2 * SECOND, 10 * SECOND, MINUTE, limit))
        at = now + chance.pick((*(() if beats else (soon, soon)), chance.below(limit), chance.below(limit), late))
        if chance.happens(0.15):
            return  # they never say anything
        for _ in range(chance.pick((1, 1, 2, 3))):
            self._plan(at, token, self._answer(token, chance))
            at += chance.pick((0, 100, 2 * SECOND, 5 * MINUTE))

    def _plan(self, at: int, token: Token, say: Callable[[Actor, Environment, Token], None]) -> None:
        def work(actor: Actor) -> None:
            actor.touches = RunRef(token.tenant, token.run)
            env, _ = self._equip(actor)
            say(actor, env, token)

        def come() -> None:
            self._world.spawn("party", work)

        self._world.plan(at, come)

    def _answer(self, token: Token, chance: Chance) -> Callable[[Actor, Environment, Token], None]:
        """What they say, if they say it."""
        by = f"{token.stage}@{token.seq}"
        fine = {"by": by, "text": chance.pick(("done", "done", "done", "more", "x" * 700, "x" * 3_000))}
        refused: dict[str, Any] = {"kind": "CallbackFailed", "message": "no", "retryable": chance.happens(0.7)}
        return chance.pick(
            (
                *(partial(self._completes, fine) for _ in range(5)),
                partial(self._fails, refused),
                partial(self._forges, fine),
                partial(self._garbles, {"by": 7}),
            )
        )

    # --- what they say ---------------------------------------------------------------------------------------------

    def _completes(self, output: dict[str, str], actor: Actor, env: Environment, token: Token) -> None:
        answered = self._insist(actor, env, lambda text: callback.complete(env, text, output), token)
        if answered is None:
            return
        seen = self._watch.runs[RunRef(token.tenant, token.run)]
        recorded = [
            from_json(text)
            for (name, seq), (_, text) in seen.recorded.items()
            if (name, seq > token.seq) == (token.stage, True)
        ]
        if output not in recorded:
            self._world.fail(
                "answers-count-once", f"an answer to {token.stage} was acknowledged that is not in the log"
            )

    def _fails(self, error: dict[str, Any], actor: Actor, env: Environment, token: Token) -> None:
        answered = self._insist(actor, env, lambda text: callback.fail(env, text, **error), token)
        if answered is not None and answered.status != "failed":
            self._world.fail("answers-count-once", f"an error of {token.stage} was acknowledged as {answered.status}")

    def _beats(self, chance: Chance, left: int, actor: Actor, env: Environment, token: Token) -> None:
        """Once more, and so on: at leisure, or in the nick of time."""
        progress = chance.pick((None, left / 20))
        answered = self._insist(actor, env, lambda text: callback.heartbeat(env, text, progress), token)
        if answered is None or not left:
            return
        at = self._world.now + SECOND
        if answered.until is not None:
            late = chance.pick((-20 * SECOND, -SECOND, SECOND, SECOND, SECOND)) + chance.below(4 * SECOND)
            at = max(at, answered.until + late)
        self._plan(at, token, partial(self._beats, chance, left - 1))

    def _forges(self, output: dict[str, str], actor: Actor, env: Environment, token: Token) -> None:
        """Somebody who knows all but the secret."""
        forged = replace(token, secret=token.secret[::-1])
        if self._insist(actor, env, lambda text: callback.complete(env, text, output), forged) is not None:
            self._world.fail("answers-are-current", f"{token.stage} was answered without its secret")
        with_other = write_token(replace(token, run="0" * 24))
        try:
            callback.heartbeat(env, with_other)
        except (NotFound, OnewriteError) as error:
            self._world.judge(error)

    def _garbles(self, output: dict[str, int], actor: Actor, env: Environment, token: Token) -> None:
        if self._insist(actor, env, lambda text: callback.complete(env, text, output), token) is not None:
            self._world.fail("inputs-are-checked", f"{output} was taken for the output of {token.stage}")

    def _insist(
        self, actor: Actor, env: Environment, say: Callable[[str], callback.Answered], token: Token
    ) -> callback.Answered | None:
        """Say it until it is answered, or refused."""
        text = write_token(token)
        for _ in range(PATIENCE):
            gone = self._watch.gone(RunRef(token.tenant, token.run))
            try:
                answered = say(text)
            except InvalidInput as error:
                self._world.say(actor, f"not taken: {error}")
                return None
            except Refused as error:
                self._world.say(actor, f"refused: {type(error).__name__}: {error}")
                if not isinstance(error, NotDeployed):
                    return None
            except OnewriteError as error:
                self._world.judge(error)
                self._world.say(actor, f"not answered: {error}")
            else:
                if gone:
                    self._world.fail("gone-is-gone", f"{token.stage} was answered in a run whose retention is over")
                self._world.say(actor, f"answered: {answered.status}")
                return answered
            env.clock.sleep(PAUSE)
        return None
