#!/usr/bin/env python3
"""LoRA steps of this library and of PEFT (with --full, steps of all weights), in turn, a process for each: tokens a second and peak memory.

usage: training.py --gguf FILE [--runs 3] [--threads 2] [--shapes 8x128,...] [--dtypes f32,bf16,int8,nf4] [--no-checkpointing] [--full] [--ours PROGRAM]

PEFT has no int8 and nf4 here.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shapes", default="8x128")
    parser.add_argument("--dtypes", default="f32", help="of the base model")
    parser.add_argument("--no-checkpointing", action="store_true", help="leave out the runs with gradient checkpointing")
    parser.add_argument("--full", action="store_true", help="train all weights, in f32")
    parser.add_argument("--ours", default=os.path.join(ROOT, "target/release/train"))
    args = parser.parse_args()
    peft = [sys.executable, os.path.join(HERE, "train_peft.py"), args.gguf]
    threads = {"OMP_NUM_THREADS": str(args.threads), "RAYON_NUM_THREADS": str(args.threads)}
    results = {}
    for run in range(args.runs):
        for shape in args.shapes.split(","):
            rows, tokens = shape.split("x")
            size = ["--rows", rows, "--tokens", tokens] + ["--full"] * args.full
            programs = {}
            for flag in ([],) if args.no_checkpointing else ([], ["--checkpointing"]):
                what = ", checkpointing" if flag else ""
                for dtype in args.dtypes.split(","):
                    programs[f"ours, {dtype}" + what] = [args.ours, args.gguf, *size, *flag, "--format", dtype]
                    if dtype in ("f32", "bf16"):
                        programs[f"PEFT, {dtype}" + what] = [*peft, *size, *flag, "--dtype", dtype]
            for who, command in programs.items():
                done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=True)
                figures = json.loads(done.stdout.strip().splitlines()[-1])
                results.setdefault((shape, who), []).append(figures)
                print(json.dumps({"run": run, "shape": shape, "who": who} | figures), flush=True)
    print("\n| rows x tokens | who | tokens/s | low to high | GFLOP/s of products | peak MiB |\n|---|---|---:|---:|---:|---:|")
    for (shape, who), runs in results.items():
        rates = sorted(r["tokens_per_second"] for r in runs)
        peak = statistics.median(r["peak_mib"] for r in runs)
        gflops = statistics.median(r["gflops"] for r in runs) if "gflops" in runs[0] else None
        gflops = f"{gflops:.0f}" if gflops else ""
        print(f"| {shape} | {who} | {statistics.median(rates):.0f} | {rates[0]:.0f} to {rates[-1]:.0f} | {gflops} | {peak:.0f} |")


if __name__ == "__main__":
    main()
