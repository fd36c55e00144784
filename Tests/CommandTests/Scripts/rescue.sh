#!/bin/bash
# The examination of a damaged disk: what is wrong, what of it is lost, and what can be rescued.
# Runs in an empty folder, with rblock in PATH.
set -euo pipefail

# A disk of 16 MiB in clusters of 4 KiB: an L2 table has 512 entries, which are 2 MiB.
truncate -s 16M disk.raw
dd if=/dev/urandom of=disk.raw bs=1M count=10 conv=notrunc status=none
qemu-img convert -O qcow2 -o cluster_size=4k disk.raw good.qcow2
cp good.qcow2 bad.qcow2
rblock check --output json good.qcow2 | jq -e '."findings-total" == 0' >/dev/null
rblock inspect --output json good.qcow2 >good.json
jq -e '."fault-count" == 0 and (.structures | length > 2)' good.json >/dev/null
l1=$(jq -r '.structures[0].fields[] | select(.name == "l1_table_offset").number' good.json)
l2() { echo $((16#$(od -An -v -tx1 -j $((l1 + 8 * $1)) -N 8 good.qcow2 | tr -d ' ') & 0x00fffffffffffe00)); }
poke() { printf "$2" | dd of=bad.qcow2 bs=1 seek="$1" conv=notrunc status=none; }
# The fourth L2 table lies past the end of the file; of the second, one entry is not aligned, and the next leads past the end;
# one of the third is lost.
poke $((l1 + 8 * 3)) '\x80\x00\x00\x7f\xff\xff\x00\x00'
poke $(($(l2 1) + 8 * 5)) '\x80\x00\x00\x00\x00\x00\x12\x34\x80\x00\x01\x00\x00\x00\x00\x00'
poke $(($(l2 2) + 8 * 7)) '\x00\x00\x00\x00\x00\x00\x00\x00'

# expect STATUS FILE COMMAND...: the command ends with STATUS, and its document goes to FILE.
expect() {
    local wanted=$1 file=$2 status=0
    shift 2
    "$@" --output json >"$file" 2>errors || status=$?
    test $status = "$wanted" || { echo "$*: $status"; cat errors; exit 1; }
}

expect 2 check.json rblock check bad.qcow2
jq -e '.corruptions > 0 and (.findings | length) <= ."findings-total"
    and all(.findings[]; .message and .kind and .severity)' check.json >/dev/null
expect 2 inspect.json rblock inspect --l2 bad.qcow2
jq -e '."fault-count" >= 3 and ([.. | objects | select(has("fault"))] | length) >= 3' inspect.json >/dev/null
expect 2 map.json rblock map bad.qcow2
# The map covers the disk without gaps.
jq -e '.[-1].start + .[-1].length == 16777216
    and ([.[1:], .[:-1]] | transpose | all(.[0].start == .[1].start + .[1].length))' map.json >/dev/null
lost=$(jq '[.[] | select(.error).length] | add' map.json)
test "$lost" = $((2 * 1024 * 1024 + 8192))

# What can be read of it.
expect 1 read.json rblock read --offset 2M --length 1M bad.qcow2
jq -e '.error.code == "corrupt" and (.error.file | endswith("bad.qcow2")) and .error.offset' read.json >/dev/null
expect 2 read.json rblock read --ignore-read-errors --offset 2M --length 1M bad.qcow2
jq -e '.length == 1048576 and ([.lost[].length] | add) == 8192 and .lost[0].start == 2117632
    and all(.lost[]; .error.message)' read.json >/dev/null
jq -r .data read.json | base64 -d >piece.raw
dd if=disk.raw of=expected.raw bs=1M skip=2 count=1 status=none
dd if=/dev/zero of=expected.raw bs=4096 seek=5 count=2 conv=notrunc status=none
cmp piece.raw expected.raw
expect 1 convert.json rblock convert bad.qcow2 rescued.raw
test ! -e rescued.raw
jq -e .error convert.json >/dev/null
expect 2 convert.json rblock convert --ignore-read-errors bad.qcow2 rescued.raw
jq -e --argjson lost "$lost" '."virtual-size" == 16777216 and ([.lost[].length] | add) == $lost' convert.json >/dev/null
expect 2 hash.json rblock hash --ignore-read-errors bad.qcow2
test "$(jq -r '.[0].hash' hash.json)" = "$(sha256sum <rescued.raw | cut -d ' ' -f 1)"

# What of the rescued disk is other than the original: what was lost, and the entry that was zeroed.
expect 1 diff.json rblock diff disk.raw rescued.raw
jq -e --argjson lost "$lost" '.summary."changed-bytes" == $lost + 4096
    and ([.ranges[] | .start * 512] | index(4 * 1048576 + 7 * 4096) != null)' diff.json >/dev/null
# The lost parts come from the backup, by their sectors.
expect 1 sectors.json rblock diff --sectors disk.raw rescued.raw
jq -r '.sectors[]' sectors.json >sectors.txt
rblock convert --output json --from-sectors sectors.txt disk.raw patch.qcow2 |
    jq -e --argjson lost "$lost" '."virtual-size" == 16777216 and ."bytes-written" >= $lost' >/dev/null
echo done
