#!/usr/bin/env bash
# qemu-img 7.2 (Debian 1:7.2+dfsg-7+deb12u18+b3) takes the argument of `snapshot -a`, `snapshot -d` and `convert -l` for an ID or
# a name. Where a snapshot is called as another one's ID is, `snapshot -a 1` and `convert -l 1` take the one whose ID is 1, but
# `snapshot -d 1` deletes the one whose *name* is 1: what one has looked at by an argument is not what the same argument
# deletes. Seen, for three snapshots with the IDs 1, 2, 3 and the names 3, 2, 1:
#
#   convert -l 1: the one with ID 1
#   snapshot -a 1: the one with ID 1
#   snapshot -d 1 leaves: 3 2
. "$(dirname "$0")/package.sh"
unpack qemu-utils=1:7.2+dfsg-7+deb12u18+b3
cd "$work"
qemu-img create -q -f qcow2 disk.qcow2 1M
for id in 1 2 3; do
	qemu-io -f qcow2 -c "write -q -P $id 0 64k" disk.qcow2
	qemu-img snapshot -c $((4 - id)) disk.qcow2
done

# The snapshot whose first byte the raw or QCOW2 file $2, of the format $1, has.
first() {
	local byte
	qemu-img convert -f "$1" -O raw "$2" first.raw
	byte=$(od -An -tu1 -N1 first.raw)
	echo "the one with ID $((byte))"
}
qemu-img convert -f qcow2 -O raw -l 1 disk.qcow2 one.raw
same 'convert -l 1' "$(first raw one.raw)" 'the one with ID 1'
cp disk.qcow2 applied.qcow2
qemu-img snapshot -a 1 applied.qcow2
same 'snapshot -a 1' "$(first qcow2 applied.qcow2)" 'the one with ID 1'
qemu-img snapshot -d 1 disk.qcow2
same 'snapshot -d 1 leaves' "$(qemu-img snapshot -l disk.qcow2 | awk 'NR > 2 { printf "%s%s", sep, $2; sep = " " }')" '3 2'
