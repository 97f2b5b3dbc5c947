"""A pipeline with every part that an export has to say, and where it is to run."""

from __future__ import annotations

from mainspring import pipeline, step
from mainspring.pipelines import flow
from mainspring.pipelines.export import Place
from mainspring.pipelines.model import Graph


@step(cpu=0.5, timeout_s=30)
def regions() -> list[str]:
    return ["north", "south"]


@step(retries=2, retry_in_s=4, timeout_s=60, memory="1.5GB", secrets=["WAREHOUSE_TOKEN"])
def fit(region: str, depth: int) -> float:
    return len(region) / (10 * depth)


@step(timeout_s=30, env=["STAGE"])
def best(losses: list[float]) -> float:
    return min(losses)


@step(timeout_s=30)
def refine(loss: float) -> float:
    return loss / 2


@step(timeout_s=30, side_effect=True, gpu=1)
def register(loss: float) -> str:
    return f"registered at {loss}"


@step(timeout_s=30)
def say(what: dict[str, object]) -> None:
    print(what["state"])


@pipeline(lastly=say)
def search(depth: int = 1, note: str = "$(HOME)") -> str | None:
    losses = fit.map(regions(), depth=depth, limit=2)
    found = flow.repeat(refine, best(losses), until=lambda loss: loss < 0.2, most=3)
    return flow.when(found < 1.0, lambda: register(found))


@pipeline
def asked() -> float:
    flow.approval("Go on?")
    return refine(1.0)


@pipeline
def plain(loss: float = 1.0) -> float:
    return refine(best([refine(loss)]))


def graph(note: str = "$(HOME)") -> Graph:
    return search.draw({"note": note})[0]


PLACE = Place(
    image="hub.example/search:1",
    env={"STAGE": "$(STAGE)", "MAINSPRING_STORAGE_BLOBS": "s3://kept/blobs"},
    secret="tokens",
    secret_env={"MAINSPRING_STORAGE_DB": ("mainspring", "db")},
    volumes={"models": "/srv/models"},
    ray_version="2.50.0",
)
