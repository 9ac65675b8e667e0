#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Plots the output of `contended_bench spike`: how long each of 50 callers waited, by max_connecting.

    build/release/bench/contended_bench spike | bench/plot_spike.py > bench/spike.svg
"""
import csv
import sys

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 760, 360, 60, 48, 34, 20
COLOURS = ["#1b6ca8", "#2a9d5c", "#c0392b"]

series = {}
for row in csv.DictReader(sys.stdin):
    series.setdefault(row["pool"], []).append((float(row["wait_ms"]), float(row["end_ms"]), int(row["connections"])))
max_wait = max(wait for calls in series.values() for wait, _, _ in calls) * 1.05


def x(index, count):
    return LEFT + (WIDTH - LEFT - RIGHT) * index / max(count - 1, 1)


def y(value):
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / max_wait


out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
       f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
       f'<text x="{LEFT}" y="18" font-size="14">50 callers at once, 150 ms to connect, 2 ms of use, 5 preloaded</text>']
for tick in range(0, int(max_wait) + 1, 25):
    out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#ddd"/>'
               f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick} ms</text>')
out.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 10}" text-anchor="middle">callers, in the order they were served</text>')
for number, (name, calls) in enumerate(series.items()):
    colour = COLOURS[number % len(COLOURS)]
    calls.sort()
    points = " ".join(f"{x(i, len(calls)):.1f},{y(wait):.1f}" for i, (wait, _, _) in enumerate(calls))
    most = max(connections for _, _, connections in calls)
    out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
               f'<rect x="{LEFT + 20}" y="{TOP + 14 + 20 * number}" width="12" height="12" fill="{colour}"/>'
               f'<text x="{LEFT + 38}" y="{TOP + 24 + 20 * number}">{name}: {most} connections at the end</text>')
out.append("</svg>")
print("\n".join(out))
