#!/bin/sh
# packages: clang g++
# Exported C of every net of the zoo gives the program's codes on all 10,000 test images: with 8 and
# with 4 bits, by two compilers that warn of everything, and on some with sanitizers.
set -eu
here=$(dirname "$0")
. "$here/lib.sh"
strict='-std=c99 -ffreestanding -Wall -Wextra -pedantic -Werror'

# same COMPILER OPTIONS IMAGES: in a folder that has model.c, pixels and want
same() {
    mkdir -p "$1"
    # shellcheck disable=SC2086  # one word an option
    $1 $strict $2 -I. model.c "$here/c_main.c" -o "$1/run" && ln -sf ../pixels "$1/pixels" &&
        (cd "$1" && ./run) && [ "$(wc -c < "$1/codes")" = "$(($3 * 10))" ] && cmp "$1/codes" want
}

for net in mlp lenet5 netbn resnet8; do
    for bits in 8 4; do
        file=$(frozen $net $bits)
        mkdir -p $net.$bits
        (
            cd $net.$bits
            "$STAIR" export c "$file" -o model.c -q
            "$TOOLS/program_codes" "$file" 10000 pixels want
            check "$net.$bits gcc" same gcc '-O3 -march=native' 10000 > gcc.log &
            check "$net.$bits clang" same clang '-O3 -march=native' 10000 > clang.log
            wait
            "$TOOLS/program_codes" "$file" 50 pixels want
            cat gcc.log clang.log
            check "$net.$bits sanitized" same gcc \
                '-O1 -fsanitize=address,undefined -fno-sanitize-recover=all' 50
            check "$net.$bits C++" g++ -x c++ -Wall -Wextra -pedantic -Werror -fsyntax-only model.c
        )
    done
done
