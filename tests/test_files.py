"""One atomic writer for everything that genser writes, and one count of cores."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from genser.files import atomic_file, atomic_write, open_locked, usable_cores


def names_in(folder):
    return [path.name for path in folder.iterdir()]


def interrupted(path):
    with atomic_file(path) as file:
        file.write(b"new")
        raise KeyboardInterrupt


def test_a_file_is_created_and_replaced_without_leftovers(tmp_path):
    for content in (b"first", b"", b"third"):
        atomic_write(tmp_path / "a.bin", content)
        assert (tmp_path / "a.bin").read_bytes() == content
    assert names_in(tmp_path) == ["a.bin"]


def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path):
    atomic_write(tmp_path / "a.bin", b"old")
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.bin"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes, links and pipes.")
class TestPosix:
    @pytest.mark.parametrize("mode", [0o640, 0o600, 0o664])
    def test_an_existing_file_keeps_its_mode(self, tmp_path, mode):
        path = tmp_path / "a.bin"
        path.write_bytes(b"old")
        path.chmod(mode)
        atomic_write(path, b"new")
        assert stat.S_IMODE(path.stat().st_mode) == mode

    def test_a_new_file_has_the_mode_of_the_umask(self, tmp_path):
        (tmp_path / "plain").write_bytes(b"")
        atomic_write(tmp_path / "ours", b"")
        assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode

    @pytest.mark.parametrize("exists", [True, False])
    def test_a_link_is_kept_and_its_target_written(self, tmp_path, exists):
        (tmp_path / "there").mkdir()
        target, link = tmp_path / "there" / "target", tmp_path / "link"
        if exists:
            target.write_bytes(b"old")
        link.symlink_to(target)
        atomic_write(link, b"new")
        assert link.is_symlink()
        assert target.read_bytes() == b"new"

    def test_a_device_stays_a_device(self):
        atomic_write("/dev/null", b"gone")
        assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)

    def test_a_pipe_gets_the_bytes(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        read = []
        reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
        reader.start()
        atomic_write(tmp_path / "pipe", b"through")
        reader.join(timeout=10)
        assert read == [b"through"]

    def test_a_full_disk_is_an_error(self):
        with pytest.raises(OSError, match="No space"):
            atomic_write("/dev/full", b"x" * 100_000)


def test_a_long_name_can_be_written(tmp_path):
    name = "n" * 250 + ".csv"
    atomic_write(tmp_path / name, b"x")
    assert names_in(tmp_path) == [name]


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError):
        atomic_write(tmp_path, b"x")


def test_a_quota_limits_the_cores(tmp_path, monkeypatch):
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for text, expected in (("max 100000", 64), ("150000 100000", 2), ("1000 100000", 1), ("damaged", 64)):
        quota.write_text(text)
        assert usable_cores(quota) == expected
    assert usable_cores(tmp_path / "absent") == 64


def killed_while_writing(path, times):
    """Leave what a kill leaves: the temporary file, unlocked."""
    for _ in range(times):
        code = (
            "import os; from genser.files import atomic_file\n"
            f"with atomic_file({str(path)!r}) as file: file.write(b'half'); file.flush(); os._exit(9)"
        )
        assert subprocess.run([sys.executable, "-c", code]).returncode == 9


def test_kills_leave_one_temporary_file_which_the_next_write_uses(tmp_path):
    killed_while_writing(tmp_path / "a.bin", 3)
    assert [name.startswith(".genser-") for name in names_in(tmp_path)] == [True]
    atomic_write(tmp_path / "a.bin", b"whole")
    assert names_in(tmp_path) == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"whole"


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    with atomic_file(tmp_path / "a.bin") as first:
        first.write(b"first")
        atomic_write(tmp_path / "a.bin", b"second")
        assert (tmp_path / "a.bin").read_bytes() == b"second"
    assert (tmp_path / "a.bin").read_bytes() == b"first"
    assert names_in(tmp_path) == ["a.bin"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such links.")
@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path, link):
    killed_while_writing(tmp_path / "a.bin", 1)
    (temporary,) = tmp_path.iterdir()
    temporary.unlink()
    (tmp_path / "victim").write_bytes(b"untouched")
    getattr(temporary, link)(tmp_path / "victim")
    atomic_write(tmp_path / "a.bin", b"new")
    assert (tmp_path / "victim").read_bytes() == b"untouched"
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_a_locked_file_is_opened_once_at_a_time(tmp_path):
    with open_locked(tmp_path / "lock"), pytest.raises(BlockingIOError):
        open_locked(tmp_path / "lock")
    open_locked(tmp_path / "lock").close()


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path):
    with pytest.raises(OSError, match=r"full\.bin") as failure, atomic_file(tmp_path / "full.bin"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert ".genser" not in str(failure.value)
    assert names_in(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="This system has no /dev/fd.")
def test_pipes_and_descriptors_are_written_directly(tmp_path):
    source, target = os.pipe()
    atomic_write(f"/dev/fd/{target}", b"piped")
    os.close(target)
    assert os.read(source, 100) == b"piped"
    os.close(source)
    with (tmp_path / "all.txt").open("ab") as file:
        file.write(b"before, ")
        file.flush()
        atomic_write(f"/dev/fd/{file.fileno()}", b"after")
    assert (tmp_path / "all.txt").read_bytes() == b"before, after"


def test_a_read_only_file_is_not_replaced(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="read-only"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
