#!/usr/bin/env python3
"""The vector work of the benches, done by FAISS (deduplication) and mauve-text (MAUVE).

Prints one JSON object a line: bench, value (the median), unit, low, high, runs, and the result.
Data come from a seed; `--save PREFIX` writes them as little-endian f32 files for the other side.
"""

import argparse
import json
import statistics
import time

import numpy as np

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--runs", type=int, default=5)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--only", default="dedup,mauve")
parser.add_argument("--rows", type=int, default=20000)
parser.add_argument("--dim", type=int, default=384)
parser.add_argument("--threshold", type=float, default=0.85, help="a row closer than this to an earlier kept row goes")
parser.add_argument("--mauve-rows", type=int, default=2000)
parser.add_argument("--save", metavar="PREFIX")
args = parser.parse_args()


def save(name, array):
    if args.save:
        array.astype("<f4").tofile(f"{args.save}_{name}_{array.shape[0]}x{array.shape[1]}.f32")


def measure(bench, work):
    result, times = work(), []
    for _ in range(args.runs):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    line = {"bench": bench, "value": round(statistics.median(times), 5), "unit": "s"}
    line |= {"low": round(min(times), 5), "high": round(max(times), 5), "runs": args.runs, "threads": args.threads}
    print(json.dumps({**line, "result": result}), flush=True)


def dedup():
    """Exact search for every pair above the threshold, then greedily keep the first."""
    import faiss

    faiss.omp_set_num_threads(args.threads)
    rng = np.random.default_rng(args.seed)
    # Noisy copies of a third as many centres, so that there is much to drop.
    centres = rng.standard_normal((max(args.rows // 3, 1), args.dim), dtype=np.float32)
    rows = centres[rng.integers(len(centres), size=args.rows)]
    rows += 0.35 * rng.standard_normal(rows.shape, dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    save("dedup", rows)

    def work():
        index = faiss.IndexFlatIP(args.dim)
        index.add(rows)
        limits, _, neighbours = index.range_search(rows, args.threshold)
        dropped = np.zeros(args.rows, bool)
        for row in range(args.rows):
            if not dropped[row]:
                near = neighbours[limits[row] : limits[row + 1]]
                dropped[near[near > row]] = True
        return int(args.rows - dropped.sum())

    measure(f"dedup/{args.rows}x{args.dim}", work)


def mauve():
    from mauve import compute_mauve

    rng = np.random.default_rng(args.seed + 1)
    p = rng.standard_normal((args.mauve_rows, args.dim), dtype=np.float32)
    q = rng.standard_normal((args.mauve_rows, args.dim), dtype=np.float32) + np.float32(0.1)
    save("mauve_p", p)
    save("mauve_q", q)
    options = dict(mauve_scaling_factor=2.0, seed=25, verbose=False)
    measure(
        f"mauve/{args.mauve_rows}x{args.dim}",
        lambda: float(compute_mauve(p_features=p, q_features=q, **options).mauve),
    )


for bench in args.only.split(","):
    {"dedup": dedup, "mauve": mauve}[bench]()
