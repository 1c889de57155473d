#!/usr/bin/env bash
# Fuzzes all targets, one after another: run.sh [SECONDS] [TARGET...]
# What is new goes to the folder $WORK/corpus, findings to $WORK/artifacts (default: target).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
seconds=${1:-660}
targets=("${@:2}")
[[ ${#targets[@]} -gt 0 ]] || targets=(gguf safetensors gguf_tokenizer chat_template config)
work=${WORK:-target}
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
# Inputs pass through files; these are in memory where the system has such a folder.
if [[ -d /dev/shm ]]; then export TMPDIR=/dev/shm; fi

for target in "${targets[@]}"; do
    mkdir -p "$work/corpus/$target" "$work/artifacts/$target" "regressions/$target"
    echo "=== $target"
    # The most that one allocation may take, and all together; a second is far more than any input needs.
    RAYON_NUM_THREADS=1 "${CARGO_TARGET_DIR:-target}/$host/release/$target" \
        -max_total_time="$seconds" -max_len=16384 -timeout=10 -malloc_limit_mb=128 -rss_limit_mb=1024 \
        -artifact_prefix="$work/artifacts/$target/" -print_final_stats=1 \
        "$work/corpus/$target" "corpus/$target" "regressions/$target" || echo "=== $target: finding"
done
