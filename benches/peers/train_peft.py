#!/usr/bin/env python3
"""Trains LoRA (r 16, alpha 32, all linear layers) with PEFT for some steps, or all weights with torch, and prints tokens a second and peak memory.

usage: train_peft.py MODEL.gguf [--full] [--rows 8] [--tokens 128] [--steps 3] [--checkpointing] [--dtype f32|bf16]
"""

import argparse
import json
import os
import statistics
import time

import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gguf")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    path, name = os.path.split(os.path.abspath(args.gguf))
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[args.dtype]
    model = AutoModelForCausalLM.from_pretrained(path, gguf_file=name, dtype=dtype)
    if args.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    adapted = model
    if not args.full:
        config = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, bias="none", target_modules="all-linear", task_type="CAUSAL_LM")
        adapted = get_peft_model(model, config)
    adapted.train()
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-4)
    ids = torch.tensor([[(i * 7 + row * 13) % 90 + 5 for i in range(args.tokens)] for row in range(args.rows)])
    # What loading took is not of the training.
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    times = []
    for _ in range(args.steps + 1):
        start = time.perf_counter()
        adapted(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(adapted.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    with open("/proc/self/status") as status:
        peak = int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024
    rate = ids.numel() / statistics.median(times[1:])
    print(json.dumps({"tokens_per_second": round(rate, 1), "peak_mib": round(peak, 1)}))


if __name__ == "__main__":
    main()
