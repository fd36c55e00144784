#!/usr/bin/env bash
# qemu-img 7.2 (Debian 1:7.2+dfsg-7+deb12u18+b3) takes a differencing VHD for a dynamic one: what its parent has is zeros, the
# status is 0, nothing is said, and the parent need not be there.
#
# Microsoft's "Virtual Hard Disk Image Format Specification" has disk type 4 in the footer for a differencing disk, whose unset
# bits of a block's bitmap, and absent blocks, are the parent's. The image made here has no block at all. Seen:
#
#   format that info says: vpc
#   lines of info about a backing file: 0
#   status of convert: 0
#   bytes that are no zeros: 0
. "$(dirname "$0")/package.sh"
unpack qemu-utils=1:7.2+dfsg-7+deb12u18+b3
cd "$work"
python3 - <<'PYTHON'
import struct

def summed(part, place):
    part[place:place + 4] = bytes(4)
    part[place:place + 4] = struct.pack('>I', ~sum(part) & 0xffffffff)
    return bytes(part)

size = 4 << 20
footer = bytearray(512)
footer[:8] = b'conectix'
footer[8:28] = struct.pack('>IIQI', 2, 0x10000, 512, 700000000)
footer[28:40] = b'win \0\6\0\1Wi2k'
footer[40:64] = struct.pack('>QQHBBI', size, size, 120, 4, 17, 4)
footer[68:84] = bytes(range(16))
footer = summed(footer, 64)
header = bytearray(1024)
header[:8] = b'cxsparse'
header[8:36] = struct.pack('>QQIII', 0xffffffffffffffff, 1536, 0x10000, 2, 2 << 20)
header[40:56] = bytes(range(16, 32))
header[64:64 + 20] = 'parent.vhd'.encode('utf-16-be')
open('child.vhd', 'wb').write(footer + summed(header, 36) + b'\xff' * 512 + footer)
PYTHON
qemu-img info --output json child.vhd >info
same 'format that info says' "$(sed -n 's/.*"format": "\(.*\)".*/\1/p' info | head -n 1)" vpc
same 'lines of info about a backing file' "$(grep -c backing info || true)" 0
status=0
qemu-img convert -f vpc -O raw child.vhd disk.raw || status=$?
same 'status of convert' "$status" 0
same 'bytes that are no zeros' "$(tr -d '\0' <disk.raw | wc -c)" 0
