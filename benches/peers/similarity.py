#!/usr/bin/env python3
"""MAUVE of this library against mauve-text: values over several seeds, and times in turn.

    cargo build --release -p grsap-safety --example mauve
    venv/bin/python similarity.py --ours ../../target/release/examples/mauve

Prints one JSON object for each size: medians of the runs with their extremes in seconds, the ratio (above 1: ours
is faster), and the values of both for each seed. The features are noisy copies of some centres; q is moved.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--ours", required=True, help="the example `mauve` of grsap-safety, built with --release")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--runs", type=int, default=5)
parser.add_argument("--seeds", type=int, default=5, help="how many seeds the values are compared for")
parser.add_argument("--rows", default="2000,10000")
parser.add_argument("--dim", type=int, default=384)
args = parser.parse_args()

for name in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"]:
    os.environ[name] = str(args.threads)

import faiss  # noqa: E402
import numpy as np  # noqa: E402
from mauve import compute_mauve  # noqa: E402

faiss.omp_set_num_threads(args.threads)


def features(rng, rows, shift):
    centres = np.random.default_rng(0).standard_normal((200, args.dim))
    noise = rng.standard_normal((rows, args.dim)) * 1.5
    return (centres[rng.integers(len(centres), size=rows)] + noise + shift).astype("<f4")


def theirs(p, q, seed):
    start = time.perf_counter()
    result = compute_mauve(p_features=p, q_features=q, mauve_scaling_factor=2.0, seed=seed)
    return float(result.mauve), time.perf_counter() - start


def ours(folder, seed):
    command = [args.ours, folder / "p.f32", folder / "q.f32", str(args.dim), str(seed)]
    line = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return line["mauve"], line["mauve_seconds"], line["neighbours_seconds"]


def summary(seconds):
    return {"median": statistics.median(seconds), "low": min(seconds), "high": max(seconds)}


for rows in map(int, args.rows.split(",")):
    rng = np.random.default_rng(1)
    p, q = features(rng, rows, 0.0), features(rng, rows, 0.15)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        p.tofile(folder / "p.f32")
        q.tofile(folder / "q.f32")
        times, values = {"ours": [], "mauve-text": [], "neighbours": []}, []
        for run in range(max(args.runs, args.seeds)):
            seed = 25 + run % args.seeds
            value, seconds, neighbours = ours(folder, seed)
            peer, peer_seconds = theirs(p, q, seed)
            times["ours"].append(seconds)
            times["neighbours"].append(neighbours)
            times["mauve-text"].append(peer_seconds)
            if run < args.seeds:
                values.append([seed, value, peer])
        medians = {name: summary(seconds) for name, seconds in times.items()}
        ratio = medians["mauve-text"]["median"] / medians["ours"]["median"]
        line = {"bench": f"mauve/{rows}x{args.dim}", "threads": args.threads, "ratio": ratio, "seconds": medians, "values": values}
        print(json.dumps(line), flush=True)
