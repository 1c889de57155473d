#!/usr/bin/env python3
"""Greedy deduplication of unit vectors: this library and FAISS in turn, in one run, on the same rows.

usage: dedup.py [--rows 20000] [--dim 384] [--runs 5] [--threads 2] [--ours PROGRAM]

Two sets: noisy copies of a third as many centres, so that two thirds fall, as in vectors.py; and rows that are all different, so that
none falls and every pair has to be compared. Prints each run as a JSON line, and a table with medians, and whether both sides kept the same rows.
Processor seconds, of all threads, say more than the clock where other jobs run.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time

# Threads that wait do not take the processor from the other side, or from others on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import faiss  # noqa: E402
import numpy as np  # noqa: E402

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


def cpu_seconds(pid):
    """Processor time of a process so far, in steps of a hundredth."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
        seconds = {key: [] for key in ("ours", "faiss", "ours_cpu", "faiss_cpu")}
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
                before = cpu_seconds(ours.pid)
                print("run", file=ours.stdin, flush=True)
                answer = json.loads(ours.stdout.readline())
                ours_cpu = cpu_seconds(ours.pid) - before
                before = cpu_seconds("self")
                faiss_seconds, kept = by_faiss(rows)
                faiss_cpu = cpu_seconds("self") - before
                same = answer["kept"] == kept
                line = {"rows": name, "run": run, "ours": answer["seconds"], "faiss": faiss_seconds}
                line |= {"ours_cpu": ours_cpu, "faiss_cpu": faiss_cpu, "kept": len(kept), "same": same}
                print(json.dumps(line), flush=True)
                if run >= 0:
                    for key in seconds:
                        seconds[key].append(line[key])
            ours.stdin.close()
            ours.wait()
        table.append((name, len(kept), same, seconds))

    print(f"\n| {args.rows:,} x {args.dim} | kept | same rows | clock | ours s | FAISS s | ratio |")
    print("|---|---:|---|---|---:|---:|---:|")
    for name, kept, same, seconds in table:
        for clock, suffix in (("wall", ""), ("processor", "_cpu")):
            ours, theirs = seconds["ours" + suffix], seconds["faiss" + suffix]
            cells = [f"{statistics.median(s):.2f} ({min(s):.2f} to {max(s):.2f})" for s in (ours, theirs)]
            ratio = statistics.median(f / max(o, 0.01) for f, o in zip(theirs, ours))
            print(f"| {name} | {kept:,} | {'yes' if same else 'NO'} | {clock} | {cells[0]} | {cells[1]} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
