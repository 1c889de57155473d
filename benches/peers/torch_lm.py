#!/usr/bin/env python3
"""The language-model work of the benches, done by PyTorch, transformers and PEFT.

Prints one JSON object a line: bench, value (the median), unit, low and high over the runs, runs,
dtype, threads, device, model. With --serve it reads names of benches (decode/8), a line each, does each once and answers
with its value.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time

BENCHES = ("prefill", "decode", "samples", "score", "lora_step")

# Shapes with random weights, for machines that have no checkpoint.
SHAPES = {
    "smollm2-135m": dict(
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
        tie_word_embeddings=True,
        max_position_embeddings=8192,
        rope_theta=1e5,
    ),
    "tiny": dict(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=512,
        max_position_embeddings=2048,
    ),
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--gguf", help="a GGUF checkpoint")
    source.add_argument("--model", help="a Hugging Face folder")
    source.add_argument("--shape", choices=SHAPES, default="smollm2-135m", help="random weights")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--only", default=",".join(BENCHES), help=f"comma-separated, of {', '.join(BENCHES)}")
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--prefill-batches", default="1,8")
    parser.add_argument("--decode-batches", default="1,8,32")
    parser.add_argument("--num-samples", type=int, default=32)
    parser.add_argument("--score-batch", type=int, default=32, help="texts; each has --score-tokens tokens")
    parser.add_argument("--score-tokens", type=int, default=32)
    parser.add_argument("--train-batch", type=int, default=8)
    parser.add_argument("--train-tokens", type=int, default=128)
    args = parser.parse_args()
    args.only = args.only.split(",")
    for name in args.only:
        if name not in BENCHES:
            parser.error(f"no bench called {name}")
    for name in ("prefill_batches", "decode_batches"):
        setattr(args, name, [int(n) for n in getattr(args, name).split(",")])
    return args


args = arguments()
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()
logging.set_verbosity_error()
torch.set_num_threads(args.threads)
torch.manual_seed(args.seed)
DTYPE = {"f32": torch.float32, "bf16": torch.bfloat16}[args.dtype]


def load():
    if args.gguf:
        folder, name = os.path.split(os.path.abspath(args.gguf))
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=DTYPE)
        # The weights are dequantised; PEFT would otherwise take them for quantised ones.
        model.hf_quantizer, model.is_quantized = None, False
        model.config.__dict__.pop("quantization_config", None)
    elif args.model:
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=DTYPE)
    else:
        model = LlamaForCausalLM(LlamaConfig(**SHAPES[args.shape])).to(DTYPE)
    return model.to(args.device).eval()


def synchronise():
    if args.device.startswith("cuda"):
        torch.cuda.synchronize()


def seconds(*works):
    """Times of each work over the runs, after one warm-up; several works take turns."""
    times = [[] for _ in works]
    for run in [1] if args.serve else range(args.runs + 1):
        for taken, work in zip(times, works):
            synchronise()
            start = time.perf_counter()
            work()
            synchronise()
            if run > 0:
                taken.append(time.perf_counter() - start)
    return times


def report(bench, values, unit="tokens/s", **more):
    values = sorted(values)
    if args.serve:
        print(json.dumps(values[0]), flush=True)
        return
    line = {
        "bench": bench,
        "value": round(statistics.median(values), 3),
        "unit": unit,
        "low": round(values[0], 3),
        "high": round(values[-1], 3),
        "runs": len(values),
        "dtype": args.dtype,
        "threads": args.threads,
        "device": args.device,
        "model": "gguf" if args.gguf else "folder" if args.model else args.shape,
    }
    print(json.dumps({**line, **more}), flush=True)


model = load()
vocabulary = model.config.vocab_size


def random_ids(rows, columns):
    return torch.randint(3, vocabulary, (rows, columns), device=args.device)


def generate(ids, count, **sampling):
    """Exactly `count` new tokens for each row: the end token is held back."""
    return model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        min_new_tokens=count,
        max_new_tokens=count,
        pad_token_id=0,
        **sampling,
    )


@torch.no_grad()
def prefill():
    """The cache and the logits of the last position."""
    for batch in args.prefill_batches:
        ids = random_ids(batch, args.prompt_tokens)
        (times,) = seconds(lambda: model(ids, use_cache=True, logits_to_keep=1))
        report(f"prefill/{batch}x{args.prompt_tokens}", [ids.numel() / t for t in times])


@torch.no_grad()
def decode():
    """Greedy tokens after the first: the time of the prompt and the first token is taken off."""
    for batch in args.decode_batches:
        ids = random_ids(batch, args.prompt_tokens)
        first, all_of_them = seconds(
            lambda: generate(ids, 1, do_sample=False), lambda: generate(ids, args.new_tokens + 1, do_sample=False)
        )
        report(f"decode/{batch}", [batch * args.new_tokens / (b - a) for a, b in zip(first, all_of_them)])


@torch.no_grad()
def samples():
    """Several answers to one prompt, the prompt's time included."""
    ids = random_ids(1, args.prompt_tokens)
    options = dict(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, num_return_sequences=args.num_samples)
    (times,) = seconds(lambda: generate(ids, args.new_tokens, **options))
    report(f"samples/1x{args.num_samples}", [args.num_samples * args.new_tokens / t for t in times])


@torch.no_grad()
def score():
    """Token log-likelihoods of given texts, as perplexity needs them."""
    ids = random_ids(args.score_batch, args.score_tokens)

    def work():
        logits = model(ids, use_cache=False).logits[:, :-1].float()
        return torch.nn.functional.cross_entropy(
            logits.reshape(-1, vocabulary), ids[:, 1:].reshape(-1), reduction="none"
        )

    (times,) = seconds(work)
    report(f"score/{args.score_batch}x{args.score_tokens}", [ids.numel() / t for t in times])


def lora_step():
    """Forward, backward and AdamW step of LoRA (r 16, alpha 32) on all linear layers but the head."""
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(
        model,
        LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, bias="none", target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    adapted.train()
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-4)
    ids = random_ids(args.train_batch, args.train_tokens)

    def work():
        adapted(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    (times,) = seconds(work)
    report(f"lora_step/{args.train_batch}x{args.train_tokens}", [ids.numel() / t for t in times])


if args.serve:
    for line in sys.stdin:
        bench, _, size = line.strip().partition("/")
        rows, _, columns = size.partition("x")
        if bench == "prefill":
            args.prefill_batches, args.prompt_tokens = [int(rows)], int(columns)
        elif bench == "decode":
            args.decode_batches = [int(rows)]
        elif bench == "samples":
            args.num_samples = int(columns)
        elif bench == "score":
            args.score_batch, args.score_tokens = int(rows), int(columns)
        {"prefill": prefill, "decode": decode, "samples": samples, "score": score}[bench]()
    sys.exit()
# lora_step last: it puts adapters into the model.
for bench in sorted(args.only, key=BENCHES.index):
    {"prefill": prefill, "decode": decode, "samples": samples, "score": score, "lora_step": lora_step}[bench]()
# Linux counts in KiB, macOS in bytes.
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
report("peak_rss", [peak], "GiB", benches=args.only)
if args.device.startswith("cuda"):
    report("peak_device_memory", [torch.cuda.max_memory_allocated() / 2**30], "GiB", benches=args.only)
