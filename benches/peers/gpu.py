#!/usr/bin/env python3
"""LoRA steps of this library and of PEFT on a GPU, in turn, a process for each, on the same made-up weights in bf16: tokens a
second, and the most memory that the card reported as used (by nvidia-smi, every tenth of a second, less what was used before).

usage: gpu.py [--ours PROGRAM] [--runs 1] [--cases "llama3-8b 8 512;smollm2-135m 16 512 --checkpointing"]
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def used():
    text = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"], capture_output=True, text=True, check=True)
    return int(text.stdout.split()[0])


def measured(command):
    before, peak, over = used(), [0], threading.Event()

    def watch():
        while not over.is_set():
            peak[0] = max(peak[0], used())
            time.sleep(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    done = subprocess.run(command, capture_output=True, text=True)
    over.set()
    watcher.join()
    if done.returncode != 0:
        return {"failed": done.stderr.strip()[-600:]}
    return json.loads(done.stdout.strip().splitlines()[-1]) | {"card_mib": peak[0] - before}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", default=os.path.join(ROOT, "target/release/gpu"))
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--cases", default="smollm2-135m 16 512;qwen2.5-0.5b 16 512;llama3-8b 8 512;llama3-8b 8 512 --checkpointing")
    args = parser.parse_args()
    for run in range(args.runs):
        for case in args.cases.split(";"):
            shape, rows, tokens, *flags = case.split()
            size = [shape, "--rows", rows, "--tokens", tokens, *flags]
            for who, command in {"ours": [args.ours, *size], "PEFT": [sys.executable, os.path.join(HERE, "train_peft_gpu.py"), *size]}.items():
                print(json.dumps({"run": run, "case": case, "who": who} | measured(command)), flush=True)


if __name__ == "__main__":
    main()
