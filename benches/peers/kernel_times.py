#!/usr/bin/env python3
"""Where the time of a GPU goes: the sums for each kernel of CubeCL's profile.

    CUBECL_DEBUG_LOG=profile.log CUBECL_DEBUG_OPTION=profile-full target/release/gpu smollm2-135m --rows 16 --steps 4
    kernel_times.py profile.log [--top 30]

The profile waits for every kernel, so that the run itself is slower; and the first launch of a kernel has its compilation in it:
the means are of launches after the first. What cuBLASLt computes is not in the profile.
"""

import argparse
import collections
import re

UNITS = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
ENTRY = re.compile(r"^\| ([\d.]+)(ns|µs|ms|s) *\| (.*)$")
CUBES = re.compile(r"CubeCount \((\d+), (\d+), (\d+)\)")


def entries(path):
    """The name, the cubes and the seconds of every launch."""
    seconds, name = None, None
    with open(path, errors="replace") as log:
        for line in log:
            start = ENTRY.match(line)
            if start:
                seconds = float(start[1]) * UNITS[start[2]]
                # The module of a kernel says what it is; its type is often just `Kernel`.
                parts = start[3].split(":: <")[0].split("<")[0].split(": ")[0].split("::")
                name = "::".join(part.strip() for part in parts[-3:])
            cubes = CUBES.search(line)
            if cubes and seconds is not None:
                yield name, "x".join(cubes.groups()), seconds
                seconds = None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log")
    parser.add_argument("--top", type=int, default=30)
    args = parser.parse_args()
    launches = collections.defaultdict(list)
    for name, cubes, seconds in entries(args.log):
        launches[name, cubes].append(seconds)
    rows = []
    for (name, cubes), times in launches.items():
        mean = sum(times[1:]) / (len(times) - 1) if len(times) > 1 else times[0]
        rows.append((mean * len(times), len(times), mean, name, cubes))
    whole = sum(row[0] for row in rows)
    print(f"{len(rows)} kernels, {sum(row[1] for row in rows)} launches, {whole * 1e3:.1f} ms")
    print("share  launches  mean µs  kernel, cubes")
    for total, count, mean, name, cubes in sorted(rows, reverse=True)[: args.top]:
        print(f"{total / whole:5.1%} {count:9} {mean * 1e6:8.1f}  {name}, {cubes}")


if __name__ == "__main__":
    main()
