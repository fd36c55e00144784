import BlockImage
import ByteFormat

/// An entry of a directory (struct ext4_dir_entry_2): Documentation/filesystems/ext4/directory.rst of Linux.
///
///     OFFSET SIZE FIELD
///          0    4 inode; 0: unused
///          4    2 rec_len: where the next one begins, from here
///          6    1 name_len
///          7    1 file_type
///          8      name
struct ExtEntry {
    var inode: UInt32
    var type: UInt8
    /// Where in the block its name is.
    var name: Range<Int>

    /// Whether it is that of the directory itself, or of the one above it.
    func isDots(in bytes: [UInt8]) -> Bool { name.count <= 2 && bytes[name].allSatisfy { $0 == UInt8(ascii: ".") } }
}

extension ExtVolume {
    /// What `file_type` has for directories, and the last kind that it tells apart.
    private static let directoryType: UInt8 = 2
    private static let lastType: UInt8 = 7

    /// Throws unless `inode` is a directory with names that can be read.
    func checkDirectory(_ inode: ExtInode) throws(ImageError) {
        guard inode.kind == .directory else {
            throw corrupt("inode \(inode.number)", at: inode.place, "is no directory")
        }
        if inode.flags.contains(.encrypted) {
            throw unsupported(
                "inode \(inode.number): the names in this directory are encrypted, and there is no key for them")
        }
    }

    /// Gives `body` each entry of the directory `inode` but "." and "..".
    func list(
        _ inode: ExtInode, _ body: (GuestEntry) throws(ImageError) -> Bool
    ) throws(ImageError) {
        try checkDirectory(inode)
        let hasTypes = superblock.features.contains(.filetype)
        _ = try entries(of: inode) { (entry, bytes) throws(ImageError) in
            if entry.isDots(in: bytes) { return true }
            let isKnown = hasTypes && (1...Self.lastType).contains(entry.type)
            return try body(
                GuestEntry(
                    name: Array(bytes[entry.name]), file: GuestFileID(UInt64(entry.inode)),
                    isDirectory: isKnown ? entry.type == Self.directoryType : nil))
        }
    }

    /// The inode that is called `name` in the directory `inode`; nil for none.
    func find(_ name: [UInt8], in inode: ExtInode) throws(ImageError) -> UInt32? {
        try checkDirectory(inode)
        guard !name.isEmpty, name.count <= 255 else { return nil }
        if let number = indexed(name, in: inode) { return number }
        var (found, folded): (UInt32?, UInt32?) = (nil, nil)
        let isFolding = inode.flags.contains(.casefold) && superblock.features.contains(.casefold)
        let fold = isFolding ? Self.folded(name) : nil
        _ = try entries(of: inode) { (entry, bytes) throws(ImageError) in
            if entry.isDots(in: bytes) { return true }
            if bytes[entry.name].elementsEqual(name) {
                found = entry.inode
                return false
            }
            if let fold, folded == nil, Self.folded(Array(bytes[entry.name])) == fold { folded = entry.inode }
            return true
        }
        return found ?? folded
    }

    /// `name` as directories without a difference between small and capital letters compare it: texts of Swift are equal where
    /// Unicode has them to be equivalent. Nil for what is no Unicode, which is compared by its bytes only.
    private static func folded(_ name: [UInt8]) -> String? { String(validating: name, as: UTF8.self)?.lowercased() }

    /// Gives `body` each used entry of a directory, with the bytes that its name is in, until it answers false; answers whether it
    /// never did.
    private func entries(
        of inode: ExtInode, _ body: (ExtEntry, [UInt8]) throws(ImageError) -> Bool
    ) throws(ImageError) -> Bool {
        if inode.flags.contains(.inlineData) {
            let data = try inlineData(of: inode)
            // The first word is the number of the directory above it.
            let first = min(60, data.count)
            guard try entries(in: data, 4..<max(4, first), of: inode, at: inode.place + 0x28, body) else {
                return false
            }
            return try entries(in: data, first..<data.count, of: inode, at: inode.place + 0x28, body)
        }
        let blocks = inode.size >> UInt64(blockShift)
        guard blocks <= superblock.blockCount, inode.size.isMultiple(of: UInt64(blockSize)) else {
            throw corrupt(
                "inode \(inode.number)", at: inode.place + 4,
                "the directory has \(inode.size) bytes, but must have whole blocks, of which there are "
                    + "\(superblock.blockCount)")
        }
        for logical in 0..<blocks {
            let block = try block(logical, of: inode)
            if isIndex(block, logical, of: inode) { continue }
            guard try entries(in: block, of: inode, body) else { return false }
        }
        return true
    }

    /// Whether `block` has no names but only an index of them.
    private func isIndex(_ block: ExtBlock, _ logical: UInt64, of inode: ExtInode) -> Bool {
        guard hasIndex(inode) else { return false }
        return logical == 0 || block.fields.u32(0) == 0 && recordLength(block.fields, 0) == blockSize
    }

    /// Whether `inode` is a directory with an index.
    func hasIndex(_ inode: ExtInode) -> Bool {
        superblock.compatible & 0x20 != 0 && inode.flags.contains(.index)
    }

    /// Gives `body` each used entry of the directory's block `block`.
    func entries(
        in block: ExtBlock, of inode: ExtInode, _ body: (ExtEntry, [UInt8]) throws(ImageError) -> Bool
    ) throws(ImageError) -> Bool {
        let place = place(block.number)
        if superblock.hasChecksums {
            try block.check(once: UInt64(inode.number) | 1 << 40) { () throws(ImageError) in
                let end = blockSize - 12
                var sum = CRC32C(state: inode.seed(superblock))
                sum.update(block.fields.bytes, in: 0..<end)
                guard block.fields.u8(end + 7) == 0xde, sum.state == block.fields.u32(end + 8) else {
                    throw corrupt(
                        "inode \(inode.number): directory block", at: place,
                        "the check sum is \(hexadecimal(sum.state)), but must be "
                            + hexadecimal(block.fields.u32(end + 8)))
                }
            }
        }
        return try entries(in: block.fields.bytes, 0..<blockSize, of: inode, at: place, body)
    }

    private func recordLength(_ fields: ExtFields, _ at: Int) -> Int {
        let length = Int(fields.u16(at + 4))
        guard blockSize == 65536 else { return length }
        return length == 0 || length == 65535 ? 65536 : length & 65532 | (length & 3) << 16
    }

    /// The same of those in `range` of `bytes`, the first of which lies at `place`.
    private func entries(
        in bytes: [UInt8], _ range: Range<Int>, of inode: ExtInode, at place: UInt64,
        _ body: (ExtEntry, [UInt8]) throws(ImageError) -> Bool
    ) throws(ImageError) -> Bool {
        let fields = ExtFields(bytes)
        var position = range.lowerBound
        while position < range.upperBound {
            let length = recordLength(fields, position)
            let (number, nameCount) = (fields.u32(position), Int(fields.u8(position + 6)))
            guard length >= 12, length.isMultiple(of: 4), length >= 8 + nameCount, length <= range.upperBound - position
            else {
                throw corrupt(
                    "inode \(inode.number): directory entry", at: place + UInt64(position),
                    "rec_len is \(length), for a name of \(nameCount) bytes with \(range.upperBound - position) bytes left"
                )
            }
            if number != 0 {
                let name = position + 8..<position + 8 + nameCount
                guard nameCount > 0, !bytes[name].contains(where: { $0 == 0 || $0 == UInt8(ascii: "/") }),
                    number <= superblock.inodeCount
                else {
                    throw corrupt(
                        "inode \(inode.number): directory entry", at: place + UInt64(position),
                        "has a name that no file can have, or leads to the inode \(number) of \(superblock.inodeCount)")
                }
                guard try body(ExtEntry(inode: number, type: fields.u8(position + 7), name: name), bytes) else {
                    return false
                }
            }
            position += length
        }
        return true
    }
}
