#!/usr/bin/env python3
"""Loads a model and its tokenizer once with transformers, in f32, and prints time and memory as one line of JSON.

usage: load_transformers.py DIR-or-GGUF

`seconds` ends when `from_pretrained` returns. Weights may then still be pages of the file that nobody has read, so
`ready_seconds` ends when each of them was read once. Imports are not in it. `growth_mib` is the peak above what was
resident after the imports.
"""

import json
import os
import sys
import time

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.models.llama import modeling_llama  # noqa: F401  imported before the clock starts


def mib(field):
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith(field + ":"))
    return int(line.split()[1]) / 1024


def main():
    path = sys.argv[1]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    extra = {}
    if path.endswith(".gguf"):
        path, extra["gguf_file"] = os.path.split(os.path.abspath(path))
    before = mib("VmRSS")
    start = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **extra)
    tokenizer = AutoTokenizer.from_pretrained(path, **extra)
    seconds = time.perf_counter() - start
    total = sum(float(p.sum()) for p in model.parameters())
    ready = time.perf_counter() - start
    peak = mib("VmHWM")
    assert total == total and len(tokenizer) > 0
    print(json.dumps({"seconds": round(seconds, 4), "ready_seconds": round(ready, 4), "peak_mib": round(peak, 1), "growth_mib": round(peak - before, 1)}))


if __name__ == "__main__":
    main()
