"""The command line: one file per verb, imported only when the verb is called."""

import os
import signal
import sys
from contextlib import ExitStack, redirect_stderr
from typing import NoReturn

from cyclopts import App, CycloptsError, Parameter

from genser._version import __version__
from genser.cli._notes import Messages, notes
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
LOUDNESS = ("--quiet", "--verbose")
"""Words that every verb takes, see :func:`main`."""

HELP = ([], ["-h"], ["--help"])
CONTINUED = ("features", "train", "bench")
"""Verbs that continue a run that was stopped when they are called again."""

app = App(
    name="genser",
    help="Recognise the emotion in speech; train, compare and serve models that do.\n\n"
    "Every verb also takes --quiet (no progress and no remarks, only the error that ends it) and --verbose (log "
    "messages, and where an error arose).",
    version=__version__,
    result_action="return_value",
    default_parameter=Parameter(json_dict=False, json_list=False),  # a name such as "[1].csv" is no JSON
)
for order, verb in enumerate(VERBS):
    app.command(f"genser.cli.{verb}:{verb}", name=verb, sort_key=order)
app.register_install_completion_command()


def _expanded(word: str) -> str:
    """Put the home folder for ``~`` in ``--output=~/out.csv``, which shells leave as it is, unlike ``-o ~/out.csv``."""
    option, equals, value = word.partition("=")
    is_home = option.startswith("--") and value.startswith("~/")
    return option + equals + os.path.expanduser(value) if is_home else word  # noqa: PTH111


def _stop(*_: object) -> None:
    """End the process on SIGTERM as on Ctrl-C, so that what is being written is removed or kept in order."""
    sys.exit(143)


def main() -> None:
    """Run a verb and exit: 0 if all went well, 1 if some inputs failed, 2 for wrong usage, 130 or 143 if stopped.

    Among the words of any verb, ``--quiet`` silences standard error but for the error that ends the program, and
    ``--verbose`` shows log messages, and the traceback of that error.
    """
    signal.signal(signal.SIGTERM, _stop)
    _open_closed_streams()
    if not os.environ.get("COLUMNS", "1").strip("0"):
        del os.environ["COLUMNS"]  # a width of 0 is unknown, and nothing can be printed in it
    words = [_expanded(word) for word in sys.argv[1:] if word not in LOUDNESS]
    if words in HELP:
        list(map(app.__getitem__, VERBS))  # imports the verbs, so that the help shows what each does
    try:
        with ExitStack() as stack:
            if "--verbose" in sys.argv:
                import logging

                logging.basicConfig(level=logging.INFO)
            if "--quiet" in sys.argv:
                nowhere = stack.enter_context(open(os.devnull, "w"))  # noqa: PTH123
                stack.enter_context(redirect_stderr(nowhere))
            status = app(words, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except CycloptsError as error:
        from genser.cli._options import usage_message

        _fail(usage_message(error))
    except GenserError as error:
        _fail(str(error))
    except (KeyboardInterrupt, SystemExit) as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich ends so when the reader of the help has gone
            sys.exit(0)
        stopped = 130 if isinstance(error, KeyboardInterrupt) else error.code
        if stopped in (130, 143) and words[:1] and words[0] in CONTINUED:
            print("genser: Stopped. The same command continues from here.", file=sys.stderr)
        sys.exit(stopped)
    except OSError as error:  # a file or standard output that cannot be written, or a reader that closed the pipe
        from genser.cli._outputs import close_stdout

        close_stdout()
        if isinstance(error, BrokenPipeError):
            sys.exit(0)
        name, reason = error.filename or "A file or standard output", error.strerror or error
        _fail(f"{name} cannot be used: {reason}. Check the path and the disk.")
    sys.exit(status if isinstance(status, int) else 0)


def _open_closed_streams() -> None:
    """Open the standard streams that the calling program has closed, as in ``genser predict a.wav >&-``.

    Else the first file that is opened would take the number of such a stream, and get what is meant for the stream.
    Each write to standard output then fails as one to a full disk does; what goes to standard error is lost, as it is
    wherever it cannot be written.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if number == 0 else os.O_RDONLY)  # the lowest free number, which is this
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
    sys.stderr = Messages(sys.stderr)


def _fail(message: str) -> NoReturn:
    """Print why a command ends, with --verbose where in the program, and exit."""
    if "--verbose" in sys.argv:
        import traceback

        traceback.print_exc()
    notes(f"genser: {message}")
    sys.exit(2)
