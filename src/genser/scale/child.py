"""Child processes for work that may hang, take too much memory or crash; one that does is replaced."""

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

from genser.errors import AudioError, ConfigError, GenserError, ModelError, StorageError

KINDS = {kind.__name__: kind for kind in (AudioError, ConfigError, ModelError, StorageError)}
"""Errors that a child sends with their type; others arrive as a GenserError."""

KEPT = 16 << 20
"""Bytes that a child with a limit on its memory keeps between two calls. Otherwise glibc gives them back to the system
and asks for them again, which takes a quarter of the time of decoding a clip of 4 s."""

CODE = "from genser.scale.child import serve; serve({handle}, {seconds}, {memory})"


class ChildDiedError(GenserError):
    """A child died at its work; the message says of what.

    Attributes:
        was_killed: Whether something outside may have ended it, such as an administrator or the system.
    """

    def __init__(self, reason: str, *, was_killed: bool = False) -> None:
        super().__init__(reason)
        self.was_killed = was_killed


@dataclass(frozen=True)
class Limits:
    """What a child may take.

    Attributes:
        seconds: Time until the next item of a call; None is any.
        memory: Bytes of address space beyond what an idle child has; None is any.
    """

    seconds: float | None = None
    memory: int | None = None


class Child:
    """A process that runs functions, which yield items; one call at a time.

    It ends with this process, whatever ends that: its standard input is a pipe that then closes.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        ours, theirs = socket.socketpair()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        if limits.memory is not None:  # threads of a numerical library would each reserve address space
            environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_TOP_PAD_": str(KEPT)}
        code = CODE.format(handle=theirs.fileno(), seconds=limits.seconds, memory=limits.memory)
        command = [sys.executable, "-P", "-c", code]
        with theirs:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, pass_fds=[theirs.fileno()], env=environment
            )
        self._connection = Connection(ours.detach())
        self.is_usable = True

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def run(self, function: Callable[..., Iterator[Any]], *arguments: Any) -> Iterator[Any]:
        """Run a function there, and yield the items that it yields.

        Raises:
            ChildDiedError: The child died.
            GenserError: What the function raised; an error of another type becomes one.
        """
        is_usable, self.is_usable = self.is_usable, False  # an iteration that is given up leaves items in the pipe
        if not is_usable:
            raise ChildDiedError("the process was ended.")
        try:
            self._connection.send((function, arguments))
            while (answer := self._connection.recv())[0] == "item":
                yield answer[1]
        except (EOFError, OSError) as error:
            raise self._epitaph() from error
        self.is_usable = True
        if answer[0] == "error":
            raise KINDS.get(answer[1], GenserError)(answer[2])

    def close(self) -> None:
        """End the process."""
        self.is_usable = False
        self._process.kill()
        self._process.wait()
        self._connection.close()
        if self._process.stdin:
            self._process.stdin.close()

    def _epitaph(self) -> ChildDiedError:
        """What the process died of."""
        number = -self._process.wait()
        self.close()
        if number == signal.SIGALRM:
            return ChildDiedError(f"it took more than {self._limits.seconds:g} s.")
        if number <= 0:
            return ChildDiedError(f"the process ended with code {-number}.")
        was_killed = number in (signal.SIGKILL, signal.SIGTERM)
        hint = ", perhaps as memory ran out" if was_killed else ""
        name = signal.Signals(number).name
        return ChildDiedError(f"the process was ended by {name}{hint}.", was_killed=was_killed)


class Children:
    """Children for several threads: each call gets a free one, or a new one."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._free: deque[Child] = deque()

    def run(self, function: Callable[..., Iterator[Any]], *arguments: Any) -> Iterator[Any]:
        """As :meth:`Child.run`."""
        try:
            child = self._free.pop()
        except IndexError:
            child = Child(self._limits)
        try:
            yield from child.run(function, *arguments)
        finally:
            if child.is_usable:
                self._free.append(child)
            else:
                child.close()

    def close(self) -> None:
        """End all that are free."""
        with suppress(IndexError):
            while True:
                self._free.pop().close()


def serve(handle: int, seconds: float | None, memory: int | None) -> None:
    """Run what the parent asks for, until it closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the parent ends this one
    Thread(target=_end_with_parent, daemon=True).start()
    if memory is not None:
        _limit_memory(memory)
    connection = Connection(handle)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            function, arguments = connection.recv()
            connection.send(_answer(connection, function, arguments, seconds))


def _answer(
    connection: Connection, function: Callable[..., Iterator[Any]], arguments: tuple, seconds: float | None
) -> tuple:
    """Send the items that a function yields, and return the last message: its end or its error."""
    items = None
    while True:
        try:
            if seconds:
                signal.setitimer(signal.ITIMER_REAL, seconds)  # the system ends the process, whatever it does then
            items = function(*arguments) if items is None else items
            item = next(items)
        except StopIteration:
            return ("end",)
        except MemoryError:
            return "error", "MemoryError", "it needs more memory than is allowed."
        except Exception as error:
            return "error", type(error).__name__, str(error) or repr(error)
        finally:
            if seconds:
                signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send(("item", item))


def _end_with_parent() -> None:
    os.read(0, 1)  # not through sys.stdin, whose lock would be held when the interpreter ends
    os._exit(1)


def _limit_memory(memory: int) -> None:
    import resource

    statm = Path("/proc/self/statm")
    if not statm.exists():
        return  # macOS, where the limit has no effect
    used = int(statm.read_text("ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
