#!/usr/bin/env bash
# The FUSE export of qemu-storage-daemon 7.2 (Debian 1:7.2+dfsg-7+deb12u18+b3) mixes up writes that are under way at the same
# time: with O_DIRECT and 32 requests in flight, blocks get the content of others, and every write and the fsync after them
# succeed. With one request in flight all is as it was written. It takes no QCOW2: the export of a raw file does it.
#
# fio writes 16 MiB in blocks of 4 KiB, each with its offset and a check sum in it, and reads them again. Seen (how many blocks
# are wrong differs from run to run):
#
#   1 in flight: every block is as it was written
#   32 in flight: blocks hold something else
#
# Upstream has a bounce buffer for that since ("export/fuse: Copy write buffer content before polling"): while a write waits for
# the disk, the same thread receives the next request into the same buffer.
. "$(dirname "$0")/package.sh"
unpack qemu-system-common=1:7.2+dfsg-7+deb12u18+b3
unpack fio=3.33-3
cd "$work"
daemon=
trap 'if [ -n "$daemon" ]; then kill $daemon; wait $daemon; fi 2>/dev/null; rm -rf "$work"' EXIT
write() {
	truncate -s 0 disk.raw && truncate -s 16M disk.raw
	: >mnt
	qemu-storage-daemon --blockdev driver=file,node-name=disk,filename=disk.raw \
		--export type=fuse,id=export,node-name=disk,writable=on,mountpoint=mnt &
	daemon=$!
	for try in $(seq 100); do
		[ "$(stat -c %s mnt)" = 16777216 ] && break
		sleep 0.1
	done
	if fio --name=write --filename=mnt --rw=randwrite --bs=4k --size=16M --direct=1 --ioengine=libaio --iodepth="$1" \
		--verify=crc32c --verify_fatal=0 >fio.log 2>&1; then
		seen='every block is as it was written'
	elif grep -q 'verify: bad header' fio.log; then
		seen='blocks hold something else'
	else
		seen="fio failed: $(head -n 1 fio.log)"
	fi
	kill $daemon && wait $daemon || true
	daemon=
}
write 1
same '1 in flight' "$seen" 'every block is as it was written'
write 32
same '32 in flight' "$seen" 'blocks hold something else'
