#!/usr/bin/env python3
"""Products with a frozen weight: this library and torch.nn.functional.linear, in turn, the shapes of SmolLM2-135M.

usage: linear.py [--rounds 7] [--runs 300] [--threads 2] [--ours PROGRAM] [--pin]

In every round both sides do `runs` products of a case or more, first the one and then the other; a figure is the median over
the rounds of the median over the runs. Up to 32 rows the weights are copies that go through 128 MB, as in decoding,
where each weight of a model is read once for a step. Ours takes and gives f32 for both formats; PyTorch's inputs and
outputs are of the weight's type. `--pin` (Linux) holds thread i of each side on processor i: beside other jobs the system
otherwise puts threads that slept, as ours do between two products, on one processor. Prints a table, after one JSON line for each case.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SHAPES = ((576, 576), (576, 192), (576, 1536), (1536, 576), (576, 49152))
ROWS = (1, 8, 32, 64, 512, 1024)
COLD_BYTES, COLD_ROWS = 128_000_000, 32


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ours", default=os.path.join(ROOT, "target/release/linear"))
    parser.add_argument("--pin", action="store_true")
    args = parser.parse_args()
    environment = os.environ | {"RAYON_NUM_THREADS": str(args.threads)}
    if args.pin:
        os.environ["GOMP_CPU_AFFINITY"] = f"0-{args.threads - 1}"
    import torch

    torch.set_num_threads(args.threads)
    ours = subprocess.Popen(
        [args.ours],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask(line):
        ours.stdin.write(line + "\n")
        ours.stdin.flush()
        return json.loads(ours.stdout.readline())

    # The threads are there from the first product on.
    ask("f32 576 1536 64 1")
    if args.pin:
        first, *workers = sorted(int(thread) for thread in os.listdir(f"/proc/{ours.pid}/task"))
        os.sched_setaffinity(first, range(args.threads))
        for processor, worker in enumerate(workers):
            os.sched_setaffinity(worker, [processor % args.threads])
    peaks = [ask("peak") for _ in range(3)]
    f32, bf16, bandwidth = (max(values) for values in zip(*peaks))
    print(json.dumps({"peak_gflops_f32": f32, "peak_gflops_bf16": bf16, "read_gb_per_s": bandwidth}), flush=True)
    table = []
    for (name, dtype, peak), (width, out) in itertools.product(
        (("f32", torch.float32, f32), ("bf16", torch.bfloat16, bf16)), SHAPES
    ):
        size = torch.empty(0, dtype=dtype).element_size()
        copies = max(1, min(128, COLD_BYTES // (width * out * size)))
        weights = [torch.empty(out, width).uniform_(-1, 1).to(dtype) for _ in range(copies)]
        for rows in ROWS:
            # A head is used on few rows at a time.
            if rows > 64 and out > 10_000:
                continue
            x = torch.empty(rows, width).uniform_(-1, 1).to(dtype)
            taken = weights if rows <= COLD_ROWS else weights[:1]

            @torch.no_grad()
            def peer():
                seconds = []
                for weight in itertools.islice(itertools.cycle(taken), max(args.runs, len(taken)) + 1):
                    start = time.perf_counter()
                    torch.nn.functional.linear(x, weight)
                    seconds.append(time.perf_counter() - start)
                return statistics.median(seconds[1:])

            pairs = [(ask(f"{name} {width} {out} {rows} {args.runs}"), peer()) for _ in range(args.rounds)]
            mine, theirs = (statistics.median(side) for side in zip(*pairs))
            gflops, bytes_per_s = 2e-9 * rows * width * out / mine, 1e-9 * width * out * size / mine
            figures = {
                "format": name,
                "in": width,
                "out": out,
                "rows": rows,
                "ours_us": round(mine * 1e6, 1),
                "torch_us": round(theirs * 1e6, 1),
                "ratio": round(theirs / mine, 2),
                "gflops": round(gflops),
                "of_peak": round(gflops / peak, 2) if peak else None,
                "gb_per_s": round(bytes_per_s, 1),
                "of_bandwidth": round(bytes_per_s / bandwidth, 2),
            }
            print(json.dumps(figures), flush=True)
            table.append(figures)
    print("\n| weight | shape | rows | ours µs | PyTorch µs | ratio | of the limit |\n|---|---|---:|---:|---:|---:|---:|")
    for f in table:
        # Reading the weight limits small batches, arithmetic large ones.
        bound = max(f["of_peak"] or 0, f["of_bandwidth"])
        print(
            f"| {f['format']} | {f['in']}x{f['out']} | {f['rows']} | {f['ours_us']:.0f} | {f['torch_us']:.0f} "
            f"| {f['ratio']:.1f} | {bound:.2f} |"
        )


if __name__ == "__main__":
    main()
