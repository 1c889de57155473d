"""Serves a GGUF file with llama.cpp until its standard input ends.

    python3 llama_cpp.py PACKAGE_DIR MODEL.gguf API_KEY

PACKAGE_DIR holds the package xllamacpp; the address is the first line of the output. Keys and
values are f32 and attention is the plain one, so that nothing is rounded that need not be.
"""

import sys

sys.path.insert(0, sys.argv[1])
import xllamacpp  # noqa: E402

params = xllamacpp.CommonParams()
params.model.path = sys.argv[2]
params.api_keys = [sys.argv[3]]
params.hostnames = ["127.0.0.1"]
params.n_ctx = 4096
params.n_parallel = 4
# Threads of llama.cpp wait for each other by spinning, which takes for ever on a machine that is
# busy with other tests.
params.cpuparams.n_threads = 1
params.cpuparams_batch.n_threads = 1
params.warmup = False
params.cache_prompt = False
params.cache_type_k = xllamacpp.ggml_type.GGML_TYPE_F32
params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
server = xllamacpp.Server(params)
print("listening", server.listening_address, flush=True)
sys.stdin.read()
