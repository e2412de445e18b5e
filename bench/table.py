"""Figures of the rounds as Markdown."""
from statistics import median

from plan import BARS, HAND, ORT, TORCH, Process, Row

# figures of no machine, to try the tables
ONES = {**dict.fromkeys(["images_per_second", "multiply_adds", "seconds", "megabytes"], 1),
        "peaks": {"fma": 1, "madd": 1}}


class Round:
    """What was measured in one round, and what follows; KeyError: that was not measured."""

    def __init__(self, samples):
        self.samples = samples

    def rate(self, key, who="stair"):
        return self.samples[key, who]["images_per_second"]

    def share(self, key):
        """Percent of what so many threads could multiply and add just before."""
        figures = self.samples[key, "stair"]
        done = figures["images_per_second"] * figures["multiply_adds"]
        return 100 * done / (self.peak(key) * 1e9)

    def peak(self, key):
        """10^9 multiply-adds a second, with the instruction that the work is made of."""
        peaks = self.samples[key, "stair"]["peaks"]
        if not key.startswith("integer"):
            return peaks["fma"]
        return peaks["madd"] if "AVX2" in key else peaks.get("vnni", peaks["madd"])

    def seconds(self, key):
        return self.samples[key, "stair"]["seconds"]

    def megabytes(self, key):
        return self.samples[key, "stair"]["megabytes"]


def over(rounds, value):
    """What value(round) is in each round, in rising order; nothing if it was not measured."""
    try:
        return sorted(value(r) for r in rounds)
    except KeyError:
        return []


def figures(values, digits):
    """The median, the least and the largest."""
    if not values:
        return ""
    return f"**{median(values):,.{digits}f}** ({values[0]:,.{digits}f} to {values[-1]:,.{digits}f})"


def markdown(head, lines):
    if not lines:
        return "Not measured."
    rule = ["---"] + ["--:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *lines])


DIGITS = {"x": 2, "%": 0, "MB": 0, "s": 2}


def bar_line(bar, rounds):
    digits = DIGITS[bar.unit]
    values = over([rounds] if bar.whole else rounds, bar.value)
    asked = met = ""
    if bar.limit is not None:
        asked = f"{'at most' if bar.most else 'at least'} {bar.limit:.{digits}f} {bar.unit}"
        if values:
            middle = median(values)
            met = "yes" if (middle <= bar.limit if bar.most else middle >= bar.limit) else "**no**"
    measured = f"{figures(values, digits)} {bar.unit}" if values else "not measured"
    return bar.what, asked, measured, met


def bars(rounds):
    return markdown(["what", "bar", "measured", "met"], [bar_line(bar, rounds) for bar in BARS])


def speed_line(row, rounds, peers):
    work = rounds[0].samples[row.key, "stair"]["multiply_adds"]
    line = [row.work, str(row.batch), str(row.threads), f"{work / 1e6:.2f}",
            f"{median(over(rounds, lambda r: r.rate(row.key))):,.0f}"]
    share = over(rounds, lambda r: r.share(row.key))
    line.append(f"{median(share):.0f} %" if share else "")
    for peer in peers:
        rates = over(rounds, lambda r: r.rate(row.key, peer))
        line.append(f"{median(rates):,.0f}" if rates else "")
        line.append(figures(over(rounds, lambda r: r.rate(row.key) / r.rate(row.key, peer)), 2))
    return line


def speeds(rows, rounds):
    peers = [p for p in (TORCH, ORT) if any((row.key, p) in rounds[0].samples for row in rows)]
    head = ["work", "batch", "threads", "10^6 multiply-adds", "stair", "of peak"]
    for peer in peers:
        head += [peer, f"stair / {peer}"]
    return markdown(head, [speed_line(row, rounds, peers)
                           for row in rows if isinstance(row, Row)])


def processes(rows, rounds):
    lines = [[row.work, figures(over(rounds, lambda r: r.seconds(row.key)), 2),
              figures(over(rounds, lambda r: r.megabytes(row.key)), 0), f"`{row.command}`"]
             for row in rows if isinstance(row, Process)]
    return markdown(["process", "seconds", "MB resident at most", "command"], lines)


def files(rows, rounds):
    """ONNX Runtime's speed with stair's file and with one made by hand."""
    lines = []
    for row in rows:
        ratio = over(rounds, lambda r: r.rate(row.key, ORT) / r.rate(row.key, HAND))
        if ratio:
            rate = [median(over(rounds, lambda r: r.rate(row.key, who))) for who in (ORT, HAND)]
            lines.append([f"8 bits, batch {row.batch}, threads {row.threads}", f"{rate[0]:,.0f}",
                          f"{rate[1]:,.0f}", figures(ratio, 2)])
    return markdown(["ONNX Runtime", "stair's file", "hand-made file", "ratio"], lines)
