#!/bin/bash
# A backup scheme: a base and three days of changes as deltas; the chain is verified by hash, diff and a list of hashes.
# Runs in an empty folder, with rblock in PATH.
set -euo pipefail
mkdir vault

# The disk of a machine, and its state of each day.
qemu-img create -q -f qcow2 live.qcow2 32M
qemu-io -f qcow2 -c 'write -P 1 0 4M' -c 'write -P 2 9M 1M' live.qcow2 >/dev/null
rblock convert --compress zstd --output json live.qcow2 vault/day0.qcow2 |
    jq -e '.format == "qcow2" and ."virtual-size" == 33554432 and ."bytes-written" > 0' >/dev/null
changes=('write -P 3 1M 64k' 'write -z 9M 512k' 'write -P 4 31M 1M')
for day in 1 2 3; do
    before=vault/day$((day - 1)).qcow2
    qemu-io -f qcow2 -c "${changes[day - 1]}" live.qcow2 >/dev/null
    status=0
    rblock diff --output json "$before" live.qcow2 >diff.json || status=$?
    test $status = 1
    jq -e '.identical == false and .summary."changed-bytes" > 0
        and (.ranges | length) == .summary."changed-ranges"' diff.json >/dev/null
    changed=$(jq '.summary."changed-bytes"' diff.json)
    rblock delta --output json --cluster-size 4K "$before" live.qcow2 "vault/day$day.qcow2" |
        jq -e --argjson c "$changed" --arg b "day$((day - 1)).qcow2" '.backing == $b and ."backing-format" == "qcow2"
            and ."bytes-changed" >= $c and ."bytes-changed" <= $c + 8192' >/dev/null
    rblock hash --output json "vault/day$day.qcow2" live.qcow2 | jq -e '.[0].hash == .[1].hash' >/dev/null
    rblock diff --output json "vault/day$day.qcow2" live.qcow2 | jq -e '.identical and .ranges == []' >/dev/null
done

# The list that is kept with the vault.
cd vault
rblock hash --output json --algorithm sha256 --algorithm sha1 day?.qcow2 >hashes.json
jq -r '.[] | "\(.hash)  \(.filename)"' hashes.json >SHA256SUMS
rblock hash --output json --check SHA256SUMS | jq -e 'length == 4 and all(.matches)' >/dev/null
jq -r '.[] | .filename as $f | .hashes | to_entries[] | "\(.key | ascii_upcase) (\($f)) = \(.value)"' hashes.json >TAGGED
rblock hash --output json --check TAGGED | jq -e 'length == 8 and all(.matches)' >/dev/null
rblock info --output json --backing-chain day3.qcow2 |
    jq -e '[.[]."backing-filename"] == ["day2.qcow2", "day1.qcow2", "day0.qcow2", null]' >/dev/null
rblock check --data --output json day?.qcow2 | jq -e 'length == 4 and all(."findings-total" == 0)' >/dev/null
cd ..

# A restore somewhere else: the folder is moved, and the chain comes along.
mv vault moved
rblock convert --output json moved/day2.qcow2 restored.raw | jq -e '.format == "raw"' >/dev/null
test "$(jq -r '.[] | select(.filename == "day2.qcow2").hash' moved/hashes.json)" = "$(sha256sum <restored.raw | cut -d ' ' -f 1)"

# A byte of the second day rots, and the third is gone: the list tells which days are lost.
offset=$(rblock map --output json moved/day1.qcow2 | jq '[.[] | select(.data and .depth == 0 and .offset)][0].offset')
printf '\xaa' | dd of=moved/day1.qcow2 bs=1 seek="$offset" conv=notrunc status=none
verify() {
    status=0
    (cd moved && rblock hash --output json --check SHA256SUMS) >verify.json 2>errors || status=$?
    test $status = 1
}
verify
jq -e '[.[] | select(.matches | not).filename] == ["day1.qcow2", "day2.qcow2", "day3.qcow2"]' verify.json >/dev/null
rm moved/day2.qcow2
verify
jq -e 'length == 4 and [.[] | select(.error).filename] == ["day2.qcow2", "day3.qcow2"] and all(.[1:][]; .matches == false)' \
    verify.json >/dev/null
echo done
