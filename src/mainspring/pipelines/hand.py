"""Does one step: fetches its arguments, calls its function, stores its result, keeps its log, measures what it took.

What goes in and out are messages, so that a hand can be in this process, in another, or on another machine.
"""

from __future__ import annotations

import mmap
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from mainspring.core.caller import Caller, calling
from mainspring.core.errors import Failed, Invalid, MainspringError, NoRoom, NotFound, Refused
from mainspring.core.wiring import Wiring
from mainspring.engines import Ask, Message
from mainspring.engines.port import pack_error
from mainspring.pipelines import hints, logs
from mainspring.pipelines.codecs import ROOM_BYTES, Shelf
from mainspring.pipelines.context import StepContext, entered
from mainspring.pipelines.decorators import AnyStep, Step
from mainspring.pipelines.keys import check_code
from mainspring.pipelines.model import Argument, Artifact, Items, Json, Literal, Result, size_text
from mainspring.pipelines.nodes import working_folder
from mainspring.pipelines.opening import open_house
from mainspring.pipelines.rules import pick
from mainspring.pipelines.secrets import Secrets, masked
from mainspring.pipelines.targets import load_target
from mainspring.pipelines.usage import Usage, limit_memory
from mainspring.storage.ports import Blobs

ENTRY = f"{__name__}:serve"


class Hand:
    """Does the steps of a run, one at a time.

    Args:
        wiring: The house.
        run_id: The run.
        folder: Scratch space of the run.
        params: The run's parameters.
        secrets: Where secrets are read.
        owns_process: Nothing else runs in this process, so all output belongs to the steps.
    """

    def __init__(
        self,
        wiring: Wiring,
        *,
        run_id: str,
        folder: Path,
        params: Mapping[str, Json],
        secrets: Secrets,
        owns_process: bool,
    ) -> None:
        self._wiring = wiring
        self._run_id = run_id
        self._folder = folder
        self._params = params
        self._secrets = secrets
        self._owns_process = owns_process
        self._blobs: Blobs = wiring.get(Blobs)  # type: ignore[type-abstract]

    def trust(self, secrets: Secrets) -> None:
        """Read the next step's secrets there."""
        self._secrets = secrets

    def do(self, step: AnyStep, call: Message) -> Message:
        """Do what `call_of` wrote down: a message with the `output`, or with the `error`; and the `log` in any case."""
        name, attempt = str(call["step"]), int(cast(int, call["attempt"]))
        path = logs.log_path(self._folder, name, attempt)
        try:
            masks = self._secrets.masks(step.options.secrets)
            values = {secret: self._secrets.get(secret) for secret in step.options.secrets}
        except MainspringError as reason:
            return {"error": pack_error(reason), "log": "", "cpu_s": 0.0, "memory": 0}
        surroundings = StepContext(
            run_id=self._run_id,
            step=name,
            params=self._params,
            wiring=self._wiring,
            note=lambda line: logs.note(path, line, masks),
            attempt=attempt,
            secrets=values,
        )
        usage = Usage()
        try:
            with logs.captured(path, all_output=self._owns_process, masks=masks), entered(surroundings):
                output = self._call(step, call, masks)
            done: Message = {"output": output.to_json(), "reads": surroundings.reads, "inputs": [*surroundings.inputs]}
        except Exception as reason:  # noqa: BLE001 - the edge of a step: the reason goes into its log and its record
            error = _without(_told(reason, name, step), masks)
            with suppress(OSError):  # the log may be on a full disk
                logs.note(path, "".join(traceback.format_exception(reason)).rstrip(), masks)
            done = {"error": pack_error(error)}
        cpu_s, memory = usage.stop()
        return done | {"log": self._kept(path), "cpu_s": cpu_s, "memory": memory}

    def _kept(self, path: Path) -> str:
        """The end of a log as a blob. A disk without room for it is no reason to lose what the step did."""
        with suppress(NoRoom, OSError):
            text = logs.tail(path)
            return self._blobs.put(text) if text else ""
        return ""

    def _call(self, step: AnyStep, call: Message, masks: Sequence[bytes]) -> Artifact:
        name, given = str(call["step"]), cast("dict[str, Message]", call["arguments"])
        folder = self._folder / "values" / f"{name}-{os.getpid()}"
        shelf = Shelf(self._blobs, folder, (lambda data: _refuse_secrets(data, masks, name)) if masks else None)
        try:
            values = {key: _value(shelf, each, step.hints.get(key)) for key, each in given.items()}
            for key, value in values.items():
                _check(value, step.hints.get(key), f"step {name}, parameter {key}", "is given")
            result = hints.settled(step.function(**values), step.hints.get("return"))
            _check(result, step.hints.get("return"), f"step {name}", "returned")
            return shelf.put(result, f"result of step {name}", room=int(cast(int, call["room"])))
        finally:
            shelf.clear()


def call_of(
    step_id: str,
    attempt: int,
    function: str,
    arguments: Mapping[str, Argument],
    outputs: Mapping[str, Artifact],
    room: int = ROOM_BYTES,
) -> Message:
    """What a hand needs to know to do a step. Up to `room` bytes of text, its result is stored without a blob."""
    given = {name: _written(argument, outputs) for name, argument in arguments.items()}
    return {"step": step_id, "attempt": attempt, "function": function, "arguments": given, "room": room}


def _written(argument: Argument, outputs: Mapping[str, Artifact]) -> Message:
    if isinstance(argument, Result):
        return {"artifact": pick(outputs[argument.step], argument.path, argument.step).to_json()}
    if isinstance(argument, Items):
        return {"kind": argument.kind, "entries": [[key, _written(each, outputs)] for key, each in argument.entries]}
    if isinstance(argument, Literal):
        return {"value": argument.value}
    raise Failed("a choice that was not made", where="step arguments")


def _value(shelf: Shelf, given: Message, hint: hints.Hint) -> object:
    if "artifact" in given:
        return shelf.get(Artifact.from_json(cast("Mapping[str, Json]", given["artifact"])))
    if "kind" in given:
        pairs = cast("list[tuple[str, Message]]", given["entries"])
        entries = {key: _value(shelf, each, None) for key, each in pairs}
        if given["kind"] == "dict":
            return entries
        return tuple(entries.values()) if given["kind"] == "tuple" else list(entries.values())
    value = given["value"]
    return value if hint is None else hints.as_hinted(value, hint)


def serve(payload: Message, ask: Ask) -> Message:
    """The entry of a hand's own process: asks for steps and does them, until there are no more."""
    with calling(Caller(str(payload["actor"]), str(payload["project"]))), working_folder(payload) as folder:
        wiring = open_house(str(payload["house"]))
        try:
            # after this its module can be imported
            load_target(str(payload["target"]), Path(str(payload["root"])), module=str(payload.get("module", "")))
            hand = Hand(
                wiring,
                run_id=str(payload["run"]),
                folder=folder,
                params=cast("dict[str, Json]", payload["params"]),
                secrets=Secrets(Path(str(payload["secrets"])) if payload["secrets"] else None),
                owns_process=True,
            )
            order = ask({"pid": os.getpid()})
            while order.get("step"):
                os.environ.update(cast("dict[str, str]", order.get("env", {})))
                if order.get("memory"):
                    limit_memory(int(cast(int, order["memory"])))
                if order.get("secrets"):
                    hand.trust(Secrets(environ=cast("dict[str, str]", order["secrets"])))
                order = ask({"pid": os.getpid(), "done": _done(hand, order)})
        finally:
            wiring.close()
    return {}


def _done(hand: Hand, order: Message) -> Message:
    """What became of a step whose code, as this process loaded it, has to be that of the run."""
    step = find_step(str(order["function"]))
    try:
        check_code(step, str(order.get("code", "")))
    except MainspringError as reason:
        return {"error": pack_error(reason), "log": "", "cpu_s": 0.0, "memory": 0}
    return hand.do(step, order)


def find_step(reference: str) -> AnyStep:
    """The step that "module:name" names in a module that is imported.

    Raises:
        NotFound: There is none, such as for one that was made inside a function.
    """
    module, _, name = reference.partition(":")
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Step):
        raise NotFound(f"no step {name!r} in {module}", where=reference, hint="write it at the top level of its module")
    return found


def _refuse_secrets(data: bytes | mmap.mmap, masks: Sequence[bytes], step: str) -> None:
    if any(data.find(mask) >= 0 for mask in masks):
        what = f"the result of step {step} has one of its secrets in it"
        raise Refused(what, where=f"step {step}", hint="return what was made with it, not the secret")


def _check(value: object, hint: hints.Hint, where: str, verb: str) -> None:
    if hint is not None and not hints.fits(value, hint):
        kind = type(value)
        name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
        what = f"{where.partition(',')[0]} {verb} a {name}, its annotation says {hints.name_of(hint)}"
        raise Invalid(what, where=where, hint="change the value or the annotation")


def _without(error: MainspringError, masks: Sequence[bytes]) -> MainspringError:
    if not masks:
        return error
    what, where, hint = (masked(t.encode(), masks).decode() for t in (error.what, error.where, error.hint))
    return type(error)(what, where=where, hint=hint)


def _told(reason: Exception, name: str, step: AnyStep) -> MainspringError:
    """The error of a step in three lines: what was raised, in which line of the project."""
    if isinstance(reason, MainspringError):
        return type(reason)(reason.what, where=reason.where or f"step {name}", hint=reason.hint)
    ours = str(Path(__file__).parent.parent)
    frames = [f for f in traceback.extract_tb(reason.__traceback__) if not f.filename.startswith(ours)]
    own = [f for f in frames if "site-packages" not in f.filename] or frames
    where = f"{own[-1].filename}, line {own[-1].lineno}, in {own[-1].name}" if own else f"step {name}"
    if isinstance(reason, MemoryError) and step.options.process and step.options.resources.memory:
        return over_memory(name, step.options.resources.memory, where)
    text = f"{type(reason).__name__}: {reason}" if str(reason) else type(reason).__name__
    return Failed(f"step {name} raised {text}", where=where, hint="the step's log has the whole trace")


def over_memory(step: str, limit: int, where: str = "") -> MainspringError:
    """The error of a step that wanted more memory than it asked for."""
    what = f"step {step} wanted more than its {size_text(limit)} of memory"
    hint = 'ask for more, as in @step(process=True, memory="8GB"), or work on less at once'
    return Failed(what, where=where or f"step {step}", hint=hint)
