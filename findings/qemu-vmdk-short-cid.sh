#!/usr/bin/env bash
# qemu-io 7.2 (Debian 1:7.2+dfsg-7+deb12u18+b3) writes the CID of a VMDK without leading zeros: in one of 16 cases it has fewer
# than the eight digits that the descriptor had for it, and the text, written again as a whole, is shorter than before. The
# file that it stands in is padded with NUL bytes to a sector, and does not get shorter with the text.
#
# A new CID is drawn when an image is written to for the first time after it was opened. So images of a separate descriptor are
# made, and written to, until there is such a CID. Seen (the CID and how many tries it took differ):
#
#   digits before: 8
#   digits after: fewer than 8
#   bytes of text that are missing: as many as digits
#   bytes of the file: 512
. "$(dirname "$0")/package.sh"
unpack qemu-utils=1:7.2+dfsg-7+deb12u18+b3
cd "$work"
digits() { sed -n 's/^CID=\([0-9a-f]*\)$/\1/p' disk.vmdk | tr -d '\n' | wc -c; }
text() { tr -d '\0' <disk.vmdk | wc -c; }
after=8
for try in $(seq 500); do
	rm -f disk*.vmdk
	qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentSparse disk.vmdk 1M
	before=$(digits)
	[ "$before" = 8 ] || continue
	size=$(text)
	qemu-io -f vmdk -c 'write 0 512' disk.vmdk >/dev/null
	after=$(digits)
	[ "$after" = 8 ] || break
done
same 'digits before' "$before" 8
[ "$after" -lt 8 ] && seen='fewer than 8' || seen=8
same 'digits after' "$seen" 'fewer than 8'
[ $((size - $(text))) = $((8 - after)) ] && seen='as many as digits' || seen=$((size - $(text)))
same 'bytes of text that are missing' "$seen" 'as many as digits'
same 'bytes of the file' "$(stat -c %s disk.vmdk)" 512
