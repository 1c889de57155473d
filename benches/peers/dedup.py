#!/usr/bin/env python3
"""Greedy deduplication of unit vectors: this library and FAISS in turn, in one run, on the same rows.

usage: dedup.py [--rows 20000] [--dim 384] [--runs 5] [--threads 2] [--ours PROGRAM]

Two sets: noisy copies of a third as many centres, so that two thirds fall, as in vectors.py; and rows that are all different, so that
none falls and every pair has to be compared. Prints each run as a JSON line, and a table with medians, whether both sides kept the same rows.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time

import faiss
import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
THRESHOLD = 0.85


def rows_of(name, num_rows, dim, rng):
    if name == "copies":
        centres = rng.standard_normal((max(num_rows // 3, 1), dim), dtype=np.float32)
        rows = centres[rng.integers(len(centres), size=num_rows)]
        rows += 0.35 * rng.standard_normal(rows.shape, dtype=np.float32)
    else:
        rows = rng.standard_normal((num_rows, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def by_faiss(rows):
    """Exact search for every pair above the threshold, then greedily keep the first."""
    start = time.perf_counter()
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    limits, _, neighbours = index.range_search(rows, THRESHOLD)
    dropped = np.zeros(len(rows), bool)
    for row in range(len(rows)):
        if not dropped[row]:
            near = neighbours[limits[row] : limits[row + 1]]
            dropped[near[near > row]] = True
    return time.perf_counter() - start, np.flatnonzero(~dropped).tolist()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ours", default=os.path.join(ROOT, "target/release/dedup"))
    args = parser.parse_args()
    faiss.omp_set_num_threads(args.threads)
    rng = np.random.default_rng(args.seed)
    table = []
    for name in ("copies", "all different"):
        rows = rows_of(name, args.rows, args.dim, rng)
        seconds = {"ours": [], "faiss": []}
        with tempfile.NamedTemporaryFile(suffix=".f32") as file:
            rows.astype("<f4").tofile(file.name)
            ours = subprocess.Popen(
                [args.ours, file.name, str(args.dim), str(THRESHOLD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"RAYON_NUM_THREADS": str(args.threads)},
            )
            for run in range(-1, args.runs):  # the first is to warm up
                print("run", file=ours.stdin, flush=True)
                answer = json.loads(ours.stdout.readline())
                faiss_seconds, kept = by_faiss(rows)
                same = answer["kept"] == kept
                line = {"rows": name, "run": run, "ours": answer["seconds"], "faiss": faiss_seconds}
                print(json.dumps(line | {"kept": len(kept), "same": same}), flush=True)
                if run >= 0:
                    seconds["ours"].append(answer["seconds"])
                    seconds["faiss"].append(faiss_seconds)
            ours.stdin.close()
            ours.wait()
        table.append((name, len(kept), same, seconds))

    print(f"\n| {args.rows:,} x {args.dim} | kept | same rows | ours s | FAISS s | ratio |\n|---|---:|---|---:|---:|---:|")
    for name, kept, same, seconds in table:
        cells = []
        for who in ("ours", "faiss"):
            low, high = min(seconds[who]), max(seconds[who])
            cells.append(f"{statistics.median(seconds[who]):.2f} ({low:.2f} to {high:.2f})")
        ratio = statistics.median(f / o for f, o in zip(seconds["faiss"], seconds["ours"]))
        print(f"| {name} | {kept:,} | {'yes' if same else 'NO'} | {cells[0]} | {cells[1]} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
