#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Prints docs/conformance.md: for each behaviour of Kombu the tests whose names carry its number.

    table.py ROOT           prints the document
    table.py ROOT --check   fails when the document differs, or a behaviour has neither a test nor a line in
                            docs/parity.md
"""
import pathlib
import re
import sys

NUMBER = re.compile(r"\b([CMZSUQXR]\d{1,2})\b")
TEST = re.compile(r'TEST_CASE(?:_METHOD)?\(\s*(?:\w+,\s*)?((?:"(?:[^"\\]|\\.)*"\s*)+)')
HEAD = """# Conformance

What Kombu's own test suite checks, and the tests here that check it. The names of the tests carry the numbers. A
behaviour that differs is described in [parity.md](parity.md) under its number. A number in brackets says how many
tests of that file carry it; files are below `tests`, and end with `_test.cpp`.

This file is printed by `tests/conformance/table.py .`, and a test compares it.

| | Behaviour | Tests | In parity.md |
|---|---|---|---|
"""


def behaviours(root):
    for line in (root / "tests/conformance/behaviours.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            yield line.split(" ", 1)


def tests(root):
    """Pairs of a number and the file of a test that carries it."""
    for path in sorted((root / "tests").rglob("*.cpp")):
        for names in TEST.findall(path.read_text()):
            name = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', names.split("[")[0]))
            prefix = re.match(r"(?:[A-Z]\d+ )*", name).group()
            for number in NUMBER.findall(prefix):
                yield number, str(path.relative_to(root / "tests")).removesuffix("_test.cpp")


def described(root):
    """The numbers that docs/parity.md describes."""
    for label in re.findall(r"^\* \*\*([^*]+)\*\*", (root / "docs/parity.md").read_text(), re.MULTILINE):
        for first, last in re.findall(r"([A-Z]\d+) to ([A-Z]\d+)", label):
            for number in range(int(first[1:]), int(last[1:]) + 1):
                yield f"{first[0]}{number}"
        yield from NUMBER.findall(label)


def main():
    root = pathlib.Path(sys.argv[1])
    with_difference = set(described(root))
    files = {}
    for number, path in tests(root):
        count = files.setdefault(number, {})
        count[path] = count.get(path, 0) + 1
    lines, missing = [], []
    for number, text in behaviours(root):
        found = ", ".join(f"{path}" + (f" ({count})" if count > 1 else "") for path, count in
                          sorted(files.get(number, {}).items()))
        differs = "yes" if number in with_difference else ""
        if not found and not differs:
            missing.append(number)
        lines.append(f"| {number} | {text} | {found} | {differs} |")
    document = HEAD + "\n".join(lines) + "\n"
    if "--check" not in sys.argv:
        print(document, end="")
        return
    if missing:
        sys.exit("neither a test nor a line in docs/parity.md: " + ", ".join(missing))
    if document != (root / "docs/conformance.md").read_text():
        sys.exit("docs/conformance.md is not what tests/conformance/table.py prints")


main()
