import BlockImage
import ByteFormat
import Encryption

/// A check of an EWF image while it runs: of its tables, its chunks and its digests.
struct EWFCheck {
    private let volume: Volume
    private let segments: Segments
    private let disk: EWFLayer
    private let damage: [ImageError]
    private(set) var result = CheckResult()

    init(_ description: EWFDescription, _ segments: Segments, _ disk: EWFLayer) {
        volume = description.volume
        self.segments = segments
        self.disk = disk
        damage = description.faults + segments.faults.filter { !description.faults.contains($0) }
    }

    /// Throws what keeps a file from being read.
    mutating func run(_ progress: (Double) -> Void) throws(ImageError) {
        for error in damage { add(.entry, error) }
        try checkTables()
        result.totalClusters = volume.neededChunks
        if UInt64(volume.chunkCount) != disk.chunks.chunkCount {
            result.add(
                CheckFinding(
                    .entry, .warning, path: segments.files[0].path,
                    "the volume says \(counted(volume.chunkCount, "chunk")), but the tables have \(disk.chunks.chunkCount)"
                ))
        }
        try checkChunks(progress)
    }

    private mutating func add(
        _ kind: CheckFinding.Kind, _ error: ImageError, guest: GuestOffset? = nil
    ) {
        result.add(kind, .corruption, at: error.offset) {
            CheckFinding(kind, .corruption, path: error.path, at: error.offset, guest: guest, error.detail)
        }
    }

    /// Whether the tables fit their check sums and their copies.
    private mutating func checkTables() throws(ImageError) {
        for table in segments.tables {
            try ReadScope.checkWanted()
            let fault = try table.checksumFault(at: table.place)
            if let fault { add(.redundancy, fault) }
            guard let copy = table.copy else { continue }
            if let fault = try table.checksumFault(at: copy) {
                add(.redundancy, fault)
            } else if fault == nil, try !isSame(table, copy) {
                let offset = copy.section.dataOffset
                add(
                    .redundancy,
                    ImageError(
                        .corrupt, path: table.file.path, offset: offset,
                        "section \"table2\": differs from the section \"table\" before it"))
            }
        }
    }

    private func isSame(_ table: ChunkTable, _ copy: ChunkTable.Place) throws(ImageError) -> Bool {
        let step = 1 << 20
        var (offset, left) = (ChunkTable.headerLength, table.count * 4)
        guard table.place.base == copy.base else { return false }
        while left > 0 {
            let size = min(left, step)
            let first = try table.file.bytes(size, at: table.place.section.dataOffset.advanced(by: offset), of: "table")
            let second = try table.file.bytes(size, at: copy.section.dataOffset.advanced(by: offset), of: "table2")
            if first != second { return false }
            (offset, left) = (offset + UInt64(size), left - size)
        }
        return true
    }

    /// Whether every chunk can be decoded, and all together have the digests that are stored.
    private mutating func checkChunks(_ progress: (Double) -> Void) throws(ImageError) {
        let count = volume.neededChunks
        let buffer = AlignedBuffer(capacity: Int(volume.chunkSize))
        let path = segments.files[0].path
        var digests = try DiskDigests(segments.digests, of: path)
        // Of all bytes of the last chunk, which may have more than the disk.
        let hasMore = volume.diskSize % volume.chunkSize != 0
        var whole = try DiskDigests(hasMore ? segments.digests : StoredDigests(), of: path)
        var damaged: UInt64 = 0
        var previous: (path: String, end: UInt64)?
        for number in 0..<count {
            if number % 256 == 0 {
                progress(Double(number) / Double(count))
                try ReadScope.checkWanted()
            }
            do throws(ImageError) {
                let chunk = try disk.chunks.chunk(number)
                result.allocatedClusters += 1
                if chunk.isCompressed { result.compressedClusters += 1 }
                if let previous, previous.path == chunk.file.path, previous.end != chunk.offset.rawValue {
                    result.fragmentedClusters += 1
                }
                previous = (chunk.file.path, chunk.offset.rawValue + chunk.count)
                try buffer.fill(buffer.capacity) { output throws(ImageError) in
                    _ = try disk.decode(chunk, into: &output)
                }
                let needed = Int(disk.neededSize(number))
                try digests.update(buffer.bytes.extracting(0..<needed))
                try whole.update(buffer.bytes)
            } catch {
                switch error.code {
                case .corrupt, .truncated: break
                default: throw error
                }
                damaged += 1
                add(.data, error, guest: GuestOffset(number * volume.chunkSize))
            }
        }
        compare(&digests, &whole, extra: buffer.count - Int(disk.neededSize(count - min(count, 1))), damaged)
    }

    /// Compares the digests with those that are stored.
    private mutating func compare(
        _ found: inout DiskDigests, _ whole: inout DiskDigests, extra: Int, _ damaged: UInt64
    ) {
        let path = segments.files[0].path
        let stored = segments.digests
        guard stored.md5 != nil || stored.sha1 != nil else {
            return result.add(
                CheckFinding(.digest, .warning, path: path, "the image has no digest of its disk: nothing to compare"))
        }
        guard damaged == 0 else {
            return result.add(
                CheckFinding(
                    .digest, .error, path: path,
                    "the digests cannot be compared, since \(counted(damaged, "chunk")) cannot be read"))
        }
        let own = found.finish()
        let other = whole.finish()
        for (index, (name, wanted, computed)) in own.enumerated() {
            guard let wanted, wanted != computed else { continue }
            let isWhole = extra > 0 && other[index].found == wanted
            let message: ErrorText =
                isWhole
                ? "\(name): is that of all bytes of the last chunk, \(counted(extra, "byte")) of which lie past the last "
                    + "sector of the disk: its writer counted so"
                : "\(name): is stored as \(hexBytes(wanted)), but that of the disk is \(hexBytes(computed ?? []))"
            result.add(CheckFinding(.digest, isWhole ? .warning : .corruption, path: path, message))
        }
    }
}

/// The digests of a disk while it is read: those that are stored.
private struct DiskDigests: ~Copyable {
    private let stored: StoredDigests
    private let path: String
    private var md5: ContentDigest?
    private var sha1: ContentDigest?

    /// Of the image in the file at `path`, which has the digests `stored`.
    init(_ stored: StoredDigests, of path: String) throws(ImageError) {
        self.stored = stored
        self.path = path
        md5 = nil
        sha1 = nil
        if stored.md5 != nil { md5 = try Self.digest(.md5, path) }
        if stored.sha1 != nil { sha1 = try Self.digest(.sha1, path) }
    }

    private static func digest(_ algorithm: HashAlgorithm, _ path: String) throws(ImageError) -> ContentDigest {
        do throws(EncryptionFault) {
            return try ContentDigest(algorithm)
        } catch {
            throw ImageError(.unsupported, path: path, "digests: \(error.message)")
        }
    }

    mutating func update(_ bytes: RawSpan) throws(ImageError) {
        do throws(EncryptionFault) {
            try md5?.update(bytes)
            try sha1?.update(bytes)
        } catch {
            throw ImageError(.unsupported, path: path, "digests: \(error.message)")
        }
    }

    /// The name of each, what is stored, and what was found: nil where this libcrypto refused it, so that none fits.
    mutating func finish() -> [(name: String, stored: [UInt8]?, found: [UInt8]?)] {
        [
            ("MD5", stored.md5, (try? md5.take()?.finish()) ?? nil),
            ("SHA1", stored.sha1, (try? sha1.take()?.finish()) ?? nil),
        ]
    }
}
