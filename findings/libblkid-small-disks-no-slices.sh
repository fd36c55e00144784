#!/usr/bin/env bash
# libblkid 2.38.1 (Debian 2.38.1-5+deb12u3), which partx asks, does not look into the MBR partitions of a disk of at most
# 1,474,560 bytes, the size of a floppy disk: the partitions of a BSD disklabel are left out there without a word, and shown
# where the same disk is 512 bytes longer. Images of small appliances and test images are that small. Seen:
#
#   1474560 bytes: 1
#   1475072 bytes: 1 5 6
. "$(dirname "$0")/package.sh"
unpack util-linux=2.38.1-5+deb12u3
unpack libblkid1=2.38.1-5+deb12u3
cd "$work"

# An MBR partition of type 0xa5 at sector 63 with the partitions a and b in its label.
python3 - <<'PYTHON'
import struct
disk = bytearray(1474560)
disk[446:462] = struct.pack("<B3sB3sII", 0x80, b"\0\0\0", 0xA5, b"\0\0\0", 63, 400)
disk[510:512] = b"\x55\xaa"
label = bytearray(148 + 3 * 16)
struct.pack_into("<I", label, 0, 0x82564557)
struct.pack_into("<I", label, 132, 0x82564557)
struct.pack_into("<H", label, 138, 3)
for index, (size, start, kind) in enumerate([(100, 79, 7), (50, 179, 1), (400, 63, 0)]):
    struct.pack_into("<IIIB", label, 148 + 16 * index, size, start, 0, kind)
total = 0
for word in struct.unpack(f"<{len(label) // 2}H", label): total ^= word
struct.pack_into("<H", label, 136, total)
disk[64 * 512:64 * 512 + len(label)] = label
open("disk", "wb").write(disk)
PYTHON

numbers() { partx -g -o NR disk | xargs; }
same '1474560 bytes' "$(numbers)" 1
truncate -s 1475072 disk
same '1475072 bytes' "$(numbers)" '1 5 6'
