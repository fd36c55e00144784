#!/usr/bin/env bash
# 7-Zip 26.02 (Debian 22.01+really26.02+dfsg-0+deb12u1) opens no VHDX image whose disk has an odd number of sectors of 512 bytes.
#
# MS-VHDX asks of the virtual disk size that it is a multiple of the logical sector size, 512 here. qemu-img makes and reads such
# images. Seen, with images that qemu-img 7.2 made:
#
#   18432 sectors: status 0
#   18433 sectors: status 2
#   18434 sectors: status 0
. "$(dirname "$0")/package.sh"
unpack qemu-utils=1:7.2+dfsg-7+deb12u18+b3
unpack 7zip=22.01+really26.02+dfsg-0+deb12u1
cd "$work"
for sectors in 18432 18433 18434; do
	truncate -s 0 disk.raw
	truncate -s $((sectors * 512)) disk.raw
	qemu-img convert -f raw -O vhdx disk.raw disk.vhdx
	status=0
	7zz l -tVHDX disk.vhdx >/dev/null 2>&1 || status=$?
	same "$sectors sectors" "status $status" "status $([ $sectors = 18433 ] && echo 2 || echo 0)"
done
