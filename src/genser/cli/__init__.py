"""The command line: one file per verb, imported only when the verb is called."""

import signal
import sys

from cyclopts import App, CycloptsError, Parameter

from genser._version import __version__
from genser.errors import GenserError

VERBS = (
    "predict",
    "adapt",
    "info",
    "serve",
    "prepare",
    "split",
    "features",
    "store",
    "train",
    "evaluate",
    "bench",
    "export",
)
HELP = ([], ["-h"], ["--help"])
CONTINUED = ("features", "train", "bench")
"""Verbs that continue a run that was stopped when they are called again."""

app = App(
    name="genser",
    help="Recognise the emotion in speech; train, compare and serve models that do.",
    version=__version__,
    result_action="return_value",
    default_parameter=Parameter(json_dict=False, json_list=False),  # a name such as "[1].csv" is no JSON
)
for order, verb in enumerate(VERBS):
    app.command(f"genser.cli.{verb}:{verb}", name=verb, sort_key=order)
app.register_install_completion_command()


def _stop(*_: object) -> None:
    """End the process on SIGTERM as on Ctrl-C, so that what is being written is removed or kept in order."""
    sys.exit(143)


def main() -> None:
    """Run a verb and exit: 0 if all went well, 1 if some inputs failed, 2 for wrong usage, 130 or 143 if stopped."""
    signal.signal(signal.SIGTERM, _stop)
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
    except (KeyboardInterrupt, SystemExit) as error:
        stopped = 130 if isinstance(error, KeyboardInterrupt) else error.code
        if stopped in (130, 143) and sys.argv[1:2] and sys.argv[1] in CONTINUED:
            print("genser: Stopped. The same command continues from here.", file=sys.stderr)
        sys.exit(stopped)
    except OSError as error:  # a file or standard output that cannot be written, or a reader that closed the pipe
        from genser.cli._outputs import close_stdout

        close_stdout()
        if isinstance(error, BrokenPipeError):
            sys.exit(0)
        name, reason = error.filename or "A file or standard output", error.strerror or error
        print(f"genser: {name} cannot be used: {reason}. Check the path and the disk.", file=sys.stderr)
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)
