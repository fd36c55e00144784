/// Where a disk lies as it is, in one piece of one file of the host: what the kernel can read there by itself.
public struct FlatPlace: Sendable {
    /// The file, which has a descriptor.
    public let file: any HostFile
    /// Where in it the disk begins.
    public let offset: UInt64
}

extension Image {
    /// How many look-ups it may take to tell that a disk is stored in one piece: a second or so, as of 1 TiB in clusters of
    /// 64 KiB.
    private static let flatLookUps: UInt64 = 1 << 21

    /// The file that has the disk byte for byte, from its first byte to its last, and has no more: whoever reads the file
    /// reads the disk. What the layers call zeros must be a hole of the file.
    ///
    /// Throws `unsupported`, which says where the disk is stored in another way; and what damaged metadata throws.
    public func flatFile() throws(ImageError) -> any HostFile {
        var reason: ImageError?
        for file in files where file.size == virtualSize && file.descriptor != nil {
            do throws(ImageError) {
                _ = try flatPlace(expecting: FlatPlace(file: file, offset: 0))
                return file
            } catch {
                reason = error
            }
        }
        throw reason
            ?? ImageError(.unsupported, about: .disk, "is not stored as it is: none of its files has its size")
    }

    /// Where the disk lies in one piece. What the layers call zeros must be a hole of the file.
    ///
    /// Throws `unsupported`, which says where the disk is stored in another way; and what damaged metadata throws.
    public func flatPlace() throws(ImageError) -> FlatPlace {
        guard let place = try flatPlace(expecting: nil), place.file.descriptor != nil else {
            throw ImageError(.unsupported, about: .disk, "is not stored as it is in a file of the host")
        }
        // What lies past the end of a file that was cut would be zeros for the kernel.
        let (end, overflow) = place.offset.addingReportingOverflow(virtualSize)
        guard !overflow, end <= place.file.size else {
            throw ImageError(
                .unsupported, about: .disk, "is not stored as it is: \(path: place.file.path) ends before the disk")
        }
        return place
    }

    /// The place of the disk, which is `expected` or, where that is nil, what the first bytes that are stored say; nil where
    /// none are.
    private func flatPlace(expecting expected: FlatPlace?) throws(ImageError) -> FlatPlace? {
        var runs = DiskRuns(of: self, budget: WalkBudget(hostSize: hostSize, mostLookUps: Self.flatLookUps))
        var found = expected
        var position: UInt64 = 0
        while position < virtualSize {
            let run = try runs.run(at: position, limit: virtualSize - position)
            switch run.extent.storage {
            case .data(let file, let offset):
                guard let stored = Self.hostPlace(of: run.count, in: file, at: offset.rawValue) else {
                    throw Self.notFlat(position, "lies past the end of \(path: file.path)")
                }
                let place = if let found { found } else { try beginning(stored, position) }
                guard stored.file.id == place.file.id, stored.offset == place.offset + position else {
                    throw Self.notFlat(position, "lies at \(offset) of \(path: file.path)")
                }
                found = place
            case .encoded(let encoding, _, _, _):
                let words: [Extent.Encoding: ErrorText] = [.encrypted: "is encrypted", .checked: "has check sums"]
                throw Self.notFlat(position, words[encoding] ?? "is compressed")
            case .zero, .unallocated:
                if let found { try Self.checkHole(of: found, position..<run.end) }
            }
            position = run.end
        }
        return found
    }

    /// The place of a disk whose first `position` bytes are zeros, and lie before those that are `stored`.
    private func beginning(_ stored: FlatPlace, _ position: UInt64) throws(ImageError) -> FlatPlace {
        guard stored.offset >= position, stored.offset - position <= .max - virtualSize else {
            throw Self.notFlat(position, "lies at \(HostOffset(stored.offset)) of \(path: stored.file.path)")
        }
        let place = FlatPlace(file: stored.file, offset: stored.offset - position)
        try Self.checkHole(of: place, 0..<position)
        return place
    }

    /// The file of the host that has the `count` bytes at `offset` of `file`, and where: parts of files are looked for in the
    /// files that they are of. Nil where a part ends before, and what follows in its file is something else.
    private static func hostPlace(of count: UInt64, in file: any HostFile, at offset: UInt64) -> FlatPlace? {
        var place = FlatPlace(file: file, offset: offset)
        while let slice = place.file as? FileSlice {
            guard place.offset <= slice.size, count <= slice.size - place.offset else { return nil }
            place = FlatPlace(file: slice.file, offset: slice.offset.advanced(by: place.offset).rawValue)
        }
        return place
    }

    private static func checkHole(of place: FlatPlace, _ range: Range<UInt64>) throws(ImageError) {
        var position = range.lowerBound
        while position < range.upperBound {
            let stretch = place.file.run(at: HostOffset(place.offset + position), limit: range.upperBound - position)
            guard stretch.isHole, stretch.count > 0 else {
                throw Self.notFlat(position, "is zeros, and \(path: place.file.path) has bytes there")
            }
            position += stretch.count
        }
    }

    private static func notFlat(_ position: UInt64, _ reason: ErrorText) -> ImageError {
        ImageError(
            .unsupported, about: .disk, "is not stored as it is: what it has at \(GuestOffset(position)) \(reason)")
    }
}
