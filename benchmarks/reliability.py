"""Kill every verb at any moment, run it again, and compare what it made bit by bit.

    .venv/bin/python benchmarks/reliability.py           # 300 kills
    .venv/bin/python benchmarks/reliability.py --quick   # some of each, about a minute

A verb is killed with signal 9 at random moments, and before each of its file operations. After
that every file under its final name must be whole; run again, the verb must end with the same
bits as one that was never killed, and leave nothing else. Besides: two at once in one folder,
files that may not grow, a full disk (a tmpfs, where one may be mounted), and SIGTERM. The last line
is JSON.

Verbs run in forks of one process that has imported everything, so that a run takes well under a
second.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from safetensors import safe_open

from trailward.cli.main import main
from trailward.data.dataset import Dataset, write_dataset
from trailward.data.episode import Episode

TOKEN = "TRAILWARD_RELIABILITY"
VARIES = {"seconds", "learn_seconds", "command", "ms", "version", "num_jobs"}
"""Keys of JSON files whose values are times of the run."""
SMALL = [
    "--horizon=4", "--stride=1", "--denoiser.network=mlp", "--denoiser.width=8",
    "--denoiser.depth=1", "--denoiser.num-diffusion-steps=4", "--training.num-steps=12",
    "--training.batch-size=4", "--training.checkpoint-every=3", "--training.optimizer=adam",
    "--training.num-inverse-dynamics-steps=5",
]  # fmt: skip
GIVEN = ["--play=play-v0", "--demonstrations=shown-v0"]
JUDGED = ["--reward=reward", "--diffuser=diffuser", "--env=none"]
JUDGE = ["--evaluation.num-plans=4", "--evaluation.num-windows=40", "--evaluation.num-episodes=2"]
LEARN = [
    "--diffuser=diffuser", "--learning.num-steps=6", "--learning.batch-size=4",
    "--learning.selection.evaluate-every=2", "--learning.fine-tuning.num-steps=4",
    "--learning.fine-tuning.batch-size=4", "--sampling.num-steps=2", "--sampling.stop-step=0",
    "--reward.hidden=8", "--learning.selection.num-held-out=1",
]  # fmt: skip
POLICIES = [
    "--num-steps=60", "--snapshot-every=20", "--num-envs=2", "--num-random-steps=10", "--width=8",
    "--batch-size=4", "--num-replay=100", "--num-evaluated=1", "--num-policies=3",
    "--checkpoint-every=1",
]  # fmt: skip
FIT = ["--most-steps=12", "--horizon=3", "--stride=1", "--num-plans=1", "--pixels=8"]
ASK = ["--reward=reward", "--play=play-v0", "--show=indices", "--num-questions=3"]
JOBS: dict[str, tuple[list[str], int, int]] = {
    "train": (["train", "--play=play-v0", *SMALL], 72, 6),
    "learn": (["learn", *GIVEN, *LEARN], 78, 8),
    "collect": (["collect", "--what=play", "--num-steps=200", "--episode-steps=100"], 36, 3),
    "inspect": (["inspect", "play-v0"], 22, 2),
    "evaluate": (["evaluate", *GIVEN, *JUDGED, *JUDGE], 20, 2),
    "report": (["report", "--evaluation=evaluation"], 15, 1),
    "export": (["export", "--reward=reward"], 14, 1),
    "ask": (["ask", *ASK], 12, 0),
    "fit": (["fit", *GIVEN, *FIT], 20, 0),
    "policies": (["policies", *POLICIES], 8, 0),
    "demo": (["demo", "--quick"], 4, 0),
    "benchmark": (["benchmark", "--quick", "--problems=umaze/corner", "--seeds=0",
                   "--methods=unguided", "--num-jobs=1"], 3, 0),
}  # fmt: skip
"""Arguments but for --out, and how many kills in full and quickly."""
SPEAKS: dict[int, tuple[int, Path]] = {}
"""Of running processes: what they say is read here, and is kept there."""
MAKES = {"train": "diffuser", "learn": "reward", "evaluate": "evaluation"}
"""What verbs make that others read."""
NEEDS = {
    "learn": {"train"}, "evaluate": {"train", "learn"}, "ask": {"train", "learn"},
    "export": {"train", "learn"}, "report": {"train", "learn", "evaluate"},
}  # fmt: skip
"""Which verbs come before a verb."""


@dataclass
class Counts:
    """What was tried and what went wrong."""

    kills: int = 0
    wrong: int = 0
    unloadable: int = 0
    leftovers: int = 0
    two_at_once: int = 0
    size_limit: int = 0
    full_disk: int = 0
    sigterm: int = 0
    slow_exits: int = 0
    bad_messages: int = 0
    orphans: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, name: str, what: str) -> None:
        """Count a failure, and keep what it was."""
        setattr(self, name, getattr(self, name) + 1)
        self.failures.append(f"{name}: {what}")
        print("FAILURE", self.failures[-1], flush=True)


def out_of(verb: str) -> str:
    """What a verb writes, beside the data."""
    names = {"export": "out.pt2", "collect": "out-v0", "ask": "out.jsonl"}
    return names.get(verb, "out")


def start(verb: str, folder: Path, **options: Any) -> int:
    """Run a verb in a fork; the process number."""
    arguments = [*JOBS[verb][0], f"--out={out_of(verb)}"]
    sys.stdout.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        os.set_blocking(reading, False)
        SPEAKS[child] = reading, _told(folder)
        return child
    os._exit(_in_child(arguments, folder, writing, **options))
    return 0


def _in_child(
    arguments: list[str],
    folder: Path,
    said: int,
    *,
    kill_at: int | None = None,
    limit: int | None = None,
    modules: Path | None = None,
) -> int:
    code = 70
    with contextlib.suppress(BaseException):
        os.environ[TOKEN] = str(folder)
        os.chdir(folder)
        sys.stdin = io.StringIO("1\n2\n=\n")  # answers, where a verb asks
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout, sys.stderr = (io.TextIOWrapper(os.fdopen(n, "wb", 0)) for n in (1, 2))
        if kill_at is not None:
            count_operations(folder, kill_at)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            code = main(arguments)
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        except BaseException:  # noqa: BLE001 - it is shown as it would be
            import traceback

            traceback.print_exc()
            code = 1
        with contextlib.suppress(OSError):
            sys.stderr.flush()
            sys.stdout.flush()
        if modules is not None:
            modules.write_text("\n".join(sys.modules))
    return code


def count_operations(folder: Path, kill_at: int) -> None:
    """Count file operations in a folder, and end this process before one of them."""
    inside, done = str(folder), [0]

    def before(path: object) -> None:
        if isinstance(path, str | os.PathLike) and not os.path.abspath(path).startswith(inside):
            return
        done[0] += 1
        if done[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"):
            before(arguments[0])
        elif event == "open" and isinstance(arguments[2], int):
            writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and isinstance(arguments[0], str):
                before(arguments[0])

    fsync = os.fsync

    def flushed(file: int) -> None:
        before(None)
        fsync(file)

    os.fsync = flushed
    sys.addaudithook(audit)


def wait(child: int, limit: float = 120.0) -> int:
    """The exit code of a process; negative for a signal."""
    ends = time.monotonic() + limit
    while time.monotonic() < ends:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            _hear(child)
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    _hear(child)
    return -999


def _hear(child: int) -> None:
    reading, told = SPEAKS.pop(child)
    heard = b""
    with contextlib.suppress(BlockingIOError):  # a process that it started may hold the other end
        while part := os.read(reading, 2**16):
            heard += part
    os.close(reading)
    told.write_bytes(heard)


def told(folder: Path) -> str:
    """What the last run in a folder said."""
    return _told(folder).read_text(errors="replace").strip()


def _told(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.txt")


def damaged(path: Path) -> str | None:
    """What is wrong with a file under its final name; None if it is whole."""
    try:
        match path.suffix:
            case ".safetensors":
                contents_of(path)
            case ".json":
                json.loads(path.read_text())
            case ".npz" | ".pt2" | ".hdf5":
                contents_of(path)
            case ".png":
                assert path.read_bytes().endswith(b"IEND\xaeB`\x82"), "cut off"
            case ".html" | ".svg":
                assert path.read_text().rstrip().endswith(f"</{path.suffix[1:]}>"), "cut off"
            case ".pdf":
                assert path.read_bytes().rstrip().endswith(b"%%EOF"), "cut off"
            case ".jsonl":
                assert all(map(json.loads, path.read_text().splitlines())), "cut off"
            case _:
                pass
    except Exception as error:  # noqa: BLE001 - whatever it is, the file is not whole
        return f"{path.name}: {type(error).__name__}: {error}"
    return None


def contents_of(path: Path) -> Any:
    """What must be the same in two runs."""
    if path.suffix == ".safetensors":
        with safe_open(path, framework="np") as file:
            facts = {k: json.loads(v) for k, v in (file.metadata() or {}).items()}
            arrays = {k: file.get_tensor(k).tobytes() for k in file.keys()}  # noqa: SIM118
        return arrays, without_times(facts)
    if path.suffix == ".json":
        return without_times(json.loads(path.read_text()))
    if path.suffix == ".npz":
        with np.load(path) as file:
            return {k: file[k].tobytes() for k in file.files}
    if path.suffix == ".hdf5":
        found: dict[str, bytes] = {}
        with h5py.File(path) as file:
            file.visititems(
                lambda k, v: found.update({k: v[()].tobytes()} if hasattr(v, "dtype") else {})
            )
        return found
    if path.suffix == ".pt2":
        with zipfile.ZipFile(path) as file:
            return sorted(file.namelist())
    if path.suffix in (".html", ".jsonl", ".png", ".pdf", ".svg"):
        return None  # whole is enough: pictures of times differ, and answers are added to
    return path.read_bytes()


def without_times(value: Any) -> Any:
    """JSON without what tells how long something took."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not VARIES & {k, *k.split("_")}}
        return {k: without_times(v) for k, v in kept.items()}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def files_in(folder: Path) -> dict[str, Path]:
    """Files by name, one for all of TensorBoard's of a folder."""
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_file() and not name.endswith(".log"):
            found[name.partition(".tfevents.")[0]] = path
    return found


class Bench:
    """Data, models and what each verb makes of them when nothing happens."""

    def __init__(self, root: Path, counts: Counts) -> None:
        self.root, self.counts = root, counts
        self.seconds: dict[str, float] = {}
        self.operations: dict[str, int] = {}
        self.base = root / "base"
        self.base.mkdir()
        for name, count, seed in (("play-v0", 8, 0), ("shown-v0", 3, 1)):
            write_dataset(walks(count, seed), self.base / name)

    def prepare(self, verbs: list[str]) -> None:
        """Run each verb once; what it makes is what all others are compared with."""
        for verb in verbs:
            whole = self.new(verb, "whole")
            names = self.root / f"{verb}-modules"
            code = wait(start(verb, whole, modules=names))
            if code:
                raise RuntimeError(f"{verb} ended with {code}: {told(whole)}")
            if verb in MAKES:
                shutil.copytree(whole / "out", self.base / MAKES[verb])
            import_all(names)
            counted = self.new(verb, "counted")
            low, high, began = 1, 1, time.monotonic()
            while wait(start(verb, counted, kill_at=high)) == -signal.SIGKILL and high < 4096:
                shutil.rmtree(counted)
                counted = self.new(verb, "counted")
                low, high, began = high, 2 * high, time.monotonic()
            self.seconds[verb] = time.monotonic() - began
            self.operations[verb] = high
            shutil.rmtree(counted)
            print(f"{verb}: {self.seconds[verb]:.2f} s, operations {low} to {high}", flush=True)

    def new(self, verb: str, name: str) -> Path:
        """A folder with the data and models that a verb reads."""
        folder = self.root / f"{verb}-{name}"
        shutil.copytree(self.base, folder)
        return folder

    def kill(self, verb: str, index: int, chance: random.Random) -> None:
        """Kill a verb once or more, run it again, and compare."""
        folder = self.new(verb, str(index))
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            if chance.random() < 0.5:
                child = start(verb, folder, kill_at=chance.randint(1, self.operations[verb]))
            else:
                child = start(verb, folder)
                time.sleep(chance.uniform(0, self.seconds[verb]))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            self.counts.kills += wait(child) == -signal.SIGKILL
            if verb == "benchmark":
                self.check_orphans(folder)
            self.check_whole(folder, f"{verb} {index}")
        self.finish(verb, folder, f"{verb} {index} after kills")

    def finish(self, verb: str, folder: Path, what: str) -> None:
        """Run to the end, and compare with a run that nothing happened to."""
        is_there = verb == "collect" and (folder / "out-v0").exists()
        code = wait(start(verb, folder))
        if is_there and code == 2 and "exists" in told(folder):
            code = 0  # data is never recorded over
        if code:
            self.counts.add("wrong", f"{what}: exit code {code}: {told(folder)[-600:]}")
        else:
            self.compare(verb, folder, what)
        shutil.rmtree(folder, ignore_errors=os.path.ismount(folder))

    def compare(self, verb: str, folder: Path, what: str) -> None:
        """Count what differs, and what is there besides."""
        whole, found = files_in(self.root / f"{verb}-whole"), files_in(folder)
        given = files_in(self.base)
        whole, found = (
            {n: p for n, p in all_.items() if n not in given} for all_ in (whole, found)
        )
        extra = [
            n for n in found.keys() - whole.keys() if not n.endswith(".lock") or "cells" not in n
        ]
        if extra:
            self.counts.add("leftovers", f"{what}: {sorted(extra)}")
        for name, path in whole.items():
            if name not in found:
                self.counts.add("wrong", f"{what}: {name} is missing")
            elif "tfevents" not in path.name and contents_of(path) != contents_of(found[name]):
                self.counts.add("wrong", f"{what}: {name} differs")

    def check_whole(self, folder: Path, what: str) -> None:
        """Every file under its final name must be whole."""
        for name, path in files_in(folder).items():
            parts = Path(name).parts
            if any(part.startswith(".") for part in parts):
                continue
            problem = damaged(path)
            if problem:
                self.counts.add("unloadable", f"{what}: {problem}")

    def check_orphans(self, folder: Path) -> None:
        """No process that a killed one started may outlive it by more than two seconds."""
        ends = time.monotonic() + 2.0
        while time.monotonic() < ends and any(processes_of(folder)):
            time.sleep(0.1)
        if any(processes_of(folder)):
            self.counts.add("orphans", str(folder))

    def two_at_once(self, verb: str) -> None:
        """Start a verb twice in one folder: one does the work, the other is refused or repeats."""
        folder = self.new(verb, "two")
        self.counts.two_at_once += 1
        codes = [wait(child) for child in [start(verb, folder), start(verb, folder)]]
        allowed = {0, 2}
        if not set(codes) <= allowed or (codes.count(0) == 0 and verb != "collect"):
            self.counts.add("wrong", f"{verb} twice at once: {codes}: {told(folder)[-400:]}")
        self.finish(verb, folder, f"{verb} after two at once")

    def size_limit(self, verb: str, limit: int) -> None:
        """Files may not grow above a limit: one message, nothing half-written, then it goes on."""
        folder = self.new(verb, f"limit{limit}")
        self.counts.size_limit += 1
        what = f"{verb} at {limit} bytes"
        self.check_refusal(folder, wait(start(verb, folder, limit=limit)), what)
        self.finish(verb, folder, f"{what}, without a limit")

    def full_disk(self, verb: str, free: int) -> None:
        """A disk with so many bytes left: one message, nothing half-written, then it goes on."""
        folder = self.root / f"{verb}-full{free}"
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            print("no tmpfs may be mounted here: the trials of a full disk are left out")
            folder.rmdir()
            return
        try:
            shutil.copytree(self.base, folder, dirs_exist_ok=True)
            filler = folder / "filler"
            filler.write_bytes(bytes(shutil.disk_usage(folder).free - free))
            self.counts.full_disk += 1
            what = f"{verb} with {free} bytes left"
            code = wait(start(verb, folder))
            filler.unlink()
            self.check_refusal(folder, code, what)
            self.finish(verb, folder, f"{what}, after room was made")
        finally:
            subprocess.run(["umount", "-l", folder], check=False)
            shutil.rmtree(folder, ignore_errors=True)

    def check_refusal(self, folder: Path, code: int, what: str) -> None:
        """Where files could not be written: what a verb said, and what it left."""
        said = told(folder)
        lines = [line for line in said.splitlines() if line.startswith("trailward:")]
        if code not in (0, 2) or "Traceback" in said or len(lines) != (code == 2):
            self.counts.add("bad_messages", f"{what}: {code}: {said[-600:]}")
        self.check_whole(folder, what)
        staged = [name for name in files_in(folder) if "writing" in name]
        if staged:
            self.counts.add("leftovers", f"{what}: {staged}")

    def sigterm(self, verb: str, index: int, chance: random.Random) -> None:
        """Ask a verb to end: it says so in one line, within a second, and goes on later.

        On a busy machine a second of the clock is little: then half a second of work is allowed.
        """
        folder = self.new(verb, f"term{index}")
        child = start(verb, folder)
        time.sleep(chance.uniform(0.05, max(0.1, self.seconds[verb])))
        began, worked = time.monotonic(), work_of(child)
        before = work_of_children()
        os.kill(child, signal.SIGTERM)
        code = wait(child)
        took, worked = time.monotonic() - began, work_of_children() - before - worked
        self.counts.sigterm += 1
        said = told(folder)
        if took > 1.0 and (worked > 0.5 or took > 10.0):
            what = f"{verb}: {took:.1f} s after SIGTERM, {worked:.1f} s of work"
            self.counts.add("slow_exits", what)
        is_told = code in (0, 130) and (code == 130) == ("interrupted" in said)
        began_at_all = code != -signal.SIGTERM or said
        if began_at_all and ("Traceback" in said or not is_told):
            self.counts.add("bad_messages", f"{verb} at SIGTERM: {code}: {said[-600:]}")
        self.check_whole(folder, f"{verb} at SIGTERM")
        self.finish(verb, folder, f"{verb} after SIGTERM")


def work_of(child: int) -> float:
    """Seconds of the processor that a running process has had."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def work_of_children() -> float:
    """Seconds of the processor that processes have had that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def processes_of(folder: Path) -> Iterator[int]:
    """Processes that were started from a run in a folder."""
    mark = f"{TOKEN}={folder}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes().split(b"\0"):
                yield int(path.parent.name)


def walks(count: int, seed: int) -> Dataset:
    """Episodes that wander."""
    generator = np.random.default_rng(seed)
    episodes = []
    for _ in range(count):
        moves = generator.standard_normal((24, 2))
        episodes.append(Episode(moves.cumsum(0), moves[1:], moves[1:, 0]))
    return Dataset(episodes, {"seed": seed})


def import_all(names: Path) -> None:
    """Import what a run imported, so that its forks need not."""
    for name in names.read_text().split():
        if name not in sys.modules and not name.startswith(("_", "__main__")):
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def kills_of(verbs: list[str], which: int) -> Mapping[str, int]:
    """How often each verb is killed."""
    return {verb: JOBS[verb][which] for verb in verbs if JOBS[verb][which]}


def everything(bench: Bench, kills: Mapping[str, int], *, quick: bool, seed: int) -> None:
    """All trials."""
    chance = random.Random(seed)
    needed = set(kills).union(*(NEEDS.get(verb, set()) for verb in kills))
    bench.prepare([verb for verb in JOBS if verb in needed])
    trials: list[Callable[[], None]] = []
    for verb, count in kills.items():
        trials += [lambda v=verb, i=i: bench.kill(v, i, chance) for i in range(count)]
    small = [verb for verb in kills if bench.seconds[verb] < 5]
    for verb in small[:2] if quick else small:
        trials.append(lambda v=verb: bench.two_at_once(v))
        limits = (300,) if quick else (100, 1000, 3000, 10_000)
        trials += [lambda v=verb, n=n: bench.size_limit(v, n) for n in limits]
        left = (4096,) if quick else (0, 4096, 16_384, 65_536)
        trials += [lambda v=verb, n=n: bench.full_disk(v, n) for n in left]
        times = 1 if quick else 4
        trials += [lambda v=verb, i=i: bench.sigterm(v, i, chance) for i in range(times)]
    for number, trial in enumerate(trials, 1):
        trial()
        if number % 25 == 0:
            print(f"{number} of {len(trials)} trials, {bench.counts.kills} kills", flush=True)


def run() -> int:
    """Read flags, run, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--verbs", nargs="*", default=list(JOBS))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sys.argv = ["trailward"]
    counts = Counts()
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="reliability-", dir=place) as root:
        bench = Bench(Path(root), counts)
        kills = kills_of(asked.verbs, 2 if asked.quick else 1)
        everything(bench, kills, quick=asked.quick, seed=asked.seed)
    found = {k: v for k, v in vars(counts).items() if k != "failures"}
    print(json.dumps(found))
    tried = {"kills", "two_at_once", "size_limit", "full_disk", "sigterm"}
    return int(any(value for name, value in found.items() if name not in tried))


if __name__ == "__main__":
    sys.exit(run())
