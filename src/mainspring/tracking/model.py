"""The values of tracking."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import field
from urllib.parse import unquote, urlsplit

from mainspring.core.values import dataclass

ENDED = ("finished", "failed", "killed")
STATUSES = ("running", "scheduled", *ENDED)
DEFAULT = "Default"
"""The experiment of runs that name none."""
REPRODUCES = "mainspring.reproduces"
"""The tag of a run that was made to reproduce another one, with the id of that."""
REPRODUCES_VARIABLE = "MAINSPRING_REPRODUCES"
"""The variable that tells a program which run it reproduces."""
TOLERANCE = "mainspring.tolerance"
"""The tag with the relative differences that a reproduction may show, by metric; `*` is for all others."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One point of a metric; `at` is microseconds UTC, 0 means now. The value may be NaN or infinite."""

    key: str
    value: float
    step: int = 0
    at: int = 0


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a metric, a list for each column; `times` are microseconds UTC."""

    key: str
    steps: list[int]
    times: list[int]
    values: list[float]

    def points(self) -> list[Metric]:
        """The points one by one.

        >>> Curve("loss", [1], [7], [0.5]).points()
        [Metric(key='loss', value=0.5, step=1, at=7)]
        """
        return [Metric(self.key, *row) for row in zip(self.values, self.steps, self.times, strict=True)]


@dataclass(frozen=True, slots=True)
class Packed:
    """Points of a metric as a `Curve` has them, 8 bytes for each number in the machine's order; values are doubles."""

    key: str
    steps: bytes
    times: bytes
    values: bytes

    def curve(self) -> Curve:
        """The same as lists.

        >>> Packed("loss", b"", b"", b"").curve()
        Curve(key='loss', steps=[], times=[], values=[])
        """
        steps, times = array("q", self.steps).tolist(), array("q", self.times).tolist()
        return Curve(self.key, steps, times, array("d", self.values).tolist())


@dataclass(frozen=True, slots=True)
class CodeState:
    """The code a run was started from.

    Args:
        commit: Git commit; "" outside of a repository.
        branch: Where it was.
        dirty: Whether files differ from the commit.
        diff: How, as a patch; binary files included.
        diff_cut: It was too long to be kept whole, so it can't be applied.
        entry: The entry point as people read it.
        arguments: The entry point as it can be run again: file or `-m` and module, then its arguments; secrets are
            masked. Empty when it can't, as in a notebook.
        masked: Whether an argument was masked.
        folder: The working folder, from the root of the repository.
        untracked: Files that git did not know, at most 200.
        order: How many runs the program had started before this one.
    """

    commit: str = ""
    branch: str = ""
    dirty: bool = False
    diff: str = ""
    diff_cut: bool = False
    entry: str = ""
    arguments: tuple[str, ...] = ()
    masked: bool = False
    folder: str = ""
    untracked: tuple[str, ...] = ()
    order: int = 0


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a run ran: Python, platform, hardware, and the version of every installed package.

    Args:
        python: Version, such as "3.11.7".
        platform: Operating system and machine.
        cpus: Cores the process may use.
        memory_bytes: Of the machine.
        gpus: Models of the GPUs.
        packages: Name to exact version.
        cpu: Model of the processor.
        sources: Where packages came from that no index has: folder or repository.
        variables: Environment variables that change results, such as `PYTHONHASHSEED`.
    """

    python: str = ""
    platform: str = ""
    cpus: int = 0
    memory_bytes: int = 0
    gpus: tuple[str, ...] = ()
    packages: dict[str, str] = field(default_factory=dict)
    cpu: str = ""
    sources: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)


OURS = "mainspring"
"""The source type of datasets that are kept here."""


@dataclass(frozen=True, slots=True)
class InputDataset:
    """What a run read: a dataset version of ours, or any that a client describes.

    Args:
        name: Its name.
        digest: What tells its content from other contents; the number of a version of ours.
        source_type: `OURS`, or the client's word for where it lies.
        source: Reference or address.
        schema: Its columns, as the client wrote them.
        profile: Its counts, as the client wrote them.
    """

    name: str
    digest: str
    source_type: str = OURS
    source: str = ""
    schema: str = ""
    profile: str = ""

    @property
    def ref(self) -> str:
        """The reference of a version of ours, else `NAME@DIGEST`."""
        return self.source if self.source_type == OURS and self.source else f"{self.name}@{self.digest}"

    @classmethod
    def of(cls, ref: str) -> InputDataset:
        """The dataset that a reference such as `datasets/flights/3` or `flights@9f8e` names.

        >>> InputDataset.of("datasets/flights/3").ref
        'datasets/flights/3'
        """
        if "@" in ref:
            name, _, digest = ref.rpartition("@")
            return cls(name, digest, "")
        name, _, number = ref.removeprefix("datasets/").rpartition("/")
        return cls(name or ref, number if name else "", OURS, ref)


@dataclass(frozen=True, slots=True)
class RunInput:
    """A dataset a run read, by reference, and what for ("training", "evaluation")."""

    dataset: str
    context: str = ""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a run or a model keeps."""

    path: str
    digest: str
    size_bytes: int
    at: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What a folder shows: a file, or a folder with the bytes of all that is below it."""

    name: str
    is_folder: bool
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Experiment:
    """A name under which runs are kept together.

    `id` is "0" for the project's `DEFAULT`, else a decimal number; `location` is where its runs keep their files.
    """

    id: str
    name: str
    location: str
    created_at: int
    updated_at: int
    deleted_at: int | None = None
    runs: int = 0
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        """Reference, `experiments/ID`."""
        return f"experiments/{self.id}"


@dataclass(frozen=True, slots=True)
class Run:
    """One execution. `metrics` holds the latest point of each; `status` is one of `STATUSES`.

    `created_by` is who was let in, `user_id` who the client says it works for. `location` is the experiment's.
    """

    id: str
    experiment: str
    experiment_id: str
    location: str
    name: str
    parent: str
    status: str
    started_at: int
    ended_at: int | None
    seed: int | None
    created_by: str
    user_id: str = ""
    deleted_at: int | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    inputs: tuple[RunInput, ...] = ()
    code: CodeState | None = None
    environment: Environment | None = None

    @property
    def ref(self) -> str:
        """Reference, `runs/ID`."""
        return f"runs/{self.id}"

    @property
    def folder(self) -> str:
        """Where its files are, below the project's artifact root; ends with a slash."""
        return run_folder(self.location, self.experiment_id, self.id)


MODEL_STATUSES = ("pending", "ready", "failed")
"""A model is pending while its files are on their way, then ready; failed when they did not arrive."""


@dataclass(frozen=True, slots=True)
class ModelMetric:
    """The latest value that a run measured of a model, on a dataset when one is named."""

    key: str
    value: float
    step: int
    at: int
    run_id: str
    dataset_name: str = ""
    dataset_digest: str = ""


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """A model that a run made, before or without a name in the registry. `status` is one of `MODEL_STATUSES`.

    `kind` is the client's word for its type, `run_id` the run that made it ("": none), `location` the experiment's.
    """

    id: str
    experiment_id: str
    location: str
    name: str
    kind: str
    status: str
    run_id: str
    created_at: int
    updated_at: int
    deleted_at: int | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: tuple[ModelMetric, ...] = ()

    @property
    def ref(self) -> str:
        """Reference, `logged-models/ID`."""
        return f"logged-models/{self.id}"

    @property
    def folder(self) -> str:
        """Where its files are, below the project's artifact root; ends with a slash."""
        return model_folder(self.location, self.experiment_id, self.id)


@dataclass(frozen=True, slots=True)
class RunModel:
    """A logged model that a run read ("input") or made ("output")."""

    model_id: str
    side: str
    step: int = 0


@dataclass(frozen=True, slots=True)
class ModelUse:
    """A logged model, and the dataset (by name and digest, "" when none was named) that it was measured on."""

    model_id: str
    dataset_name: str = ""
    dataset_digest: str = ""


@dataclass(frozen=True, slots=True)
class DatasetRead:
    """A dataset that a run read, as the client described it: what for, and all tags the client gave it."""

    dataset: InputDataset
    context: str = ""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DatasetUse:
    """A dataset that runs of an experiment read, and what for."""

    experiment_id: str
    name: str
    digest: str
    context: str


@dataclass(frozen=True, slots=True)
class RunLinks:
    """What a run read and made."""

    datasets: tuple[DatasetRead, ...] = ()
    models: tuple[RunModel, ...] = ()


@dataclass(frozen=True, slots=True)
class RunStart:
    """What starts a run.

    Args:
        experiment: The name of the experiment, which is made when there is none; or "" with `experiment_id`.
        experiment_id: The id of an experiment that is there.
        run_id: With the id of a run that is there, that run is given back.
        started_at: None means now.
        user_id: Who the client says it works for.
        status: One of `STATUSES`; what is told when it has ended already, ended now.
    """

    experiment: str = ""
    experiment_id: str = ""
    name: str = ""
    parent: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    code: CodeState | None = None
    environment: Environment | None = None
    seed: int | None = None
    run_id: str = ""
    started_at: int | None = None
    user_id: str = ""
    status: str = "running"


@dataclass(frozen=True, slots=True)
class RunChange:
    """What becomes of a run; None leaves a part as it is.

    `status` is any of `STATUSES`: a run that has ended may go on, and then has not ended. `code` fills in those fields
    of the code state that it has.
    """

    status: str | None = None
    ended_at: int | None = None
    name: str | None = None
    parent: str | None = None
    user_id: str | None = None
    code: CodeState | None = None


@dataclass(frozen=True, slots=True)
class ModelOrder:
    """What to sort logged models by: `created_at`, or `metrics.KEY`, which may be measured on one dataset.

    Args:
        field: An attribute, or the key of a metric after `metrics.`, without quotes.
        dataset: Name and digest of the dataset; a digest of "" is any. None takes all that count.
    """

    field: str
    descending: bool = False
    dataset: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class View:
    """A search of runs under a name, for everybody in the project.

    Args:
        experiment: Its name; "" is all of them.
        filter: Which runs, in the language of searches.
        order_by: What to sort by.
        columns: Which fields to show; none leaves it to who shows them.
    """

    name: str
    experiment: str = ""
    filter: str = ""
    order_by: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    changed_at: int = 0
    changed_by: str = ""


@dataclass(frozen=True, slots=True)
class RunGroup:
    """Runs that have the same value, None for none, and the mean of the last finite values of their metrics."""

    value: str | None
    runs: int
    means: dict[str, float]


@dataclass(frozen=True, slots=True)
class RunGroups:
    """Runs by a field, the largest group first and runs without a value last.

    `cut` says that there are more groups, or more runs than were counted.
    """

    by: str
    groups: tuple[RunGroup, ...]
    cut: bool


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """The names that were logged, each kind sorted; of params and tags those of the newest runs."""

    metrics: tuple[str, ...]
    params: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """How a filter that is being written may go on.

    Args:
        text: The whole of it, as far as it is written then.
        shown: What is new.
        kind: name, operator, value or word.
    """

    text: str
    shown: str
    kind: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What to load of runs. Of metrics, params and tags None is all of them, else those of these keys."""

    metrics: frozenset[str] | None = None
    params: frozenset[str] | None = None
    tags: frozenset[str] | None = None
    inputs: bool = True
    code: bool = False
    environment: bool = False


PROXIED = "mlflow-artifacts"
"""The scheme of locations that are paths below the project's artifact root."""


def folder_of(location: str, experiment_id: str) -> str:
    """The folder of an experiment below the project's artifact root; of one whose location is elsewhere, by its id.

    >>> folder_of("mlflow-artifacts:/team/a", "12"), folder_of("s3://bucket/a", "12")
    ('team/a/', '12/')
    """
    parts = urlsplit(location)
    path = unquote(parts.path).strip("/") if parts.scheme == PROXIED else ""
    return f"{path or experiment_id}/"


def run_folder(location: str, experiment_id: str, run_id: str) -> str:
    """Where a run keeps its files, below the project's artifact root; ends with a slash."""
    return f"{folder_of(location, experiment_id)}{run_id}/artifacts/"


def model_folder(location: str, experiment_id: str, model_id: str) -> str:
    """Where a logged model keeps its files, below the project's artifact root; ends with a slash."""
    return f"{folder_of(location, experiment_id)}models/{model_id}/artifacts/"


def trace_folder(experiment_id: str, trace_id: str = "") -> str:
    """Where a trace keeps its files, below the project's artifact root, or all traces of an experiment; ends with a
    slash."""
    return f"{experiment_id}/traces/{trace_id}/" if trace_id else f"{experiment_id}/traces/"


@dataclass(frozen=True, slots=True)
class Assessment:
    """What somebody thought of a trace: `content` is what they said, in the words of the protocol it came by."""

    id: str
    name: str
    content: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Span:
    """One part of a trace.

    Args:
        id: 16 hex digits.
        started_ns: When it started, in nanoseconds.
        content: The span as OpenTelemetry writes it as JSON.
        name: What it was called.
        kind: What it did, such as TOOL; "" when it is not said.
        status: OK, ERROR or UNSET.
    """

    id: str
    started_ns: int
    content: str
    name: str = ""
    kind: str = ""
    status: str = "UNSET"


@dataclass(frozen=True, slots=True)
class Trace:
    """One execution of a traced function, without its spans.

    Args:
        state: state_unspecified, ok, error or in_progress.
        run_id: The run it was made in; "" in none.
        client_id: What the client calls it.
        duration_us: How long it took; None while it runs.
        asked: A preview of what went in.
        answered: A preview of what came out.
        told: Whether a client has said what it is; before, it is what its spans say.
        spanned: Whether it has spans here.
    """

    id: str
    experiment_id: str
    name: str
    state: str
    started_at: int
    duration_us: int | None = None
    run_id: str = ""
    client_id: str = ""
    asked: str = ""
    answered: str = ""
    told: bool = True
    spanned: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    assessments: tuple[Assessment, ...] = ()
