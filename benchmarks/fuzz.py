"""Give trailward damaged and hostile files of every format that it reads or writes.

    .venv/bin/python benchmarks/fuzz.py           # 10,000 inputs
    .venv/bin/python benchmarks/fuzz.py --quick   # 400, about half a minute

Each input is a good file with changes that know its structure: values and lengths in JSON, in
headers of safetensors and NumPy, in HDF5, Parquet and CSV; and changes of bytes. Reading one must
end well or in one error of the project's own, in seconds, in little memory, without executing
anything and without leaving a file. The last line is JSON; ``tracebacks`` are errors of any other
kind and processes that died.
"""

import argparse
import contextlib
import csv
import io
import json
import os
import pickle
import random
import resource
import select
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from stable_baselines3 import PPO

from trailward.acting.named_policy import read_sb3_policy
from trailward.acting.network_policy import NetworkPolicy, ladder, save_ladder
from trailward.cli.demo import _claim
from trailward.cli.inspect import Inspect
from trailward.cli.main import _expected
from trailward.cli.report import Report
from trailward.data.dataset import Dataset, write_dataset
from trailward.data.episode import Episode
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import DenoiserConfig, Diffuser, SamplingConfig
from trailward.diffusion.training import STATE, TrainingConfig, train_diffuser
from trailward.fitting.fit import _stages
from trailward.judging.place_map import read_walls
from trailward.learning.answers import Answer, Question, read_answers, write_answers
from trailward.learning.config import LearningConfig, SelectionConfig
from trailward.learning.learn_reward import learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.run import STATE as LEARNING
from trailward.rewards import AdditiveSettings
from trailward.running.folders import own_folder
from trailward.running.logs import read_curve
from trailward_benchmark.grid import read_results

SECONDS = 10.0
MEMORY = 500_000_000
"""What reading an input may take beside ten times its size."""
BATCH = 40
SPEC = PlanSpec(horizon=3, stride=1, observation_dim=2, action_dim=2)
DENOISER = DenoiserConfig(network="mlp", width=8, depth=1, num_diffusion_steps=4)
TRAINING = TrainingConfig(
    num_steps=2, batch_size=2, optimizer="adam", checkpoint_every=1, num_inverse_dynamics_steps=1
)
LEARNING_CONFIG = LearningConfig(
    num_steps=2, batch_size=2, selection=SelectionConfig(evaluate_every=1, num_held_out=0)
)
HOSTILE: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 255, -(2**31), 2**31, 2**63, 10**12, 10**30, 1e308, -1e-308,
    0.5, float("nan"), float("inf"), "", "x", "1", "evil:Thing", "../../etc/passwd", "\0", "\ud800",
    "é" * 1000, [], {}, [[]], [1, "a", None], {"a": {"b": []}}, [0] * 1000, "NaN", "2024-01-01",
    "evil", ["evil:Thing"], {"kind": "reward"}, -5, 64, 65, 100_000, 1_000_000,
]  # fmt: skip


class HangError(BaseException):
    """An input takes too long."""


class Payload:
    """Pickled, it leaves a file when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


@dataclass(frozen=True)
class Kind:
    """Something that is read.

    Attributes:
        files: those of it that are changed, relative to its folder.
        read: what is done with it, in the folder that holds it.
        share: how much of all inputs it gets.
    """

    files: tuple[str, ...]
    read: Callable[[], object]
    share: int


def walks(seed: int = 0, count: int = 4) -> Dataset:
    """Episodes that wander."""
    generator = np.random.default_rng(seed)
    moves = [generator.standard_normal((9, 2)) for _ in range(count)]
    return Dataset([Episode(m.cumsum(0), m[1:], m[1:, 0]) for m in moves])


def make_all() -> None:
    """One good example of everything, in the folder we are in."""
    data = walks()
    rows = np.concatenate([episode.observations for episode in data.episodes])
    ends = np.cumsum([len(episode) + 1 for episode in data.episodes])
    np.savez("play.npz", observations=rows, actions=rows, episode_ends=ends)
    with h5py.File("play.hdf5", "w") as file:
        file["observations"], file["actions"], file["rewards"] = rows, rows, rows[:, 0]
        file["terminals"], file["timeouts"] = (
            np.zeros(len(rows), bool),
            np.isin(np.arange(len(rows)), ends - 1),
        )
    table = {"episode": np.repeat(np.arange(4), 9), "frame": np.tile(np.arange(9), 4)}
    table |= {"x": rows[:, 0], "y": rows[:, 1]}
    pq.write_table(pa.table(table), "play.parquet")
    text = "\n".join(",".join(map(str, row)) for row in zip(*table.values(), strict=True))
    Path("play.csv").write_text(f"{','.join(table)}\n{text}\n")
    Path("pick/data/chunk-000").mkdir(parents=True)
    Path("pick/meta").mkdir()
    state = pa.array(rows.tolist(), pa.list_(pa.float32(), 2))
    robot = {"observation.state": state, "frame_index": table["frame"]}
    robot |= {"episode_index": table["episode"]}
    pq.write_table(pa.table(robot), "pick/data/chunk-000/file-000.parquet")
    features = {name: {"dtype": "int64", "shape": [1], "names": None} for name in robot}
    features["observation.state"] = {"dtype": "float32", "shape": [2], "names": ["x", "y"]}
    info = {"codebase_version": "v3.0", "fps": 30, "total_frames": len(rows), "features": features}
    Path("pick/meta/info.json").write_text(json.dumps(info))
    write_dataset(data, "walks-v0")
    train_diffuser(data, SPEC, "diffuser", denoiser_config=DENOISER, config=TRAINING)
    learn()
    make_others()


def make_others() -> None:
    """Examples of what is neither data nor a diffuser."""
    weights = np.zeros((8, 2), np.float32), np.zeros(8, np.float32)
    policy = NetworkPolicy([weights], {"step": 1, "return": {"mean": 1.0, "std": 0.0}})
    save_ladder(Path("ladder"), [policy], {}, environment="HalfCheetah-v5")
    Path("walls.csv").write_text("x0,y0,x1,y1\n0,0,0,4\n1.5,2,3,-2\n")
    Path("demo").mkdir()
    Path("demo/demo.json").write_text('{"preset": "umaze", "quick": true, "seed": 0}')
    line = {"key": "ab", "problem": "p", "method": "m", "seed": 0, "figures": {"erc": 0.5}}
    Path("results.jsonl").write_text(2 * (json.dumps(line) + "\n"))
    with own_folder("owned", "reward", run={"seed": 0}):
        Path("owned/kept").touch()
    Path("owned/.trailward.lock").write_text('{"pid": 1, "host": "a", "started": 1}')
    stages = {"losses": [[100, 1.5], [200, 1.4]], "seconds": 3.0, "why": "all steps are done"}
    Path("stages.json").write_text(json.dumps(stages))
    piece = torch.zeros(SPEC.horizon, SPEC.transition_dim)
    question = Question(first=piece, second=piece + 1, places=((0, 1), (2, 3)))
    write_answers(2 * [Answer(question=question, choice="first")], "answers.jsonl")
    model = PPO("MlpPolicy", Still(), n_steps=2, batch_size=2, policy_kwargs={"net_arch": [4]})
    model.save("policy.zip")
    part = Path("day=mon/episode_index=3/a.parquet")
    part.parent.mkdir(parents=True)
    shutil.copy("play.parquet", part)
    make_evaluation()


class Still(gymnasium.Env):
    """An environment that a policy is made for."""

    observation_space = action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


def make_evaluation() -> None:
    """An evaluation that a report is made of."""
    from trailward.judging.config import EvaluationConfig
    from trailward.judging.without_truth import judge_without_truth

    found = judge_without_truth(
        LearntReward.load("reward"),
        Diffuser.load("diffuser"),
        walks(),
        walks(1, 2),
        EvaluationConfig(num_plans=2, num_windows=20, num_episodes=2),
        walls=None,
        stage=lambda name: None,
    )
    Path("evaluation").mkdir()
    np.savez_compressed("evaluation/evaluation.npz", allow_pickle=False, **found.arrays)
    Path("evaluation/evaluation.json").write_text(json.dumps(found.figures))


def learn() -> None:
    """Learn a reward, or go on learning it."""
    learn_reward(
        Diffuser.load("diffuser"),
        walks(1, 2),
        "reward",
        reward=AdditiveSettings(hidden=(4,)),
        sampling=SamplingConfig(num_steps=2, stop_step=0),
        config=LEARNING_CONFIG,
    )


def inspect(path: str) -> Callable[[], object]:
    """Read data as the command line does."""
    return lambda: Inspect(path).run(lambda text: None)


def train() -> None:
    """Go on training."""
    train_diffuser(walks(), SPEC, "diffuser", denoiser_config=DENOISER, config=TRAINING)


def own() -> None:
    """Own a folder with a mark."""
    with own_folder("owned", "reward", run={"seed": 0}):
        pass


KINDS = {
    "npz": Kind(("play.npz",), inspect("play.npz"), 12),
    "hdf5": Kind(("play.hdf5",), inspect("play.hdf5"), 12),
    "csv": Kind(("play.csv",), inspect("play.csv"), 8),
    "parquet": Kind(("play.parquet",), inspect("play.parquet"), 8),
    "lerobot": Kind(
        ("pick/meta/info.json", "pick/data/chunk-000/file-000.parquet"), inspect("pick"), 8
    ),
    "minari": Kind(
        ("walks-v0/data/metadata.json", "walks-v0/data/main_data.hdf5"), inspect("walks-v0"), 8
    ),
    "diffuser": Kind(
        ("diffuser/config.json", "diffuser/weights.safetensors"),
        lambda: Diffuser.load("diffuser"),
        14,
    ),
    "reward": Kind(
        ("reward/config.json", "reward/weights.safetensors"),
        lambda: LearntReward.load("reward"),
        14,
    ),
    "ladder": Kind(
        ("ladder/config.json", "ladder/weights.safetensors"), lambda: ladder(Path("ladder")), 4
    ),
    "training": Kind((f"diffuser/{STATE}",), train, 6),
    "learning": Kind((f"reward/{LEARNING}",), learn, 3),
    "logs": Kind(("diffuser/logs/*",), lambda: list(read_curve("diffuser", "train/loss")), 3),
    "walls": Kind(("walls.csv",), lambda: read_walls(Path("walls.csv")), 2),
    "demo": Kind(("demo/demo.json",), lambda: _claim(Path("demo"), {"preset": "umaze"}), 2),
    "results": Kind(("results.jsonl",), lambda: read_results(Path("results.jsonl")), 2),
    "stages": Kind(("stages.json",), lambda: _stages(Path("stages.json")), 2),
    "answers": Kind(("answers.jsonl",), lambda: read_answers("answers.jsonl", SPEC), 3),
    "policy": Kind(
        ("policy.zip",), lambda: read_sb3_policy(Path("policy.zip"), Still.action_space), 4
    ),
    "parts": Kind(("day=mon/episode_index=3/a.parquet",), inspect("day=mon"), 2),
    "mark": Kind(("owned/.trailward.json", "owned/.trailward.lock"), own, 2),
    "report": Kind(
        ("evaluation/evaluation.json", "evaluation/evaluation.npz"),
        lambda: Report(Path("evaluation"), Path("page")).run(lambda text: None),
        1,
    ),
}


def change_bytes(content: bytes, chance: random.Random) -> bytes:
    """Change a few bytes, anywhere."""
    changed = bytearray(content)
    size = max(1, len(changed))
    for _ in range(chance.choice([1, 1, 2, 8])):
        at, length = chance.randrange(size), chance.choice([1, 1, 4, 64])
        match chance.randrange(6):
            case 0:
                del changed[at:]
            case 1:
                changed[at : at + length] = bytes(len(changed[at : at + length]))
            case 2:
                changed[at:at] = chance.randbytes(length)
            case 3:
                changed[at : at + length] = b"\xff" * len(changed[at : at + length])
            case 4:
                changed[at:at] = changed[at : at + length]
            case _:
                if changed[at : at + 1]:
                    changed[at] ^= 1 << chance.randrange(8)
    return bytes(changed)


def change_json(value: Any, chance: random.Random) -> Any:
    """Change one value, at any depth."""
    if isinstance(value, dict | list) and value and chance.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = chance.choice(keys)
        if chance.random() < 0.1:
            del value[key]
        else:
            value[key] = change_json(value[key], chance)
        return value
    if chance.random() < 0.05:
        deep: Any = chance.choice(HOSTILE)
        for _ in range(chance.choice([5, 300, 500])):
            deep = [deep]
        return deep
    return chance.choice(HOSTILE)


def json_text(content: bytes, chance: random.Random) -> bytes:
    """Change a JSON text."""
    if chance.random() < 0.02:
        return b"[" * 100_000
    value = change_json(json.loads(content), chance)
    return json.dumps(value).encode("utf-8", "surrogatepass")


def json_lines(content: bytes, chance: random.Random) -> bytes:
    """Change one line of JSON."""
    lines = content.splitlines()
    index = chance.randrange(len(lines))
    lines[index] = json_text(lines[index], chance)
    return b"\n".join(lines) + b"\n"


def safetensors(content: bytes, chance: random.Random) -> bytes:
    """Change the header, the facts in it, or a number among the weights."""
    size = struct.unpack("<Q", content[:8])[0]
    header, rest = json.loads(content[8 : 8 + size]), bytearray(content[8 + size :])
    told = header.get("__metadata__", {})
    match chance.randrange(4):
        case 0 if told:
            name = chance.choice(list(told))
            told[name] = json_text(told[name].encode(), chance).decode("utf-8", "replace")
        case 1 if len(rest) >= 4:
            at = 4 * chance.randrange(len(rest) // 4)
            number = chance.choice([float("nan"), float("inf"), 1e38, -1.0, 0.0])
            rest[at : at + 4] = struct.pack("<f", number)
        case 2:
            return struct.pack("<Q", chance.choice([0, 2**63, 10**9, size + 1])) + content[8:]
        case _:
            header = change_json(header, chance)
    text = json.dumps(header).encode("utf-8", "replace")
    return struct.pack("<Q", len(text)) + text + bytes(rest)


def npz(content: bytes, chance: random.Random) -> bytes:
    """Change an array, its header, or how it is kept."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice(list(entries))
    array = np.load(io.BytesIO(entries[name]))
    match chance.randrange(4):
        case 0:
            entries[name] = change_bytes(entries[name], chance)
        case 1:
            shape = chance.choice(["(10000000000,)", "(-1, 2)", "(2.5,)", "((", "()", "(3, 2)"])
            kind = chance.choice(["'<f8'", "'|O'", "'<U9'", "'<M8[s]'", "'<c16'", "[('a', '<f8')]"])
            text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117)
            head = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text.encode() + b"\n"
            entries[name] = head + entries[name][128:]
        case 2:
            stored = io.BytesIO()
            odd = chance.choice([
                np.array([Payload()], dtype=object), array.astype(str), array.astype(complex),
                array[:0], array.ravel(), array.astype("f4") * np.nan, array[..., None],
                np.full((200_000, 3), 7.0), array.astype("datetime64[s]"), np.array(3.0),
            ])  # fmt: skip
            np.save(stored, odd, allow_pickle=True)
            entries[name] = stored.getvalue()
        case _:
            entries[name] = pickle.dumps(Payload())
    whole = io.BytesIO()
    method = chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
    with zipfile.ZipFile(whole, "w", method) as archive:
        for each, stored in entries.items():
            archive.writestr(each, stored)
    found = whole.getvalue()
    return change_bytes(found, chance) if chance.random() < 0.2 else found


def hdf5(content: bytes, chance: random.Random) -> bytes:
    """Change a data set: its type, shape, what it claims to hold, or where it leads."""
    memory = io.BytesIO(content)
    with h5py.File(memory, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
        name = chance.choice(names)
        rows = file[name][()]
        attributes = list(file[name].parent.attrs) or ["x"]
        if chance.random() < 0.2:
            attribute = chance.choice(attributes)
            value = chance.choice([3, "x", b"\xff", [1.5], "[" * 5000, np.nan, -1, "null", 10**15])
            file[name].parent.attrs[attribute] = value
        else:
            del file[name]
            replace_dataset(file, name, rows, chance)
    return memory.getvalue()


def archive(content: bytes, chance: random.Random) -> bytes:
    """Change a file in an archive: by its structure, its bytes, or to one that executes."""
    with zipfile.ZipFile(io.BytesIO(content)) as read:
        entries = {name: read.read(name) for name in read.namelist()}
    name = chance.choice(list(entries))
    match chance.randrange(4):
        case 0:
            del entries[name]
        case 1:
            entries[name] = pickle.dumps(Payload())
        case 2 if name == "data":
            entries[name] = json_text(entries[name], chance)
        case _:
            entries[name] = change_bytes(entries[name], chance)
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as written:
        for each, stored in entries.items():
            written.writestr(each, stored)
    return whole.getvalue()


def replace_dataset(file: h5py.File, name: str, rows: Any, chance: random.Random) -> None:
    """Put something else in the place of a data set."""
    match chance.randrange(9):
        case 0:
            size = chance.choice([10**8, 10**11])
            shape = (size, *np.shape(rows)[1:])
            file.create_dataset(name, shape, "f8", chunks=(1000, *np.shape(rows)[1:]))
        case 1:
            file[name] = np.array([b"text"] * max(1, len(np.atleast_1d(rows))))
        case 2:
            file.create_group(name)
        case 3:
            file[name] = h5py.SoftLink(f"/{name}")
        case 4:
            file[name] = h5py.ExternalLink("/etc/passwd", "/")
        case 5:
            file[name] = np.asarray(rows, float) * chance.choice([np.nan, 1e300, 0.0])
        case 6:
            ragged = file.create_dataset(name, (2,), dtype=h5py.vlen_dtype("f8"))
            ragged[0], ragged[1] = np.arange(2.0), np.arange(3.0)
        case 7:
            file[name] = np.void(pickle.dumps(Payload()))
        case _:
            file[name] = np.asarray(rows)[:3]


def table_text(content: bytes, chance: random.Random) -> bytes:
    """Change a cell, a name, or how rows are told apart."""
    rows = list(csv.reader(io.StringIO(content.decode())))
    row = chance.choice(rows)
    odd = ["", "nan", "1e999", "x", '"', "1,5", "2024-01-01", "0x1", "-", "\0", "9" * 400, "inf"]
    match chance.randrange(4):
        case 0:
            row[chance.randrange(len(row))] = chance.choice(odd)
        case 1:
            rows[0][chance.randrange(len(rows[0]))] = chance.choice(
                ["x", "", "episode", "\ufeff", "y" * 9999]
            )
        case 2:
            row.append(chance.choice(odd))
        case _:
            rows.insert(0, row[: chance.randrange(len(row) + 1)])
    text = chance.choice([",", ",", ";", "\t"])
    return "\n".join(text.join(each) for each in rows).encode("utf-8", "replace")


def parquet(content: bytes, chance: random.Random) -> bytes:
    """Give a column another type, other values or another name."""
    table = pq.read_table(io.BytesIO(content))
    index, count = chance.randrange(table.num_columns), table.num_rows
    odd = [
        pa.array([None] * count), pa.array(["x"] * count), pa.array([[1.0]] * count),
        pa.array([{"a": 1}] * count), pa.array([b"\xff"] * count), pa.array([True] * count),
        pa.array(np.arange(count).astype("datetime64[s]")), pa.array([2**62] * count),
        pa.array([float("nan")] * count), pa.array(["x"] * count).dictionary_encode(),
        pa.array([[]] * count, pa.list_(pa.float64())), pa.nulls(count, pa.float64()),
    ]  # fmt: skip
    name = table.column_names[index] if chance.random() < 0.8 else chance.choice(["", "x", "é"])
    table = table.set_column(index, name, chance.choice(odd))
    if chance.random() < 0.2:
        table = table.remove_column(chance.randrange(table.num_columns))
    whole = io.BytesIO()
    pq.write_table(table, whole)
    return whole.getvalue()


CHANGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    ".json": json_text,
    ".lock": json_text,
    ".jsonl": json_lines,
    ".safetensors": safetensors,
    ".npz": npz,
    ".zip": archive,
    ".hdf5": hdf5,
    ".csv": table_text,
    ".parquet": parquet,
}


def change(path: Path, chance: random.Random) -> None:
    """Change a file: mostly by its structure, else its bytes."""
    content = path.read_bytes()
    structured = CHANGES.get(path.suffix)
    if structured is not None and chance.random() < 0.7:
        path.write_bytes(structured(content, chance))
    elif chance.random() < 0.02:
        path.write_bytes(chance.choice([b"", pickle.dumps(Payload()), b"\0" * 1000]))
    else:
        path.write_bytes(change_bytes(content, chance))


def peak() -> int:
    """The most memory that this process has held since it was last asked to forget that."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024


def inputs(good: Path, numbers: range, names: list[str], seed: int) -> Iterator[dict[str, Any]]:
    """Make each input in a folder of its own, read it, and judge what happened."""
    for number in numbers:
        chance = random.Random(seed * 1_000_003 + number)
        kind = KINDS[names[number % len(names)]]
        folder = Path(tempfile.mkdtemp(dir=good.parent, prefix="input-"))
        os.chdir(folder)
        for name in {Path(file).parts[0] for file in kind.files} | {"diffuser"}:
            copy = shutil.copytree if (good / name).is_dir() else shutil.copy
            copy(good / name, name)
        shutil.copy(good / "evil.py", "evil.py")
        found = {"number": number, "kind": names[number % len(names)]}
        with contextlib.suppress(UnicodeError, OverflowError):
            path = next(iter(sorted(folder.glob(chance.choice(kind.files)))))
            change(path, chance)
        yield found | judge(folder, kind)
        os.chdir(good)
        shutil.rmtree(folder)


def judge(folder: Path, kind: Kind) -> dict[str, Any]:
    """Read one input; what went wrong."""
    files = {path for path in folder.rglob("*") if path.is_file()}
    size = sum(path.stat().st_size for path in files)
    Path("/proc/self/clear_refs").write_text("5")
    before, began = peak(), time.monotonic()
    found: dict[str, Any] = {"wrong": []}
    refused = False
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of the processor, however busy it is
    try:
        kind.read()
    except _expected():
        refused = True
    except HangError:
        found["wrong"].append("hangs")
    except BaseException:  # noqa: BLE001 - any other is what is looked for
        found["wrong"].append("tracebacks")
        found["trace"] = traceback.format_exc(limit=-4)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    found["seconds"] = time.monotonic() - began
    found["memory"] = peak() - before
    if found["memory"] > max(MEMORY, 10 * size):
        found["wrong"].append("over_memory")
    if (folder / "executed").exists():
        found["wrong"].append("executed")
    left = {path for path in folder.rglob("*") if path.is_file()} - files
    left = {path for path in left if "tfevents" not in path.name}
    if refused and left:
        found["wrong"].append("files_left")
        found["trace"] = str(sorted(left))
    found["refused"] = refused
    return found


def in_forks(good: Path, numbers: range, names: list[str], seed: int) -> Iterator[dict[str, Any]]:
    """Judge all inputs, some in each fork; a fork that dies is told by its input."""
    number = numbers.start
    while number < numbers.stop:
        end = min(number + BATCH, numbers.stop)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            _work(good, range(number, end), names, seed, writing)
        os.close(writing)
        with os.fdopen(reading) as lines:
            while number < end:
                ready, _, _ = select.select([lines], [], [], 6 * SECONDS)
                line = lines.readline() if ready else ""
                if not line:
                    os.kill(child, signal.SIGKILL)
                    kind = names[number % len(names)]
                    wrong = ["tracebacks" if ready else "hangs"]
                    found = {"number": number, "kind": kind, "wrong": wrong, "trace": "it died"}
                    yield found | {"seconds": 0.0, "memory": 0, "refused": False}
                    number += 1
                    break
                yield json.loads(line)
                number += 1
        os.waitpid(child, 0)


def _work(good: Path, numbers: range, names: list[str], seed: int, writing: int) -> None:
    def hang(*_: object) -> None:
        raise HangError

    signal.signal(signal.SIGPROF, hang)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    space = resource.getrlimit(resource.RLIMIT_AS)[1]
    held = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (held + 8_000_000_000, space))
    sys.path.insert(0, str(good))
    with os.fdopen(writing, "w", buffering=1) as lines:
        for found in inputs(good, numbers, names, seed):
            lines.write(json.dumps(found) + "\n")
    os._exit(0)


def run() -> int:
    """Read flags, run, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--inputs", type=int)
    parser.add_argument("--first", type=int, default=0, help="number of the first: to go on")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    count = asked.inputs or (400 if asked.quick else 10_000)
    torch.set_num_threads(1)
    names = [name for name in asked.kinds for _ in range(KINDS[name].share)]
    random.Random(0).shuffle(names)
    counts = dict.fromkeys(
        ("tracebacks", "hangs", "over_memory", "executed", "files_left", "refused"), 0
    )
    seen: Counter[str] = Counter()
    longest = most = 0.0
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="fuzz-", dir=memory if memory.is_dir() else None
    ) as root:
        good = Path(root) / "good"
        good.mkdir()
        os.chdir(good)
        Path("evil.py").write_text("import os\nos.system('touch executed')\nThing = object\n")
        make_all()
        numbers = range(asked.first, asked.first + count)
        for number, found in enumerate(in_forks(good, numbers, names, asked.seed), 1):
            counts["refused"] += found["refused"]
            longest, most = max(longest, found["seconds"]), max(most, found["memory"])
            for wrong in found["wrong"]:
                counts[wrong] += 1
                what = found.get("trace", "").strip()[-900:]
                seen[what] += 1
                again = "as above" if what and seen[what] > 1 else what
                print(f"input {found['number']}: {wrong} {found['kind']}: {again}\n", flush=True)
            if number % 1000 == 0:
                print(f"{number} inputs: {counts}", flush=True)
        os.chdir("/")
    figures = {"inputs": count, **counts, "longest_seconds": round(longest, 2)}
    print(json.dumps(figures | {"most_memory_mb": round(most / 1e6)}))
    return int(any(counts[name] for name in counts if name != "refused"))


if __name__ == "__main__":
    sys.exit(run())
