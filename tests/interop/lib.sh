# What the scripts of this folder share; sourced by them.
#
# run.sh starts each test_*.sh in a folder of its own with STAIR (the program), TOOLS (the folder of
# the helpers that make built) and NETS (a folder that all share). A script says in a line
# `# packages: ...` what Debian packages it needs, and prints a line for each check.

# check NAME COMMAND...: the command must succeed. VERBOSE=1 shows what it says then, too.
check() {
    name=$1 log=$(mktemp); shift
    if "$@" > "$log" 2>&1; then
        echo "ok $name"
        [ -z "${VERBOSE:-}" ] || sed "s/^/$name: /" "$log"
    else
        echo "failed $name: $*"; cat "$log"
    fi
    rm -f "$log"
}

# ONNX Runtime, of the version that bench/'s lock file says.
install_onnxruntime() {
    bench=$here/../../bench
    command -v npm > /dev/null || "$here/../deps.sh" nodejs npm
    [ -d "$bench/node_modules/onnxruntime-node" ] || npm ci --silent --ignore-scripts --prefix "$bench"
}

# frozen NAME BITS: the path of a net of the zoo, trained for a moment (its arithmetic matters, not
# its accuracy) and frozen with weights and activations of so many bits; made where it is not there.
frozen() {
    if [ ! -e "$NETS/$1.st" ]; then
        "$STAIR" train -q --model "$1" --epochs 1 --limit 2000 -o "$NETS/$1.st" >&2
    fi
    if [ ! -e "$NETS/$1.$2.st" ]; then
        "$STAIR" calibrate -q "$NETS/$1.st" --bits "$2" --weight-bits "$2" -o calibrated.st >&2
        "$STAIR" freeze -q calibrated.st -o "$NETS/$1.$2.st" >&2
    fi
    echo "$NETS/$1.$2.st"
}
