"""Reads the database of an MLflow server, SQLite or Postgres, without changing it.

Statements name only columns that every release since 1.30 has; a table or column of a later release is read when it is
there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mainspring.core.errors import Invalid
from mainspring.mlflow.moving.model import (
    SourceDataset,
    SourceExperiment,
    SourceFile,
    SourceMeasure,
    SourceModel,
    SourceName,
    SourcePoint,
    SourceRun,
    SourceVersion,
    Texts,
)
from mainspring.mlflow.moving.places import Places
from mainspring.storage.foreign import ForeignDatabase, Row

_PAGE = 500
_STATUSES = {0: "LOGGED_MODEL_STATUS_UNSPECIFIED", 1: "LOGGED_MODEL_PENDING", 2: "LOGGED_MODEL_READY"}
_FAILED = "LOGGED_MODEL_UPLOAD_FAILED"


class DatabaseSource:
    """An MLflow database.

    Args:
        url: `sqlite:///mlflow.db`, a path of a SQLite file, or `postgresql://...`.
        root: Where `mlflow-artifacts:` addresses lie, "" when not known.
    Raises:
        NotFound: There is no such file.
        Invalid: It is no database of MLflow.
        Unavailable: The database does not answer.
    """

    def __init__(self, url: str, root: str = "") -> None:
        self._database = ForeignDatabase(url)
        self.label = self._database.label
        self._places = Places(root, self._database.folder)
        if not {"experiments", "runs", "metrics"} <= self._database.tables:
            self.close()
            raise Invalid("this is no database of MLflow: it has no runs", where=self.label, hint="try another file")

    def experiments(self) -> Iterator[SourceExperiment]:
        """See `Source`."""
        rows = list(self._database.rows("experiments", order=("experiment_id",)))
        tags = self._texts("experiment_tags", "experiment_id", [row["experiment_id"] for row in rows])
        for row in rows:
            created = row.get("creation_time") or 0
            yield SourceExperiment(
                id=str(row["experiment_id"]),
                name=row["name"],
                location=row["artifact_location"] or "",
                created_ms=created,
                updated_ms=row.get("last_update_time") or created,
                deleted=row["lifecycle_stage"] == "deleted",
                tags=tags.get(row["experiment_id"], {}),
            )

    def runs(self, experiment_id: str) -> Iterator[SourceRun]:
        """See `Source`."""
        last = ""
        while rows := list(
            self._database.rows(
                "runs", {"experiment_id": int(experiment_id)}, order=("run_uuid",), after=last, limit=_PAGE
            )
        ):
            yield from self._whole(rows)
            last = rows[-1]["run_uuid"]

    def points(self, run: SourceRun) -> Iterator[SourcePoint]:
        """See `Source`."""
        for row in self._database.rows("metrics", {"run_uuid": run.id}, order=("key", "timestamp", "step", "value")):
            value = math.nan if row.get("is_nan") else float(row["value"])
            yield SourcePoint(row["key"], row["timestamp"] or 0, row["step"] or 0, value)

    def models(self, experiment_id: str) -> Iterator[SourceModel]:
        """See `Source`."""
        wanted = {"experiment_id": int(experiment_id)}
        rows = [r for r in self._database.rows("logged_models", wanted) if r["lifecycle_stage"] != "deleted"]
        ids = [row["model_id"] for row in rows]
        params = self._texts("logged_model_params", "model_id", ids, "param_key", "param_value")
        tags = self._texts("logged_model_tags", "model_id", ids, "tag_key", "tag_value")
        measures: dict[str, list[SourceMeasure]] = {}
        for row in self._database.rows("logged_model_metrics", wanted):
            measures.setdefault(row["model_id"], []).append(_measure(row))
        for row in rows:
            yield SourceModel(
                id=row["model_id"],
                experiment_id=experiment_id,
                name=row["name"],
                kind=row["model_type"] or "",
                status=_STATUSES.get(row["status"], _FAILED),
                run_id=row["source_run_id"] or "",
                artifact_uri=row["artifact_location"],
                created_ms=row["creation_timestamp_ms"],
                updated_ms=row["last_updated_timestamp_ms"],
                params=params.get(row["model_id"], {}),
                tags=tags.get(row["model_id"], {}),
                measures=tuple(measures.get(row["model_id"], ())),
            )

    def names(self) -> Iterator[SourceName]:
        """See `Source`."""
        rows = list(self._database.rows("registered_models", order=("name",)))
        tags = self._texts("registered_model_tags", "name", [row["name"] for row in rows])
        aliases: dict[str, dict[str, int]] = {}
        for row in self._database.rows("registered_model_aliases"):
            aliases.setdefault(row["name"], {})[row["alias"]] = row["version"]
        for row in rows:
            yield SourceName(
                name=row["name"],
                description=row["description"] or "",
                created_ms=row["creation_time"] or 0,
                updated_ms=row["last_updated_time"] or row["creation_time"] or 0,
                tags=tags.get(row["name"], {}),
                aliases=aliases.get(row["name"], {}),
            )

    def versions(self, name: str) -> Iterator[SourceVersion]:
        """See `Source`."""
        tags: dict[int, Texts] = {}
        for row in self._database.rows("model_version_tags", {"name": name}):
            tags.setdefault(row["version"], {})[row["key"]] = row["value"] or ""
        for row in self._database.rows("model_versions", {"name": name}, order=("version",)):
            if row["current_stage"] == "Deleted_Internal":
                continue
            source = row["source"] or ""
            yield SourceVersion(
                name=name,
                number=row["version"],
                source=source,
                run_id=row["run_id"] or "",
                run_link=row["run_link"] or "",
                description=row["description"] or "",
                user_id=row["user_id"] or "",
                stage=row["current_stage"] or "None",
                status=row["status"] or "READY",
                status_message=row["status_message"] or "",
                created_ms=row["creation_time"] or 0,
                updated_ms=row["last_updated_time"] or row["creation_time"] or 0,
                model_id=source.removeprefix("models:/") if source.startswith("models:/m-") else "",
                tags=dict(sorted(tags.get(row["version"], {}).items())),
            )

    def files(self, uri: str) -> Iterator[SourceFile]:
        """See `Source`."""
        return self._places.files(uri)

    def fetch(self, uri: str, path: str, to: Path) -> None:
        """See `Source`."""
        self._places.fetch(uri, path, to)

    def close(self) -> None:
        """See `Source`."""
        self._database.close()

    def _whole(self, rows: Sequence[Row]) -> Iterator[SourceRun]:
        ids = [row["run_uuid"] for row in rows]
        params, tags = self._texts("params", "run_uuid", ids), self._texts("tags", "run_uuid", ids)
        metrics: dict[str, list[str]] = {}
        for row in self._database.rows("latest_metrics", {"run_uuid": ids}, order=("key",)):
            metrics.setdefault(row["run_uuid"], []).append(row["key"])
        datasets, read, made = self._datasets(ids), self._linked("RUN_INPUT", ids), self._linked("RUN_OUTPUT", ids)
        for row in rows:
            run_id, own = row["run_uuid"], tags.get(row["run_uuid"], {})
            yield SourceRun(
                id=run_id,
                experiment_id=str(row["experiment_id"]),
                name=row["name"] or own.get("mlflow.runName", ""),
                user_id=row["user_id"] or "",
                status=row["status"] or "FINISHED",
                started_ms=row["start_time"] or 0,
                ended_ms=row["end_time"],
                artifact_uri=row["artifact_uri"] or "",
                deleted=row["lifecycle_stage"] == "deleted",
                params=params.get(run_id, {}),
                tags=own,
                metrics=tuple(sorted(metrics.get(run_id, ()))),
                datasets=tuple(datasets.get(run_id, ())),
                models_read=tuple(model for model, _ in read.get(run_id, ())),
                models_made=tuple(made.get(run_id, ())),
            )

    def _datasets(self, ids: Sequence[str]) -> dict[str, list[SourceDataset]]:
        read = list(
            self._database.rows("inputs", {"source_type": "DATASET", "destination_type": "RUN", "destination_id": ids})
        )
        known = {
            r["dataset_uuid"]: r
            for r in self._database.rows("datasets", {"dataset_uuid": [r["source_id"] for r in read]})
        }
        tags = self._texts("input_tags", "input_uuid", [row["input_uuid"] for row in read], "name", "value")
        found: dict[str, list[SourceDataset]] = {}
        for row in read:
            if (one := known.get(row["source_id"])) is not None:
                dataset = SourceDataset(
                    name=one["name"],
                    digest=one["digest"],
                    source_type=one["dataset_source_type"],
                    source=one["dataset_source"],
                    schema=one["dataset_schema"] or "",
                    profile=one["dataset_profile"] or "",
                    tags=tags.get(row["input_uuid"], {}),
                )
                found.setdefault(row["destination_id"], []).append(dataset)
        return found

    def _linked(self, side: str, ids: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
        found: dict[str, list[tuple[str, int]]] = {}
        for row in self._database.rows("inputs", {"source_type": side, "source_id": ids}):
            found.setdefault(row["source_id"], []).append((row["destination_id"], row.get("step") or 0))
        return found

    def _texts(
        self, table: str, owner: str, ids: Sequence[Any], key: str = "key", value: str = "value"
    ) -> dict[Any, Texts]:
        found: dict[Any, Texts] = {}
        for row in self._database.rows(table, {owner: ids}, order=(owner, key)):
            found.setdefault(row[owner], {})[row[key]] = row[value] or ""
        return {owner: dict(sorted(texts.items())) for owner, texts in found.items()}


def _measure(row: Row) -> SourceMeasure:
    value = row["metric_value"]
    return SourceMeasure(
        key=row["metric_name"],
        value=math.nan if value is None else value,
        timestamp_ms=row["metric_timestamp_ms"],
        step=row["metric_step"],
        run_id=row["run_id"],
        dataset_name=row["dataset_name"] or "",
        dataset_digest=row["dataset_digest"] or "",
    )
