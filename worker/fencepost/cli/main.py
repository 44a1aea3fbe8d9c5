"""The root of the command line: its options, its commands, and how errors become words and exit codes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from fencepost.cli.groups import LazyGroup
from fencepost.cli.session import Session
from fencepost.standard_streams import OutputLost, secure

COMMANDS = {
    "demo": (
        "See it work: embedded servers, two workers, one killed in the middle of a run.",
        "fencepost.cli.demo:demo",
    ),
    "dev": ("Embedded servers and a worker that reloads: nothing to install.", "fencepost.cli.dev:dev"),
    "worker": ("Run workflows and steps: the daemon.", "fencepost.cli.worker:worker"),
    "start": ("Start a run.", "fencepost.cli.start:start"),
    "runs": ("List and inspect runs.", "fencepost.cli.runs:runs"),
    "replay": ("Check recorded runs against the code at hand.", "fencepost.cli.histories:replay"),
    "hooks": ("Send signals to runs that wait for them.", "fencepost.cli.hooks:hooks"),
    "queue": ("See how much work waits.", "fencepost.cli.queue:queue"),
    "db": ("Create, upgrade and check the schema in Postgres, and delete old runs.", "fencepost.cli.db:db"),
    "doctor": ("Audit a live namespace, and repair what can be.", "fencepost.cli.doctor:doctor"),
    "config": ("Show and check the configuration.", "fencepost.cli.config:config"),
}


class Root(LazyGroup):
    """Turns operating errors of every command into a message and an exit code. What it does not know is a bug, and
    keeps its traceback.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            if error.option_name in {name for parameter in self.params for name in parameter.opts}:
                where = f"{error.message} It stands before the command: fencepost {error.option_name} ..."
                raise click.NoSuchOption(error.option_name, where, ctx=error.ctx) from None
            raise
        except (click.exceptions.Exit, click.Abort, click.ClickException, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            ctx.exit(130)
        except Exception as error:
            from fencepost.cli.trouble import explain

            known = explain(error)
            if known is None:
                raise
            click.echo(f"fencepost: {known.message}", err=True)
            ctx.exit(known.code)


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from fencepost import __version__

        click.echo(f"fencepost {__version__}")
        ctx.exit()


@click.group(
    cls=Root,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 cannot connect, 5 refused, 130 Ctrl-C.",
)
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Configuration file. [default: $FENCEPOST_CONFIG or ./fencepost.toml]",
)
@click.option("--database-url", metavar="URL", help="Postgres, such as postgresql://user@host/db.")
@click.option("--redis-url", metavar="URL", help="Redis or Valkey, such as redis://host:6379/0.")
@click.option("--namespace", metavar="NAME", help="The application's name on shared servers. [default: fencepost]")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="How log lines look.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="The least level that is logged. [default: info for worker and dev, else warning]",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show it.")
@click.pass_context
def cli(
    ctx: click.Context,
    config_file: Path | None,
    database_url: str | None,
    redis_url: str | None,
    namespace: str | None,
    log_format: str,
    log_level: str | None,
) -> None:
    """Durable workflows for Python on Postgres and Redis.

    Settings come from a configuration file, then FENCEPOST_* variables, then the options here; the later ones win.
    Without any, the servers of `fencepost dev` in this folder are used.
    """
    overrides = {"database_url": database_url, "redis_url": redis_url, "namespace": namespace}
    ctx.obj = Session(config_file, overrides, log_format, log_level)


def main() -> None:
    """The console script."""
    secure()
    try:
        cli.main(args=sys.argv[1:], prog_name="fencepost")
    except OutputLost as lost:  # what is printed before a command begins: the help, the version
        click.echo(f"fencepost: {lost.strerror}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
