#!/bin/sh
# Fails on an include that points upward:
#   train -> datasets, optim, quant, nn, autograd      quant -> nn -> autograd <- optim, datasets
set -eu
cd "$(dirname "$0")/.."
bad=0
allow() { # folder, then what it may include
    folder=$1; shift
    pattern=$(printf '%s|' "$@"); pattern=${pattern%|}
    if grep -rnE '^#include "' --include='*.[ch]' "$folder" |
       grep -vE "#include \"(($pattern)/|[^/\"]*\.def\")"; then bad=1; fi
}
allow autograd autograd
allow optim    optim autograd
allow datasets datasets autograd
allow nn       nn autograd
allow quant    quant nn autograd
allow train    train datasets optim quant nn autograd
if grep -rnE '\b(printf|puts|fputs|fprintf|exit)\(' --include='*.c' autograd nn quant optim datasets |
   grep -vE 'fprintf\(f, |snprintf|autograd/error\.c'; then
    echo 'a library folder prints or exits' >&2; bad=1
fi
[ $bad -eq 0 ] || { echo 'arrows: the includes above point upward' >&2; exit 1; }
echo 'arrows: clean'
