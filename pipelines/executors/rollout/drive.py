"""Drives a target through a rollout: observe, decide, apply, until it is over. Restartable at any point."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pipelines.executors.base import Control, Log, Outcome, Produced, Yielded
from pipelines.executors.base import Progress as Report
from pipelines.executors.rollout import decisions
from pipelines.executors.rollout.measuring import Measure, Verdict
from pipelines.executors.rollout.progress import Progress, away_file, cancel_file, since_when_away
from pipelines.executors.rollout.strategy import Decision, Observation, Pause, Rollout, Verify
from pipelines.executors.rollout.target import AwayError, NotPreparedError, RefusedError, Target
from pipelines.executors.rollout.telling import artifact, facts, told

LOOK_EVERY = 0.03
LOOK_EVERY_IN_PAUSE = 0.2
TEND_EVERY = 2.0
# Seconds between two looks whether what was away is back; and for how long that is waited for here, not by the engine.
LOOK_EVERY_WITHOUT = 0.5
FROZEN_FOR = 60.0
# Of what was said of replicas in this step, what a page shows.
MOST_TROUBLES = 6


@dataclass(slots=True)
class Driver:
    """`remember` keeps the progress where the next worker finds it. `folder` is the attempt's own. `resumes` is how
    often a person let this rollout go on, `base_url` where customers reach the environment."""

    rollout: Rollout
    target: Target
    progress: Progress
    remember: Callable[[Progress], None]
    environment: str
    folder: Path
    control: Control
    resumes: int
    base_url: str
    stage: str
    measure: Measure
    said: str = ""
    tended: float = 0.0
    answered: float = 0.0
    # Whether `progress` says more than was remembered.
    ahead: bool = False
    # Since when the way back is refused, None while it is not.
    refused_since: float | None = None
    troubles: list[str] = field(default_factory=list)

    def run(self) -> Iterator[Yielded]:
        self._resume()
        yield from self._without()
        if self.target.missing() and self.progress.position.aborted is None:
            return
        yield from self._return()
        if self.progress.position.aborted is not None:
            # Who goes on with a way back has all of the deadline for it: nobody tried meanwhile.
            self.progress.position = replace(self.progress.position, waiting_since=None)
        yield from self._prepare()
        while self.progress.outcome is None:
            try:
                yield from self._turn()
            except RefusedError as error:
                yield from self._refused(error)
        yield self.progress.outcome

    def _turn(self) -> Iterator[Yielded]:
        self._tend()
        self._obey()
        seen = self.target.observe()
        self.answered = time.time()
        self.rollout = self.target.fit(self.rollout)
        before = self.progress.position.step
        decision = decisions.decide(self.rollout, self.progress.position, seen, time.time())
        self._move(decision)
        yield from self._report(decision, seen)
        if decision.verb == "verify":
            yield from self._verify(decision, seen)
        elif decision.verb == "overdue":
            yield from self._overdue()
        elif decision.verb == "pause":
            self._end(Outcome("paused", decision.text, self._facts(seen)))
        elif decision.verb in ("done", "aborted"):
            yield from self._finish(decision, seen)
        if self.progress.outcome is not None:
            return
        yield from self._news(decision, seen)
        if self.progress.position.step != before:
            self.troubles = []
        else:
            self.target.wait(LOOK_EVERY_IN_PAUSE if decision.text.startswith("paused") else LOOK_EVERY)

    def _refused(self, error: RefusedError) -> Iterator[Yielded]:
        """What is refused would be refused again, so the rollout turns back; and where the way back is refused, that is
        tried until the deadline, for there is no other way."""
        aborted = self.progress.position.aborted
        if str(error) != self.said:
            self.said = str(error)
            yield Log(f"{error}\n")
        if aborted is None:
            # Remembered before anything follows from it, see _move.
            self.progress.position = decisions.abort(self.progress.position, f"refused: {error}", time.time())
            self.ahead = True
            return
        self.refused_since = self.refused_since or time.time()
        if time.time() - self.refused_since > self.rollout.deadline:
            back = self.rollout.stable or "what was there before"
            self._end(Outcome("error", f"{aborted}; and the way back to {back} is refused: {error}"))
            return
        self.target.wait(LOOK_EVERY_IN_PAUSE)

    def _tend(self) -> None:
        if time.monotonic() - self.tended > TEND_EVERY:
            self.target.tend()
            self.tended = time.monotonic()

    def _without(self) -> Iterator[Yielded]:
        """A part of the target is away. All stays as it is until it is back, or the deadline is over: then what
        answers goes back. Raises AwayError where that is long from now."""
        missing = self.target.missing()
        if not missing or self.progress.position.aborted is not None:
            return
        said = f"{missing} All of {self.environment} stays as it is."
        yield Log(f"{said}\n")
        while True:
            self._obey()
            if self.progress.position.aborted is not None:
                return
            gone = time.time() - since_when_away(self.folder)
            if gone > self.rollout.deadline:
                self._abort(_silence("a part of it", gone, self.rollout.deadline))
                return
            if self.rollout.deadline - gone > FROZEN_FOR:
                raise AwayError(said)
            if self.target.is_back():
                return
            time.sleep(LOOK_EVERY_WITHOUT)

    def _abort(self, reason: str) -> None:
        self.progress.position = decisions.abort(self.progress.position, reason, time.time())
        self._remember()

    def _return(self) -> Iterator[Yielded]:
        """The target was away: nothing was moved meanwhile. Its deadline went on all the same."""
        if self.target.missing():
            return
        try:
            gone = time.time() - away_file(self.folder).stat().st_mtime
        except FileNotFoundError:
            return
        position = self.progress.position
        yield Log(f"the target answers again after {gone:.0f} s\n")
        paused = isinstance(self.rollout.steps[position.step], Pause) and position.waiting_since is None
        if gone > self.rollout.deadline and not paused:
            self._abort(_silence("the target", gone, self.rollout.deadline))
        away_file(self.folder).unlink()

    def _prepare(self) -> Iterator[Yielded]:
        if self.progress.prepared or self.progress.position.aborted is not None:
            return
        try:
            for said in self.target.prepare():
                if said is not None:
                    yield said
                self._obey()
                if self.progress.position.aborted is not None:
                    return
        except (NotPreparedError, RefusedError) as error:
            yield Log(f"{error}\n")
            reason = f"refused: {error}" if isinstance(error, RefusedError) else str(error)
            self.progress.position = decisions.abort(self.progress.position, reason, time.time())
        else:
            self.progress.prepared = True
            self.progress.position = replace(self.progress.position, entered=time.time())
        self._remember()

    # --- what people say ------------------------------------------------------------------------------

    def _resume(self) -> None:
        """A person has let a paused rollout go on, or told it something else meanwhile."""
        if not self.progress.paused:
            return
        self.progress.outcome = None
        self.progress.resumes = self.resumes
        commands = list(self.control.commands())[self.progress.heard :]
        if not cancel_file(self.folder).exists() and not {"abort", "promote-full"} & set(commands):
            # A "promote" among these is what ended this pause; it must not end the next one too.
            self.progress.heard += len(commands)
            self.progress.position = decisions.go_on(self.progress.position, time.time())
        self.ahead = True

    def _obey(self) -> None:
        before = self.progress.position
        now = time.time()
        position = before
        commands = list(self.control.commands())
        for command in commands[self.progress.heard :]:
            if command == "promote":
                position = decisions.promote(self.rollout, position, now)
            elif command == "promote-full":
                position = decisions.promote_fully(self.rollout, position, now)
            elif command == "abort":
                position = decisions.abort(position, "aborted by a person", now)
        self.progress.heard = max(self.progress.heard, len(commands))
        if position.aborted is None and self._canceled():
            self.progress.canceled = True
            position = decisions.abort(position, "canceled", now)
        if position != before:
            # Remembered before anything follows from it, see _move: until then it can be heard again.
            self.progress.position = position
            self.ahead = True

    def _canceled(self) -> bool:
        return self.control.stopping() or cancel_file(self.folder).exists()

    # --- one turn -------------------------------------------------------------------------------------

    def _move(self, decision: Decision) -> None:
        # Remembered first: a worker that dies in between leaves a target that lags behind, which the next
        # turn makes good, and never one that is ahead of what is known.
        if self.ahead or decision.position != self.progress.position:
            self.progress.position = decision.position
            self._remember()
        if decision.desired is not None and decision.verb not in ("done", "aborted"):
            self.target.apply(decision.desired)

    def _verify(self, decision: Decision, seen: Observation) -> Iterator[Yielded]:
        step = self.rollout.steps[self.progress.position.step]
        settings = dict(step.settings) if isinstance(step, Verify) else {}
        if settings.get("baseline") == "stable":
            settings["baseline"] = self.rollout.stable
        if settings.get("budgets"):
            settings["beside"] = self.rollout.stable
        folder = self.folder / f"verify-{self.progress.position.step}"
        folder.mkdir(parents=True, exist_ok=True)
        verdict: Verdict | None = None
        for event in self.measure(
            base_url=self.base_url,
            release=self.rollout.release,
            settings=settings,
            control=self.control,
            folder=folder,
        ):
            if isinstance(event, Log):
                yield event
            elif isinstance(event, Report):
                # Where the traffic goes stays in view while it is measured.
                now = told(self.progress.position.step, "wait", event.text, event.data)
                known = {**self._facts(seen), "verdicts": [*self.progress.verdicts, now]}
                yield replace(event, text=f"{decision.text}: {event.text}", data=known)
            else:
                verdict = event
            self._obey()
            if self.progress.position.aborted is not None:
                return
        self._obey()
        self._judge(verdict, seen)

    def _judge(self, verdict: Verdict | None, seen: Observation) -> None:
        now = time.time()
        position = self.progress.position
        if position.aborted is not None or not isinstance(self.rollout.steps[position.step], Verify):
            return
        if verdict is not None:
            judged = told(position.step, verdict.state, verdict.reason, verdict.numbers)
            self.progress.verdicts = [*(v for v in self.progress.verdicts if v["step"] != judged["step"]), judged]
        if verdict is not None and verdict.state == "pass":
            self.progress.position = decisions.go_on(position, now)
        elif verdict is not None and verdict.state == "fail":
            self.progress.position = decisions.abort(position, f"verify failed: {verdict.reason}", now)
        else:
            reason = verdict.reason if verdict else "the measurement gave no verdict"
            self._end(Outcome("paused", f"verify is inconclusive: {reason}", self._facts(seen)))
        self._remember()

    def _overdue(self) -> Iterator[Yielded]:
        position = self.progress.position
        why = self.target.why_not_ready(self.rollout.release)
        if position.aborted is not None:
            reason = f"{position.aborted}; and {self.rollout.stable} does not come back: {why}"
            if missing := self.target.missing():
                raise AwayError(f"{missing} {reason}")
            self._end(Outcome("error", reason))
            return
        reason = f"not ready within {self.rollout.deadline:g} s: {why}"
        yield Log(f"{reason}\n")
        self._abort(reason)

    def _finish(self, decision: Decision, seen: Observation) -> Iterator[Yielded]:
        desired = decision.desired
        if desired is None:
            return
        self._obey()
        if decision.verb == "done" and self.progress.position.aborted is not None:
            return
        stable = self.rollout.release if decision.verb == "done" else (self.rollout.stable or "")
        if missing := self.target.missing():
            self.target.apply(desired)
            where = f"What answers of {self.environment} is back at {stable or 'nothing'}"
            raise AwayError(f"{missing} {where}; what the rest has is unknown, and is brought in line once it answers.")
        self.target.finish(desired, stable)
        known = self._facts(seen)
        if decision.verb == "aborted":
            state: Literal["canceled", "failed"] = "canceled" if self.progress.canceled else "failed"
            self._end(Outcome(state, self.progress.position.aborted or "aborted", known))
            return
        self.target.keep(self.progress.release)
        yield Produced(artifact(self.progress.release, self.environment, self.base_url, self.stage))
        same = self.rollout.stable == self.rollout.release
        reason = f"{stable} runs already, unchanged" if same else f"{stable} has all traffic"
        self._end(Outcome("succeeded", reason, known))

    def _end(self, outcome: Outcome) -> None:
        self.progress.outcome = outcome
        self._remember()

    def _remember(self) -> None:
        self.remember(self.progress)
        self.ahead = False

    # --- what is told ---------------------------------------------------------------------------------

    def _report(self, decision: Decision, seen: Observation) -> Iterator[Yielded]:
        known = self._facts(seen)
        text = f"{decision.text}{known['weights']}{known['step']}"
        if text == self.said:
            return
        self.said = text
        yield Log(f"{decision.text}\n")
        yield Report(decision.text, known["step"], known["steps"], known)

    def _news(self, decision: Decision, seen: Observation) -> Iterator[Yielded]:
        """What the target has to say of replicas goes to the log, and the last of it to the page while it is true."""
        fresh = list(self.target.news())
        if not fresh:
            return
        yield from (Log(f"{line}\n") for line in fresh)
        self.troubles = [*self.troubles, *fresh][-MOST_TROUBLES:]
        known = self._facts(seen)
        yield Report(decision.text, known["step"], known["steps"], known)

    def _facts(self, seen: Observation) -> Mapping[str, Any]:
        return facts(self.rollout, self.progress.position, seen, self.troubles, self.progress.verdicts)


def _silence(what: str, seconds: float, deadline: float) -> str:
    return f"{what} did not answer for {seconds:.0f} s; the deadline is {deadline:g} s"
