#!/bin/bash
# A build in continuous integration: an image is made and filled, converted, mounted through rblockfs and a loop device, and
# served over NBD and JSON-RPC. Runs as root in an empty folder, with rblock and rblockfs in PATH.
set -euo pipefail
server=
finish() {
    set +e
    [ -n "$server" ] && kill "$server" 2>/dev/null && wait "$server" 2>/dev/null
    mountpoint -q guest && umount guest
    mountpoint -q mnt && fusermount3 -u -z mnt
}
trap finish EXIT
mkdir images mnt guest root

# An empty image, filled by way of raw: a partition from 1 MiB on, and a file system in it.
rblock create --output json root.raw 24M | jq -e '.format == "raw" and ."virtual-size" == 25165824' >/dev/null
echo 'built by CI' >root/release
head -c 300000 /dev/urandom >root/payload
printf 'label: gpt\nstart=2048, size=43008, type=linux, name=system\n' | sfdisk -q root.raw
mkfs.ext4 -q -F -d root -E offset=1048576 root.raw 21M
rblock convert --output json --compress zstd root.raw images/root.qcow2 |
    jq -e '.format == "qcow2" and ."bytes-written" + ."bytes-zero" == ."virtual-size" and .lost == []' >/dev/null
rblock create --output json -b root.qcow2 images/clone.qcow2 |
    jq -e '.backing == "root.qcow2" and ."backing-format" == "qcow2"' >/dev/null
rblock info --output json images/root.qcow2 | jq -e '.rblock."partition-table" | .scheme == "gpt"
    and (.partitions | length == 1 and .[0].start == 1048576 and .[0].name == "system")' >/dev/null
rblock check --output json images/root.qcow2 images/clone.qcow2 | jq -e 'all(."findings-total" == 0)' >/dev/null

# Mounted.
rblockfs images mnt
test "$(ls mnt)" = "$(printf 'clone.qcow2\nroot.qcow2\nstats.json')"
jq -e '.rblock.skipped == null' mnt/stats.json >/dev/null
jq -e '.format == "qcow2" and .error == null and (.rblock.layers | length) == 1
    and .rblock."partition-table".partitions[0].file == "partitions/p1.raw"' mnt/root.qcow2/stats.json >/dev/null
jq -e '[.rblock.layers[].filename | split("/")[-1]] == ["clone.qcow2", "root.qcow2"]' mnt/clone.qcow2/stats.json >/dev/null
cmp root.raw mnt/clone.qcow2/disk.raw
mount -o loop,ro mnt/root.qcow2/partitions/p1.raw guest
cmp root/payload guest/payload
test "$(cat guest/release)" = 'built by CI'
if touch guest/new 2>/dev/null; then exit 1; fi
umount guest
jq -e '.rblock.counters | .reads > 0 and ."read-errors" == 0' mnt/stats.json >/dev/null
# What the mount says of an image is what the command says.
diff <(rblock map --output json images/root.qcow2 | jq -S .) <(jq -S . mnt/root.qcow2/map.json)
for attempt in 1 2 3 4 5 6 7 8 9 10; do fusermount3 -u mnt 2>/dev/null && break; sleep 1; done
if mountpoint -q mnt; then exit 1; fi

# Served.
rblock serve --output json --nbd unix:nbd.sock --rpc unix:rpc.sock images >addresses.json 2>serve.log &
server=$!
for attempt in {1..300}; do [ -s addresses.json ] && break; sleep 0.2; done
jq -e '.nbd == ["unix:nbd.sock"] and .rpc == ["unix:rpc.sock"]' addresses.json >/dev/null
rpc() { rblock rpc --output json unix:rpc.sock "$@"; }
uri() { echo "nbd+unix:///$1?socket=$PWD/nbd.sock"; }
# On a busy machine an image may take longer than a list waits for it.
isListed() { rpc list | jq -e '[.[] | select(.error == null).name] | index("root.qcow2/p1") and index("clone.qcow2/layers/1")'; }
for attempt in {1..60}; do isListed >/dev/null && break; sleep 1; done
nbdinfo --json "$(uri root.qcow2)" | jq -e '.exports[0] | ."export-size" == 25165824 and .is_read_only' >/dev/null
nbdcopy "$(uri clone.qcow2)" copy.raw
cmp root.raw copy.raw
nbdcopy "$(uri root.qcow2/p1)" p1.raw
cmp p1.raw <(tail -c +1048577 root.raw | head -c $((43008 * 512)))
rpc get_version | jq -e '.name == "rblock"' >/dev/null
rpc info image=root.qcow2 | jq -e '.format == "qcow2" and .filename == "root.qcow2"' >/dev/null
rpc check image=root.qcow2 data=true | jq -e '."findings-total" == 0' >/dev/null
rpc read image=root.qcow2/p1 offset=1024 length=1024 | jq -r .data | base64 -d | cmp - <(tail -c +1025 p1.raw | head -c 1024)
rpc diff a=root.qcow2 b=clone.qcow2 summary=true | jq -e .identical >/dev/null
diff <(rpc map image=root.qcow2 | jq -S .) <(rblock map --output json images/root.qcow2 | jq -S .)
# An error is a document, too.
status=0
rpc read image=root.qcow2 offset=25165824 length=1 >error.json 2>errors || status=$?
test $status = 1
jq -e '.error.code == "out-of-range" and .error.message' error.json >/dev/null
rpc shutdown >/dev/null
wait $server
server=
test ! -e nbd.sock
test ! -e rpc.sock
echo done
