#!/bin/sh
# Installs the Debian packages that are missing, those named as arguments too; touches no package
# manager when none is.
set -eu
packages='gcc g++ make libc6-dev libopenblas-dev zlib1g-dev libstb-dev libjansson-dev libcmocka-dev
          libprotobuf-c-dev protobuf-c-compiler dataset-fashion-mnist'
packages="$packages $*"
missing=''
for p in $packages; do
    dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
sudo=''
[ "$(id -u)" -eq 0 ] || sudo='sudo'
echo "installing:$missing" >&2
$sudo apt-get update -qq
# shellcheck disable=SC2086  # one word a package
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
