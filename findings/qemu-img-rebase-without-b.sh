#!/usr/bin/env bash
# `qemu-img rebase -u -F FORMAT` without `-b`, as one would set the format that an old image does not name of its backing file,
# takes the backing file away: qemu-img 7.2 (Debian 1:7.2+dfsg-7+deb12u18+b3) says nothing, ends with status 0, and what the image
# has not itself reads as zeros from then on. (`-b ""` is the documented way to do that.) Seen:
#
#   before: pattern 7
#   status: 0
#   backing file: none
#   after: zeros
. "$(dirname "$0")/package.sh"
unpack qemu-utils=1:7.2+dfsg-7+deb12u18+b3
cd "$work"
qemu-img create -q -f qcow2 base.qcow2 1M
qemu-io -f qcow2 -c 'write -q -P 7 0 64k' base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2

seen() {
	qemu-img convert -f qcow2 -O raw top.qcow2 top.raw
	case $(od -An -tu1 -N1 top.raw) in *7) echo 'pattern 7' ;; *0) echo zeros ;; *) echo 'something else' ;; esac
}
same before "$(seen)" 'pattern 7'
qemu-img rebase -u -f qcow2 -F qcow2 top.qcow2 && status=0 || status=$?
same status $status 0
same 'backing file' "$(qemu-img info top.qcow2 | sed -n 's/^backing file: *//p' | grep . || echo none)" none
same after "$(seen)" zeros
