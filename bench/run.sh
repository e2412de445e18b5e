#!/bin/sh
# stair and its peers take turns on the same work, several rounds: what slows the machine for a while slows both. Prints
# a table and writes bench/RESULTS.md. A peer that is not installed is skipped, and said to be.
#
#   STAIR=build/stair PEAKS=build/bench/peaks ROUNDS=5 bench/run.sh
#
# On a machine that is busy with other work set OMP_WAIT_POLICY=passive: PyTorch's OpenMP threads otherwise wait for
# each other in a busy loop, several times slower if one has lost its processor, and the comparison says nothing.
#
# ONNX Runtime comes from npm: npm ci --ignore-scripts --prefix bench
#
# A new row: a line in `rows`. A new peer: a line in `peers` and a column in `rows`, empty where it has nothing to run;
# its program takes what the column says, and --batch and --threads, prints "images_per_second" as JSON, and fails on
# --version if something it needs is missing.
set -eu
export LC_ALL=C
stair=$(realpath "${STAIR:-build/stair}")
root=$PWD
peaks=$(realpath "${PEAKS:-build/bench/peaks}")
rounds=${ROUNDS:-5}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# what it is | batch | threads | arguments of stair bench | of each peer's program
rows='training|64|1|train --model netbn|train|
training|64|2|train --model netbn|train|
fine-tuning, fake-quantized|64|2|train qat.safetensors|finetune|
float inference|64|1|infer float.safetensors|infer|float.onnx
float inference|64|2|infer float.safetensors|infer|float.onnx
float inference|1|1|infer float.safetensors|infer|float.onnx
integer inference|64|1|infer int8.safetensors|infer-int8|int8.onnx
integer inference|64|2|infer int8.safetensors|infer-int8|int8.onnx
integer inference|1|1|infer int8.safetensors|infer-int8|int8.onnx'

# name|program|column of rows
peers='PyTorch|bench/torch_bench.py|5
ONNX Runtime|bench/ort.mjs|6'

# What can run the program: the first Python on the path, or Debian's own; or node.
runner_for() {
    runners='python3 /usr/bin/python3'
    case $1 in *.mjs) runners=node ;; esac
    for runner in $runners; do
        if "$runner" "$1" --version >"$work/version" 2>/dev/null; then
            echo "$runner"
            return
        fi
    done
    return 1
}

# What a peer's column says in a row.
column() { printf '%s\n' "$1" | cut -d '|' -f "$2"; }

rate() { sed -n 's/.*"images_per_second": *\([0-9.eE+-]*\).*/\1/p'; }

# record ROW WHO COMMAND...: one measurement, a line in samples
record() {
    row=$1 who=$2
    shift 2
    json=$("$@")
    printf '%s\t%s\t%s\n' "$row" "$who" "$(printf '%s\n' "$json" | rate)" >>"$work/samples"
}

# In the folder of its files. The arguments are one string.
stair_bench() {
    cd "$work"
    # shellcheck disable=SC2086
    "$stair" bench $1 --batch "$2" --threads "$3" --json
}

peer_bench() {
    cd "$work"
    "$1" "$root/$2" "$3" --batch "$4" --threads "$5"
}

# The speed of a step depends on the net and not on how well it is trained: a few images will do.
make_files() {
    "$stair" train --model netbn --epochs 1 --limit 2048 -q -o "$work/float.safetensors"
    "$stair" calibrate "$work/float.safetensors" --images 256 -q -o "$work/calibrated.safetensors"
    "$stair" finetune "$work/calibrated.safetensors" --epochs 1 --limit 512 -q -o "$work/qat.safetensors"
    "$stair" freeze "$work/qat.safetensors" -q -o "$work/int8.safetensors"
    for file in float int8; do
        "$stair" export onnx "$work/$file.safetensors" -o "$work/$file.onnx" >/dev/null
    done
}

measure() {
    round=1
    while [ "$round" -le "$rounds" ]; do
        printf '%s\n' "$rows" >"$work/rows"
        while read -r line; do
            IFS='|' read -r name batch threads arguments _ <<END
$line
END
            row="$name|$batch|$threads"
            printf 'round %d of %d: %s, batch %d, threads %d\n' "$round" "$rounds" "$name" "$batch" "$threads" >&2
            record "$row" stair stair_bench "$arguments" "$batch" "$threads" </dev/null
            while IFS='|' read -r peer program number runner; do
                peer_arguments=$(column "$line" "$number")
                [ -z "$peer_arguments" ] || record "$row" "$peer" peer_bench "$runner" "$program" \
                    "$peer_arguments" "$batch" "$threads" </dev/null
            done <"$work/peers"
        done <"$work/rows"
        round=$((round + 1))
    done
}

# samples -> a Markdown table
table() {
    awk -F '\t' '
    function sort(a, n,    i, j, t) {
        for (i = 2; i <= n; i++)
            for (j = i; j > 1 && a[j - 1] > a[j]; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
    }
    function median(a, n) { return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2 }
    # a[1 ..]: the rounds of `who`, sorted, each divided by that of `by` in the same round if there is one
    function rounds(row, who, by, a,    i, n) {
        n = count[row, who]
        for (i = 1; i <= n; i++) a[i] = sample[row, who, i] / (by == "" ? 1 : sample[row, by, i])
        sort(a, n)
        return n
    }
    function against(row, who,    n, rate, best, a) {
        if (!((row, who) in count)) return " | | |"
        n = rounds(row, who, "", a); rate = median(a, n); best = a[n]
        n = rounds(row, "stair", "", a); best = a[n] / best
        n = rounds(row, "stair", who, a)
        return sprintf(" | %.0f | **%.2f** (%.2f to %.2f) | %.2f", rate, median(a, n), a[1], a[n], best)
    }
    {
        if (!($1 in seen)) { seen[$1] = 1; row[++rows] = $1 }
        if ($2 != "stair" && !($2 in known)) { known[$2] = 1; peer[++peers] = $2 }
        sample[$1, $2, ++count[$1, $2]] = $3 + 0
    }
    END {
        head = "| work | batch | threads | stair"; line = "|---|--:|--:|--:|"
        for (p = 1; p <= peers; p++) {
            head = head " | " peer[p] " | stair / " peer[p] " | best rounds"
            line = line "--:|--:|--:|"
        }
        print head " |"; print line
        for (r = 1; r <= rows; r++) {
            split(row[r], part, "|")
            n = rounds(row[r], "stair", "", a)
            text = sprintf("| %s | %d | %d | %.0f", part[1], part[2], part[3], median(a, n))
            for (p = 1; p <= peers; p++) text = text against(row[r], peer[p])
            print text " |"
        }
    }' "$work/samples"
}

# The share of the multipliers' peak that float work reaches: 5.74 million multiply-adds an image forward and back
# (the first layer has no gradient of its input), 2.00 million forward.
shares() {
    peak=$("$peaks") || return 0
    fma=$(printf '%s\n' "$peak" | sed 's/.*"fma": *\([0-9.]*\).*/\1/')
    echo "- peaks of one core, in 10^9 a second, measured (bench/peaks.c): $(printf '%s' "$peak" | tr -d '{}"')"
    awk -F '\t' -v fma="$fma" '
    $2 == "stair" && $1 ~ /^(training|float inference)\|64/ { rate[$1] = rate[$1] " " $3 }
    END {
        for (row in rate) {
            n = split(rate[row], a, " "); split(row, part, "|"); best = 0
            for (i = 1; i <= n; i++) if (a[i] > best) best = a[i]
            work = part[1] == "training" ? 5.74e6 : 2.00e6
            printf "- %s, batch %d, threads %d, best round: %.0f %% of the peak of fused multiply-adds\n",
                part[1], part[2], part[3], 100 * best * work / (fma * 1e9 * part[3])
        }
    }' "$work/samples" | sort
}

results() {
    cat <<END
# Speed

Written by \`make bench\`. Images per second of the net \`netbn\` (images of 28x28), medians of $rounds rounds in which
all took turns. The ratio, above 1 where stair is faster, is the median of the rounds' ratios, with the least and the
largest; beside it the ratio of each one's best round, which depends less on what else the machine had to do.

END
    table
    printf '\n'
    shares
    cat "$work/notes"
    cat <<END
- CPU: $(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1), $(nproc) processors
- load before the start $load, OMP_WAIT_POLICY ${OMP_WAIT_POLICY:-not set}
- $("$stair" --version | tr '\n' ',' | sed 's/,$//; s/,/, /'), gcc $(gcc -dumpfullversion)
- Training and fine-tuning: a step of SGD with momentum, from images in memory to new weights. stair normalises the
  bytes within the time, its peers get floats; its weights have a scale per channel, those of PyTorch's qnnpack
  configuration one per tensor.
- Inference in ONNX Runtime: the same nets by \`stair export onnx\`; the integers of the 8-bit one lie between
  QuantizeLinear and DequantizeLinear, which it fuses to QLinearConv, NhwcMaxPool and QGemm. On a processor without
  VNNI its sums saturate at 16 bits; stair's never do.

The commands of a round, with files that run.sh makes:

END
    while read -r line; do
        IFS='|' read -r _ batch threads arguments _ <<END
$line
END
        printf '    stair bench %s --batch %d --threads %d --json\n' "$arguments" "$batch" "$threads"
        while IFS='|' read -r _ program number runner; do
            peer_arguments=$(column "$line" "$number")
            [ -z "$peer_arguments" ] || printf '    %s %s %s --batch %d --threads %d\n' "${runner##*/}" "$program" \
                "$peer_arguments" "$batch" "$threads"
        done <"$work/peers"
    done <"$work/rows"
}

: >"$work/peers"
: >"$work/notes"
printf '%s\n' "$peers" >"$work/all"
while IFS='|' read -r peer program number; do
    if runner=$(runner_for "$program"); then
        echo "$peer|$program|$number|$runner" >>"$work/peers"
        echo "- $(cat "$work/version")" >>"$work/notes"
    else
        echo "- $peer is not installed, or something it needs: skipped" | tee -a "$work/notes" >&2
    fi
done <"$work/all"

load=$(cut -d ' ' -f 1 /proc/loadavg)
make_files
measure
results >"$work/RESULTS.md"
mv "$work/RESULTS.md" bench/RESULTS.md
printf '\n' >&2
sed -n '/^|/p; /skipped/p' bench/RESULTS.md
