#!/usr/bin/env python3
"""LoRA (r 16, alpha 32, all linear layers) with PEFT on a GPU, on the made-up weights of `benches/src/bin/gpu.rs`.

usage: train_peft_gpu.py SHAPE [--rows 8] [--tokens 512] [--steps 6] [--layers N] [--checkpointing] [--attention sdpa|eager|flash_attention_2]
"""

import argparse
import json
import time

import numpy
import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

TABLE = 1048573
SHAPES = {
    "smollm2-135m": (LlamaConfig, dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
                                       num_key_value_heads=3, vocab_size=49152, rope_theta=1e5, rms_norm_eps=1e-5, tie_word_embeddings=True)),
    "qwen2.5-0.5b": (Qwen2Config, dict(hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
                                       num_key_value_heads=2, vocab_size=151936, rope_theta=1e6, rms_norm_eps=1e-6, tie_word_embeddings=True)),
    "llama3-8b": (LlamaConfig, dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
                                    num_key_value_heads=8, vocab_size=128256, rope_theta=5e5, rms_norm_eps=1e-5, tie_word_embeddings=False)),
}


def table():
    state, values = 1, numpy.empty(TABLE, dtype=numpy.float32)
    for i in range(TABLE):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values[i] = numpy.float32(state >> 40)
    return torch.tensor((values / numpy.float32(16777216) - numpy.float32(0.5)) * numpy.float32(0.069282)).cuda()


def fill(model):
    numbers = table()
    done = set()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.data_ptr() in done:
                continue
            done.add(parameter.data_ptr())
            if name.endswith("norm.weight"):
                parameter.fill_(1.0)
                continue
            start = 0xCBF29CE484222325
            for byte in name.encode():
                start = ((start ^ byte) * 0x100000001B3) % 2**64
            flat = parameter.view(-1)
            for begin in range(0, flat.numel(), 1 << 27):
                end = min(begin + (1 << 27), flat.numel())
                at = (torch.arange(begin, end, device="cuda") + start % TABLE) % TABLE
                flat[begin:end] = numbers[at].to(parameter.dtype)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--attention", default="sdpa")
    args = parser.parse_args()
    kind, values = SHAPES[args.shape]
    if args.layers:
        values["num_hidden_layers"] = args.layers
    theta = values.pop("rope_theta")
    try:
        config = kind(max_position_embeddings=8192, rope_parameters={"rope_type": "default", "rope_theta": theta}, **values)
    except TypeError:
        config = kind(max_position_embeddings=8192, rope_theta=theta, **values)
    torch.set_default_device("cuda")
    torch.set_default_dtype(torch.bfloat16)
    with transformers.initialization.no_init_weights() if hasattr(transformers, "initialization") else torch.no_grad():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation=args.attention)
    torch.set_default_dtype(torch.float32)
    model.tie_weights()
    fill(model)
    if args.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, bias="none", target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(model, lora)
    adapted.train()
    trained = [p for p in adapted.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4, fused=True)
    ids = torch.tensor([[(i * 7 + row * 13) % 90 + 5 for i in range(args.tokens)] for row in range(args.rows)])
    losses, starts = [], []
    for _ in range(args.steps + 2):
        loss = adapted(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(round(loss.item(), 4))
        starts.append(time.perf_counter())
    rate = ids.numel() * args.steps / (starts[-1] - starts[1])
    print(json.dumps({"tokens_per_second": round(rate, 1), "losses": losses, "trained": str(trained[0].dtype),
                      "allocated_mib": round(torch.cuda.max_memory_allocated() / 2**20), "card": torch.cuda.get_device_name()}))


if __name__ == "__main__":
    main()
