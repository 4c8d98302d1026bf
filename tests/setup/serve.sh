#!/bin/bash
# A dockerd in namespaces of its own. Runs as the first process of new mount, network and
# process namespaces (unshare --mount --net --pid --fork): when it ends, by whatever cause,
# the kernel ends everything that it started, so nothing can be left running.
#
#   serve.sh ROOT RUN STATE NAME SNAPSHOTTER PYTHON
#
# ROOT         where dockerd is installed: / or a Debian root of its own
# RUN, STATE   folders for socket, configuration and pid file; for images and containers
# NAME         for containerd's namespaces
# SNAPSHOTTER  true: images are kept in containerd's image store; false: in overlay2; none: do
#              not say (a version that does not know the word)
# PYTHON       runs loopback.py
set -euo pipefail
root=$1 run=$2 state=$3 name=$4 snapshotter=$5 python=$6

mount --make-rprivate /
if [ "$root" = / ]; then
    mount -t proc proc /proc
    # a containerd of the host is not for us: dockerd starts its own where this is empty
    mkdir -p /run/containerd
    mount -t tmpfs tmpfs /run/containerd
    enter=()
else
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    for folder in "$run" "$state"; do
        mkdir -p "$root$folder"
        mount --bind "$folder" "$root$folder"
    done
    enter=(chroot "$root")
fi
"$python" "$(dirname "$0")/loopback.py"

features='{}'
[ "$snapshotter" = none ] || features="{\"features\":{\"containerd-snapshotter\":$snapshotter}}"
echo "$features" >"$run/daemon.json"
rm -f "$run/pid" "$run/docker.sock"

"${enter[@]}" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
    dockerd --config-file "$run/daemon.json" -H "unix://$run/docker.sock" \
    --data-root "$state" --exec-root "$run/exec" --pidfile "$run/pid" \
    --containerd-namespace "$name" --containerd-plugins-namespace "$name-plugins" &
daemon=$!
trap 'kill -TERM $daemon' TERM
# the first wait ends early when the signal comes
wait $daemon || true
wait $daemon
