/// A VMDK extent that was built, and where its parts lie, for tests that damage them.
package struct BuiltVMDK: Sendable {
    /// The file.
    package var bytes: [UInt8] = []
    /// The bytes of an entry of a grain directory or table.
    package let entrySize: Int
    /// How many entries a grain table has.
    package let tableEntryCount: Int
    /// Where the grain directory begins.
    package var directoryOffset = 0
    /// Where the redundant grain directory begins; 0 where there is none.
    package var redundantDirectoryOffset = 0
    /// Where each grain table begins, by its index in the directory.
    package var tableOffsets: [Int: Int] = [:]
    /// Where each stored grain begins, its marker included, by its index on the disk.
    package var grainOffsets: [Int: Int] = [:]
    /// Where the footer begins; 0 where there is none.
    package var footerOffset = 0

    init(entrySize: Int, tableEntryCount: Int) {
        self.entrySize = entrySize
        self.tableEntryCount = tableEntryCount
    }

    /// Where the entry of the grain `index` lies, which must have a table.
    package func entryOffset(of index: Int) -> Int {
        guard let table = tableOffsets[index / tableEntryCount] else { preconditionFailure("no table for \(index)") }
        return table + index % tableEntryCount * entrySize
    }

    /// Writes `value`, little-endian, at `offset` of the file.
    package mutating func poke(_ value: some FixedWidthInteger, at offset: Int) {
        bytes.put(value, at: offset)
    }

    /// Writes an entry of a directory or a table at `offset` of the file.
    mutating func putEntry(_ value: Int, at offset: Int) {
        if entrySize == 8 { bytes.put(UInt64(value), at: offset) } else { bytes.put(UInt32(value), at: offset) }
    }

    /// Writes the entries of the grain directories, and those of the grains `present`, which are stored or zeroed; `copies`
    /// are the grain tables of the redundant directory, by their index.
    mutating func putTables(_ present: [Int], _ copies: [Int: Int]) {
        for (table, offset) in tableOffsets {
            putEntry(offset / 512, at: directoryOffset + table * 4)
            if let copy = copies[table] { putEntry(copy / 512, at: redundantDirectoryOffset + table * 4) }
        }
        for index in present {
            let entry = grainOffsets[index].map { $0 / 512 } ?? 1
            putEntry(entry, at: entryOffset(of: index))
            if let copy = copies[index / tableEntryCount] { putEntry(entry, at: copy + index % tableEntryCount * 4) }
        }
    }

    /// Appends `new` at the next multiple of `alignment` bytes, and answers where that is.
    mutating func append(_ new: [UInt8], alignment: Int = 512) -> Int {
        pad(to: alignment)
        let offset = bytes.count
        bytes += new
        return offset
    }

    /// Fills the file with zeros up to the next multiple of `alignment` bytes.
    mutating func pad(to alignment: Int) {
        let over = bytes.count % alignment
        if over > 0 { bytes += Array(repeating: 0, count: alignment - over) }
    }

    /// Appends zeros, and answers where they begin.
    mutating func appendZeros(_ count: Int) -> Int {
        append(Array(repeating: 0, count: count))
    }
}

extension [UInt8] {
    /// Writes `value`, little-endian, at `offset`.
    package mutating func put(_ value: some FixedWidthInteger, at offset: Int) {
        Swift.withUnsafeBytes(of: value.littleEndian) { replaceSubrange(offset..<offset + $0.count, with: $0) }
    }
}
