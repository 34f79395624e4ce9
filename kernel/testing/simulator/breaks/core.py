"""Guards of the core: who may still say something, what may follow on what, and when."""

from __future__ import annotations

from kernel.testing.simulator.breaks.taking import part

DRAFT = "kernel.core.draft:Draft"
DECIDE = "kernel.core.decide"
GRAPH = "kernel.core.graph:Graph"
PLAN = "kernel.core.plan"

FENCES = (
    part(
        "attempt-fence",
        "What an attempt says counts only while it is the one that its stage is about.",
        "stale-cannot-commit",
        (f"{DRAFT}.current", "found.seq != seq or ", ""),
    ),
    part(
        "reaped-fence",
        "An attempt whose lease was found to be over says nothing more.",
        "stale-cannot-commit",
        (f"{DRAFT}.current", "found.status not in status or ", ""),
    ),
    part(
        "ended-fence",
        "What was going on in a run counts no more once the run is over.",
        "cancel-wins-whole",
        (f"{DRAFT}.current", " or stage not in self.state.active", ""),
    ),
    part(
        "check-fence",
        "Of two checks at once the first to commit counts.",
        "timers-are-never-early",
        (f"{DECIDE}:_checked", "if stage.at != command.check_at:", "if False:"),
    ),
    part(
        "begin-fence",
        "A run begins once: who begins it again comes too late.",
        ("stale-cannot-commit", "cancel-wins-whole"),
        (f"{DECIDE}:_begin", "if draft.state.begun or draft.state.status.finished:", "if False:"),
    ),
    part(
        "deadline-fence",
        "A run is failed by the deadline that was seen to pass, not by one that it got since.",
        "timers-are-never-early",
        (f"{DECIDE}:_expire", " or draft.state.deadline != command.deadline", ""),
    ),
    part(
        "expire-fence",
        "A run that is over is not failed by its deadline.",
        "cancel-wins-whole",
        (f"{DECIDE}:_expire", "draft.state.status.finished or ", ""),
    ),
    part(
        "sleep-fence",
        "A run is put to sleep only if it goes on, and nobody needs to look at it before.",
        ("no-run-is-forgotten", "cancel-wins-whole"),
        (
            f"{DECIDE}:_sleep",
            "if not isinstance(idle, Idle) or not idle.quiet or idle.until < command.until:",
            "if False:",
        ),
    ),
    part(
        "receive-fence",
        "A run that is over, or is being undone, takes no events.",
        ("cancel-wins-whole", "no-unexpected-error"),
        (f"{DECIDE}:_receive", "if state.status is not RunStatus.RUNNING:", "if False:"),
    ),
    part(
        "timer-fence",
        "A timer fires once, and not in a run that has ended meanwhile.",
        ("timers-fire-once", "cancel-wins-whole"),
        (
            f"{DECIDE}:_fire",
            "draft.current(command.timer, command.seq, StageStatus.SLEEPING, StageStatus.WAITING)",
            "pass",
        ),
    ),
    part(
        "callback-attempt",
        "A callback token counts only for the attempt that was given it.",
        "answers-are-current",
        (
            f"{DECIDE}:_awaited",
            "command.stage, command.seq, StageStatus",
            "command.stage, draft.state.stages[command.stage].seq, StageStatus",
        ),
        ("kernel.shell.callback:_current", "stage.seq != token.seq or ", ""),
    ),
    part(
        "callback-limit",
        "A callback that comes after its limit comes too late, whether that was noticed or not.",
        "answers-are-current",
        (
            f"{DECIDE}:_awaited",
            "if found.status is StageStatus.SUSPENDED and draft.now >= found.give_up_at and not paused:",
            "if False:",
        ),
    ),
    part(
        "callback-cut-off",
        "What runs still of a run that is being undone can no more be answered.",
        "cancel-wins-whole",
        (f"{DECIDE}:_awaited", "if draft.cut_off(command.stage):", "if False:"),
    ),
    part(
        "heartbeat-fence",
        "A heartbeat that comes in the nick of time counts.",
        "timers-are-never-early",
        (f"{DECIDE}:_unanswered", "if stage.at != command.at:", "if False:"),
    ),
    part(
        "close-fence",
        "Only a finished run is closed.",
        "cancel-wins-whole",
        (f"{DECIDE}:_close", "if not draft.state.status.finished:", "if False:"),
        # A tick closes what somebody announced to reopen who died, which is rare: here it closes whatever is over.
        ("kernel.shell.tick:_look", "if finished and session.head.due_seq > session.state.seq:", "if finished:"),
    ),
    part(
        "cancel-fence",
        "A run that is over is not cancelled.",
        "cancel-wins-whole",
        (f"{DECIDE}:_cancel", "state.status.finished or ", ""),
    ),
    part(
        "undo-fence",
        "A run that is undone is undone to the end, and once: it cannot be cancelled.",
        ("what-is-to-be-undone-is", "order-holds"),
        (f"{DECIDE}:_cancel", " or state.status is RunStatus.COMPENSATING:", ":"),
    ),
    part(
        "cut-off",
        "What was running when its run was cancelled may end, but not count.",
        ("cancel-wins-whole", "order-holds"),
        (f"{DRAFT}.cut_off", "return self", "return False and self"),
    ),
    part(
        "reopen-fence",
        "Only a finished run is reopened.",
        "cancel-wins-whole",
        (f"{DECIDE}:_reopen", "if not state.status.finished:", "if False:"),
    ),
    part(
        "attempt-limit",
        "A stage is started no more often than its policy says.",
        "attempts-are-bounded",
        (f"{DRAFT}.fail", " and attempt < spec.retry.attempts", ""),
    ),
    part(
        "at-most-once",
        "A stage that says so is started once; its policy sees to that, and so does the core by itself.",
        "attempts-are-bounded",
        (f"{DRAFT}.fail", " and not spec.at_most_once", ""),
        ("kernel.define.stage:Stage.spec", "Retry(1) if options.at_most_once else options.retry", "options.retry"),
    ),
    part(
        "paused-begin",
        "A run that is paused before it has begun does not begin.",
        "paused-is-paused",
        (f"{DECIDE}:_begin", "draft.going_on()", "pass"),
    ),
    part(
        "paused-claim",
        "No stage of a paused run is claimed, whoever was about to.",
        "paused-is-paused",
        (f"{DECIDE}:_claim", "draft.going_on()", "pass"),
    ),
    part(
        "paused-chain",
        "What becomes ready in a paused run is not started along with that.",
        "paused-is-paused",
        (f"{DRAFT}.chain", " or self.state.paused is not None", ""),
    ),
    part(
        "paused-check",
        "What a check says that began before the pause does not count.",
        "paused-is-paused",
        (f"{DECIDE}:_checked", "draft.going_on()", "pass"),
    ),
    part(
        "paused-timer",
        "No timer of a paused run fires.",
        "paused-is-paused",
        (f"{DECIDE}:_fire", "draft.going_on()", "pass"),
    ),
    part(
        "pause-fence",
        "A run that is undone is not paused.",
        "paused-is-paused",
        (f"{DECIDE}:_pause", "state.status is not RunStatus.RUNNING or ", ""),
    ),
    part(
        "pause-once",
        "A paused run is not paused again.",
        "paused-is-paused",
        (f"{DECIDE}:_pause", " or state.paused is not None:", ":"),
    ),
    part(
        "resume-fence",
        "Only a paused run is resumed.",
        "paused-is-paused",
        (f"{DECIDE}:_resume", "if state.paused is None:", "if False:"),
    ),
    part(
        "end-pause-fence",
        "A pause ends by itself at its own time, not at that of one before it, and once.",
        ("timers-are-never-early", "paused-is-paused"),
        (f"{DECIDE}:_end_pause", "if paused is None or paused.until != command.until:", "if False:"),
    ),
    part(
        "cancel-ends-pause",
        "A paused run that is cancelled is undone now.",
        ("quiet-at-last", "paused-is-paused"),
        ("kernel.core.evolve:_compensation_started", "if state.cancelling:", "if False:"),
    ),
    part(
        "end-ends-pause",
        "A run that ended while it was paused is not paused when it is reopened.",
        ("quiet-at-last", "paused-is-paused"),
        ("kernel.core.evolve:_finish", "state.paused = None", "pass"),
    ),
)
"""Who may still say something."""

PROGRAM = (
    part(
        "join-waits",
        "A stage waits for everything that it depends on.",
        "order-holds",
        (f"{GRAPH}._ready", "if not self._passed(state, needed):", "if False:"),
    ),
    part(
        "failed-stops",
        "What depends on a failed stage goes on only where the workflow says so.",
        "order-holds",
        (f"{GRAPH}._passed", "return self._nodes[id_].spec.on_failure is Strategy.PROCEED", "return True"),
    ),
    part(
        "left-out-begins",
        "What was left out, because a failure meant something else then, begins before the run completes.",
        "order-holds",
        (
            f"{GRAPH}.settle",
            "return self._ready(state, (id_ for id_ in self._nodes if id_ not in state.stages), values) or ",
            "return ",
        ),
    ),
    part(
        "failed-is-told",
        "A run of which a stage has failed does not complete.",
        "order-holds",
        (f"{GRAPH}.settle", "if not failed:", "if True:"),
    ),
    part(
        "end-is-last",
        "A run ends only once nothing of it is going on.",
        "order-holds",
        (f"{DRAFT}._settled", " and not state.active", ""),
    ),
    part(
        "undo-on-failure",
        "Where the workflow says so, what was done is undone when a stage fails.",
        "what-is-to-be-undone-is",
        (f"{GRAPH}.settle", "if any(spec.on_failure is Strategy.COMPENSATE for _, spec in failed)", "if False"),
    ),
    part(
        "undo-on-cancel",
        "Where the workflow says so, what was done is undone when the run is cancelled.",
        "what-is-to-be-undone-is",
        (f"{DECIDE}:_cancel", "if state.undo_on_cancel and", "if False and"),
    ),
    part(
        "undo-has-its-code",
        "A run that is to be undone when it is cancelled is cancelled only where its workflow is known.",
        "what-is-to-be-undone-is",
        (f"{DECIDE}:_cancel", "if definition is None:", "if False:"),
        (f"{DECIDE}:_cancel", "= definition.program.undo(state)", "= definition and definition.program.undo(state)"),
    ),
    part(
        "undo-in-reverse",
        "What was done last is undone first.",
        "order-holds",
        (f"{GRAPH}.undo", ", reverse=True", ""),
    ),
    part(
        "undo-waits",
        "Nothing is undone while a stage may still run.",
        "order-holds",
        ("kernel.core.evolve:_compensation_started", "if state.stages[id_].status in _BEGUN", "if False"),
    ),
    part(
        "undo-drops",
        "What has not begun when a run is undone never does.",
        "stale-cannot-commit",
        ("kernel.core.evolve:_compensation_started", " if state.stages[id_].status in _BEGUN", ""),
    ),
    part(
        "undo-starts-nothing",
        "While a run is undone, and once it is over, nothing else of it becomes ready, or is asked for.",
        ("cancel-wins-whole", "no-unexpected-error"),
        (f"{DRAFT}.emit", " and state.status is RunStatus.RUNNING", ""),
    ),
    part(
        "undone-runs-again",
        "What was undone has no outcome any more: it runs again when the run is reopened.",
        "recorded-is-immutable",
        (f"{DECIDE}:_reopen", "*undone, ", ""),
    ),
    part(
        "undoing-is-forgotten",
        "A reopened run is undone anew, if it comes to that.",
        ("order-holds", "recorded-is-immutable"),
        (f"{DECIDE}:_reopen", " or id_.startswith(COMPENSATE)", ""),
    ),
)
"""What may follow on what."""

TIMES = (
    part(
        "commit-time",
        "Commit times never decrease, whatever clocks say.",
        "times-never-decrease",
        (f"{DRAFT}.__init__", "max(now, state.at)", "now"),
    ),
    part(
        "timer-skew",
        "Timers wait for the slowest clock that is allowed.",
        "timers-are-never-early",
        (f"{PLAN}:plan", "sure = now - skew", "sure = now"),
    ),
    part(
        "retry-time",
        "A retry waits for its time.",
        "timers-are-never-early",
        (f"{PLAN}:_step", "case StageStatus.RETRYING if stage.at <= sure:", "case StageStatus.RETRYING:"),
    ),
    part(
        "check-time",
        "A check waits for its time.",
        "timers-are-never-early",
        (f"{PLAN}:_step", "case StageStatus.SUSPENDED if stage.at <= sure:", "case StageStatus.SUSPENDED:"),
    ),
    part(
        "timer-time",
        "A timer waits for its time.",
        "timers-are-never-early",
        (
            f"{PLAN}:_step",
            "case status if status in _TIMED and 0 < stage.at <= sure:",
            (
                "case StageStatus.SLEEPING:\n            return Fire(id_)\n"
                "        case status if status in _TIMED and 0 < stage.at <= sure:"
            ),
        ),
    ),
    part(
        "pause-time",
        "A pause lasts until its time.",
        "timers-are-never-early",
        (f"{PLAN}:_paused", " and sure >= pause.until", ""),
    ),
)
"""When."""
