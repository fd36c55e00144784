#!/usr/bin/env bash
# The header of a sparse VMDK extent says where its embedded descriptor lies, and 0 where there is none ("Virtual Disk Format
# 5.0", Hosted Sparse Extent Header). In the parts of a split disk, which have none, qemu-img 7.2 (Debian
# 1:7.2+dfsg-7+deb12u18+b3) says all the same that one lies at sector 1, 20 sectors long, and leaves these blank: a reader that
# goes by the header finds a descriptor without a line in a sound file. Seen:
#
#   descriptor of disk-s001.vmdk: at sector 1, 20 sectors
#   bytes there that are not 0: 0
#   descriptor of a disk in one file: at sector 1, 20 sectors
#   it begins with: # Disk DescriptorFile
. "$(dirname "$0")/package.sh"
unpack qemu-utils=1:7.2+dfsg-7+deb12u18+b3
cd "$work"
qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentSparse disk.vmdk 1M
qemu-img create -q -f vmdk -o subformat=monolithicSparse whole.vmdk 1M

place() { echo "at sector $(($(od -An -td8 -j28 -N8 "$1"))), $(($(od -An -td8 -j36 -N8 "$1"))) sectors"; }
same 'descriptor of disk-s001.vmdk' "$(place disk-s001.vmdk)" 'at sector 1, 20 sectors'
same 'bytes there that are not 0' "$(dd if=disk-s001.vmdk bs=512 skip=1 count=20 status=none | tr -d '\0' | wc -c)" 0
same 'descriptor of a disk in one file' "$(place whole.vmdk)" 'at sector 1, 20 sectors'
same 'it begins with' "$(dd if=whole.vmdk bs=512 skip=1 count=20 status=none | head -n 1)" '# Disk DescriptorFile'
