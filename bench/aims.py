#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Collects what the benchmarks measured and what they aim at: prints one table, and writes it into bench/RESULTS.md.

    bench/aims.py OUTPUT...

Each OUTPUT is a file with the output of bench/publish or bench/consume. A row of theirs that has an aim ends with
"met" or "missed".
"""
import datetime
import pathlib
import re
import sys

RESULTS = pathlib.Path(__file__).with_name("RESULTS.md")
BEGIN, END = "<!-- bench/aims.py writes from here -->\n", "<!-- to here -->\n"
ROW = re.compile(r"(?P<name>\S.{43}) +(?P<cost>[\d.]+) +(?P<ratio>[\d.]+) +(?P<aim>[\d.]+) +(?P<verdict>met|missed)\b")


def processor():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return "an unknown processor"


def rows(paths):
    for path in paths:
        for line in open(path):
            if row := ROW.match(line):
                yield row["name"].strip(), row["cost"], row["ratio"], row["aim"], row["verdict"]
            elif re.search(r"\b(met|missed)\b", line):
                sys.exit("not a row of the table: " + line)


found = list(rows(sys.argv[1:]))
if not found:
    sys.exit("no row with an aim in " + " ".join(sys.argv[1:]))
table = f"{processor()}, {datetime.date.today()}, one run:\n\n| what | us | x baseline | aim | |\n|---|---|---|---|---|\n"
table += "".join(f"| {' | '.join(row)} |\n" for row in found)
print(table, end="")
before, rest = RESULTS.read_text().split(BEGIN)
after = rest.split(END)[1]
RESULTS.write_text(f"{before}{BEGIN}{table}{END}{after}")
