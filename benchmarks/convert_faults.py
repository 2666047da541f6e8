"""Faults injected into the converter for real: kill -9, flipped bits, the catalogue of bad files, names, a full disk.

    python benchmarks/convert_faults.py [--kills=50]

From the root of a checkout, about five minutes on 2 cores. Prints one JSON object last. `identical` of `kills` reruns
gave the very files of an undisturbed run; of `flips` single flipped bits `lost_one` cost one record of fifty, named,
and no other; of `catalogue` bad files `silent` were converted without a word and `unnamed` rejected for a reason that
is not theirs; `planted_found` of `planted` names of people in DICOM headers were seen in outputs and logs; `full_disk`
tells whether a disk that filled up cost one line and nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests import catalogue  # noqa: E402 - it lies beside the benchmarks, not in the package

IMAGES, SHARDS = 96, 6
PLANTED_FIELDS = [
    "PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ReferringPhysicianName",
    "ConsultingPhysicianName", "PerformingPhysicianName", "OperatorsName", "NameOfPhysiciansReadingStudy",
    "RequestingPhysician", "InstitutionName", "InstitutionAddress", "StationName", "StudyDescription",
    "SeriesDescription", "PatientComments", "ImageComments", "AccessionNumber", "PatientAddress", "DeviceSerialNumber",
]  # fmt: skip


def command(folder: Path, out: Path, *more: str) -> list[str]:
    arguments = [f"--images={folder}/images", f"--csv={folder}/train.csv", f"--out={out}", "--size=256", "--workers=2"]
    return [sys.executable, "-m", "tfrecord_tools", "convert", *arguments, f"--shards={SHARDS}", *more]


def run(arguments: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def make_images(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    names = [f"ISIC_{number:07}" for number in range(IMAGES)]
    for number, name in enumerate(names):
        buffer = io.BytesIO()
        Image.fromarray(catalogue.picture(number, 600, 400)).save(buffer, "JPEG", quality=90)
        (folder / "images" / f"{name}.jpg").write_bytes(buffer.getvalue() if number % 17 else buffer.getvalue()[:9000])
    pd.DataFrame({"image_name": names, "target": 0}).to_csv(folder / "train.csv", index=False)


def kill_and_rerun(folder: Path, kills: int) -> dict[str, int]:
    """Each time at a random moment of a conversion, from its first import to its last file."""
    started = time.monotonic()
    assert run(command(folder, folder / "undisturbed")).returncode == 3
    seconds = time.monotonic() - started
    wanted = contents(folder / "undisturbed")
    random, identical, partial = np.random.default_rng(0), 0, 0
    for number in range(kills):
        out = folder / f"killed{number}"
        process = subprocess.Popen(command(folder, out), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(float(random.uniform(0.2, 1.0)) * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        partial += out.exists() and not (out / "train.manifest.json").exists()
        identical += run(command(folder, out)).returncode == 3 and contents(out) == wanted
        shutil.rmtree(out)
        print(f"kill {number + 1}/{kills}: {identical} identical", file=sys.stderr, flush=True)
    return {"kills": kills, "killed_in_the_middle": int(partial), "identical": identical}


def flip_bits(folder: Path) -> dict[str, int]:
    """One bit in a shard of 50 records: of lengths, their checksums, data and its checksum."""
    from melanoma_tf import schema
    from melanoma_tf.data import shards

    source = folder / "flips"
    source.mkdir()
    records = [schema.encode_record(catalogue.jpeg(), f"ISIC_{number:07}", 0) for number in range(50)]
    path = source / "train00-50.tfrec"
    shards.write_shard(path, records)
    whole = path.read_bytes()
    offsets = [offset for offset, _ in shards.read_records(path)]
    positions = [(offset, byte) for offset in (offsets[0], offsets[24], offsets[49])
                 for byte in (0, 3, 7, 8, 11, 12, 500, 4000, len(records[0]) + 11, len(records[0]) + 12)]  # fmt: skip
    lost_one = 0
    for number, (offset, byte) in enumerate(positions):
        damaged = bytearray(whole)
        damaged[offset + byte] ^= 1 << (number % 8)
        path.write_bytes(damaged)
        out = folder / "salvaged"  # apart from the source, as salvage demands
        done = run([sys.executable, "-m", "tfrecord_tools", "salvage", f"--data_dir={source}", f"--out={out}"])
        names = {schema.decode_record(data)["image_name"] for file in out.glob("*.tfrec")
                 for _, data in shards.read_records(file)}  # fmt: skip
        named = pd.read_csv(out / "train.salvage.csv")
        lost_one += done.returncode == 3 and len(names) == 49 and len(named) == 1
        shutil.rmtree(out)
    return {"flips": len(positions), "lost_one": lost_one}


def go_through_catalogue(folder: Path) -> dict[str, int]:
    folder = folder / "catalogue"
    (folder / "images").mkdir(parents=True)
    expected = catalogue.build(folder / "images")
    pd.DataFrame({"image_name": list(expected), "target": 0}).to_csv(folder / "train.csv", index=False)
    run(command(folder, folder / "out"))
    rejects = pd.read_csv(folder / "out/train.rejects.csv").set_index("image_name")["code"]
    kept = set(pd.read_csv(folder / "out/train.csv")["image_name"])
    bad = {name: codes for name, codes in expected.items() if codes}
    return {
        "catalogue": len(bad),
        "silent": len(kept & set(bad)),
        "unnamed": sum(name not in kept and rejects.get(name) not in codes for name, codes in bad.items()),
    }


def plant_names(folder: Path) -> dict[str, int]:
    """A person's name in 20 header fields of sound, cut and unreadable files."""
    folder = folder / "planted"
    (folder / "images").mkdir(parents=True)
    names = [f"Schmidt{number:02}" for number in range(len(PLANTED_FIELDS))]
    change = catalogue.with_elements(**dict(zip(PLANTED_FIELDS, names)))
    sound = catalogue.dicom_file(change=change)
    native = catalogue.dicom_file(change=lambda dataset: (change(dataset), catalogue.native(dataset)))
    variants = {"sound": sound, "native": native, "native_cut": native[:-900]}
    variants |= {f"cut_{length}": sound[:length] for length in range(200, len(sound), len(sound) // 12)}
    for name, data in variants.items():
        (folder / "images" / f"{name}.dcm").write_bytes(data)
    pd.DataFrame({"image_name": list(variants), "target": 0}).to_csv(folder / "train.csv", index=False)
    seen = []
    for workers in (1, 2):
        done = run(command(folder, folder / f"out{workers}", f"--workers={workers}"))
        seen += [done.stdout.encode(), done.stderr.encode(), *contents(folder / f"out{workers}").values()]
    everything = b"".join(seen)
    return {"planted": len(names), "planted_found": sum(name.encode() in everything for name in names)}


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A tmpfs of 1 MB; None where this user may not mount one."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True
    ).returncode == 0  # fmt: skip
    try:
        yield disk if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", disk], check=True)


def fill_disk(folder: Path) -> dict[str, str]:
    with small_disk(folder) as disk:
        if disk is None:
            return {"full_disk": "no tmpfs can be mounted here"}
        done = run(command(folder, disk / "out"))
        left = {path.name for path in (disk / "out").iterdir()}
        one_line = done.returncode == 2 and done.stderr.count("\n") == 1 and "No space left" in done.stderr
        whole = not any(name.endswith((".part", ".building", ".csv", ".manifest.json")) for name in left)
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        again = run(command(folder, disk / "out")).returncode == 3
        same = again and contents(disk / "out") == contents(folder / "undisturbed")
    return {"full_disk": "as it should" if one_line and whole and same else f"WRONG: {done.stderr} {left} {same}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    arguments = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder)
        report: dict[str, int | str] = dict(kill_and_rerun(folder, arguments.kills))
        for step in (flip_bits, go_through_catalogue, plant_names, fill_disk):
            report |= step(folder)
            print(f"{step.__name__}: {report}", file=sys.stderr, flush=True)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
