"""A plan folder with a small model in two versions, and clients that ask it without pause."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from lightgbm import LGBMClassifier

from mainspring.core.errors import MainspringError, Unavailable
from mainspring.registry.manifests import Seal
from mainspring.registry.packages import build as package
from mainspring.registry.packages import write_folder
from mainspring.registry.signing import Signer, key_id, statement
from mainspring.serving.client import Client
from mainspring.serving.log import Compactor, table_of
from mainspring.serving.modelserver.plan import SPOOLS, ArmPlan, EndpointPlan, Plan, write_plan
from mainspring.storage.ports import Delta

NAMES = ["a", "b", "c"]


@dataclass
class Site:
    folder: Path
    delta: Delta
    arms: list[ArmPlan]
    key: str
    compactor: Compactor = field(init=False)

    def __post_init__(self) -> None:
        self.compactor = Compactor(self.folder / SPOOLS, self.delta)

    def plan(self, generation: int, *versions: int) -> None:
        share = 1.0 / len(versions)
        arms = [
            ArmPlan(
                name=f"v{v}", version=v, share=share, folder=self.arms[v - 1].folder, digest=self.arms[v - 1].digest
            )
            for v in versions
        ]
        endpoints = [EndpointPlan(name="m", arms=arms, salt="s")]
        write_plan(self.folder, Plan(generation=generation, endpoints=endpoints, public_key=self.key))

    def logged(self) -> list[str]:
        return self.delta.scan(table_of("m")).select("id").collect()["id"].to_list()


def make_packages(folder: Path) -> tuple[list[ArmPlan], str]:
    """Versions 1 and 2 of a model, packaged and signed in `folder`, and the key."""
    signer, arms = Signer(folder), []
    for number in (1, 2):
        rng = np.random.default_rng(number)
        x = rng.normal(size=(300, 3))
        model = LGBMClassifier(n_estimators=5, num_threads=1, verbose=-1)
        model.fit(x, (x[:, 0] > 0).astype(int), feature_name=NAMES)
        made = package(model, pl.DataFrame(x[:3], schema=NAMES))
        seal = Seal("m", number, made.digest, key_id(signer.public), signer.sign(statement("m", number, made.digest)))
        place = write_folder(folder / str(number), made.manifest.to_bytes(), made.files, seal)
        arms.append(ArmPlan(name="", version=number, share=1.0, folder=str(place), digest=made.digest))
    return arms, signer.public.hex()


class Load:
    """Clients that ask until told to stop, and remember what was answered and what was refused."""

    def __init__(self, url: str, clients: int = 6) -> None:
        self.answered: list[tuple[str, str]] = []
        self.refused: list[MainspringError] = []
        self._stop = threading.Event()
        self._enough = threading.Condition()
        self._threads = [threading.Thread(target=self._run, args=(url, i)) for i in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self, url: str, number: int) -> None:
        with Client(url, timeout_s=20) as client:
            count = 0
            while not self._stop.is_set():
                count += 1
                rows = 1 + count % 3
                try:
                    answer = client.predict("m", {n: [0.5] * rows for n in NAMES}, request_id=f"{number}-{count}")
                except MainspringError as error:
                    self.refused.append(error)
                    if isinstance(error, Unavailable):
                        self._stop.wait(0.02)
                    continue
                with self._enough:
                    self.answered += [(name, answer.version) for name in answer.ids]
                    self._enough.notify_all()

    def wait_for(self, more: int) -> None:
        goal = len(self.answered) + more
        with self._enough:
            assert self._enough.wait_for(lambda: len(self.answered) >= goal, timeout=60)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
