"""Who is asked beside the champion: versions with a share, by a header, or as shadows, and what these said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from mainspring.core.errors import Conflict, Invalid, NotFound
from mainspring.core.values import dataclass
from mainspring.registry import check_usable
from mainspring.serving.comparing import ANSWERED, comparisons, paired
from mainspring.serving.model import Comparison, Deployment, Route, Shadow
from mainspring.serving.modelserver import tally
from mainspring.serving.modelserver.plan import shadows_of
from mainspring.serving.modelserver.shadowing import ROWS
from mainspring.serving.processes import Processes
from mainspring.serving.rules.assignment import check_shares

if TYPE_CHECKING:
    import polars as pl

MOST_PAIRS = 200_000
"""The newest rows of shadows that are looked at, unless it is said otherwise."""


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """How a shadow does.

    Attributes:
        version: Which one.
        share: Part of the answered requests it is asked.
        sent: Rows it was given since the model server started.
        dropped: Rows that it was too slow for, or not there for.
        unfit: Rows whose values it does not take at all.
        comparisons: Beside each version that answered users.
    """

    version: int
    share: float
    sent: int
    dropped: int
    unfit: int
    comparisons: tuple[Comparison, ...]


class TrafficDesk(Processes):
    """The part of serving that says who else is asked, and what became of it."""

    def shadow(self, name: str, version: int | str, *, share: float = 1.0, reason: str = "") -> Deployment:
        """Ask a version the same as those that answer, after they did. Called again it changes the share.

        Args:
            name: The endpoint.
            version: Number or alias.
            share: Part of the answered requests, above 0 and up to 1.
            reason: Kept in the history.
        Raises:
            NotFound: No such deployment or version.
            Conflict: The version answers users already, or nothing is logged that it could be compared with.
            Invalid: The share is out of range, or there are too many shadows.
            Refused: The version lacks what it takes to answer.
        """
        with self._tables.read() as conn:
            model = self._find(conn, name).model
        found = check_usable(self._registry.get(model, version))
        wanted = Shadow(found.number, share)
        with self._tables.write() as conn:
            live = self._find(conn, name, lock=True)
            if any(arm.version == found.number for arm in live.traffic.arms):
                raise Conflict(f"version {found.number} answers already", where=live.ref, hint="shadow another version")
            if live.options.log_share == 0.0:
                raise Conflict("nothing is logged to compare it with", where=live.ref, hint="deploy with --log-share 1")
            self._check_options(live.options, found)
            if wanted in live.traffic.shadows:
                return live
            self._registry.hold(conn, model, found.number)
            others = tuple(entry for entry in live.traffic.shadows if entry.version != found.number)
            traffic = replace(live.traffic, shadows=(*others, wanted))
            made = replace(live, traffic=traffic, updated_at=self._clock.now())
            made = self._change(conn, made, reason or f"shadow {found.number}")
        self.write_plan()
        return made

    def unshadow(self, name: str, version: int, *, reason: str = "") -> Deployment:
        """Ask a shadow no more. What it said stays.

        Raises:
            NotFound: No such deployment, or the version is no shadow of it.
        """
        with self._tables.write() as conn:
            live = self._find(conn, name, lock=True)
            left = tuple(entry for entry in live.traffic.shadows if entry.version != version)
            if len(left) == len(live.traffic.shadows):
                known = ", ".join(str(entry.version) for entry in left) or "none"
                raise NotFound(f"version {version} is no shadow", where=live.ref, hint=f"shadows: {known}")
            made = replace(live, traffic=replace(live.traffic, shadows=left), updated_at=self._clock.now())
            made = self._change(conn, made, reason or f"shadow {version} ended")
        self.write_plan()
        return made

    def weigh(
        self, name: str, shares: Mapping[int, float], *, champion: int | None = None, reason: str = ""
    ) -> Deployment:
        """Give each of several versions a share of the traffic, without a rollout: nobody judges them.

        A key stays with its version while the shares stand.

        Args:
            name: The endpoint.
            shares: Version -> share; they sum to 1, and a share of 0 is none.
            champion: The version that is live; by default the one that is, where it has a share, else the largest.
            reason: Kept in the history.
        Raises:
            NotFound: No such deployment or version.
            Conflict: A rollout or bandit is under way.
            Invalid: Shares that do not sum to 1, or a champion without one.
            Refused: A version lacks what it takes to answer.
        """
        check_shares(list(shares.values()))
        live = self.get(name)
        wanted = {number: share for number, share in shares.items() if share}
        for number in wanted:
            self._fitting(live, number)
        with self._tables.write() as conn:
            live = self._find(conn, name, lock=True)
            self._check_free(conn, name)
            first = champion or (live.champion if live.champion in wanted else max(wanted, key=lambda n: wanted[n]))
            if first not in wanted:
                raise Invalid(f"version {first} has no share", where="champion", hint="name a version that has one")
            for number in wanted:
                self._registry.hold(conn, live.model, number)
            made = replace(live, traffic=live.traffic.weighted(wanted, first), updated_at=self._clock.now())
            made = self._change(conn, made, reason or "shares by hand")
        self.write_plan()
        return made

    def route(self, name: str, route: Route, *, reason: str = "") -> Deployment:
        """Bring requests with a header to a version, whatever the shares say. A route for the same value is replaced.

        What is answered so belongs to no rollout. Where the header itself names the version, it may name each one that
        is loaded: those with a share, and those of other routes.

        Raises:
            NotFound: No such deployment or version. Invalid: Too many routes.
            Refused: The version lacks what it takes to answer.
        """
        live = self.get(name)
        if route.version is not None:
            self._fitting(live, route.version)
        with self._tables.write() as conn:
            live = self._find(conn, name, lock=True)
            if route.version is not None:
                self._registry.hold(conn, live.model, route.version)
            left = _without(live.traffic.routes, route.header, route.value)
            made = replace(live, traffic=replace(live.traffic, routes=(*left, route)), updated_at=self._clock.now())
            made = self._change(conn, made, reason or f"route {route.text}")
        self.write_plan()
        return made

    def unroute(self, name: str, header: str, value: str = "", *, reason: str = "") -> Deployment:
        """End a route.

        Raises:
            NotFound: No such deployment, or no such route.
        """
        with self._tables.write() as conn:
            live = self._find(conn, name, lock=True)
            left = _without(live.traffic.routes, header, value)
            if len(left) == len(live.traffic.routes):
                known = "; ".join(route.text for route in left) or "none"
                raise NotFound(f"no route for {header}: {value}", where=live.ref, hint=f"routes: {known}")
            made = replace(live, traffic=replace(live.traffic, routes=left), updated_at=self._clock.now())
            made = self._change(conn, made, reason or f"route {header}: {value} ended")
        self.write_plan()
        return made

    def shadowed(self, name: str, since: int | None = None, until: int | None = None) -> pl.LazyFrame:
        """What shadows of an endpoint said, with event time in [since, until), lazily; `compact` brings the newest.

        A row has the id of the prediction that the user got.

        Raises:
            NotFound: There is no such deployment, or no shadow said anything yet.
        """
        import polars as pl

        try:
            frame = self._delta.scan(shadows_of(self.get(name).endpoint))
        except NotFound:
            raise NotFound(
                "no shadow said anything yet", where=f"deployments/{name}", hint=f"mainspring shadow start {name} 2"
            ) from None
        frame = frame if since is None else frame.filter(pl.col("event_at") >= since)
        return frame if until is None else frame.filter(pl.col("event_at") < until)

    def shadows(self, name: str, *, since: int | None = None, most: int = MOST_PAIRS) -> list[ShadowReport]:
        """How the shadows of an endpoint do, those that ended included, the newest version first.

        Args:
            name: The endpoint.
            since: Earliest event time, microseconds.
            most: So many of the newest rows are compared.
        Raises:
            NotFound: No such deployment.
        """
        live = self.get(name)
        if live.traffic.shadows:
            self.compact()
        found = self._beside_shadows(name, since, most)
        fates = _fates(tally.counts_of(self.folder).values, live.endpoint)
        shares = {shadow.version: shadow.share for shadow in live.traffic.shadows}
        versions = sorted({*shares, *(entry.version for entry in found)}, reverse=True)
        return [
            ShadowReport(
                version,
                shares.get(version, 0.0),
                sent=fates.get((version, "sent"), 0),
                dropped=fates.get((version, "dropped"), 0),
                unfit=fates.get((version, "unfit"), 0),
                comparisons=tuple(entry for entry in found if entry.version == version),
            )
            for version in versions
        ]

    def _beside_shadows(self, name: str, since: int | None, most: int) -> list[Comparison]:
        import polars as pl

        from mainspring.serving.counting import labels_frame

        try:
            said = self.shadowed(name, since).top_k(most, by=pl.col("at")).select(*ANSWERED, "at").collect()
        except NotFound:
            return []
        if not said.height:
            return []
        first = cast(int, said["at"].min())
        answered = self.predictions(name).filter(pl.col("at") >= first - _LATE_US).select(ANSWERED).collect()
        return comparisons(paired(answered, said), labels_frame(self.labels(name)))


_LATE_US = 3_600_000_000  # a row and its shadow's leave within the deadline of a request, which is an hour at most


def _without(routes: tuple[Route, ...], header: str, value: str) -> tuple[Route, ...]:
    return tuple(route for route in routes if (route.header, route.value) != (header, value))


def _fates(values: dict[str, float], endpoint: str) -> dict[tuple[int, str], int]:
    """Rows for shadows of an endpoint by version and what became of them, from the metrics."""
    found = {}
    for key, value in values.items():
        name, _, labels = key.partition("{")
        if name == ROWS:
            said = dict(part.split("=", 1) for part in labels.rstrip("}").replace('"', "").split(","))
            if said["deployment"] == endpoint:
                found[int(said["version"]), said["fate"]] = int(value)
    return found
