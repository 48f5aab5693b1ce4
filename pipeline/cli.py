"""The `sluice` command: one function per verb, each in `pipeline.commands`.

Every verb has help with an example, `--json` where it reports, and exit codes that a script can use: 0 done,
1 the report is bad news (something missing, repeated or behind), 2 a wrong call, and the `exit_code` of a
`FatalError` otherwise. Only here are our errors turned into a line for a person.
"""

from __future__ import annotations

import sys
import traceback

import typer
from rich.console import Console

from actors.errors import ActorError
from pipeline.commands import (
    backfill,
    broker,
    bundle,
    demo,
    learn,
    offsets,
    produce,
    reconcile,
    run,
    serve,
    status,
    topics,
)
from pipeline.errors import FatalError, SluiceError

EXIT_TRANSIENT = 75  # EX_TEMPFAIL, as Fenced
EXIT_DATA = 65  # EX_DATAERR

app = typer.Typer(
    name="sluice",
    help="A gate in the stream: every candidate from Kafka is scored, acted on and committed exactly once.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command()(run.run)
app.command()(serve.serve)
app.command()(status.status)
app.command()(reconcile.reconcile)
app.command()(produce.produce)
app.command()(backfill.backfill)
app.command()(broker.broker)
app.command()(demo.demo)
app.add_typer(topics.app)
app.add_typer(offsets.app)
app.add_typer(learn.app)
app.add_typer(bundle.app)


def main() -> None:
    """Run the command line; an error of ours becomes one line on standard error and an exit code.

    Any other is a defect: its traceback, and 70.
    """
    try:
        app()
    except (SluiceError, ActorError) as error:
        Console(stderr=True, soft_wrap=True).print(f"sluice: {error}", style="bold red", markup=False)
        # What actors refuse are labels, or a bundle, that cannot be used.
        otherwise = EXIT_DATA if isinstance(error, ActorError) else EXIT_TRANSIENT
        sys.exit(getattr(error, "exit_code", otherwise))
    except Exception:  # noqa: BLE001 - Python's own code for it is 1, which says that a report is bad news
        traceback.print_exc()
        sys.exit(FatalError.exit_code)


if __name__ == "__main__":
    main()
