import BlockImage
import ByteFormat

// Extended attributes: Documentation/filesystems/ext4/attributes.rst of Linux. They are in the inode behind its fields, after the
// magic, and in one block, after a header of 32 bytes:
//
//     OFFSET SIZE FIELD (of the header)
//          0    4 h_magic
//         16    4 h_checksum
//
//     entry
//          0    1 e_name_len
//          1    1 e_name_index: what the name begins with
//          2    2 e_value_offs: from the block's start, or from the first entry in the inode
//          4    4 e_value_inum: the inode that holds the value; 0: none
//          8    4 e_value_size
//         16      e_name; the next entry begins at a multiple of 4; a word of 0 ends them

/// An attribute as it is stored.
struct ExtAttribute {
    var index: UInt8
    var name: [UInt8]
    var value: [UInt8]
}

extension ExtVolume {
    private static let magic: UInt32 = 0xea02_0000
    /// The most bytes of one value that Linux gives out.
    private static let valueLimit = 65536
    /// The most bytes of all values of a file: more than any has, that only hostile ones share.
    private static let totalLimit = 16 << 20

    /// The names that begin as the index says, and are shown.
    private static let prefixes: [UInt8: String] = [
        1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.", 6: "security.",
        8: "system.richacl",
    ]

    /// The extended attributes of `inode` as the kernel shows them.
    func guestAttributes(of inode: ExtInode) throws(ImageError) -> [GuestAttribute] {
        var result: [GuestAttribute] = []
        for attribute in try attributes(of: inode) {
            guard let prefix = Self.prefixes[attribute.index] else { continue }
            var value = attribute.value
            if attribute.index == 2 || attribute.index == 3 {
                guard let list = Self.accessList(value) else {
                    throw corrupt("inode \(inode.number): \(prefix)", at: inode.place, "is no access control list")
                }
                value = list
            }
            result.append(GuestAttribute(name: Array(prefix.utf8) + attribute.name, value: value))
        }
        return result
    }

    /// All that are stored, in this order.
    func attributes(of inode: ExtInode) throws(ImageError) -> [ExtAttribute] {
        var result: [ExtAttribute] = []
        let start = inode.fieldsEnd
        if superblock.inodeSize > 128, inode.fields.u16(0x80) > 0, inode.fields.u32(start) == Self.magic {
            try add(
                &result, ExtFields(inode.fields.slice(start + 4..<inode.fields.count)), 0,
                inode.place + UInt64(start) + 4, inode)
        }
        let number = inode.attributeBlock
        guard number != 0 else { return result }
        try check(number, of: "inode \(inode.number): i_file_acl", at: inode.place + 0x68)
        let block = try block(number, of: "inode \(inode.number)")
        let place = place(number)
        guard block.fields.u32(0) == Self.magic else {
            throw corrupt(
                "inode \(inode.number): block of extended attributes", at: place,
                "h_magic is \(hexadecimal(block.fields.u32(0))), but must be \(hexadecimal(Self.magic))")
        }
        if superblock.hasChecksums {
            // The block may be shared by many inodes.
            try block.check(once: 1 << 41) { () throws(ImageError) in
                var sum = CRC32C(state: superblock.seed)
                sum.update(littleEndian: UInt32(truncatingIfNeeded: number))
                sum.update(littleEndian: UInt32(truncatingIfNeeded: number >> 32))
                sum.update(block.fields.bytes, without: 16..<20)
                guard sum.state == block.fields.u32(16) else {
                    throw corrupt(
                        "inode \(inode.number): block of extended attributes", at: place,
                        "the check sum is \(hexadecimal(sum.state)), but must be \(hexadecimal(block.fields.u32(16)))")
                }
            }
        }
        try add(&result, block.fields, 32, place, inode)
        return result
    }

    /// Adds the attributes whose entries begin at `start` of `fields`, which lie at `place`.
    private func add(
        _ result: inout [ExtAttribute], _ fields: ExtFields, _ start: Int, _ place: UInt64, _ inode: ExtInode
    ) throws(ImageError) {
        var position = start
        var total = result.reduce(0) { $0 + $1.value.count }
        while position + 4 <= fields.count, fields.u32(position) != 0 {
            let nameEnd = position + 16 + Int(fields.u8(position))
            let size = Int(fields.u32(position + 8))
            let holder = fields.u32(position + 4)
            let offset = Int(fields.u16(position + 2))
            guard nameEnd <= fields.count, size <= Self.valueLimit, holder != 0 || offset + size <= fields.count,
                total + size <= Self.totalLimit
            else {
                throw corrupt(
                    "inode \(inode.number): extended attribute", at: place + UInt64(position),
                    "has a name up to \(nameEnd) and \(size) bytes at \(offset), but there are \(fields.count) bytes")
            }
            total += size
            var value: [UInt8] = []
            if size > 0 {
                value = holder == 0 ? fields.slice(offset..<offset + size) : try self.value(in: holder, size, of: inode)
            }
            result.append(
                ExtAttribute(
                    index: fields.u8(position + 1), name: fields.slice(position + 16..<nameEnd), value: value))
            position = (nameEnd + 3) & ~3
        }
    }

    /// The value that the inode `number` holds.
    private func value(in number: UInt32, _ size: Int, of inode: ExtInode) throws(ImageError) -> [UInt8] {
        let holder = try self.inode(number)
        guard holder.flags.contains(.value), holder.size == UInt64(size), !holder.flags.contains(.inlineData) else {
            throw corrupt(
                "inode \(inode.number): extended attribute", at: holder.place,
                "the inode \(number) does not hold its value of \(size) bytes")
        }
        return try contentBytes(of: holder, size)
    }

    /// The list in the form that programs get: the words of stored entries are shorter.
    private static func accessList(_ bytes: [UInt8]) -> [UInt8]? {
        let fields = ExtFields(bytes)
        guard bytes.count >= 4, fields.u32(0) == 1 else { return nil }
        var result: [UInt8] = [2, 0, 0, 0]
        var position = 4
        while position < bytes.count {
            let tag = fields.u16(position)
            let hasID = tag == 2 || tag == 8
            let end = position + (hasID ? 8 : 4)
            guard end <= bytes.count else { return nil }
            result += bytes[position..<end]
            if !hasID { result += [0xff, 0xff, 0xff, 0xff] }
            position = end
        }
        return result
    }
}
