"""What is measured and what is to be reached: all of it data.

A new row is a line in ROWS, a new bar a line in BARS. A new peer is a line in PEERS: its program
takes what a row says for it, and --batch and --threads, prints "images_per_second" as JSON, and
fails on --version if something it needs is missing.
"""
from statistics import median
from typing import Callable, Dict, NamedTuple

# The speed of a step depends on the net and not on how well it is trained: a few images will do.
FILES = [
    "stair train --model netbn --epochs 1 --limit 2048 -q -o float.safetensors",
    "stair calibrate float.safetensors --images 256 -q -o calibrated.safetensors",
    "stair finetune calibrated.safetensors --epochs 1 --limit 512 -q -o qat.safetensors",
    "stair freeze qat.safetensors -q -o int8.safetensors",
    "stair calibrate float.safetensors --weight-bits 4 --images 256 -q -o calibrated4.safetensors",
    "stair freeze calibrated4.safetensors -q -o int4.safetensors",
    "stair export onnx float.safetensors -q -o float.onnx",
    "stair export onnx int8.safetensors -q -o int8.onnx",
]
WIDE_NET, HAND_FILE = "wide.net", "hand.onnx"


class Peer(NamedTuple):
    program: str
    runners: tuple  # the first that gets through --version is taken
    maker: str = ""  # a Python script that writes HAND_FILE


PYTHONS = ("python3", "/usr/bin/python3")  # the first on the path, or Debian's own
NODE = ("node",)
TORCH, ORT, HAND = "PyTorch", "ONNX Runtime", "ONNX Runtime, hand-made file"
PEERS = {
    TORCH: Peer("torch_bench.py", PYTHONS),
    ORT: Peer("ort.mjs", NODE),
    HAND: Peer("ort.mjs", NODE, maker="hand_qdq.py"),
}


TURNS = 3  # of rows that are compared with each other; each program's best of a round counts


class Row(NamedTuple):
    """Images per second: of stair bench with these arguments, and of each peer with its own."""
    work: str
    batch: int
    threads: int
    arguments: str
    peers: Dict[str, str] = {}
    without: str = ""  # kernels that stair must not use
    turns: int = 1

    @property
    def key(self):
        return f"{self.work}/{self.batch}/{self.threads}"

    @property
    def command(self):
        words = f"stair bench {self.arguments} --batch {self.batch} --threads {self.threads} --json"
        return f"STAIR_WITHOUT={self.without} {words}" if self.without else words

    def who(self):
        return ["stair", *self.peers]

    def peer_words(self, peer):
        return [self.peers[peer], "--batch", str(self.batch), "--threads", str(self.threads)]

    def commands(self):
        yield self.command
        for name in self.peers:
            peer = PEERS[name]
            yield " ".join([peer.runners[0], f"bench/{peer.program}", *self.peer_words(name)])


class Process(NamedTuple):
    """Seconds and megabytes of a whole process."""
    work: str
    command: str
    turns: int = 1

    @property
    def key(self):
        return self.work

    def who(self):
        return ["stair"]

    def commands(self):
        return [self.command]


FLOAT, INT8 = "infer float.safetensors", "infer int8.safetensors"
FLOAT_PEERS = {TORCH: "infer", ORT: "float.onnx"}
INT8_PEERS = {TORCH: "infer-int8", ORT: "int8.onnx"}
TRAIN = "stair train --model netbn -q -o trained.safetensors --epochs"

TRAINING = [
    Row("training resnet8", 64, 1, "train --model resnet8"),
    Row("training", 64, 1, "train --model netbn", {TORCH: "train"}),
    Row("training resnet8", 64, 2, "train --model resnet8"),
    Row("training", 64, 2, "train --model netbn", {TORCH: "train"}),
    Row("training wide", 64, 2, f"train --model {WIDE_NET}"),
    Row("fine-tuning", 64, 2, "train qat.safetensors", {TORCH: "finetune"}),
    Row("training", 32, 2, "train --model netbn"),
    Row("training", 512, 2, "train --model netbn"),
    Row("training", 128, 2, "train --model netbn"),
    Row("training", 256, 2, "train --model netbn"),
]
ROWS = [
    *(row._replace(turns=TURNS) for row in TRAINING),
    Row("float inference", 64, 1, FLOAT, FLOAT_PEERS),
    Row("float inference", 64, 2, FLOAT, FLOAT_PEERS),
    Row("float inference", 1, 1, FLOAT, FLOAT_PEERS),
    Row("integer inference", 64, 1, INT8, {**INT8_PEERS, HAND: HAND_FILE}),
    Row("integer inference", 64, 2, INT8, INT8_PEERS),
    Row("integer inference", 1, 1, INT8, INT8_PEERS),
    Row("integer inference, AVX2", 64, 1, INT8, {ORT: "int8.onnx"}, without="vnni"),
    Row("integer inference, AVX2", 1, 1, INT8, {ORT: "int8.onnx"}, without="vnni"),
    Row("integer inference, 4 bits", 64, 1, "infer int4.safetensors"),
    Row("integer inference, 4 bits, AVX2", 64, 1, "infer int4.safetensors", without="vnni"),
    Process("training process", f"{TRAIN} 1"),
    Process("training process, 4,096 images, 1 epoch", f"{TRAIN} 1 --limit 4096"),
    Process("training process, 4,096 images, 3 epochs", f"{TRAIN} 3 --limit 4096"),
    Process("integer evaluation", "stair eval int8.safetensors"),
]


class Bar(NamedTuple):
    what: str
    limit: float  # None: measured for comparison only
    unit: str
    value: Callable  # of a Round
    most: bool = False  # limit is the most; else the least
    whole: bool = False  # value is of all rounds together


def times(key, who):
    """How many times as fast as the peer."""
    return lambda r: r.rate(key) / r.rate(key, who)


def against(key, other):
    return lambda r: r.rate(key) / r.rate(other)


def share_against(key, other):
    return lambda r: r.share(key) / r.share(other)


GROWTH = [f"training/{batch}/2" for batch in (32, 64, 128, 256, 512)]


def growth(rounds):
    """Of medians: the extremes of five measurements in one round are mostly the machine's."""
    rates = [median(r.rate(key) for r in rounds) for key in GROWTH]
    return max(rates) / min(rates)


BARS = [
    Bar("training, batch 64, 2 threads / PyTorch", 4.0, "x", times("training/64/2", TORCH)),
    Bar("training, batch 64, 2 threads: share of both cores' FMA peak", 40, "%",
        lambda r: r.share("training/64/2")),
    Bar("fine-tuning / training", 0.75, "x", against("fine-tuning/64/2", "training/64/2")),
    Bar("fine-tuning / PyTorch's", 4.0, "x", times("fine-tuning/64/2", TORCH)),
    Bar("float inference, batch 64 / ONNX Runtime", 1.2, "x", times("float inference/64/1", ORT)),
    Bar("integer inference, batch 64 / ONNX Runtime", 1.5, "x",
        times("integer inference/64/1", ORT)),
    Bar("integer inference, batch 1 / ONNX Runtime", 2.0, "x", times("integer inference/1/1", ORT)),
    # on a processor with VNNI not the same terms: ONNX Runtime cannot be held to AVX2
    Bar("stair with AVX2 alone, batch 64 / ONNX Runtime", None, "x",
        times("integer inference, AVX2/64/1", ORT)),
    Bar("stair with AVX2 alone, batch 1 / ONNX Runtime", None, "x",
        times("integer inference, AVX2/1/1", ORT)),
    Bar("integer inference, batch 64, 2 threads / 1 thread", 1.8, "x",
        against("integer inference/64/2", "integer inference/64/1")),
    Bar("integer inference, weights of 4 bits / 8 bits", 1.3, "x",
        against("integer inference, 4 bits/64/1", "integer inference/64/1")),
    Bar("weights of 4 bits / 8 bits with AVX2 alone", 1.3, "x",
        against("integer inference, 4 bits, AVX2/64/1", "integer inference, AVX2/64/1")),
    Bar("memory of training", 150, "MB", lambda r: r.megabytes("training process"), most=True),
    Bar("memory of training, 3 epochs / 1 epoch", 1.05, "x",
        lambda r: r.megabytes("training process, 4,096 images, 3 epochs")
        / r.megabytes("training process, 4,096 images, 1 epoch"), most=True),
    Bar("memory of the integer evaluation", 30, "MB", lambda r: r.megabytes("integer evaluation"),
        most=True),
    Bar("integer evaluation of 10,000 images, start to end", 1.0, "s",
        lambda r: r.seconds("integer evaluation"), most=True),
    Bar("training, batches of 32 to 512: slowest / fastest time of an image", 1.15, "x",
        growth, most=True, whole=True),
    Bar("share of the peak, training resnet8 / netbn, 1 thread", 1.0, "x",
        share_against("training resnet8/64/1", "training/64/1")),
    Bar("share of the peak, training resnet8 / netbn, 2 threads", 1.0, "x",
        share_against("training resnet8/64/2", "training/64/2")),
    Bar("share of the peak, training wide.net / netbn", 1.0, "x",
        share_against("training wide/64/2", "training/64/2")),
    # the two files become the same operators in ONNX Runtime: equal, but for the clock's noise
    Bar("ONNX Runtime, 8 bits: stair's file / hand-made file", 0.95, "x",
        lambda r: r.rate("integer inference/64/1", ORT) / r.rate("integer inference/64/1", HAND)),
]
