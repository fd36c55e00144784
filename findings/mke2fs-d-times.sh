#!/usr/bin/env bash
# mke2fs -d of e2fsprogs 1.47.0 (Debian 1.47.0-2+b2) puts times of files into an ext4 with inodes of 256 bytes without the field
# that has their nanoseconds and the upper two bits of their seconds: fractions are lost, and a file of the year 2100 is one of
# 1963 in the image, though that ext4 reaches to 2446 and the manual says that the contents of the directory are copied. Images
# that are built so (rootfs builders do) have other times than the same tree copied into a mount. Seen, of the mtime:
#
#   2001-02-03 04:05:06.5: 0x3a7b8372:00000000 (2001)
#   2100-01-01: 0xf4865700:00000000 (1963)
. "$(dirname "$0")/package.sh"
unpack e2fsprogs=1.47.0-2+b2
export PATH="$work/root/sbin:$work/root/usr/sbin:$PATH"
cd "$work"

mkdir tree
echo x >tree/then
echo x >tree/later
touch -d '2001-02-03 04:05:06.5 UTC' tree/then
touch -d '2100-01-01 00:00:00 UTC' tree/later
truncate -s 8M disk
mke2fs -q -t ext4 -I 256 -d tree disk
mtime() { TZ=UTC debugfs -R "stat /$1" disk 2>/dev/null | sed -n 's/^ *mtime: \([^ ]*\) .* \([0-9]*\)$/\1 (\2)/p'; }
same '2001-02-03 04:05:06.5' "$(mtime then)" '0x3a7b8372:00000000 (2001)'
same '2100-01-01' "$(mtime later)" '0xf4865700:00000000 (1963)'
