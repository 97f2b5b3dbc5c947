"""What becomes known of predictions later, and predictions joined with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import islice
from typing import TYPE_CHECKING, cast

import msgspec

from mainspring.core.errors import Conflict, Invalid, NotFound
from mainspring.core.ids import check_name
from mainspring.serving import records
from mainspring.serving.bulk import BulkAnswer, Rejected, read_feedback
from mainspring.serving.client import strongest
from mainspring.serving.endpoints import Endpoints
from mainspring.serving.log import after
from mainspring.serving.model import Feedback, LoggedPrediction, StoredFeedback

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy import Connection

_PAGE = 20_000
ABOUT = ("prediction_id", "event_at", "version", "arm", "score", "label", "label_at")


class FeedbackDesk(Endpoints):
    """The part of serving that takes feedback and gives labelled rows back."""

    def feedback(self, deployment: str, items: Sequence[Feedback]) -> int:
        """Store feedback. Sent twice it is stored once.

        Args:
            deployment: The endpoint whose predictions it is about.
            items: Any number; all are stored or none.
        Returns: How many were new.
        Raises:
            NotFound: No such deployment.
            Conflict: A prediction has another value of that kind already.
        """
        for item in items:
            check_name(item.kind, "kind of feedback")
        with self._tables.write() as conn:
            self._find(conn, deployment)
            return self._store_feedback(conn, deployment, items)

    def feedback_file(self, deployment: str, data: bytes, *, most: int = 1000) -> BulkAnswer:
        """Store the feedback in a file. Sent twice, or again after it was broken off, each line is stored once.

        Args:
            deployment: The endpoint whose predictions it is about.
            data: CSV or JSON lines, see `read_feedback`.
            most: So many lines that were put aside are given back; all are counted.
        Returns: How many lines came, how many were new, and which were put aside with the reason: those that can't be
            read, and those whose prediction has another value of that kind already.
        Raises:
            NotFound: No such deployment. Invalid: It is no such file.
        """
        self.get(deployment)
        received = new = 0
        rejected: list[Rejected] = []
        lines = read_feedback(data)
        while part := list(islice(lines, _PAGE)):
            received += len(part)
            rejected += [line for _, line in part if isinstance(line, Rejected)]
            items = [(number, line) for number, line in part if isinstance(line, Feedback)]
            with self._tables.write() as conn:
                records.lock_feedback(conn, deployment)
                kept, odd = _without_conflicts(items, records.known_feedback(conn, deployment, [i for _, i in items]))
                new += self._store_feedback(conn, deployment, kept)
            rejected += odd
        rejected.sort(key=lambda entry: entry.line)
        return BulkAnswer(received, new, len(rejected), tuple(rejected[:most]))

    def _store_feedback(self, conn: Connection, deployment: str, items: Sequence[Feedback]) -> int:
        """Store feedback in the caller's transaction. Returns how many were new."""
        last = records.lock_feedback(conn, deployment)
        known = records.known_feedback(conn, deployment, items)
        fresh: dict[tuple[str, str], StoredFeedback] = {}
        now = self._clock.now()
        for item in items:
            name, value = (item.prediction_id, item.kind), _plain(item.value)
            there = known.get(name, fresh[name].value if name in fresh else None)
            if there is not None and there != value:
                raise Conflict(
                    f"prediction {item.prediction_id!r} has the {item.kind} {there!r} already, not {value!r}",
                    where=f"deployments/{deployment}",
                    hint='send what replaces it as kind "correction"',
                )
            if there is None:
                seq = last + len(fresh) + 1
                fresh[name] = StoredFeedback(seq, *name, value, item.at or now, now)
        records.add_feedback(conn, deployment, list(fresh.values()))
        return len(fresh)

    def feedback_count(self, name: str) -> int:
        """How much feedback an endpoint has had so far: the number of the last piece, 0 when there was none."""
        with self._tables.read() as conn:
            return records.last_feedback(conn, name)

    def feedback_after(self, name: str, seq: int = 0, limit: int = 1000) -> list[StoredFeedback]:
        """Feedback in the order of arrival, above the number `seq`: a reader that keeps the last one misses nothing."""
        with self._tables.read() as conn:
            return records.list_feedback(conn, name, seq, limit)

    def labels(
        self, name: str, *, stored_since: int = 0, after: int = 0, kind: str = "label"
    ) -> Iterator[StoredFeedback]:
        """Labels of an endpoint, or feedback of another kind, in the order of arrival.

        Args:
            name: The endpoint.
            stored_since: Stored then or later.
            after: Above this number.
            kind: Which feedback.
        """
        last = after
        while True:
            with self._tables.read() as conn:
                page = records.list_feedback(conn, name, last, _PAGE, kind=kind, stored_since=stored_since)
            yield from page
            if len(page) < _PAGE:
                return
            last = page[-1].seq

    def prediction(self, prediction_id: str, *, deployment: str = "") -> LoggedPrediction:
        """One logged prediction and what became known of it.

        Args:
            prediction_id: Its id.
            deployment: Where to look; "" = everywhere.
        Raises:
            NotFound: No such deployment, or no such prediction in the log.
        """
        self.compact()
        for name in [deployment] if deployment else [entry.name for entry in self.deployments()]:
            found = self._logged(name, prediction_id)
            if found is not None:
                return found
        raise NotFound(f"no prediction {prediction_id!r}", where="predictions", hint="its id came back with the answer")

    def recent(
        self, name: str, limit: int = 20, *, version: int | None = None, failed: bool = False
    ) -> list[LoggedPrediction]:
        """The newest predictions of an endpoint by wall clock, newest first.

        Args:
            name: The endpoint.
            limit: At most so many.
            version: Only those that this version answered.
            failed: Only those that got an error for an answer.
        Raises:
            NotFound: There is no such deployment.
        """

        try:
            rows = self.predictions(name).filter(_which(version, failed=failed))
            rows = rows.top_k(limit, by=["at", "seq"]).sort("at", "seq", descending=True)
        except NotFound:
            self.get(name)
            return []
        return [_logged(name, row) for row in rows.collect().to_dicts()]

    def position(self, name: str) -> dict[str, int]:
        """Where the log of an endpoint ends: the last number of each spool in it.

        Raises:
            NotFound: There is no such deployment.
        """
        import polars as pl

        try:
            last = self.predictions(name).group_by("spool").agg(pl.col("seq").max()).collect()
        except NotFound:
            self.get(name)
            return {}
        return dict(last.iter_rows())

    def news(
        self, name: str, position: dict[str, int], *, version: int | None = None, failed: bool = False
    ) -> list[LoggedPrediction]:
        """Predictions that were logged behind a position, the oldest first; the position is then behind them.

        Args:
            name: The endpoint.
            position: As `position` gives it; it is moved on.
            version: As `recent`.
            failed: As `recent`.
        Raises:
            NotFound: There is no such deployment.
        """
        import polars as pl

        try:
            rows = self.predictions(name).filter(after(position)).collect()
        except NotFound:
            self.get(name)
            return []
        position |= dict(rows.group_by("spool").agg(pl.col("seq").max()).iter_rows())
        return [_logged(name, row) for row in rows.filter(_which(version, failed=failed)).sort("at", "seq").to_dicts()]

    def _logged(self, name: str, prediction_id: str) -> LoggedPrediction | None:
        import polars as pl

        try:
            rows = self.predictions(name).filter(pl.col("id") == prediction_id).head(1).collect().to_dicts()
        except NotFound:
            self.get(name)
            return None
        if not rows:
            return None
        with self._tables.read() as conn:
            known = records.feedback_of(conn, name, prediction_id)
        return replace(_logged(name, rows[0]), feedback=tuple(known))

    def labelled(
        self, name: str, since: int | None = None, until: int | None = None, *, corrected: bool = False
    ) -> pl.DataFrame:
        """Predictions with a label, for training and for measuring: inputs as columns, and the columns `ABOUT`.

        Args:
            name: The endpoint.
            since: Earliest event time, microseconds.
            until: First event time that is left out.
            corrected: Whether a correction replaces the label of its prediction, or stands for it where there is none.
        Returns: One row for each labelled prediction in the order of event time. Columns that the live version takes
            as whole numbers are whole numbers. `score` is the probability of the second class, or the number predicted.
        Raises:
            NotFound: No such deployment, or nothing was predicted yet.
            Invalid: A feature has the name of a column of `ABOUT`.
        """
        import polars as pl

        from mainspring.serving.counting import labels_frame

        self.compact()
        known = list(self.labels(name))
        if corrected:
            better = {item.prediction_id: item for item in self.labels(name, kind="correction")}
            known = [*(item for item in known if item.prediction_id not in better), *better.values()]
        when = pl.DataFrame(
            {"id": [item.prediction_id for item in known], "label_at": [item.at for item in known]},
            schema={"id": pl.String, "label_at": pl.Int64},
        )
        labels = labels_frame(known).join(when, on="id")
        rows = self.predictions(name, since, until).filter(pl.col("status") < 400).collect()
        rows = rows.unique("id", keep="first", maintain_order=True).join(labels, on="id", how="inner")
        features = rows["inputs"].struct.unnest()
        taken = sorted(set(features.columns) & set(ABOUT))
        if taken:
            raise Invalid(f"a feature is called {taken[0]!r}", where=f"deployments/{name}", hint="rename the feature")
        texts = labels["text"].null_count() < labels.height
        about = rows.select(
            pl.col("id").alias("prediction_id"),
            "event_at",
            "version",
            "arm",
            pl.coalesce("probability", "prediction").alias("score"),
            (pl.coalesce("text", pl.col("number").cast(pl.String)) if texts else pl.col("number")).alias("label"),
            "label_at",
        )
        return self._typed(name, features.hstack(about)).sort("event_at", "prediction_id")

    def covered(self, name: str, since: int | None = None) -> dict[int, tuple[int, int]]:
        """For each version: labelled predictions that had an interval or set, and how many of their labels lie in it.

        Answers that a rule gave do not count.

        Args:
            name: The endpoint.
            since: Earliest event time, microseconds.
        Raises:
            NotFound: There is no such deployment.
        """
        import polars as pl

        from mainspring.serving.counting import labels_frame

        try:
            rows = self.predictions(name, since)
        except NotFound:
            self.get(name)
            return {}
        kept = [name for name in ("low", "high", "label_set") if name in rows.collect_schema()]
        if not kept:
            return {}
        given = pl.col("marks").list.eval(pl.element().str.ends_with(":override")).list.any()
        there = pl.any_horizontal(pl.col(name).is_not_null() for name in kept)
        rows = rows.filter(there, pl.col("status") < 400, ~given.fill_null(value=False))
        held = rows.select("id", "version", *kept).collect().unique("id")
        known = held.join(labels_frame(self.labels(name)), on="id")
        counts = {}
        for (version,), part in known.partition_by("version", as_dict=True).items():
            within = part.select(self._within(name, int(str(version)), kept).alias("within"))["within"].drop_nulls()
            if len(within):
                counts[int(str(version))] = len(within), int(within.sum())
        return counts

    def _within(self, name: str, version: int, kept: Sequence[str]) -> pl.Expr:
        """Whether a label lies in the interval of its answer, or is in its set; null where it can't be told."""
        import polars as pl

        found = self._registry.get(self.get(name).model, version)
        if found.task == "regression":
            return pl.col("number").is_between("low", "high") if "low" in kept else pl.lit(None, dtype=pl.Boolean)
        classes = [str(label) for label in found.classes]
        as_text = pl.col("number").cast(pl.Int64, strict=False).cast(pl.String)
        if len(classes) == 2:  # 0 and 1 stand for the two, whatever they are called
            second = pl.when(pl.col("number") >= 0.5).then(pl.lit(classes[1])).otherwise(pl.lit(classes[0]))
            as_text = pl.when(as_text.is_in(classes)).then(as_text).otherwise(second)
        label = pl.when(pl.col("text").is_not_null()).then("text").otherwise(as_text)
        return pl.col("label_set").list.contains(label) if "label_set" in kept else pl.lit(None, dtype=pl.Boolean)

    def _typed(self, name: str, frame: pl.DataFrame) -> pl.DataFrame:
        """Give back whole numbers, which the log keeps as Float64, to the columns that the live version takes so."""
        import polars as pl

        live = self.get(name)
        fields = self._registry.get(live.model, live.champion).inputs
        whole = [f.name for f in fields if f.dtype.lstrip("u").startswith("int") and f.name in frame.columns]
        return frame.with_columns(pl.col(whole).cast(pl.Int64, strict=False))


def _without_conflicts(
    items: Sequence[tuple[int, Feedback]], known: Mapping[tuple[str, str], float | str]
) -> tuple[list[Feedback], list[Rejected]]:
    """Those that say nothing else than what is known, or than a line before them; and the others."""
    said, kept, odd = dict(known), list[Feedback](), list[Rejected]()
    for number, item in items:
        value = _plain(item.value)
        there = said.setdefault((item.prediction_id, item.kind), value)
        if there == value:
            kept.append(item)
        else:
            why = f"it has the {item.kind} {there!r} already, not {value!r}; what replaces it is of kind correction"
            odd.append(Rejected(number, item.prediction_id, why))
    return kept, odd


def _plain(value: float | str) -> float | str:
    return value if isinstance(value, str) else float(value)


def _which(version: int | None, *, failed: bool) -> pl.Expr:
    import polars as pl

    wanted = [pl.lit(value=True)]
    wanted += [] if version is None else [pl.col("version") == version]
    wanted += [pl.col("status") >= 400] if failed else []
    return pl.all_horizontal(wanted)


def _logged(name: str, row: Mapping[str, object]) -> LoggedPrediction:
    names = {field.name for field in fields(LoggedPrediction)} - {"feedback"}
    values = {**{key: row.get(key) for key in names}, "deployment": name, "marks": row.get("marks") or ()}
    values["label_set"] = row.get("label_set") or ()
    values["features"] = row.get("features") or ()
    codes = cast("list[dict[str, object]]", row.get("reasons") or [])
    found = {str(code["column"]): float(cast(float, code["contribution"])) for code in codes}
    values["reasons"] = strongest(found)
    return msgspec.convert(values, LoggedPrediction)
