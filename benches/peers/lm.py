#!/usr/bin/env python3
"""The language-model work of the benches by this library and by PyTorch, in turn: tokens a second, and the ratio.

usage: lm.py --gguf FILE [--rounds 5] [--threads 2] [--formats f32,bf16,int8] [--ours PROGRAM] [--only NAME,...]

In every round each case is done once by ours and once by PyTorch (torch_lm.py --serve), the other one first in every second
round; the first round warms up and is not counted. Figures are medians. int8 is compared with PyTorch's bf16. The share is
of what `lm`'s own program measured on this processor: multiplications on registers alone, or reading memory once for a step's
weights, whichever is the nearer limit. Both sides keep the memory that they free. (For int8 no peak of arithmetic is measured: only memory counts.)
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CASES = ("prefill/1x64", "prefill/8x64", "decode/1", "decode/8", "decode/32", "samples/1x32", "score/32x32")
PEER = {"f32": "f32", "bf16": "bf16", "int8": "bf16"}


class Program:
    """A program that answers a line with a line."""

    def __init__(self, command, threads):
        # As this library's `keep_memory` does: glibc would give memory back after a pass, and clear it for the next.
        kept = {"MALLOC_TRIM_THRESHOLD_": str(2**31 - 1), "MALLOC_MMAP_THRESHOLD_": str(2**30)}
        environment = os.environ | kept | {"RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"no answer to {line}: {self.process.args}")
        return json.loads(answer)


def share(case, format, rate, model, peaks):
    """How much of the processor's limit a rate is."""
    flops, bandwidth = {"f32": peaks[0], "bf16": peaks[1], "int8": None}[format], peaks[2]
    bench, _, size = case.partition("/")
    rows = {"prefill": None, "decode": size, "samples": size.partition("x")[2], "score": None}[bench]
    # The head is computed for one position of a prompt of 64, for all tokens otherwise.
    weights = model["layers"] + (model["head"] / 64 if bench == "prefill" else model["head"])
    arithmetic = 2e-9 * weights * rate / flops if flops else 0.0
    memory = 1e-9 * model["bytes"] * rate / int(rows) / bandwidth if rows else 0.0
    return max(arithmetic, memory)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--formats", default="f32,bf16,int8")
    parser.add_argument("--ours", default=os.path.join(ROOT, "target/release/lm"))
    parser.add_argument("--only", default=",".join(CASES))
    args = parser.parse_args()
    formats, cases = args.formats.split(","), args.only.split(",")
    torch_lm = [sys.executable, os.path.join(HERE, "torch_lm.py"), "--serve", "--gguf", args.gguf]
    torch_lm += ["--threads", str(args.threads)]
    peers = {d: Program([*torch_lm, "--dtype", d], args.threads) for d in sorted({PEER[f] for f in formats})}
    ours = {f: Program([args.ours, args.gguf, "--format", f], args.threads) for f in formats}
    models = {f: program.ask("model") for f, program in ours.items()}
    rates = {}
    peaks = []
    for round in range(args.rounds + 1):
        peaks.append(ours[formats[0]].ask("peak"))
        for case in cases:
            programs = [("ours " + f, program) for f, program in ours.items()]
            programs += [("PyTorch " + d, program) for d, program in peers.items()]
            for who, program in programs if round % 2 else reversed(programs):
                rate = program.ask(case)
                if round > 0:
                    rates.setdefault((case, who), []).append(rate)
                    print(json.dumps({"round": round, "case": case, "who": who, "tokens/s": rate}), flush=True)
    peaks = [max(values) for values in zip(*peaks)]
    print("\nlimits: {:.0f} GFLOP/s in f32, {:.0f} in bf16, {:.0f} GB/s".format(*peaks))
    print("\n| work | format | ours | low to high | PyTorch | low to high | ratio | of the limit |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for case in cases:
        for f in formats:
            mine, theirs = sorted(rates[case, "ours " + f]), sorted(rates[case, "PyTorch " + PEER[f]])
            medians = [statistics.median(side) for side in (mine, theirs)]
            limit = share(case, f, medians[0], models[f], peaks)
            limit = f"{limit:.0%}" if limit else ""
            print(
                f"| {case} | {f} | {medians[0]:.0f} | {mine[0]:.0f} to {mine[-1]:.0f} | {medians[1]:.0f} "
                f"| {theirs[0]:.0f} to {theirs[-1]:.0f} | {medians[0] / medians[1]:.2f} | {limit} |"
            )


if __name__ == "__main__":
    main()
