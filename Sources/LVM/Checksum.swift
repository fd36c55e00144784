import Compression

/// LVM's check sum: CRC-32 with a start value of its own, and without the inversion at the end (lib/misc/crc.c).
func lvmChecksum(of bytes: [UInt8]) -> UInt32 {
    var sum = CRC32(continuing: ~0xf597_a6cf)
    sum.update(bytes)
    return ~sum.value
}
