#!/usr/bin/env python3
"""Runs a program that was built for NVIDIA GPUs on a machine that has none: NVIDIA's own compiler turns every kernel into PTX, a driver
that does nothing takes it. So a kernel that CUDA does not compile is found without a card, as is a call of the driver that is refused, or
memory that runs out. Numbers are not: no kernel runs, and what is printed of them means nothing.

    cargo build --release -p grsap-benches --features nvrtc,cublas --bin gpu
    tests/nvidia/run.py target/release/gpu smollm2-135m --layers 2
    tests/nvidia/run.py --registers target/release/gpu smollm2-135m --layers 2      what each kernel takes of a multiprocessor
    tests/nvidia/run.py --launches target/release/gpu smollm2-135m --layers 2       how often each kernel was launched
    tests/nvidia/run.py --memory-mib 4000 target/release/gpu smollm2-135m           a card that is too small

The compiler comes from PyPI, some 100 MB, into target/nvidia. Needs gcc and pip. The programs' caches of kernels must be off, as they are by default.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TARGET = os.path.join(HERE, "../../target/nvidia")
PACKAGES = ["nvidia-cuda-nvrtc==13.5.*", "nvidia-cuda-runtime==13.5.*", "nvidia-cuda-crt==13.5.*", "nvidia-cuda-cccl==13.3.*", "nvidia-cuda-nvcc==13.5.*"]


def prepared():
    """The directory of the toolkit, and that of the libraries that stand in."""
    packages, libraries = os.path.join(TARGET, "packages"), os.path.join(TARGET, "lib")
    toolkit = os.path.join(packages, "nvidia/cu13")
    os.makedirs(libraries, exist_ok=True)
    if not os.path.isdir(toolkit):
        # Beside and renamed: half of the packages would be taken for all.
        with tempfile.TemporaryDirectory(dir=os.path.dirname(packages)) as beside:
            subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", f"{beside}/packages", *PACKAGES], check=True)
            os.rename(f"{beside}/packages", packages)
    # Not `libcuda.so.1`: the compiler looks for that one, and would ask it for more than there is.
    for source, name in [("driver.c", "libcuda.so"), ("cublaslt.c", "libcublasLt.so")]:
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", os.path.join(libraries, name), os.path.join(HERE, source)], check=True)
    link = os.path.join(libraries, "libnvrtc.so")
    if not os.path.lexists(link):
        os.symlink(os.path.join(toolkit, "lib/libnvrtc.so.13"), link)
    return os.path.abspath(toolkit), os.path.abspath(libraries)


def registers(toolkit, directory):
    print("registers  threads  spilled bytes  kernel")
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        with open(path) as ptx:
            threads = re.search(r"\.maxntid (\d+)(?:, (\d+))?(?:, (\d+))?", ptx.read())
        said = subprocess.run([os.path.join(toolkit, "bin/ptxas"), "-v", "-arch=sm_90a", path, "-o", "/dev/null"], capture_output=True, text=True, check=True)
        kernel = re.search(r"entry function '(\w+)'", said.stderr)[1]
        used, spilled = re.search(r"Used (\d+) registers", said.stderr)[1], re.search(r"(\d+) bytes spill stores", said.stderr)[1]
        count = 1
        for side in threads.groups() if threads else ():
            count *= int(side or 1)
        print(f"{used:>9} {count:8} {spilled:>14}  {kernel}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--registers", action="store_true", help="what each kernel takes, by ptxas for an H100 or H200")
    parser.add_argument("--launches", action="store_true", help="how often each kernel was launched")
    parser.add_argument("--memory-mib", type=int, help="of the card that is not there")
    parser.add_argument("program", nargs=argparse.REMAINDER, help="with its arguments")
    args = parser.parse_args()
    if not args.program:
        parser.error("say which program")
    toolkit, libraries = prepared()
    env = dict(os.environ, CUDA_PATH=toolkit, LD_LIBRARY_PATH=f"{libraries}:{toolkit}/lib")
    if args.memory_mib:
        env["NVIDIA_MEMORY_MIB"] = str(args.memory_mib)
    if args.launches:
        env["NVIDIA_LAUNCHES"] = "1"
    ptx = os.path.join(TARGET, "ptx")
    if args.registers:
        os.makedirs(ptx, exist_ok=True)
        for name in os.listdir(ptx):
            os.remove(os.path.join(ptx, name))
        env["NVIDIA_PTX"] = ptx
    code = subprocess.run(args.program, env=env).returncode
    if args.registers and code == 0:
        registers(toolkit, ptx)
    sys.exit(code)


if __name__ == "__main__":
    main()
