"""Data of a house, besides its datasets."""

from __future__ import annotations

from mainspring.core.settings import Settings
from mainspring.core.wiring import Wiring
from mainspring.data import Data, FeatureViews
from mainspring.data.splits.service import Splits
from mainspring.server.house.floor import CLOCK, blobs, journal, tables


def furnish(wiring: Wiring, settings: Settings) -> None:
    """Say how the services are made."""
    wiring.add(Splits, _splits)
    wiring.add(FeatureViews, lambda w: _feature_views(w, settings))


def _splits(w: Wiring) -> Splits:
    return Splits(tables=tables(w), journal=journal(w), blobs=blobs(w), data=w.get(Data), clock=CLOCK)


def _feature_views(w: Wiring, settings: Settings) -> FeatureViews:
    folder = settings.data_dir / "features"
    return FeatureViews(tables=tables(w), journal=journal(w), data=w.get(Data), clock=CLOCK, folder=folder)
