#!/usr/bin/env bash
# qemu-img 7.2 (Debian 1:7.2+dfsg-7+deb12u18+b3) leaves extents of the type ZERO out of a VMDK disk, and what comes behind
# them moves to the front; it ends with status 0 and says nothing.
#
# VMware's "Virtual Disk Format" specification has ZERO beside FLAT and SPARSE as a type of extent ("RW 2048 ZERO": 1 MiB of
# zeros), without a file. A disk of 1 MiB of data, 1 MiB of zeros and 1 MiB of data again has 3 MiB. Seen:
#
#   size of the disk that was converted: 2097152
#   where the last megabyte begins in it: 1048576
#   status: 0
. "$(dirname "$0")/package.sh"
unpack qemu-utils=1:7.2+dfsg-7+deb12u18+b3
cd "$work"
head -c 1M /dev/zero | tr '\0' a >first.bin
head -c 1M /dev/zero | tr '\0' b >last.bin
cat >disk.vmdk <<'VMDK'
# Disk DescriptorFile
version=1
CID=12345678
parentCID=ffffffff
createType="monolithicFlat"
RW 2048 FLAT "first.bin" 0
RW 2048 ZERO
RW 2048 FLAT "last.bin" 0
VMDK
status=0
qemu-img convert -f vmdk -O raw disk.vmdk disk.raw || status=$?
same 'size of the disk that was converted' "$(stat -c %s disk.raw)" 2097152
same 'where the last megabyte begins in it' "$(grep -abo -m1 b disk.raw | head -n 1 | cut -d: -f1)" 1048576
same status "$status" 0
