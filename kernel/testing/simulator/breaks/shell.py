"""Guards of the shell: whose write it was, what comes before what, how long an attempt holds, what is believed."""

from __future__ import annotations

from kernel.testing.simulator.breaks.taking import part

SHELL = "kernel.shell"

TOKENS = (
    part(
        "commit-token",
        "A refused commit was ours only if the record that is there carries our token.",
        "stale-cannot-run",
        (f"{SHELL}.commit:_is_ours", "existing.token == token", "True"),
    ),
    part(
        "creation-token",
        "A refused creation was ours only if the head that is there carries our token.",
        "accepted-is-kept",
        (f"{SHELL}.start:_is_ours", "existing.token == token", "True"),
    ),
    part(
        "claim-token",
        "A refused claim of a due run was ours only if its head carries our token.",
        "one-look-at-a-time",
        (f"{SHELL}.heads:_is_ours", "existing.look == look", "True"),
    ),
    part(
        "start-digest",
        "A key stands for one request: another one with the same key is refused.",
        "accepted-is-kept",
        (f"{SHELL}.start:_known", "head.digest != asked.digest", "False"),
    ),
    part(
        "expired-key",
        "A key whose run's retention is over is refused, not compared with what may be gone.",
        "no-unexpected-error",
        (f"{SHELL}.start:_known", "if env.clock.now() >= head.expires:", "if False:"),
    ),
    part(
        "callback-secret",
        "Only who was given a callback token has its secret.",
        "answers-are-current",
        ("kernel.core.tokens:is_secret_of", "hmac.compare_digest(token.digest.encode(), digest.encode())", "True"),
    ),
    part(
        "callback-once",
        "A callback token stands for one answer: another one is refused.",
        "answers-count-once",
        (f"{SHELL}.callback:_settled", "if ended.answer == answer:", "if True:"),
    ),
    part(
        "value-key",
        "A value that is kept aside never takes the place of another one.",
        "recorded-is-immutable",
        (f"{SHELL}.values:keep_aside", "{DATA}{seq:010d}#{digest[:16]}", "{DATA}{seq:010d}"),
    ),
)
"""Whose write it was."""

ORDER = (
    part(
        "values-first",
        "What a commit refers to is kept before it.",
        "no-unexpected-error",
        (
            f"{SHELL}.values:keep_aside",
            "insist(env, lambda: env.store.put(ref, Data(key, text, ttl)), until)",
            "vars(env.store).setdefault('late', []).append(lambda: env.store.put(ref, Data(key, text, ttl)))",
        ),
        (
            f"{SHELL}.commit:commit",
            "session.settle()\n",
            "session.settle()\n            [late() for late in vars(env.store).pop('late', ())]\n",
        ),
    ),
    part(
        "wake-first",
        "Before the first commit on a sleeping or finished run, it is brought near in the due index.",
        "no-run-is-forgotten",
        (
            f"{SHELL}.commit:commit",
            "if session.state.asleep is not None or session.state.status.finished:",
            "if False:",
        ),
    ),
    part(
        "sleep-last",
        "A run moves away in the due index only after the commit that puts it to sleep.",
        "no-run-is-forgotten",
        (f"{SHELL}.leave:rest", "    try:\n", "    heads.sleep(env, session, idle.until)\n    try:\n"),
    ),
    part(
        "forget-what-is-gone",
        "A run leaves the due index unfinished only if its retention is over.",
        "no-run-is-forgotten",
        (f"{SHELL}.heads:forget", " or now < head.expires", ""),
    ),
    part(
        "key-goes-last",
        "A run leaves the due index only once its business key is free.",
        "keys-are-freed",
        (
            f"{SHELL}.leave:leave",
            (
                "keys.free(env, session)  # first: once it is out of the index, nobody sees to that any more\n"
                "            heads.finalise(env, session)"
            ),
            "heads.finalise(env, session)\n            keys.free(env, session)",
        ),
    ),
    part(
        "key-of-its-own",
        "Who finalises a run frees its business key only if the run itself holds it, in that generation.",
        "one-run-per-key",
        (
            f"{SHELL}.keys:free",
            "was=_holder(session.ref.run, session.state.generation)",
            "was=getattr(_read(env, session.ref.tenant, head.workflow, head.business_key), 'holder', '')",
        ),
    ),
    part(
        "key-of-a-run-under-way",
        "A business key is taken over only from a run that is over or gone.",
        "one-run-per-key",
        (f"{SHELL}.keys:Hold.refused", " and self._is_under_way(key)", " and False"),
    ),
    part(
        "key-is-taken-over",
        "A business key is taken over from a run whose log has ended, whether it was finalised or not.",
        "keys-are-freed",
        (f"{SHELL}.keys:Hold._is_under_way", "not session.state.status.finished or ", "True or "),
    ),
    part(
        "key-with-the-reopening",
        "A run goes on only with its business key.",
        "one-run-per-key",
        (f"{SHELL}.rerun:_reopen", "beside=hold", "beside=None"),
    ),
    part(
        "publish-first",
        "A run leaves the due index only once everything of it is published.",
        "published-at-least-once",
        (f"{SHELL}.leave:leave", "if not flushed.clean:", "if False:"),
    ),
    part(
        "publish-in-order",
        "An event waits until those before it are published or given up.",
        "published-in-order",
        (f"{SHELL}.outbox:flush", "return Flush(published, dead, clean=False)", "continue"),
    ),
    part(
        "settled-is-settled",
        "What the cursor has passed within a commit is not published again.",
        "cursor-never-goes-back",
        (f"{SHELL}.outbox:flush", "(seq == head.published + 1 and index < settled)", "False"),
    ),
    part(
        "bury-first",
        "An event that is given up is kept as a dead letter before the cursor passes it.",
        "published-at-least-once",
        (f"{SHELL}.outbox:flush", "_bury(env, session, letter, (seq, index), problem)", "pass"),
    ),
    part(
        "announced-is-closed",
        "A tick gives the number to a commit of its own that somebody announced who died, so that the run can be left.",
        "quiet-at-last",
        (f"{SHELL}.tick:_look", "if finished and session.head.due_seq > session.state.seq:", "if False:"),
    ),
    part(
        "deadline-by-tick",
        "A tick fails a run past its deadline by itself: there may be no worker that has its code.",
        "timers-are-hardly-late",
        (f"{SHELL}.tick:_tend", "if now - env.limits.max_skew >= state.deadline:", "if False:"),
    ),
    part(
        "recovery-poke",
        "A tick pokes whoever is needed, since the message that said so may be lost.",
        ("quiet-at-last", "timers-are-hardly-late"),
        (f"{SHELL}.tick:_tend", "if pokes:", "if False:"),
    ),
    part(
        "pause-end-by-tick",
        "A tick lets a paused run go on whose time has come, since the message that was to do so may be lost.",
        ("quiet-at-last", "timers-are-hardly-late"),
        (f"{SHELL}.tick:_tend", "if resume_if_due(env, session, by=by, until=until):", "if False:"),
    ),
    part(
        "status-sleeps",
        "A run that is put to sleep is shown as what it is.",
        "status-is-true",
        (f"{SHELL}.heads:sleep", "status = coarse(session.state, session.head.status)", "status = session.head.status"),
    ),
    part(
        "status-is-latest",
        "Who is late shows nothing of what a run was before it slept.",
        "status-is-true",
        (f"{SHELL}.heads:show_status", " and session.head.due_seq <= session.state.seq", ""),
    ),
)
"""What comes before what."""

LEASES = (
    part(
        "sign-of-life",
        "Before an attempt is reaped, its last sign of life is read.",
        "timers-are-never-early",
        (f"{SHELL}.leave:lease_of", "return max(at, live.until) if live else at", "return at"),
    ),
    part(
        "lease-time",
        "A worker leaves an attempt alone until its lease is over, and does not ask again and again.",
        "quiet-at-last",
        (
            "kernel.core.plan:_step",
            "case StageStatus.RUNNING if leases.get(id_, stage.at) <= sure:",
            "case StageStatus.RUNNING:",
        ),
    ),
    part(
        "lease-end",
        "A tick reaps no attempt before the end of its lease.",
        "timers-are-never-early",
        (
            f"{SHELL}.tick:_needs",
            "case StageStatus.RUNNING if stage.at <= sure and lease_of(env, session, id_) <= sure:",
            "case StageStatus.RUNNING:",
        ),
    ),
    part(
        "tick-skew",
        "A tick, too, waits for the slowest clock that is allowed.",
        "timers-are-never-early",
        (f"{SHELL}.tick:_needs", "sure = now - env.limits.max_skew", "sure = now"),
        (f"{SHELL}.tick:_tend", "now - env.limits.max_skew >= state.deadline", "now >= state.deadline"),
        (f"{SHELL}.tick:_tend", "now - env.limits.max_skew < state.asleep", "now < state.asleep"),
    ),
    part(
        "lease-before-body",
        "No body starts after its lease.",
        "stale-cannot-run",
        (f"{SHELL}.execute:run_body", "now >= expires or ", ""),
    ),
    part(
        "lease-from-before",
        "A lease is counted from before its commit, however long that takes.",
        "stale-cannot-run",
        (
            f"{SHELL}.attend:_Worker._commit_and_run",
            "before = self.env.clock.monotonic()\n        started = self._commit(next_, beside)",
            "started = self._commit(next_, beside)\n        before = self.env.clock.monotonic()",
        ),
    ),
    part(
        "fits-the-invocation",
        "No body starts that cannot end before its invocation does.",
        "stages-fit-their-invocation",
        (f"{SHELL}.execute:run_body", " or now + timeout > until", ""),
    ),
)
"""How long an attempt holds."""

READS = (
    part(
        "gaps-are-seen",
        "A log that was read with a gap in it is not folded, lest what a stage has done be forgotten.",
        "recorded-is-immutable",
        (f"{SHELL}.load:_append", "if commit.seq != session.state.seq + 1:", "if False:"),
        (f"{SHELL}.load:commits_after", "if item.seq != seq + 1:", "if False:"),
    ),
    part(
        "snapshots-are-spare",
        "A snapshot that cannot be read is ignored.",
        "no-unexpected-error",
        (f"{SHELL}.load:_from_snapshot", "except Exception as error:", "except MemoryError as error:"),
    ),
    part(
        "gone-is-gone",
        "Nothing is read of a run whose retention is over: any part of it may be deleted.",
        "gone-is-gone",
        (f"{SHELL}.load:load", "    if now() >= head.expires:\n        return None\n    try:\n", "    try:\n"),
    ),
    part(
        "pinned-code",
        "A run is never run on code of another fingerprint than its own.",
        "mistakes-are-refused",
        ("kernel.define.registry:Registry.pinned", "known and known.definition.fingerprint == fingerprint", "known"),
    ),
    part(
        "pinned-version",
        "A run is never run on another version of its workflow than its own.",
        "order-holds",
        (
            "kernel.define.registry:Registry.pinned",
            "return known if known and known.definition.fingerprint == fingerprint else None",
            "return self.latest(workflow)",
        ),
    ),
)
"""What is believed of what was read."""

EDGES = (
    part(
        "condition-may-throw",
        "What a condition throws fails its stage, not the worker.",
        "no-unexpected-error",
        ("kernel.core.graph:Graph._enter", "except BaseException as error:", "except MemoryError as error:"),
    ),
    part(
        "one-bad-run",
        "A run that cannot be looked at does not end the tick.",
        "no-unexpected-error",
        (f"{SHELL}.tick:tick", "except Exception as error:", "except MemoryError as error:"),
    ),
    part(
        "rerun-of-what",
        "A run goes on only from a stage that its workflow has.",
        "no-unexpected-error",
        (
            "kernel.core.decide:_check_rerun",
            "if stage not in definition.stages or stage.startswith(COMPENSATE):",
            "if False:",
        ),
    ),
    part(
        "listed-by-tenant",
        "A list of runs is of one tenant.",
        "tenants-are-apart",
        (f"{SHELL}.heads:listing", "{tenant}#", ""),
    ),
    part(
        "reason-limit",
        "A reason that is too long is refused.",
        "inputs-are-checked",
        ("kernel.limits:check_reason", "if len(reason) > _MAX_REASON:", "if False:"),
    ),
    part(
        "run-id",
        "What cannot be a run's id is not looked for.",
        "mistakes-are-refused",
        ("kernel.limits:is_run_id", "return ", "return True or "),
    ),
    part(
        "tenant-name",
        "A tenant's id that could be taken for a part of another's key is refused.",
        "tenants-are-apart",
        ("kernel.limits:check_tenant", "if not _TENANT.match(tenant):", "if False:"),
    ),
)
"""What others do wrong stays with them."""
