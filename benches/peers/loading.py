#!/usr/bin/env python3
"""Loading time and peak memory: this library, transformers, and candle (GGUF), in turn, a process for each load.

usage: loading.py --gguf FILE [--runs 5] [--threads 2] [--ours PROGRAM] [--candle PROGRAM] [--work DIR]

Before the first run the checkpoint is written to DIR as a Hugging Face folder, once in bf16 and once in f32. Files are in
the page cache (every program runs once before it counts). Prints a table with medians, and all figures as JSON lines.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def write_folders(gguf, work):
    """bf16 and f32 folders of the same weights. f32 holds what the GGUF file stands for; bf16 is that, rounded."""
    folders = {name: os.path.join(work, name) for name in ("bf16", "f32")}
    if all(os.path.exists(os.path.join(folder, "model.safetensors")) for folder in folders.values()):
        return folders
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path, name = os.path.split(os.path.abspath(gguf))
    model = AutoModelForCausalLM.from_pretrained(path, gguf_file=name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(path, gguf_file=name)
    # Otherwise save_pretrained refuses.
    model.hf_quantizer, model.is_quantized = None, False
    model.config.__dict__.pop("quantization_config", None)
    for dtype, folder in ((torch.float32, folders["f32"]), (torch.bfloat16, folders["bf16"])):
        model.to(dtype).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folders


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ours", default=os.path.join(ROOT, "target/release/load"))
    parser.add_argument("--candle", default=os.path.join(HERE, "candle_load/target/release/candle-load"))
    parser.add_argument("--work", default=os.path.join(ROOT, "target/loading"))
    args = parser.parse_args()
    # In a process of its own: it leaves nothing behind in this one.
    code = f"import sys; sys.path.insert(0, {HERE!r}); import loading; loading.write_folders({args.gguf!r}, {args.work!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    folders = write_folders(args.gguf, args.work)

    transformers = [sys.executable, os.path.join(HERE, "load_transformers.py")]
    cases = {
        "safetensors, bf16": {"ours": [args.ours, folders["bf16"]], "transformers": [*transformers, folders["bf16"]]},
        "safetensors, f32": {"ours": [args.ours, folders["f32"]], "transformers": [*transformers, folders["f32"]]},
        "GGUF, Q4_1": {
            "ours": [args.ours, args.gguf],
            "transformers": [*transformers, args.gguf],
            "candle, kept quantised": [args.candle, "quantised", args.gguf],
            "candle, decoded to f32": [args.candle, "f32", args.gguf],
        },
    }
    threads = {"OMP_NUM_THREADS": str(args.threads), "RAYON_NUM_THREADS": str(args.threads)}
    results = {}
    for run in range(-1, args.runs):
        for case, programs in cases.items():
            for who, command in programs.items():
                done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=True)
                figures = json.loads(done.stdout.strip().splitlines()[-1])
                if run >= 0:
                    results.setdefault((case, who), []).append(figures)
                    print(json.dumps({"run": run, "case": case, "who": who} | figures), flush=True)

    print("\n| file | who | seconds | low to high | weights read | peak MiB | above the start MiB |\n|---|---|---:|---:|---:|---:|---:|")
    for (case, who), runs in results.items():
        median = lambda field: statistics.median(r[field] for r in runs) if field in runs[0] else None
        shown = lambda value, digits: "" if value is None else f"{value:.{digits}f}"
        seconds = sorted(r["seconds"] for r in runs)
        ready = median("ready_seconds") or median("seconds")
        print(
            f"| {case} | {who} | {median('seconds'):.2f} | {seconds[0]:.2f} to {seconds[-1]:.2f} | {ready:.2f} "
            f"| {shown(median('peak_mib'), 0)} | {shown(median('growth_mib'), 0)} |"
        )


if __name__ == "__main__":
    main()
