"""What operators and callers name things: settings from the environment, tenants, runs, keys, reasons."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from infra.compose import limits_of
from infra.dynamodb import items
from infra.settings import Settings
from kernel.errors import InvalidInput, SettingsError
from kernel.limits import check_key, check_reason, check_tenant, is_run_id
from kernel.ports import HEAD, RunRef
from kernel.shell import heads
from kernel.testing.conformance.examples import head
from tests.hostile.attack import attack, either
from tests.hostile.shapes import odd_texts, texts

# --- settings ---------------------------------------------------------------------------------------------------------

GOOD = {"WORKFLOWS": "workflows:registry", "TABLE_NAME": "table", "QUEUE_URL": "https://queue"}
NAMES = sorted(
    {name.upper() for name in Settings.__struct_fields__} | {"LOCALSTACK", "LOCALSTACK_HOSTNAME", "EDGE_PORT"}
)
RANGES = {
    "INDEX_SHARDS": (1, 64),
    "RETENTION_DAYS": (1, 3650),
    "DEADLINE_DAYS": (1, 3650),
    "LOOK_GRACE_SECONDS": (1, 900),
    "LEASE_GRACE_SECONDS": (1, 600),
    "MAX_SKEW_MS": (0, 60_000),
    "TICK_SECONDS": (1, 3600),
    "CHAIN_CAP": (1, 100_000),
    "JOB_TIMEOUT_SECONDS": (30, 900),
}
right = st.fixed_dictionaries(
    {name: st.just(value) for name, value in GOOD.items()},
    optional={
        **{name: st.integers(low, high).map(str) for name, (low, high) in RANGES.items()},
        "PUBLISH": st.sampled_from(["run", "all", "none"]),
        "DEFAULT_TENANT": st.sampled_from(["acme", "a|b", "x" * 128]),
        "TENANT_CLAIM": st.sampled_from(["custom:org", "https://claims.example/tenant"]),
        "BLOB_BUCKET": st.just("onewrite-blobs"),
        "EVENT_BUS_NAME": st.sampled_from(["default", "arn:aws:events:eu-west-1:123456789012:event-bus/b"]),
    },
)


@attack(env=right)
def test_settings_are_what_the_environment_says(env: dict[str, str]) -> None:
    settings = Settings.from_env(env)

    for name, value in env.items():
        assert str(getattr(settings, name.lower())) == value
    assert limits_of(settings)


values = st.one_of(odd_texts, st.text(), st.integers().map(str), st.sampled_from(list(GOOD.values())))


@attack(env=st.dictionaries(st.sampled_from(NAMES), values))
def test_any_environment_is_read_or_told_what_is_wrong_by_name(env: dict[str, str]) -> None:
    settings = either(SettingsError, Settings.from_env, env)
    if isinstance(settings, SettingsError):
        said = str(settings)
        named = [line.removeprefix("- ").partition(" ")[0] for line in said.splitlines()[1:]]
        assert named
        assert set(named) <= set(NAMES)
        assert all(name in env for name in named if f"{name} is missing" not in said)
        assert len(said) < 10_000
        return
    for name, value in env.items():
        # An empty variable counts as absent, and of several hosts one is chosen.
        if value and name.lower() in Settings.__struct_fields__ and name != "LOCALSTACK_HOST":
            assert name not in RANGES or (value.isascii() and value.isdigit()), "no spaces, no digits of other scripts"
            assert str(getattr(settings, name.lower())) == str(int(value) if name in RANGES else value)


# --- names that become parts of keys ----------------------------------------------------------------------------------


@attack(
    tenant=texts, workflow=st.sampled_from(["order", "a-b_c"]), run=st.binary(min_size=12, max_size=12).map(bytes.hex)
)
def test_a_tenant_is_refused_or_stays_what_it_is_in_every_key(tenant: str, workflow: str, run: str) -> None:
    checked = either(InvalidInput, check_tenant, tenant)
    if isinstance(checked, InvalidInput):
        assert "tenant" in str(checked)
        return
    assert checked is tenant
    ref = RunRef(tenant, run)
    raw: Any = items.to_attributes(ref, head(ref))
    assert items.due_of(raw).ref == ref
    assert heads.listing(tenant, workflow, 3).split("#")[0] == tenant
    assert len(ref.partition.encode()) < 2_048, "DynamoDB's limit of a partition key"
    assert items.key(ref, HEAD)["PK"] == {"S": ref.partition}


@attack(run=st.one_of(texts, st.binary(min_size=12, max_size=12).map(bytes.hex)))
def test_only_what_a_token_looks_like_is_a_run(run: str) -> None:
    assert is_run_id(run) == (len(run) == 24 and all(each in "0123456789abcdef" for each in run))


@attack(key=texts)
def test_a_key_is_refused_or_printable(key: str) -> None:
    checked = either(InvalidInput, check_key, "idempotency key", key)
    if isinstance(checked, InvalidInput):
        assert "idempotency key" in str(checked)
        return
    assert checked is key
    assert 0 < len(key) <= 256
    assert key.encode()


@attack(reason=texts)
def test_a_reason_is_refused_or_storable(reason: str) -> None:
    checked = either(InvalidInput, check_reason, reason)
    if isinstance(checked, InvalidInput):
        assert "reason" in str(checked)
        return
    assert checked is reason
    assert len(reason) <= 500
    assert len(reason.encode()) <= 2_000
