"""The command line. Asking it for help loads nothing but this file; a command is imported when it is used."""

from __future__ import annotations

import sys

from mainspring import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    import click

    from mainspring.core.errors import MainspringError

COMMANDS: dict[str, tuple[str, str]] = {
    "alarms": ("mainspring.monitoring.commands:alarms", "What is wrong, and since when."),
    "apply": ("mainspring.loop.plan_commands:apply", "Make what mainspring.toml declares live."),
    "audit": ("mainspring.access.commands:group", "Seal and verify the event log."),
    "bandit": ("mainspring.serving.bandit_commands:bandit", "Shares of versions that follow what comes back."),
    "batches": ("mainspring.serving.batch_commands:group", "Whole datasets, answered by a running server."),
    "card": ("mainspring.governance.commands:card", "The model card of a version."),
    "ci": ("mainspring.loop.ci_commands:group", "Data checks, pipeline and gate for a change, with no server."),
    "data": ("mainspring.data.commands:group", "Ingest and look at datasets."),
    "demo": ("mainspring.demo.commands:demo", "One whole turn of the loop on a year of real flights."),
    "deploy": ("mainspring.serving.commands:deploy", "Put a model version behind an endpoint."),
    "doctor": ("mainspring.cli.doctor:doctor", "Where things live, and what is wrong."),
    "experiments": ("mainspring.tracking.experiment_commands:group", "Experiments: the names runs are kept under."),
    "export": ("mainspring.mlflow.commands:exporting", "Bring what is kept here to another tool."),
    "features": ("mainspring.serving.skew_commands:group", "Feature views: what is known of an entity, then and now."),
    "feedback": ("mainspring.serving.commands:feedback", "Send labels for predictions."),
    "gate": ("mainspring.gates.commands:group", "Judge a version by declared checks."),
    "gc": ("mainspring.upkeep.commands:group", "Take away what nobody needs."),
    "idle": ("mainspring.serving.process_commands:idle", "Deployments by how long nobody has asked them."),
    "import": ("mainspring.mlflow.commands:importing", "Bring what another tool keeps here."),
    "init": ("mainspring.cli.init:init", "Start a project from a CSV file."),
    "kserve": ("mainspring.serving.kserve:kserve", "A deployment as an InferenceService of KServe."),
    "logs": ("mainspring.serving.log_commands:logs", "What an endpoint was asked and answered."),
    "loop": ("mainspring.loop.commands:group", "Cycles, policies and the kill switch."),
    "models": ("mainspring.registry.commands:group", "Registered models, versions and aliases."),
    "monitor": ("mainspring.monitoring.commands:group", "Drift and performance of what is live."),
    "pipeline": ("mainspring.pipelines.commands:group", "Run pipelines and look at their runs."),
    "plan": ("mainspring.loop.plan_commands:plan", "What an apply would change, and what was changed by hand."),
    "predict": ("mainspring.serving.commands:predict", "Ask an endpoint."),
    "queue": ("mainspring.pipelines.queue_commands:group", "Queues, their limits and dead letters, and workers."),
    "ray": ("mainspring.serving.ray_commands:ray", "Every deployment on Ray Serve."),
    "replay": ("mainspring.serving.replay_commands:replay", "Logged traffic on a version that has no user yet."),
    "reproduce": ("mainspring.tracking.reproduction.commands:reproduce", "Run a run again and compare its metrics."),
    "reviews": ("mainspring.serving.review_commands:group", "Predictions that wait for a person."),
    "rollback": ("mainspring.serving.rollout_commands:rollback", "Give all traffic back to the version before, now."),
    "rollout": ("mainspring.serving.rollout_commands:rollout", "Canaries: start, status, pause, promote, roll back."),
    "runs": ("mainspring.tracking.commands:group", "Tracked runs."),
    "search": ("mainspring.pipelines.search.commands:group", "Search the parameters of pipelines."),
    "serve": ("mainspring.serving.standalone:serve", "Serve model packages of a folder, such as in a container."),
    "shadow": ("mainspring.serving.shadow_commands:shadow", "Versions that are asked the same, with nobody waiting."),
    "sync": ("mainspring.sdk.commands:sync", "Send runs that were logged offline."),
    "traffic": ("mainspring.serving.traffic_commands:traffic", "Who answers: shares of versions, and headers."),
    "track": ("mainspring.tracking.commands:track", "Follow the metrics of a run."),
    "train": ("mainspring.training.commands:train", "Many families of models on the same folds: which is best?"),
    "training": ("mainspring.training.commands:group", "Leaderboards: look, stop, go on."),
    "triggers": ("mainspring.loop.trigger_commands:group", "Schedules, events and deliveries that start pipelines."),
    "up": ("mainspring.cli.up:up", "Start the server."),
    "views": ("mainspring.tracking.commands:views", "Searches of runs that were saved under a name."),
    "webhooks": ("mainspring.registry.webhook_commands:group", "Addresses that are told what happens in the registry."),
    "why": ("mainspring.loop.commands:why", "Why a prediction was what it was."),
    "workers": ("mainspring.serving.process_commands:workers", "Processes of the model server, and their number."),
}
EXIT_CODES = {"invalid": 2, "not_found": 3, "refused": 4, "unavailable": 5}
OPTIONS = {
    "--data DIR": "Data folder (default: .mainspring beside mainspring.toml).",
    "--db URL": "Metadata database (default: SQLite in the data folder).",
    "--blobs URL": "Where blobs and tables live (default: the data folder).",
    "--version": "Show the version and exit.",
    "-h, --help": "Show this message and exit; also after a command.",
}


def help_text() -> str:
    """What `mainspring --help` says."""
    width = max(len(name) for name in (*COMMANDS, *OPTIONS)) + 2
    lines = ["Usage: mainspring [OPTIONS] COMMAND [ARGS]...", ""]
    lines += ["  Mainspring keeps machine-learning models good for their whole life.", "", "Options:"]
    lines += [f"  {name:<{width}}{says}" for name, says in OPTIONS.items()]
    lines += ["", "Commands:", *(f"  {name:<{width}}{COMMANDS[name][1]}" for name in sorted(COMMANDS))]
    return "\n".join(lines)


def main() -> None:
    """Run the command line; errors are three lines and an exit code, never a trace."""
    if sys.argv[1:] in (["--help"], ["-h"], []):
        sys.stdout.write(help_text() + "\n")
        return
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"mainspring, version {__version__}\n")
        return
    import click

    from mainspring.cli.root import root
    from mainspring.core.errors import MainspringError

    try:
        code = root.main(prog_name="mainspring", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except MainspringError as error:
        _complain(error)
        sys.exit(EXIT_CODES.get(error.code, 1))
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        _complain(_in_three_lines(error))
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.errno is None:
            raise
        click.echo(f"{error.strerror}\nwhere: {error.filename or 'this machine'}\ntry: mainspring doctor", err=True)
        sys.exit(1)


def _in_three_lines(error: click.UsageError) -> MainspringError:
    from mainspring.core.errors import Invalid

    asked = error.ctx.command_path if error.ctx else "mainspring"
    what = " ".join(error.format_message().split()).removesuffix(".")
    return Invalid(what, where=asked, hint=f"{asked} --help")


def _complain(error: MainspringError) -> None:
    import click

    first, *rest = str(error).splitlines()
    click.echo(click.style(first, fg="red"), err=True)
    for line in rest:
        click.echo(line, err=True)
