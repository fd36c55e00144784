import BlockImage
import ByteFormat

extension VMDKLayer {
    /// Checks the structures of the layer's files against each other: grain directories and their copies, grain tables,
    /// where grains lie, markers of streams, flat extents' sizes. Reads no data of the disk; `progress` gets the part
    /// that is done, 0 to 1. `useCapacity` is how many uses of a file are kept at a time; see `SpaceUses`.
    ///
    /// What is wrong with the chain is for who opened it to say. Throws `unsupported` where tables name each other more
    /// often than they can, and what reading the files throws.
    public func check(
        useCapacity: Int? = nil, progress: (Double) -> Void = { _ in }
    ) throws(ImageError) -> CheckResult {
        var result = CheckResult()
        /// The files of extents in grains that were checked, with where the extent begins.
        var checked: [HostFileID: GuestOffset] = [:]
        for (index, extent) in extents.enumerated() {
            func show(_ part: Double) { progress((Double(index) + part) / Double(extents.count)) }
            switch extent.storage {
            case .zero: break
            case .unreadable(let error):
                result.add(CheckFinding(.chain, .warning, path: error.path, at: error.offset, error.detail))
            case .flat(let file, let begin):
                let end = begin.advanced(by: extent.virtualSize)
                guard end.rawValue > file.size else { continue }
                result.add(
                    CheckFinding(
                        .outOfFile, .corruption, path: file.path, at: HostOffset(file.size), guest: extent.start,
                        "\(extent.kindName) extent for guest offset \(extent.start): reaches to \(end), but the file "
                            + "ends at \(HostOffset(file.size))"))
            case .sparse(let sparse):
                if let first = checked[sparse.file.id] {
                    result.add(.overlap, .corruption) {
                        CheckFinding(
                            .overlap, .corruption, path: sparse.file.path, guest: extent.start,
                            "\(extent.kindName) extent for guest offset \(extent.start): is the file of the extent for "
                                + "guest offset \(first) as well")
                    }
                    continue
                }
                checked[sparse.file.id] = extent.start
                try sparse.check(at: extent.start, useCapacity ?? SpaceUses.defaultCapacity, &result, progress: show)
            }
        }
        for note in kindNotes {
            result.add(CheckFinding(note.kind, .warning, path: description.path, note.text))
        }
        progress(1)
        return result
    }
}

extension SparseExtent {
    /// Adds what is wrong with the extent, which begins at `start` of the disk, to `result`.
    fileprivate func check(
        at start: GuestOffset, _ useCapacity: Int, _ result: inout CheckResult, progress: (Double) -> Void
    ) throws(ImageError) {
        let path = file.path
        func add(_ kind: CheckFinding.Kind, at offset: UInt64, _ message: ErrorText) {
            result.add(CheckFinding(kind, .corruption, path: path, at: HostOffset(offset), guest: start, message))
        }
        switch map {
        case .nothing: return
        case .recovered(let grains):
            add(
                .entry, at: 56,
                "header: its grain directory cannot be read; what was found by the markers: "
                    + "\(counted(grains.grains.count, "grain"))"
                    + (grains.end.map { ", up to \($0.offset), where the stream \($0.manner)" } ?? ""))
        case .tables(let tables):
            var areas = [SpaceUse(.header, at: 0, count: headerSectors)]
            func area(of directory: TableLocation) -> (sector: UInt64, count: UInt64) {
                let size = UInt64(directory.count * directory.entrySize)
                return (directory.offset.rawValue / sectorSize, (size + sectorSize - 1) / sectorSize)
            }
            let directory = area(of: tables.directory)
            areas.append(SpaceUse(.directory, at: directory.sector, count: directory.count))
            if let redundant = tables.redundantDirectory.map(area) {
                areas.append(SpaceUse(.redundantDirectory, at: redundant.sector, count: redundant.count))
            }
            if magic == .hostedSparse {
                let header = try SparseHeader.load(from: file)
                if header.descriptorOffset > 0, header.descriptorOffset <= sectorLimit {
                    let count = min(header.descriptorSize, file.sectorCount)
                    areas.append(SpaceUse(.descriptor, at: header.descriptorOffset, count: count))
                }
                if !header.hasDirectoryAtEnd, header.directoryOffset != directory.sector, !header.hasMarkers {
                    add(
                        .outOfFile, at: 56,
                        "header: gdOffset is sector \(header.directoryOffset), where no grain directory lies in the "
                            + "file; the redundant one is read")
                } else if header.hasRedundantDirectory, header.redundantDirectoryOffset != header.directoryOffset,
                    tables.redundantDirectory == nil, !header.hasDirectoryAtEnd
                {
                    add(
                        .redundancy, at: 48,
                        "header: rgdOffset is sector \(header.redundantDirectoryOffset), where no grain directory lies "
                            + "in the file")
                }
            }
            var check = GrainCheck(tables, capacity: capacity, start: start, useCapacity: useCapacity, result: result)
            try check.run(areas, progress: progress)
            result = check.result
            if tables.compression != nil {
                try checkMarkers(tables, at: start, &result)
            } else if let fault = try tables.missing.lostTables(of: tables) {
                result.add(
                    CheckFinding(.entry, .corruption, path: path, at: fault.offset, guest: start, fault.detail))
            }
        }
    }

    /// Compares the markers of a stream with its grain tables.
    private func checkMarkers(
        _ tables: GrainTables, at start: GuestOffset, _ result: inout CheckResult
    ) throws(ImageError) {
        var scan = StreamScan(file, header: try SparseHeader.load(from: file)) { _ in false }
        do throws(ImageError) { _ = try scan.run() } catch {
            // A stream with too many markers to walk over is checked by its tables alone.
            guard error.code == .unsupported else { throw error }
        }
        var lost: [RecoveredGrain] = []
        var replaced: [RecoveredGrain] = []
        for grain in scan.grains {
            // The marker may be of a grain past the end of the disk, where the footer says that it is smaller.
            guard UInt64(grain.index) * grainSize < capacity else { continue }
            let entry = try unlessDamaged { () throws(ImageError) in try tables.entry(ofGrain: UInt64(grain.index)) }
            guard let entry else { continue }
            if entry == 0 { lost.append(grain) } else if entry != UInt64(grain.sector) { replaced.append(grain) }
        }
        func add(_ grains: [RecoveredGrain], _ severity: CheckFinding.Severity, _ fault: ErrorText) {
            guard let first = grains.first else { return }
            let place = HostOffset(UInt64(first.sector) * sectorSize)
            let guest = start.advanced(by: UInt64(first.index) * grainSize)
            result.add(
                CheckFinding(
                    severity == .leak ? .leak : .marker, severity, path: file.path, at: place, guest: guest,
                    times: UInt64(grains.count),
                    "\(counted(grains.count, "grain")) of the stream, the first at \(place) (guest offset \(guest)): \(fault)"
                ))
        }
        add(lost, .corruption, "no grain table has an entry for it")
        add(replaced, .leak, "the grain tables have it elsewhere")
    }

    /// How many sectors the header takes.
    private var headerSectors: UInt64 {
        switch magic {
        case .hostedSparse, .seSparse: 1
        case .cowd: UInt64(COWDHeader.size) / sectorSize
        }
    }
}
