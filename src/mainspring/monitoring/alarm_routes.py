"""What is done to alarms, over HTTP: close them, silence them, look at what became of them."""

from __future__ import annotations

from litestar import get, post
from litestar.di import NamedDependency

from mainspring.core.clock import span_us
from mainspring.core.values import dataclass
from mainspring.monitoring.exporting import monitors_text
from mainspring.monitoring.model import Alarm, AlarmStep, Silence
from mainspring.monitoring.notices.telling import Notices
from mainspring.monitoring.replaying import Replayed
from mainspring.monitoring.service import Monitoring

_READ = {"permission": "monitors:read"}
_WRITE = {"permission": "monitors:write"}


@dataclass(frozen=True, slots=True)
class Closing:
    """What a person says about the end of an alarm."""

    note: str = ""


@dataclass(frozen=True, slots=True)
class SilenceRequest:
    """What nobody is to be told of: for how long ("8h", "7d"), why, and of which alarms; an empty name is any."""

    span: str
    why: str
    deployment: str = ""
    cause: str = ""
    column: str = ""


@dataclass(frozen=True, slots=True)
class ChannelSummary:
    """A channel that alarms are told to."""

    name: str
    kind: str
    on: list[str]
    deployments: list[str]
    causes: list[str]


@post("/api/v1/alarms/{alarm_id:str}/close", opt=_WRITE, sync_to_thread=True, status_code=200)
def close_alarm(monitoring: NamedDependency[Monitoring], alarm_id: str, data: Closing) -> Alarm:
    """Note that an alarm is over."""
    return monitoring.desk.close(alarm_id, data.note)


@get("/api/v1/alarms/{alarm_id:str}/history", opt=_READ, sync_to_thread=True)
def show_history(monitoring: NamedDependency[Monitoring], alarm_id: str) -> list[AlarmStep]:
    """What became of an alarm, in order."""
    return monitoring.desk.history(alarm_id)


@get("/api/v1/silences", opt=_READ, sync_to_thread=True)
def list_silences(monitoring: NamedDependency[Monitoring], ended: bool = False) -> list[Silence]:
    """Silences that hold, newest first; with `ended` those that are over too."""
    return monitoring.desk.silences(ended=ended)


@post("/api/v1/silences", opt=_WRITE, sync_to_thread=True)
def add_silence(monitoring: NamedDependency[Monitoring], data: SilenceRequest) -> Silence:
    """Tell nobody of some alarms for a while."""
    return silenced(monitoring, data)


@post("/api/v1/silences/{silence_id:str}/end", opt=_WRITE, sync_to_thread=True, status_code=200)
def end_silence(monitoring: NamedDependency[Monitoring], silence_id: str) -> Silence:
    """End a silence before its time."""
    return monitoring.desk.unsilence(silence_id)


def silenced(monitoring: Monitoring, asked: SilenceRequest) -> Silence:
    """Add the silence that was asked for."""
    return monitoring.desk.silence(
        until=monitoring.desk.after(span_us(asked.span, "span")),
        why=asked.why,
        deployment=asked.deployment,
        cause=asked.cause,
        column=asked.column,
    )


@dataclass(frozen=True, slots=True)
class Told:
    """A channel, and what came of telling it."""

    channel: str
    said: str


@get("/api/v1/notify", opt=_READ, sync_to_thread=True)
def list_channels(notices: NamedDependency[Notices]) -> list[ChannelSummary]:
    """Who is told of which alarms; neither addresses nor secrets."""
    return [
        ChannelSummary(one.name, one.kind, list(one.on), list(one.deployments), list(one.causes))
        for one in notices.channels.values()
    ]


@post("/api/v1/notify/{channel:str}/test", opt=_WRITE, sync_to_thread=True, status_code=200)
def test_channel(notices: NamedDependency[Notices], channel: str) -> Told:
    """Send an example to a channel now."""
    return Told(channel, notices.test(channel))


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """Settings of `[monitor]` to try, as text; the others are those in force."""

    policy: dict[str, str]


@post("/api/v1/monitors/{deployment:str}/replay", opt=_WRITE, sync_to_thread=True, status_code=200)
def replay_monitor(monitoring: NamedDependency[Monitoring], deployment: str, data: ReplayRequest) -> Replayed:
    """Which alarms there would have been under other settings; nothing is changed."""
    return monitoring.replay(deployment, data.policy)


@get("/metrics/monitors", opt=_READ, sync_to_thread=True, media_type="text/plain; version=0.0.4; charset=utf-8")
def show_monitor_metrics(monitoring: NamedDependency[Monitoring]) -> str:
    """States, evidence and alarms of every monitor, in the text format of Prometheus."""
    return monitors_text(monitoring)


handlers = [
    show_monitor_metrics,
    replay_monitor,
    list_channels,
    test_channel,
    close_alarm,
    show_history,
    list_silences,
    add_silence,
    end_silence,
]
