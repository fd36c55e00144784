#!/usr/bin/env bash
# qemu-img 7.2 (Debian 1:7.2+dfsg-7+deb12u18+b3) looks for the backing file that a QCOW2 image names by a relative name beside
# the *symbolic link* by which the image was opened, and not beside the file that the link leads to, which most programs
# that follow links would do. A link into a folder of images is an image without its chain, and a farm of links can give one
# image another backing file. Seen:
#
#   opened by its own name: pattern 1
#   opened through a link: no backing file
#   opened through a link that has a namesake beside it: pattern 2
. "$(dirname "$0")/package.sh"
unpack qemu-utils=1:7.2+dfsg-7+deb12u18+b3
cd "$work"
mkdir images links
qemu-img create -q -f qcow2 images/base.qcow2 1M
qemu-io -f qcow2 -c 'write -q -P 1 0 64k' images/base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 images/top.qcow2
ln -s ../images/top.qcow2 links/top.qcow2

seen() {
	local pattern
	qemu-img info -U "$1" >/dev/null 2>&1 || true
	for pattern in 1 2; do
		qemu-io -r -f qcow2 -c "read -q -P $pattern 0 64k" "$1" 2>/dev/null | grep -q 'verification failed' && continue
		qemu-io -r -f qcow2 -c "read -q -P $pattern 0 64k" "$1" >/dev/null 2>&1 && { echo "pattern $pattern"; return; }
	done
	echo "no backing file"
}
same 'opened by its own name' "$(seen images/top.qcow2)" 'pattern 1'
same 'opened through a link' "$(seen links/top.qcow2)" 'no backing file'
qemu-img create -q -f qcow2 links/base.qcow2 1M
qemu-io -f qcow2 -c 'write -q -P 2 0 64k' links/base.qcow2
same 'opened through a link that has a namesake beside it' "$(seen links/top.qcow2)" 'pattern 2'
