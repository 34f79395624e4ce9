"""Every place that reads something from outside is attacked by a test here, or it is said why it need not be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proof import tell

ROOT = Path(__file__).parents[2]
FOLDERS = ("kernel/core", "kernel/define", "kernel/shell", "infra", "handlers", "hosts/local")
READERS = frozenset(
    {"b64decode", "convert", "decompress", "fromisoformat", "loads", "model_validate", "parse_qsl", "unquote"}
)
"""What libraries call their parsers. ``decode`` and ``load`` count, too, when they are given something."""

ATTACKED = {
    "kernel/core/codec.py decode_events": "test_a_damaged_record_is_refused_or_means_what_it_says",
    "kernel/core/codec.py decode_snapshot": "test_a_damaged_snapshot_is_ignored_since_the_log_tells_all",
    "kernel/core/codec.py _inflate": "test_a_snapshot_that_unpacks_without_end_is_refused_before_it_fills_the_memory",
    "kernel/define/code.py StageCode._read": "test_a_stage_gets_what_its_annotation_says_or_does_not_run",
    "kernel/define/code.py StageCode._load": "test_a_check_gets_what_its_annotation_says_or_does_not_run",
    "kernel/define/config.py _fields": "test_a_configuration_is_recorded_as_it_will_be_read_or_refused",
    "kernel/define/context.py Context.config": "test_a_recorded_configuration_is_read_or_refused",
    "kernel/define/context.py _decode": "test_a_recorded_configuration_is_read_or_refused",
    "kernel/define/model.py Codec.record": "test_what_a_stage_returns_reads_back_as_the_same_or_is_refused",
    "kernel/define/model.py Codec.same": "test_whether_two_requests_are_the_same_can_always_be_said",
    "kernel/define/config.py _by_stage": "test_whether_two_requests_are_the_same_can_always_be_said",
    "kernel/core/codec.py from_json": "test_any_dead_letter_is_an_event_or_unreadable",
    "kernel/core/tokens.py read_token": "test_any_other_token_is_none",
    "kernel/shell/callback.py _digest": "test_any_answer_to_a_callback_is_recorded_or_refused",
    "kernel/define/model.py plain_json": "test_whatever_is_no_plain_json_is_refused",
    "infra/pokes.py parse": "test_any_body_is_a_poke_or_foreign",
    "infra/pokes.py _refuse_newer": "test_any_body_is_a_poke_or_foreign",
    "handlers/direct.py Direct.invoke": "test_any_fields_of_a_command_are_answered",
    "handlers/direct.py _asked": "test_any_detail_starts_a_run_or_is_refused",
    "handlers/gateway.py _read": "test_a_damaged_request_is_answered_as_documented",
    "handlers/requests.py read_object": "test_any_body_is_an_object_or_refused",
    "handlers/requests.py plain_text": "test_any_text_of_a_body_is_taken_whole_or_refused",
    "handlers/requests.py milliseconds": "test_anything_else_is_a_time_or_refused",
    "handlers/requests.py read_cursor": "test_any_other_cursor_is_refused",
    "hosts/local/apigateway.py http_api_event": "test_any_request_is_an_event_that_the_intake_answers",
    "hosts/local/apigateway.py rest_api_event": "test_any_request_is_an_event_that_the_intake_answers",
    "hosts/local/apigateway.py _pairs": "test_any_request_is_an_event_that_the_intake_answers",
    "hosts/local/apigateway.py response_of": "test_any_answer_of_a_function_is_a_response_or_the_gateways_error",
    "hosts/local/client.py _problem": "test_any_answer_of_a_server_is_an_error_that_can_be_read",
    # These take texts and attributes apart by themselves.
    "infra/dynamodb/items.py from_attributes": "test_a_damaged_item_is_refused_or_means_what_it_says",
    "infra/dynamodb/items.py due_of": "test_a_damaged_index_entry_is_refused_or_means_what_it_says",
    "infra/dynamodb/items.py listed_of": "test_a_damaged_index_entry_is_refused_or_means_what_it_says",
    "infra/settings.py Settings.from_env": "test_any_environment_is_read_or_told_what_is_wrong_by_name",
    "infra/sqs.py messages": "test_any_event_is_a_batch_or_is_refused_whole",
    "handlers/requests.py _split": "test_a_list_holds_names_or_is_refused",
    "handlers/requests.py json_text": "test_a_value_that_lambda_has_read_is_json_again_or_refused",
    "handlers/tenants.py caller_of": "test_a_caller_has_the_tenant_of_the_claim_or_none_at_all",
    "hosts/local/events.py failed_messages": "test_what_cannot_be_understood_of_a_batchs_answer_fails_the_batch",
    "hosts/local/gateway.py _Handler._any": "test_any_bytes_are_answered_in_the_gateways_form_or_not_at_all",
    "kernel/annotations.py accept": "test_annotations_of_a_start_are_kept_as_they_are_or_refused_by_name",
    "kernel/annotations.py add": "test_an_annotation_of_a_stage_is_kept_as_it_is_or_an_error_that_can_be_told",
    "kernel/annotations.py decode": "test_any_text_of_annotations_is_read_or_told_to_be_corrupt",
    "kernel/limits.py check_priority": "test_anything_else_is_no_priority",
    "kernel/limits.py check_tenant": "test_a_tenant_is_refused_or_stays_what_it_is_in_every_key",
    "kernel/limits.py is_run_id": "test_only_what_a_token_looks_like_is_a_run",
    "kernel/limits.py check_key": "test_a_key_is_refused_or_printable",
    "kernel/limits.py check_reason": "test_a_reason_is_refused_or_storable",
    "kernel/define/external.py EventCode.accept": "test_any_payload_of_an_event_is_refused_or_recorded",
    "kernel/shell/values.py fetch": "test_a_reference_to_what_is_not_there_or_something_else_is_told",
}
"""The parsers, and the property that attacks each."""

OURS = {
    "kernel/define/model.py Codec.nullable": "asks a type what it makes of null: nothing was sent",
    "kernel/define/compile.py _given.read": "recorded values, which were written as what they are read as",
    "kernel/define/compile.py _match.match": "an event that was accepted: read as the class that it was written as",
    "kernel/define/external.py ValueCode.read_output": "an accepted event or recorded data, in a test of the user's",
    "kernel/define/machine_compile.py _begin.first": "a recorded input",
    "kernel/define/machine_compile.py _given": "recorded data, which was written as what it is read as",
    "kernel/define/machine_compile.py _given.of_event": "the same, and an event that was accepted as such",
    "kernel/define/machine_compile.py _given.of_work": "the same, and a recorded output",
    "kernel/define/machine_compile.py _outcome": "a recorded output",
    "kernel/define/machine_compile.py _transition.finished": "recorded data",
    "handlers/openapi.py document": "Powertools' own text",
    "handlers/problems.py plain": "text made one line earlier",
    "hosts/local/cli.py _annotation": "the user's own argument; what is no number or bool is a text",
    "hosts/local/cli.py _read": "the user's own file; what is wrong with it is told",
    "hosts/local/cli.py _parsed": "the user's own argument; what is wrong with it is told",
    "hosts/local/client.py Api._call": "the answer of our own server; the command line says when it is none",
    "hosts/local/demo/cases.py Case.input": "files of this repository",
    "hosts/local/demo/year.py a_year": "a file of this repository",
    "hosts/local/functions.py _Instance._read": "lines of the host's own processes",
    "hosts/local/worker.py _Channel._read": "lines of the host itself",
    "infra/sqs_consumer.py SqsConsumer._dead_letters_of": "what SQS says of a queue: its redrive policy, as it was set",
}
"""Places that read what this project wrote, and why that is certain."""


def parsers() -> Iterator[str]:
    """Each function that calls a parser of a library."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield from _calls(ast.parse(path.read_text()), str(path.relative_to(ROOT)), ())


def _calls(node: ast.AST, path: str, names: tuple[str, ...]) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        names = (*names, node.name)
    if isinstance(node, ast.Call) and _parses(node):
        yield f"{path} {'.'.join(names)}"
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, path, names)


def _parses(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(attr="decode" | "load"):  # bytes.decode() and Path.load are given nothing
            return bool(call.args)
        case ast.Attribute(attr=name):
            return name in READERS
        case ast.Name(id=name):
            return name in READERS or name.startswith(("_decode_", "_unpack"))
        case _:
            return False


def test_every_parser_is_attacked_or_it_is_said_why_not() -> None:
    found = set(parsers())

    assert found - ATTACKED.keys() - OURS.keys() == set(), "attack it, or say why it reads nothing from outside"
    assert OURS.keys() - found == set(), "it is not there any more"
    tell("hostile", parsers=len(ATTACKED))


def test_every_attack_that_is_named_exists(request: pytest.FixtureRequest) -> None:
    folder = Path(__file__).parent
    text = "".join(path.read_text() for path in folder.glob("test_*.py"))

    assert [name for name in ATTACKED.values() if f"def {name}(" not in text] == []


@pytest.mark.parametrize("place", ATTACKED)
def test_every_place_that_is_named_exists(place: str) -> None:
    path, name = place.split()

    assert f"def {name.rpartition('.')[2]}(" in (ROOT / path).read_text()
