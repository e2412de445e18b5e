#!/bin/sh
# packages: gcc-arm-none-eabi qemu-system-arm
# NetBN on an emulated Cortex-M3 without a C library: what is linked (code, weights, constants) fits
# 64 KB of flash and 40 KB of RAM, stack and test images included; the self-test passes; 100 images
# give the program's codes.
set -eu
here=$(dirname "$0")
. "$here/lib.sh"

link() {
    arm-none-eabi-gcc -mcpu=cortex-m3 -mthumb -std=c99 -O2 -ffreestanding -Wall -Wextra -pedantic -Werror \
        -ffunction-sections -fdata-sections -nostdlib -Wl,--gc-sections -T "$here/cortex_m3/port.ld" \
        -DPORT -I. -I"$here/cortex_m3" model.c "$here/c_main.c" "$here/cortex_m3/port.c" -lgcc -o model.elf
}
emulate() {
    rm -f codes
    timeout 600 qemu-system-arm -M mps2-an385 -display none -monitor none -serial none \
        -semihosting-config enable=on,target=native -kernel model.elf < /dev/null
}

for bits in 8 4; do
    file=$(frozen netbn $bits)
    "$STAIR" export c "$file" -o model.c -q
    "$TOOLS/program_codes" "$file" 100 pixels want
    check "netbn.$bits fits 64 KB of flash and 40 KB of RAM" link
    arm-none-eabi-size -A model.elf | awk -v bits=$bits '{ size[$1] = $2 } END {
        printf "netbn, %d bits, Cortex-M3: %d bytes of flash, %d of RAM with a stack of %d\n", bits,
            size[".text"] + size[".data"], size[".data"] + size[".bss"] + size[".stack"], size[".stack"] }'
    check "netbn.$bits self-test" emulate
    check "netbn.$bits 100 images" cmp codes want
done
