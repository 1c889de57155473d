"""Prints GSM8K-like word problems, one JSON object a line: question, answer, template.

    python3 -I gsm_rows.py DIR train|test

DIR holds three files of the package reasoning-gym 0.1.25 (Apache-2.0): utils.py,
generators_00_49.py and generators_50_99.py. They need the standard library only, so the package
itself, which needs a dozen others, is not installed. Each template draws names and numbers anew.

train and test share templates but no question.
The same files give the same bytes with any Python from 3.9 on.
"""

import importlib.util
import json
import os
import sys
import types
from random import Random

# Left out: templates the package itself lists as broken; those whose steps round, whose answers
# are fractions or can fall to zero or below; those over about 700 characters; those close to a row of
# GSM8K's test set; and ten more.
SHARED = (
    0, 1, 6, 7, 10, 12, 13, 15, 16, 18, 20, 22, 23, 28, 29, 31, 33, 34, 38, 39, 40, 42, 43, 44,
    45, 46, 47, 50, 51, 54, 55, 56, 57, 59, 62, 64, 67, 68, 71, 78, 80, 81, 82, 88, 91, 93, 94, 96,
)
SEED = 20260310
NUM_TEST, TRAIN_ROUNDS = 100, 16
MAX_CHARS = 800


def load(folder, name, as_name):
    spec = importlib.util.spec_from_file_location(as_name, os.path.join(folder, name + ".py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[as_name] = module
    spec.loader.exec_module(module)
    return module


def generators(folder):
    sys.modules["reasoning_gym"] = types.ModuleType("reasoning_gym")
    load(folder, "utils", "reasoning_gym.utils")
    low = load(folder, "generators_00_49", "generators_00_49")
    high = load(folder, "generators_50_99", "generators_50_99")
    return lambda k: getattr(low if k < 50 else high, "generate_%d" % k)


def is_clean(question, answer, final):
    end = answer.rsplit("#### ", 1)[-1]
    short = len(question) + len(answer) <= MAX_CHARS
    return short and end.isdigit() and end == str(final) and int(end) > 0


def rounds(generator, templates):
    """Rows round by round, one of every template in each, no question twice."""
    seen = set()
    draw = 0
    while True:
        for k in templates:
            row = generator(k)(Random(SEED * 1000000 + k * 10000 + draw), 1.0)
            question = " ".join(row["question"].split())
            answer = row["metadata"]["answer_cot"].strip()
            if question not in seen and is_clean(question, answer, row["answer"]):
                seen.add(question)
                yield {"question": question, "answer": answer, "template": k}
        draw += 1


def main(folder, split):
    rows = rounds(generators(folder), SHARED)
    test = [next(rows) for _ in range(NUM_TEST)]
    if split == "train":
        # The draws that follow those of the test rows.
        test = [next(rows) for _ in range(TRAIN_ROUNDS * len(SHARED))]
    for row in test:
        line = json.dumps(row, ensure_ascii=False) + "\n"
        sys.stdout.buffer.write(line.encode("utf-8"))


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    main(sys.argv[1], sys.argv[2])
