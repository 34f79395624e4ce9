"""An execution environment does with a function's process what Lambda does with it."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

from hosts.engines.lambda_runtime import ExecutionEnvironment
from tests.engines.conftest import LAYER, Make
from tests.engines.processes import gone, until


def test_invocations_share_a_process_and_its_modules(probe: ExecutionEnvironment) -> None:
    first, second = probe.invoke({}).json, probe.invoke({}).json

    assert (first["count"], second["count"]) == (1, 2)
    assert first["pid"] == second["pid"] == probe.pid
    assert first["id"] != second["id"]
    assert probe.starts == 1


def test_a_process_can_be_started_before_its_first_invocation(probe: ExecutionEnvironment) -> None:
    probe.start()
    pid = probe.pid

    assert probe.invoke({}).json["pid"] == pid


def test_a_warm_invocation_takes_milliseconds(probe: ExecutionEnvironment) -> None:
    def timed() -> float:
        begin = time.perf_counter()
        probe.invoke({})
        return time.perf_counter() - begin

    probe.start()

    times = [timed() for _ in range(40)]
    # It would be 40 ms and more if packets waited for each other, which they do once a connection is no longer new.
    assert min(times[20:]) < 0.03


def test_the_process_sees_its_variables_and_lambdas_and_no_others(make: Make) -> None:
    seen = make(name="probe", variables={"COLOUR": "green"}).invoke({}).json

    assert seen["name"] == "probe"
    assert seen["variables"]["COLOUR"] == "green"
    assert seen["variables"]["AWS_LAMBDA_FUNCTION_NAME"] == "probe"
    assert seen["variables"]["LAMBDA_TASK_ROOT"] == seen["folder"] == str(LAYER)
    assert "PYTEST_CURRENT_TEST" not in seen["variables"]


def test_the_process_sees_no_package_that_is_installed_beside_its_interpreter(probe: ExecutionEnvironment) -> None:
    outcome = probe.invoke({"do": "import", "module": "msgspec"})

    assert outcome.error
    assert outcome.json["errorType"] == "ModuleNotFoundError"


def test_the_process_reads_nothing_from_its_owner(probe: ExecutionEnvironment) -> None:
    assert probe.invoke({"do": "read"}).json == ""


def test_the_client_tells_how_much_time_is_left(make: Make) -> None:
    left = make(seconds=7.0).invoke({}).json["left"]

    assert 5_000 < left <= 7_000


def test_an_error_has_lambdas_shape_and_the_process_lives_on(probe: ExecutionEnvironment) -> None:
    failed = probe.invoke({"do": "raise", "message": "no such luck"})
    after = probe.invoke({})

    assert failed.error
    assert failed.json["errorType"] == "ValueError"
    assert failed.json["errorMessage"] == "no such luck"
    assert any("probe.py" in line for line in failed.json["stackTrace"])
    assert not after.error
    assert after.json["count"] == 2


def test_a_process_that_exits_is_an_error_and_the_next_invocation_gets_a_fresh_one(
    probe: ExecutionEnvironment,
) -> None:
    before = probe.invoke({}).json
    failed = probe.invoke({"do": "exit", "status": 3})
    after = probe.invoke({}).json

    assert failed.error
    assert failed.json["errorType"] == "Runtime.ExitError"
    assert failed.json["errorMessage"].endswith("Error: Runtime exited with error: exit status 3")
    assert after["count"] == 1
    assert after["pid"] != before["pid"]
    assert probe.starts == 2


def test_a_process_that_takes_too_long_is_killed_and_the_next_invocation_gets_a_fresh_one(
    make: Make, tmp_path: Path
) -> None:
    function = make(seconds=1.5)
    function.start()
    slow = function.pid
    begin = time.monotonic()

    failed = function.invoke({"do": "sleep", "seconds": 60, "begun": str(tmp_path / "begun")})

    assert time.monotonic() - begin < 10
    assert failed.error
    assert failed.json["errorType"] == "Sandbox.Timedout"
    assert failed.json["errorMessage"].endswith("Task timed out after 1.50 seconds")
    assert slow is not None
    assert gone(slow)
    assert function.invoke({}).json["count"] == 1


def test_a_process_can_be_killed_whatever_it_does(probe: ExecutionEnvironment, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    outcomes = []
    invocation = threading.Thread(
        target=lambda: outcomes.append(probe.invoke({"do": "sleep", "seconds": 60, "begun": str(begun)}))
    )
    invocation.start()
    assert until(begun.exists)

    probe.kill()
    invocation.join(10)

    assert outcomes[0].json["errorMessage"].endswith(f"signal: {signal.SIGKILL}")
    assert probe.invoke({}).json["count"] == 1


def test_a_handler_that_cannot_be_loaded_is_an_error_and_is_tried_again_each_time(make: Make) -> None:
    function = make(handler="broken.handler")

    first, second = function.invoke({}), function.invoke({})

    for outcome in (first, second):
        assert outcome.error
        assert outcome.json["errorType"] == "RuntimeError"
        assert outcome.json["errorMessage"] == "nothing works today"
    assert function.starts == 2


def test_a_handler_that_does_not_exist_is_an_error(make: Make) -> None:
    assert make(handler="nowhere.handler").invoke({}).json["errorType"] == "Runtime.ImportModuleError"
    assert make(handler="probe.nothing").invoke({}).json["errorType"] == "Runtime.HandlerNotFound"


def test_what_a_function_writes_is_with_the_invocation_that_it_was_written_in(probe: ExecutionEnvironment) -> None:
    first = probe.invoke({"do": "print", "text": "one for sorrow"})
    second = probe.invoke({"do": "print", "text": "two for joy"})

    assert "one for sorrow" in first.logs
    assert "one for sorrow" not in second.logs
    assert "two for joy" in second.logs
    assert f"START RequestId: {second.json['id']}" in second.logs


def test_a_stopped_environment_has_no_process_and_starts_none(probe: ExecutionEnvironment) -> None:
    probe.start()
    pid = probe.pid
    assert pid is not None

    probe.stop()
    probe.stop()

    assert gone(pid)
    assert probe.invoke({}).error
    assert probe.pid is None
    assert probe.starts == 1


def test_one_that_is_stopped_before_it_has_started_never_starts(probe: ExecutionEnvironment) -> None:
    probe.stop()

    assert probe.invoke({}).json["errorMessage"].endswith("the environment was stopped")
    assert probe.starts == 0


OWNER = """
    import sys
    from pathlib import Path
    from hosts.engines.lambda_runtime import ExecutionEnvironment, Function

    layer, runtime, log, begun = sys.argv[1:]
    function = Function("probe.handler", Path(layer), sys.executable, Path(runtime), seconds=600)
    environment = ExecutionEnvironment(function, Path(log))
    environment.start()
    print(environment.pid, flush=True)
    environment.invoke({"do": "sleep", "seconds": 600, "begun": begun})
"""


def test_a_process_ends_with_its_owner_even_in_the_middle_of_an_invocation(runtime: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    arguments = [str(LAYER), str(runtime), str(tmp_path / "log"), str(begun)]
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER), *arguments], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert until(begun.exists)
        owner.kill()

    assert gone(pid)
