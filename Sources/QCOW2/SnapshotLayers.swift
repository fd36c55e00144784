import BlockImage

extension QCOW2Layer {
    /// The disk as `snapshot`, one of the same image, keeps it: of the size that it had then, where the snapshot says
    /// it. What it does not store is the business of the same backing image.
    ///
    /// Throws `corrupt` about the snapshot's entry; other snapshots, and the active disk, can be read all the same.
    public func layer(of snapshot: Snapshot) throws(ImageError) -> QCOW2Layer {
        let size = try diskSize(of: snapshot)
        let count = min(UInt64(try checkedL1Size(of: snapshot)), source.header.l1Size(for: size))
        return QCOW2Layer(source, try l1Table(of: snapshot, count: count), origin: 0, size: size & ~511)
    }

    /// The machine state that `snapshot` keeps, as if it were a disk with nothing under it; nil where it keeps none.
    ///
    /// It is stored like the disk, from the first L1 entry on that the disk does not need. Throws `corrupt` about the
    /// snapshot's entry.
    public func vmState(of snapshot: Snapshot) throws(ImageError) -> QCOW2Layer? {
        guard snapshot.vmStateSize > 0 else { return nil }
        let header = source.header
        let first = header.l1Size(for: try diskSize(of: snapshot))
        let l1Size = UInt64(try checkedL1Size(of: snapshot))
        // Neither sum overflows: both terms are of numbers below 2^64 divided by at least 2^15.
        let needed = first + header.l1Size(for: snapshot.vmStateSize)
        guard needed <= l1Size else {
            throw fault(
                snapshot, at: 8,
                "l1_size is \(l1Size), but a disk and \(snapshot.vmStateSize) bytes of machine state need \(needed)")
        }
        return QCOW2Layer(
            source, try l1Table(of: snapshot, count: needed), origin: first * header.l2Coverage,
            size: snapshot.vmStateSize)
    }

    /// The disk's size when the snapshot was taken, not yet without what is left of it after the last whole sector.
    private func diskSize(of snapshot: Snapshot) throws(ImageError) -> UInt64 {
        let size = snapshot.diskSize ?? source.header.size
        guard size <= UInt64(Int64.max) else {
            throw fault(snapshot, at: 48, "disk_size is \(size) bytes, more than any file has")
        }
        return size
    }

    private func checkedL1Size(of snapshot: Snapshot) throws(ImageError) -> UInt32 {
        guard snapshot.l1Size <= Header.l1SizeLimit else {
            throw fault(
                snapshot, at: 8, "l1_size is \(snapshot.l1Size), but at most \(Header.l1SizeLimit) is allowed")
        }
        guard source.header.isTableOffset(snapshot.l1TableOffset) else {
            throw fault(snapshot, at: 0, source.header.misplaced("l1_table_offset", snapshot.l1TableOffset))
        }
        return snapshot.l1Size
    }

    /// The first `count` entries of the snapshot's L1 table, which are no more than it has.
    private func l1Table(of snapshot: Snapshot, count: UInt64) throws(ImageError) -> TableLocation {
        try source.l1Table(
            at: snapshot.l1TableOffset, count: Int(count), name: "L1 table of snapshot \"\(snapshot.id)\"")
    }

    private func fault(_ snapshot: Snapshot, at position: UInt64, _ message: String) -> ImageError {
        ImageError(
            .corrupt, path: source.file.path, offset: snapshot.entryOffset.advanced(by: position),
            "snapshot \"\(snapshot.id)\": \(message)")
    }
}
