#!/usr/bin/env bash
# Builds the fuzzers, as cargo-fuzz does without a sanitizer: there is no unsafe code of ours below
# these targets but the memory maps. Needs the nightly toolchain.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
flags=(-Cpasses=sancov-module --cfg fuzzing -Ccodegen-units=1 -Cllvm-args=-simplifycfg-branch-fold-threshold=0)
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    flags+=("-Cllvm-args=-sanitizer-coverage-$option")
done
# With --target, build scripts and macros are not instrumented.
target=$(rustc +nightly -vV | sed -n 's/^host: //p')
RUSTFLAGS="${flags[*]}" cargo +nightly build --release --target "$target" --bins "$@"
