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
                try check(isFlatIn: file)
                return file
            } catch {
                reason = error
            }
        }
        throw reason
            ?? ImageError(.unsupported, about: .disk, "is not stored as it is: none of its files has its size")
    }

    private func check(isFlatIn file: any HostFile) throws(ImageError) {
        var runs = DiskRuns(of: self, budget: WalkBudget(hostSize: hostSize, mostLookUps: Self.flatLookUps))
        var position: UInt64 = 0
        while position < virtualSize {
            let run = try runs.run(at: position, limit: virtualSize - position)
            switch run.extent.storage {
            case .data(let other, let offset) where offset.rawValue == position && other.id == file.id: break
            case .data(let other, let offset):
                throw Self.notFlat(position, "lies at \(offset) of \(path: other.path)")
            case .encoded(let encoding, _, _, _):
                throw Self.notFlat(position, encoding == .encrypted ? "is encrypted" : "is compressed")
            case .zero, .unallocated:
                try check(isHole: run, in: file)
            }
            position = run.end
        }
    }

    private func check(isHole run: DiskRun, in file: any HostFile) throws(ImageError) {
        var position = run.start.rawValue
        while position < run.end {
            let stretch = file.run(at: HostOffset(position), limit: run.end - position)
            guard stretch.isHole, stretch.count > 0 else {
                throw Self.notFlat(position, "is zeros, and \(path: file.path) has bytes there")
            }
            position += stretch.count
        }
    }

    private static func notFlat(_ position: UInt64, _ reason: ErrorText) -> ImageError {
        ImageError(
            .unsupported, about: .disk, "is not stored as it is: what it has at \(GuestOffset(position)) \(reason)")
    }
}
