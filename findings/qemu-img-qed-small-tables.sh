#!/usr/bin/env bash
# qemu-img 7.2 (Debian 1:7.2+dfsg-7+deb12u18+b3) makes QED images with tables of one cluster, which it cannot open itself.
#
# docs/interop/qed_spec.txt allows a table_size of 1, and so does `create`, which ends with 0. With tables of two clusters the
# image opens; the size of the clusters makes no difference. Seen:
#
#   status of create: 0
#   info with a table_size of 1: 1, QED table offset is invalid
#   info with a table_size of 2: 0
. "$(dirname "$0")/package.sh"
unpack qemu-utils=1:7.2+dfsg-7+deb12u18+b3
cd "$work"
status=0
qemu-img create -q -f qed -o table_size=1 one.qed 1M || status=$?
same 'status of create' "$status" 0
status=0
qemu-img info one.qed >info 2>&1 || status=$?
same 'info with a table_size of 1' "$status, $(sed 's/.*: //' info)" '1, QED table offset is invalid'
qemu-img create -q -f qed -o table_size=2 two.qed 1M
status=0
qemu-img info two.qed >info || status=$?
same 'info with a table_size of 2' "$status" 0
