"""Runs the programs: one after the other, in the folder of their files."""
import itertools
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time

from plan import FILES, HAND_FILE, PEERS, PYTHONS, WIDE_NET, Process

BENCH = pathlib.Path(__file__).resolve().parent


class Finished:
    """Standard output, wall time and most resident memory of a command that ended well. (Until a
    program starts, the memory of the process that starts it counts as its own: no figure is less
    than this Python's, some 20 MB.)"""

    def __init__(self, words, folder, environment=None):
        started = time.perf_counter()
        process = subprocess.Popen(words, cwd=folder, env={**os.environ, **(environment or {})},
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.output = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.seconds = time.perf_counter() - started
        self.megabytes = usage.ru_maxrss * 1024 / 1e6
        if process.returncode:
            raise SystemExit(f"{shlex.join(map(str, words))}: exit {process.returncode}")


def answers(program, runners):
    """(the first runner with which the program has all that it needs, its version); None: none."""
    for runner in runners:
        try:
            version = subprocess.run([runner, BENCH / program, "--version"], capture_output=True)
        except FileNotFoundError:
            continue
        if version.returncode == 0:
            return runner, version.stdout.decode().strip()
    return None


class Others:
    """Watches how busy the machine is with other work: figures of two threads need both cores."""

    def __init__(self):
        self.start = self.now()

    @staticmethod
    def now():
        """Seconds by the clock, that all processors were busy, that they were for us."""
        busy = pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
        seconds = [int(ticks) / os.sysconf("SC_CLK_TCK") for ticks in busy]
        idle, waiting = seconds[3:5]
        times = os.times()
        return times.elapsed, sum(seconds) - idle - waiting, sum(times[:4])

    def percent(self):
        """The others' share of all processors' time."""
        elapsed, busy, own = (now - then for now, then in zip(self.now(), self.start))
        return max(0, 100 * (busy - own) / (elapsed * os.cpu_count()))


class Machine:
    """The programs that are there. `folder` gets the files that they make and read."""

    def __init__(self, stair, peaks, folder):
        self.stair, self.peaks, self.folder = stair, peaks, folder
        self.runner, self.notes, self.makers = {}, [], []
        for name, peer in PEERS.items():
            self.find(name, peer)

    def find(self, name, peer):
        found = answers(peer.program, peer.runners)
        maker = answers(peer.maker, PYTHONS) if peer.maker else None
        if not found or (peer.maker and not maker):
            self.notes.append(f"{name}: not installed, or something it needs; skipped")
            return
        self.runner[name] = found[0]
        if maker:
            self.makers.append([maker[0], BENCH / peer.maker, HAND_FILE])
        else:
            self.notes.append(found[1])

    def stair_run(self, command):
        """A command of the plan: [VARIABLE=value] stair argument..."""
        words = shlex.split(command)
        environment = {}
        while words[0] != "stair":
            variable, value = words.pop(0).split("=")
            environment[variable] = value
        return Finished([self.stair, *words[1:]], self.folder, environment)

    def peer_run(self, name, row):
        words = [self.runner[name], BENCH / PEERS[name].program, *row.peer_words(name)]
        return Finished(words, self.folder)

    def make_files(self):
        shutil.copy(BENCH / WIDE_NET, self.folder)
        for command in FILES:
            self.stair_run(command)
        for words in self.makers:
            Finished(words, self.folder)

    def measure_row(self, row):
        """{who: figures}, stair first; its figures have the peaks of the moment with them."""
        if isinstance(row, Process):
            done = self.stair_run(row.command)
            return {"stair": {"seconds": done.seconds, "megabytes": done.megabytes}}
        peaks = self.peaks_of(row.threads)
        figures = {"stair": json.loads(self.stair_run(row.command).output) | {"peaks": peaks}}
        for name in row.peers:
            if name in self.runner:
                figures[name] = json.loads(self.peer_run(name, row).output)
        return figures

    def peaks_of(self, *threads):
        """{"fma": 10^9 a second, ...}, as bench/peaks.c; nothing on a processor without AVX2."""
        done = subprocess.run([self.peaks, *map(str, threads)], stdout=subprocess.PIPE)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def round(self, rows, number):
        """One measurement of everything, of several turns the best: {(key, who): figures}."""
        samples = {}
        for turns, group in itertools.groupby(rows, lambda row: row.turns):
            for row in turns * list(group):
                print(f"{number}: {row.key}", file=sys.stderr, flush=True)
                for who, figures in self.measure_row(row).items():
                    held = samples.setdefault((row.key, who), figures)
                    if figures.get("images_per_second", 0) > held.get("images_per_second", 0):
                        samples[row.key, who] = figures
        return samples
