#!/usr/bin/env bash
# qemu-img 7.2 (Debian 1:7.2+dfsg-7+deb12u18+b3) cannot write compressed QCOW images of version 1, although it has the options for it:
# it ends with status 1 and says nothing at all.
#
# The format has compressed clusters, qemu-img reads them, `-c` is not refused for it, and the same command makes a QCOW2. Seen:
#
#   messages of convert -c -O qcow: 0 bytes
#   status: 1
#   status without -c: 0
#   status of convert -c -O qcow2: 0
. "$(dirname "$0")/package.sh"
unpack qemu-utils=1:7.2+dfsg-7+deb12u18+b3
cd "$work"
head -c 1M /dev/zero | tr '\0' a >disk.raw
status=0
qemu-img convert -c -O qcow disk.raw disk.qcow >messages 2>&1 || status=$?
same 'messages of convert -c -O qcow' "$(stat -c %s messages) bytes" '0 bytes'
same status "$status" 1
status=0
qemu-img convert -O qcow disk.raw disk.qcow || status=$?
same 'status without -c' "$status" 0
status=0
qemu-img convert -c -O qcow2 disk.raw disk.qcow2 || status=$?
same 'status of convert -c -O qcow2' "$status" 0
