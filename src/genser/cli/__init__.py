"""The command line: one file per verb, imported only when the verb is called."""

import sys

from cyclopts import App, CycloptsError

from genser._version import __version__
from genser.errors import GenserError

VERBS = (
    "predict",
    "info",
    "serve",
    "prepare",
    "features",
    "train",
    "evaluate",
    "bench",
    "export",
)
HELP = ([], ["-h"], ["--help"])

app = App(
    name="genser",
    help="Speech emotion recognition by distribution transport.",
    version=__version__,
    result_action="return_value",
)
for order, verb in enumerate(VERBS):
    app.command(f"genser.cli.{verb}:{verb}", name=verb, sort_key=order)


def main() -> None:
    """Run a verb and exit: 0 if all went well, 1 if some inputs failed, 2 for wrong usage."""
    if sys.argv[1:] in HELP:
        list(map(app.__getitem__, VERBS))  # imports the verbs, so that the help shows what each does
    try:
        status = app(sys.argv[1:], exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except CycloptsError as error:
        from genser.cli._options import usage_message

        print(f"genser: {usage_message(error)}", file=sys.stderr)
        sys.exit(2)
    except GenserError as error:
        print(f"genser: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:  # a file or standard output that cannot be written, or a reader that closed the pipe
        from genser.cli._outputs import close_stdout

        close_stdout()
        if isinstance(error, BrokenPipeError):
            sys.exit(0)
        print(f"genser: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)
