"""What runs where the work is done: open the house, read the rows, race the candidates, and make the best one whole."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, cast

from mainspring.core.caller import Caller, calling
from mainspring.core.errors import Failed, Unavailable
from mainspring.core.wiring import Wiring
from mainspring.data import Data
from mainspring.data.splits.service import Splits
from mainspring.engines import Ask, Message
from mainspring.storage.ports import Blobs
from mainspring.training.model import Leaderboard

if TYPE_CHECKING:
    import polars as pl

    from mainspring.training.measuring import Judge
    from mainspring.training.racing import Table

ENTRY = f"{__name__}:train"
_held: ContextVar[Wiring | None] = ContextVar("training_house", default=None)
_EXAMPLE_ROWS = 5


@contextmanager
def holding(wiring: Wiring | None) -> Iterator[None]:
    """Let `train` in this thread use a house that is open already; with None it opens its own."""
    token = _held.set(wiring)
    try:
        yield
    finally:
        _held.reset(token)


def train(payload: Message, ask: Ask) -> Message:
    """Do what is left of a leaderboard. The entry of the engines."""
    held = _held.get()
    with calling(Caller(str(payload["actor"]), str(payload["project"]))):
        wiring = held or _open_house(str(payload["house"]))
        try:
            _work(wiring, str(payload["leaderboard"]), ask)
        finally:
            if held is None:
                wiring.close()
    return {}


def _work(wiring: Wiring, leaderboard_id: str, ask: Ask) -> None:
    from mainspring.training.racing import Race
    from mainspring.training.service import Training

    plan = ask({"ask": "plan"})
    training = wiring.get(Training)
    board = training.get(leaderboard_id)
    frame, table, judge = _rows(wiring, board)
    if plan["phase"] == "race":
        left_s = float(cast(float, plan["left_s"]))
        blobs = wiring.get(Blobs)  # type: ignore[type-abstract]
        Race(board, table, judge, ask=ask, blobs=blobs, left_s=left_s).run()
        ask({"ask": "raced"})
        board = training.get(leaderboard_id)
    if board.best is None:
        notes = sorted({candidate.note for candidate in board.candidates if candidate.note})
        hint = f"give a longer budget than {board.request.budget_s:g} s" if notes else "name other families"
        raise Failed(f"no candidate was measured: {'; '.join(notes)[:400]}", where=board.ref, hint=hint)
    ask(_finish(wiring, board, frame, table))


def _rows(wiring: Wiring, board: Leaderboard) -> tuple[pl.DataFrame, Table, Judge]:
    import numpy as np

    from mainspring.gates.rules.bootstrap import Grouping
    from mainspring.training.measuring import Judge
    from mainspring.training.preparing import as_served, features_of, truth_of
    from mainspring.training.racing import Table

    data, splits = wiring.get(Data), wiring.get(Splits)
    version = data.resolve(board.dataset)
    frame = data.frame(version.dataset, version.number).collect()
    split = splits.resolve(board.split)
    truth = truth_of(frame, board.request.target, board.classes)
    groups = frame[board.request.fair].to_list() if board.request.fair else ()
    table = Table(
        as_served(features_of(frame, board.columns)),
        truth,
        splits.assignment(split),
        by_time=split.spec.kind == "time",
        groups=groups,
    )
    grouping = None
    if split.spec.kind == "group":
        values = [str(value) for value in frame[split.spec.column].gather(table.held_out.tolist()).to_list()]
        grouping = Grouping(cluster=np.unique(np.array(values), return_inverse=True)[1].astype(np.int64))
    seed = board.request.seed % 2**31
    return frame, table, Judge(board.task, board.metric, truth[table.held_out], seed=seed, grouping=grouping)


def _finish(wiring: Wiring, board: Leaderboard, frame: pl.DataFrame, table: Table) -> Message:
    """Train the best on all rows that are not sealed, measure it on those that are, register it: as far as asked."""
    done: Message = {"ask": "finished", "version": 0, "test": {}, "test_use": 0}
    request, best = board.request, board.best
    if best is None or not (request.register or request.open_test):
        return done
    model = _whole(board, frame, table)
    test: dict[str, float] = {}
    if request.open_test:
        done["test_use"] = _opened(wiring, board, f"the best of {board.ref} is measured")
        test = _tested(board, model, table)
        done["test"] = test
    if request.register:
        done["version"] = _register(wiring, board, frame, table, model, test)
    return done


def _whole(board: Leaderboard, frame: pl.DataFrame, table: Table) -> object:
    from mainspring.training.preparing import as_served, features_of
    from mainspring.training.racing import estimator, quiet

    best = board.best
    if best is None:
        raise Failed("there is no best candidate", where=board.ref)
    rows = table.open_rows.tolist()
    target = frame[board.request.target].gather(rows)
    model = estimator(best.family, best.params, board)
    labels = target.to_numpy() if target.dtype.is_numeric() or target.dtype == bool else _texts(target)
    with quiet():
        model.fit(as_served(features_of(frame[rows], board.columns)), labels)  # type: ignore[attr-defined]
    return model


def _texts(target: pl.Series) -> object:
    import numpy as np

    return np.array([str(value) for value in target.to_list()])


def _opened(wiring: Wiring, board: Leaderboard, purpose: str) -> int:
    """Open the sealed rows; a leaderboard that is resumed after that does not count twice."""
    splits = wiring.get(Splits)
    split = splits.resolve(board.split)
    known = next((use for use in splits.uses(split).uses if use.purpose == purpose), None)
    return (known or splits.open_test(split, purpose)).number


def _tested(board: Leaderboard, model: object, table: Table) -> dict[str, float]:
    import numpy as np

    from mainspring.training.measuring import Judge, answers_of
    from mainspring.training.racing import quiet

    rows, task = table.sealed, board.task
    truth = table.truth[rows]
    if task != "regression":
        model = _ByPlace(model)
    with quiet():
        said = answers_of(model, table.features[rows.tolist()], task, truth, len(board.classes))
    found = Judge(task, board.metric, truth).metrics(said)
    return {name: value for name, value in found.items() if np.isfinite(value)}


class _ByPlace:
    """A fitted classifier whose classes are the places of its labels, which are sorted."""

    def __init__(self, model: object) -> None:
        self._model = model
        self.classes_ = range(len(model.classes_))  # type: ignore[attr-defined]

    def predict_proba(self, rows: pl.DataFrame) -> object:
        return self._model.predict_proba(rows)  # type: ignore[attr-defined]


def _register(
    wiring: Wiring, board: Leaderboard, frame: pl.DataFrame, table: Table, model: object, test: dict[str, float]
) -> int:
    """A new version, with the rows it learned from as its reference and the sealed ones for its gate."""
    from mainspring.registry import Registry
    from mainspring.training.preparing import features_of

    name, best, data = board.request.register, board.best, wiring.get(Data)
    features = features_of(frame, board.columns).with_columns(frame[board.request.target])
    if board.request.fair and board.request.fair not in features.columns:
        features = features.with_columns(frame[board.request.fair])
    training = features[table.open_rows.tolist()]
    reference = data.ingest(f"{name}-training", training, parents=[board.dataset], key=board.id).ref
    datasets = [board.dataset, reference]
    if len(table.sealed):
        purpose = f"the gate of {name} judges on them, as {name}-evaluation"
        _opened(wiring, board, f"{purpose}, for {board.ref}")
        sealed = features[table.sealed.tolist()]
        datasets.append(data.ingest(f"{name}-evaluation", sealed, parents=[board.dataset], key=board.id).ref)
    metrics = dict(best.metrics) if best else {}
    version = wiring.get(Registry).register(
        name,
        model,
        example=training.select(list(board.columns)).head(_EXAMPLE_ROWS),
        run_id=best.run if best else "",
        datasets=datasets,
        reference=reference,
        metrics=metrics | {f"test_{entry}": value for entry, value in test.items()},
        key=board.id,
    )
    return version.number


def _open_house(opener: str) -> Wiring:
    module, _, name = opener.partition(":")
    if not module or not name:
        raise Unavailable("no house to open in the child process", where="training", hint='set it: "module:function"')
    wiring: Wiring = getattr(importlib.import_module(module), name)()
    return wiring
