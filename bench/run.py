#!/usr/bin/env python3
"""stair and its peers take turns on the same work, several rounds: what slows the machine for a
while slows all. Prints tables and writes bench/RESULTS.md. A peer that is not installed is skipped,
and said to be. What is measured stands in plan.py.

    make bench                   everything, five rounds
    make bench ROUNDS=9          more rounds
    make bench ROWS=training     only rows that have the word (commas between several); the tables
                                 are printed and RESULTS.md stays
    bench/run.py --dry           the page without measuring: every figure is 1

ONNX Runtime comes from npm: npm ci --ignore-scripts --prefix bench. PyTorch and ONNX are Debian's
python3-torch and python3-onnx. On a machine that is busy with other work set
OMP_WAIT_POLICY=passive: PyTorch's OpenMP threads otherwise wait for each other in a busy loop,
several times slower if one has lost its processor, and the comparison says nothing.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import table
from measure import BENCH, Machine, Others
from plan import BARS, FILES, HAND_FILE, PEERS, ROWS, TURNS, WIDE_NET

PAGE = """\
# Speed

Written by `make bench`. All take turns; rounds: {rounds}. A figure is the median of the rounds, with the
least and the largest; a ratio is taken within each round. Within a round what trains has {turns} turns, and each
program's best counts: what others do to the machine lasts for seconds.

## What is to be reached

{bars}

## Images per second

The net is `netbn` (images of 28x28) unless another is named; `wide` is bench/wide.net. AVX2: without the
kernel for VNNI (`STAIR_WITHOUT=vnni`), while ONNX Runtime keeps its own. Multiply-adds are those of an
image, and where a net is trained those back, too. Of peak: how many are done of those that as many threads
could do at most, measured just before: fused ones of floats, vpdpbusd's of bytes where there is VNNI, else
vpmaddwd's of 16 bits (which sums of 16 bits, of 4-bit weights, go beyond).

{speeds}

- Training and fine-tuning: a step of SGD with momentum, from images in memory to new weights. stair
  normalises the bytes within the time, its peers get floats; its weights have a scale per channel, those of
  PyTorch's qnnpack configuration one per tensor.
- Inference in ONNX Runtime: the same nets by `stair export onnx`; the integers of the 8-bit one lie between
  QuantizeLinear and DequantizeLinear, which it fuses to QLinearConv, NhwcMaxPool and QGemm. On a processor
  without VNNI its sums saturate at 16 bits; stair's never do.

## Files in ONNX Runtime

{files}

## Whole processes

From start to end, Fashion-MNIST read from its files.

{processes}

## The machine

{notes}

## Commands

Once:

{files_made}

A round:

{commands}
"""


def indented(lines):
    return "\n".join(f"    {line}" for line in lines)


def page(rows, rounds, notes):
    makers = [f"python3 bench/{peer.maker} {HAND_FILE}" for peer in PEERS.values() if peer.maker]
    return PAGE.format(
        rounds=len(rounds), turns=TURNS, notes="\n".join(f"- {note}" for note in notes),
        bars=table.bars(rounds), speeds=table.speeds(rows, rounds),
        files=table.files(rows, rounds), processes=table.processes(rows, rounds),
        files_made=indented([f"cp bench/{WIDE_NET} .", *FILES, *makers]),
        commands=indented(command for row in rows for command in row.commands()))


def first_match(pattern, text):
    found = re.search(pattern, text, re.MULTILINE)
    return found.group(1) if found else "unknown"


def said_by(*words):
    return subprocess.run(words, stdout=subprocess.PIPE).stdout.decode().strip().replace("\n", ", ")


def machine_notes(stair, peaks, rounds):
    cpu = first_match(r"^model name\s*:\s*(.*)$", pathlib.Path("/proc/cpuinfo").read_text())
    both = table.over(rounds, lambda r: r.peak("training/64/2") / r.peak("training/64/1"))
    return [f"CPU: {cpu}, {len(os.sched_getaffinity(0))} processors",
            "peaks of one core at the beginning, 10^9 a second (bench/peaks.c): "
            + (", ".join(f"{name} {rate}" for name, rate in peaks.items()) or "not measured"),
            f"fma's peak of two threads / of one, round by round: {table.figures(both, 2)}",
            f"{said_by(stair, '--version')}, gcc {said_by('gcc', '-dumpfullversion')}",
            f"OMP_WAIT_POLICY {os.environ.get('OMP_WAIT_POLICY', 'not set')}"]


def dry():
    """All that plan.py says, put through the tables."""
    rounds = [table.Round({(row.key, who): table.ONES for row in ROWS for who in row.who()})]
    for bar in BARS:
        bar.value(rounds if bar.whole else rounds[0])  # KeyError: no row measures it
    print(page(ROWS, rounds, ["no machine: nothing was measured"]), end="")


def main():
    if sys.argv[1:] == ["--dry"]:
        return dry()
    stair = os.path.abspath(os.environ.get("STAIR", "build/stair"))
    peaks = os.path.abspath(os.environ.get("PEAKS", "build/bench/peaks"))
    words = [word for word in os.environ.get("ROWS", "").split(",") if word]
    rows = [row for row in ROWS if not words or any(word in row.key for word in words)]
    asked = os.environ.get("ROUNDS") or "5"
    count = int(asked) if asked.isdigit() else 0
    if count < 1 or not rows:
        sys.exit("bench: nothing to measure with these ROUNDS and ROWS")
    others = Others()
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(stair, peaks, pathlib.Path(folder))
        machine.make_files()
        whole = machine.peaks_of()
        rounds = [table.Round(machine.round(rows, f"round {i + 1} of {count}"))
                  for i in range(count)]
    notes = [*machine_notes(stair, whole, rounds), *machine.notes,
             f"other processes had {others.percent():.0f} % of the processors' time meanwhile"]
    text = page(rows, rounds, notes)
    if not words:
        (BENCH / "RESULTS.md").write_text(text)
    tables = text[:text.index("## The machine")]
    lines = [line for line in tables.split("\n") if line[:1] in ("|", "#")]
    if words:
        lines = [line for line in lines if "not measured" not in line]
    print("\n".join(lines + [note for note in notes if "skipped" in note or "meanwhile" in note]))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
