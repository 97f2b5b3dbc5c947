"""What all protocols ask: the table of the moment, whether the server drains, and the one way to an answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from mainspring.core.errors import Failed, Invalid, NotFound, Unavailable, did_you_mean
from mainspring.serving.modelserver.answering import Ask, Call, Desk, is_sampled
from mainspring.serving.modelserver.asking import Answered, Outputs, Question
from mainspring.serving.modelserver.explaining import BASE, REASONS
from mainspring.serving.modelserver.models import LoadedModel
from mainspring.serving.modelserver.shadowing import Handover
from mainspring.serving.modelserver.traffic import Endpoint, ServedArm, Table


class Served:
    """Answers questions with whatever `table` is at that moment; a request keeps the table it started with.

    `shadows` is where requests go that shadows shall answer too; None where there is no place for them.
    `wake` loads an endpoint that was unloaded because nobody asked it. `held_bytes` are those of all requests that were
    read and are not answered yet, however they came.
    """

    def __init__(self, desk: Desk) -> None:
        self.table = Table()
        self.draining = False
        self.held_bytes = 0
        self.shadows: Handover | None = None
        self.wake: Callable[[Endpoint], Awaitable[Endpoint]] | None = None
        self._desk = desk

    @property
    def is_ready(self) -> bool:
        """Whether every model is loaded and the server is not about to end."""
        return self.table.ready and not self.draining

    @property
    def retry_s(self) -> int:
        """When a refused client should come back, in whole seconds."""
        return self._desk.retry_s

    async def ask(self, name: str, version: str | None, question: Question, call: Call) -> Answered:
        """One answer, in the log when it is given.

        Raises: NotFound: No such model, version or output. Invalid: The rows do not fit. Overloaded, Timeout, Failed,
            Unavailable: As `Desk.answer`.
        """
        endpoint = self.table.find(name)
        about = question.about
        if endpoint.asleep:
            endpoint = await self._woken(endpoint, version, question, call)
        choice = endpoint.routed(call.headers) if endpoint.routes and version is None else None
        choice = choice or endpoint.choose(about.key, version, about.request_id)
        model = choice.model
        humility = choice.humility
        columns = question.columns(choice.features)
        if question.wanted is not None:
            _check_wanted(question.wanted, model)
        judged = None if humility is None else humility.judge(columns)
        ask = Ask(endpoint, choice, about, columns, call, judged)
        if about.explain:
            return await self._explained(name, ask, question)
        outputs = await (self._copied(ask, question) if endpoint.shadows else self._desk.answer(ask))
        if question.wanted is not None:
            outputs = {wanted: outputs[wanted] for wanted in question.wanted}
        marks = () if judged is None else judged.marks
        return Answered(name, str(model.version), choice.arm, about.request_id, outputs, marks)

    async def _explained(self, name: str, ask: Ask, question: Question) -> Answered:
        """An answer with reason codes, which come whatever outputs are wanted."""
        model, rows = ask.choice.model, len(ask.columns[0])
        explaining = model.explained
        if explaining is None:
            explaining = await asyncio.to_thread(model.explain)
        ask.explaining = explaining
        explaining.check(rows)
        answering = self._copied(ask, question) if ask.endpoint.shadows else self._desk.answer(ask)
        outputs = explaining.whole(await answering, rows)
        if question.wanted is not None:
            outputs = {entry: outputs[entry] for entry in (*question.wanted, REASONS, BASE)}
        marks = () if ask.judged is None else ask.judged.marks
        about = (name, str(model.version), ask.choice.arm, ask.about.request_id)
        return Answered(*about, outputs, marks, explaining.scale, explaining.columns)

    async def _copied(self, ask: Ask, question: Question) -> Outputs:
        """An answer of which the shadows hear, also where the model failed."""
        try:
            outputs = await self._desk.answer(ask)
        except Failed:
            self._offer(ask, question)
            raise
        self._offer(ask, question)
        return outputs

    def _offer(self, ask: Ask, question: Question) -> None:
        """Hand a request to the shadows; not one that the shares did not choose for, nor one that is not logged."""
        endpoint, choice = ask.endpoint, ask.choice
        sampled = is_sampled(endpoint.options, ask.about.request_id)
        if self.shadows is not None and choice.share > 0.0 and sampled:
            generation, features = self.table.plan.generation, choice.model.features
            self.shadows.offer(endpoint.name, generation, endpoint.shadows, question, ask.columns, features)

    async def _woken(self, endpoint: Endpoint, version: str | None, question: Question, call: Call) -> Endpoint:
        """An endpoint that was asleep, once it is loaded: its first request waits, but not for ever."""
        about, options = question.about, endpoint.options
        choice = endpoint.choose(about.key, version, about.request_id)
        most_s = call.timeout_s or (about.timeout_ms or options.deadline_ms) / 1000
        left_s = min(options.cold_ms / 1000, most_s) - (time.perf_counter() - call.started)
        try:
            if self.wake is None:
                raise Unavailable(f"model {endpoint.name!r} is not loaded")
            return await asyncio.wait_for(self.wake(endpoint), left_s)
        except TimeoutError:
            self._desk.count(choice.labels, 503, call)
            what = f"model {endpoint.name!r} was unloaded, and is not loaded again yet"
            raise Unavailable(what, hint=f"send it again in {self.retry_s} s") from None
        except Unavailable:
            self._desk.count(choice.labels, 503, call)
            raise

    async def load(self, name: str) -> None:
        """Have a model that was unloaded be loaded again; one that is loaded is left alone.

        Raises: NotFound: There is none. Unavailable: It can't be loaded.
        """
        endpoint = self.table.find(name)
        if endpoint.asleep and self.wake is not None:
            await self.wake(endpoint)

    def model(self, name: str, version: str | None = None) -> LoadedModel:
        """The version of a model that is described: the one that is named, or the champion.

        Raises: NotFound: There is none. Unavailable: It is not loaded.
        """
        return self.arm(name, version).model

    def arm(self, name: str, version: str | None = None) -> ServedArm:
        """The same with what the endpoint adds to it.

        Raises: NotFound: There is none. Unavailable: It is not loaded.
        """
        endpoint = self.table.find(name)
        return endpoint.arms[0] if version is None else endpoint.named(version)

    def lone(self) -> str:
        """The one model of a server that has one.

        Raises: NotFound: It has none, or several.
        """
        names = [endpoint.name for endpoint in self.table.plan.endpoints]
        if len(names) != 1:
            found = f"{len(names)} models are served here" if names else "no model is served here"
            raise NotFound(found, hint="name one: POST /models/NAME/invocations" if names else "mainspring deploy")
        return names[0]


def _check_wanted(wanted: Sequence[str], model: LoadedModel) -> None:
    for name in wanted:
        if name not in model.outputs:
            hint = did_you_mean(name[:100], model.outputs) or f"outputs are {', '.join(model.outputs)}"
            raise Invalid(f"no output {name[:100]!r}", hint=hint)
