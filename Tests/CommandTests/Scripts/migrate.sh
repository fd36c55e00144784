#!/bin/bash
# VM migration: a folder of VMDKs and an OVA become qcow2, each verified by its hash; a damaged one is reported and skipped.
# Runs in an empty folder, with rblock in PATH.
set -euo pipefail
mkdir in out ova

# What the old hypervisor left.
truncate -s 24M plain.raw
dd if=/dev/urandom of=plain.raw bs=64K count=40 seek=3 conv=notrunc status=none
dd if=/dev/urandom of=plain.raw bs=64K count=17 seek=200 conv=notrunc status=none
qemu-img convert -O vmdk plain.raw in/web.vmdk
qemu-img convert -O vmdk -o subformat=streamOptimized plain.raw in/db.vmdk
qemu-img convert -O vmdk -o subformat=twoGbMaxExtentSparse plain.raw in/mail.vmdk
qemu-img convert -O vmdk -o subformat=monolithicFlat plain.raw in/flat.vmdk
cp in/db.vmdk in/broken.vmdk
# The middle of its compressed data is overwritten.
dd if=/dev/urandom of=in/broken.vmdk bs=4096 count=4 seek=$(($(stat -c %s in/broken.vmdk) / 8192)) conv=notrunc status=none
cp in/db.vmdk ova/shop-disk1.vmdk
cat >ova/shop.ovf <<OVF
<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
  <References><File ovf:id="file1" ovf:href="shop-disk1.vmdk" ovf:size="$(stat -c %s ova/shop-disk1.vmdk)"/></References>
  <DiskSection><Info>disks</Info>
    <Disk ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:capacity="24" ovf:capacityAllocationUnits="byte * 2^20"/>
  </DiskSection>
  <VirtualSystem ovf:id="shop"><Info>a machine</Info><Name>shop</Name></VirtualSystem>
</Envelope>
OVF
(
    cd ova
    sha256sum shop.ovf shop-disk1.vmdk | sed -E 's/^([0-9a-f]+)  (.*)$/SHA256(\2)= \1/' >shop.mf
    tar --format=ustar -cf ../in/shop.ova shop.ovf shop.mf shop-disk1.vmdk
)
truth=$(sha256sum plain.raw | cut -d ' ' -f 1)

# migrate SOURCE NAME: SOURCE is a file, or APPLIANCE.ova/DISK.
migrate() {
    local source=$1 target=out/$2.qcow2 check convert status=0
    check=$(rblock check --data --output json "$source") || status=$?
    if [ $status != 0 ] && [ $status != 3 ]; then
        jq -c --arg s "$source" '{source: $s, state: "damaged", why: (.error.message // (.findings[0].message))}' \
            <<<"$check" >>report
        return 0
    fi
    status=0
    convert=$(rblock convert --compress zstd --no-sync --output json "$source" "$target") || status=$?
    if [ $status != 0 ]; then
        jq -c --arg s "$source" '{source: $s, state: "failed", why: .error.message}' <<<"$convert" >>report
        return 0
    fi
    rblock hash --output json "$source" "$target" | jq -c --arg s "$source" --argjson c "$convert" \
        '{source: $s, state: (if .[0].hash == .[1].hash then "ok" else "differs" end), hash: .[1].hash,
          target: $c.filename, size: $c."virtual-size"}' >>report
}

rblock info --output json --backing-chain in/web.vmdk in/db.vmdk in/mail.vmdk in/flat.vmdk |
    jq -e 'length == 4 and all(.[][]; .format == "vmdk" and ."virtual-size" == 25165824)' >/dev/null
for file in in/*.vmdk; do
    # A part of a split disk is no image by itself, and says so.
    status=0
    rblock info --output json "$file" >one.json || status=$?
    case $status:$file in
    1:*-s0*.vmdk | 1:*-flat.vmdk) jq -e '.error.code' one.json >/dev/null ;;
    *) migrate "$file" "$(basename "$file" .vmdk)" ;;
    esac
done
for archive in in/*.ova; do
    rblock info --output json "$archive" | jq -r '.ova.disks[].folder' >disks
    while read -r disk; do migrate "$archive/$disk" "$(basename "$archive" .ova)-${disk%.vmdk}"; done <disks
done

jq -se --arg h "$truth" '
    (map(select(.state == "ok")) | length == 5 and all(.hash == $h and .size == 25165824)) and
    (map(select(.state != "ok")) | length == 1 and .[0].source == "in/broken.vmdk" and .[0].state == "damaged"
        and (.[0].why | length > 0))' report >/dev/null || { cat report; exit 1; }
test ! -e out/broken.qcow2
for image in out/*.qcow2; do qemu-img compare -q -f qcow2 -F raw "$image" plain.raw; done
echo done
