#!/usr/bin/env python3
"""Writes contract.txt beside this file: the numeric contract N1 to N4 and N7, computed with exact fractions.

A float32 is a dyadic fraction, so every step below is exact except what the contract rounds: the quotient x / S
(to float32), a stored scale (to float32), what N3 and N7 compute in double, and a factor (to 31 bits). Nothing is shared
with the C code."""
import math
import pathlib
import random
import struct
from fractions import Fraction

random.seed(20)
OUT = []


def to_float(value):
    """The float32 nearest to a fraction, ties to even, as a fraction; overflow and -0 are the caller's to avoid."""
    if value == 0:
        return Fraction(0)
    size = abs(value)
    exponent = math.floor(math.log2(size.numerator) - math.log2(size.denominator))
    while Fraction(2) ** exponent > size:
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= size:
        exponent += 1
    unit = Fraction(2) ** (max(exponent, -126) - 23)
    return round(value / unit) * unit  # round() of a Fraction is half to even


def float32(bits):
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def text(x):
    """Nine digits tell a float32 from its neighbours."""
    return f"{float(x if math.isinf(x) else to_float(Fraction(x))):.9g}"


def codes_of(bits, signed, symmetric):
    if not signed:
        return 0, 2**bits - 1
    return -(2 ** (bits - 1)) + symmetric, 2 ** (bits - 1) - 1


def quantize(x, scale, zero, qmin, qmax):
    if math.isinf(x):
        return qmax if x > 0 else qmin
    quotient = to_float(Fraction(x) / scale)  # may lie beyond float32's range: the clamp is the same
    return min(max(round(quotient) + zero, qmin), qmax)


def table(name, columns, rows):
    OUT.append(f"\n{name} {len(rows)} cases: {columns}\n" + "".join(" ".join(row) + "\n" for row in rows))


# --- N1 and N2: x, scale, zero, qmin, qmax -> code, value
rows = []


def add_quantize(x, scale, zero, bits, signed, symmetric):
    qmin, qmax = codes_of(bits, signed, symmetric)
    zero = min(max(zero, qmin), qmax)
    scale = to_float(Fraction(scale))
    code = quantize(x, scale, zero, qmin, qmax)
    value = to_float(scale * (code - zero))
    rows.append([text(x), text(scale)] + [str(v) for v in (zero, qmin, qmax, code)] + [text(value)])


for bits in [2, 3, 4, 5, 6, 7, 8, 16]:
    for signed, symmetric in [(0, 0), (1, 0), (1, 1)]:
        qmin, qmax = codes_of(bits, signed, symmetric)
        for zero in (qmin, random.randint(qmin, qmax)):
            for half in (-3, 1, 3, 2 * (qmin - zero) - 1, 2 * (qmin - zero) + 1, 2 * (qmax - zero) - 1,
                         2 * (qmax - zero) + 1):
                add_quantize(half * 0.5, 1, zero, bits, signed, symmetric)  # ties, and ties at both ends
        for x in (math.inf, -math.inf, 3e38, -3e38, 0.0, 1e-45, -1e-45, float32(0x7FFFFF)):
            add_quantize(x, 0.0078125, zero, bits, signed, symmetric)
        for _ in range(2):  # the quotient in float32, just beside a tie: a reciprocal goes wrong here
            scale = to_float(Fraction(random.uniform(1e-3, 10)))
            tie = Fraction(random.randrange(2 * qmin - 4, 2 * qmax + 4) | 1, 2)
            x = float(to_float(tie * scale))
            for step in (-1, 0, 1):
                near = float32(struct.unpack("<I", struct.pack("<f", x))[0] + step)
                add_quantize(near, scale, random.randint(qmin, qmax), bits, signed, symmetric)
for scale in (2.0**-126, 3e-38, 1e-20, 1e20, 1e36):  # quotients beyond float32, scales of every size
    for x in (1e38, -1e38, 1.0, -1.0, 1e-38, -1e-38, 1e-44, float(to_float(Fraction(scale))) * 1.5):
        add_quantize(float(to_float(Fraction(x))), scale, 3, 8, 0, 0)
table("quantize", "x scale zero qmin qmax -> code value", rows)

# --- N3: bits, signed, symmetric, lo, hi -> scale, zero
rows = []
ranges = [(0, 0), (-1, 1), (0, 1), (-1, 0), (0.5, 2), (-3, -1), (-0.1, 0.3), (-0.3, 0.1), (5, 5), (-5, -5),
          (0, 6), (-1e-3, 1e3), (-1e3, 1e-3), (0, 1e-30), (-1e-36, 1e-36), (0, 1e-45), (-1e-45, 0), (-1e-44, 1e-44),
          (0, 3e38), (-3e38, 0), (-1e38, 3e38), (-3.4e38, 3.4e38), (-127, 128), (-128, 127), (-1, 254), (-0.5, 254.5),
          (-1.5, 253.5)]
ranges += [(random.uniform(-9, 1), random.uniform(1, 9)) for _ in range(3)]
LEAST = 2.0**-126
for bits in (2, 7, 8, 16):
    for signed, symmetric in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        qmin, qmax = codes_of(bits, signed, signed and symmetric)
        for lo, hi in ranges:
            lo, hi = to_float(Fraction(lo)), to_float(Fraction(hi))
            left, right = float(min(lo, 0)), float(max(hi, 0))  # N3 is defined in double
            scale = max(-left, right) / qmax if symmetric else (right - left) / (qmax - qmin)
            if scale == 0:
                scale, zero = 1.0, 0
            else:
                scale = max(scale, LEAST)  # a scale is a normal float
                zero = 0 if symmetric else min(max(round(qmin - left / scale), qmin), qmax)
            rows.append([str(bits), str(signed), str(symmetric), text(lo), text(hi), text(to_float(Fraction(scale))), str(zero)])
table("range", "bits signed symmetric lo hi -> scale zero", rows)

# --- N4: bias, input scale, weight scale -> code
rows = []
for sx, sw in [(1, 1), (0.5, 0.25), (1 / 255, 0.01), (3.7e-3, 2.2e-5), (1e-3, 1e-6), (17.5, 3.25)]:
    sx, sw = to_float(Fraction(sx)), to_float(Fraction(sw))
    product = to_float(sx * sw)
    for multiple in (0, 0.5, 1.5, 2.5, -0.5, -1.5, 100.5, 12345.25, -98765.75, 2.0**24, 2.0**29, 2.0**30, -(2.0**31)):
        bias = to_float(Fraction(multiple) * product)
        code = round(to_float(bias / product))
        code = min(max(code, -(2**30)), 2**30)
        rows.append([text(bias), text(sx), text(sw), str(code)])
table("bias", "bias input_scale weight_scale -> code", rows)

# --- N7: an add of two codes, its factors, and the code of the sum
rows = []
for _ in range(60):
    scales = [to_float(Fraction(10 ** random.uniform(-4, 2))) for _ in range(3)]
    # the factor is formed in double
    factors = [Fraction(float(scales[i]) / float(scales[2])) for i in range(2)]
    shift = 0
    while round(max(factors) * 2**shift) < 2**30 and shift < 62:
        shift += 1
    m0 = [round(f * 2**shift) for f in factors]
    q = [random.randint(-255, 255) for _ in range(2)]
    zero = random.randint(0, 255)
    total = q[0] * m0[0] + q[1] * m0[1]
    code = min(max(zero + math.floor(Fraction(total, 2**shift) + Fraction(1, 2)), 0), 255)
    rows.append([text(s) for s in scales] + [str(v) for v in q + [zero, shift] + m0 + [code]])
table("add", "scale scale out_scale q q zero -> shift m0 m0 code", rows)

path = pathlib.Path(__file__).with_name("contract.txt")
path.write_text("# Made by tests/golden/make_contract.py, with exact fractions.\n" + "".join(OUT))
