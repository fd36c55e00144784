import BlockImage
import FormatCore

extension NewQCOW2 {
    /// Checks that there can be such an image, compressed by an encoder of this level if one is given: refuses what
    /// `qemu-img create` and `qemu-img convert` refuse, before anything is written.
    ///
    /// Throws `unsupported`, about the new file `path`, with what must be.
    public func validate(compressionLevel: Int? = nil, path: String) throws(ImageError) {
        if let fault = optionFault(compressionLevel: compressionLevel) ?? faultOfBacking ?? faultOfSize {
            throw ImageError(.unsupported, path: path, "\(fault)")
        }
    }

    /// Why the options cannot be as they are, whatever the disk is.
    func optionFault(compressionLevel: Int?) -> String? {
        if let fault = faultOfLayout ?? faultOfVersion ?? faultOfPreallocation { return fault }
        guard let compressionLevel else { return nil }
        let levels = compressionType.levels
        guard levels.contains(compressionLevel) else {
            return "the level of \(compressionType.rawValue) is \(compressionLevel), but must be "
                + "\(levels.lowerBound) to \(levels.upperBound)"
        }
        guard preallocation == .off else {
            return
                "option preallocation: is \"\(preallocation.rawValue)\", but must be off where clusters are compressed"
        }
        return nil
    }

    private var faultOfLayout: String? {
        guard clusterSize.nonzeroBitCount == 1, (512...2 << 20).contains(clusterSize) else {
            return "option cluster_size: is \(clusterSize), but must be a power of two from 512 to 2097152"
        }
        guard refcountBits.nonzeroBitCount == 1, refcountBits <= 64 else {
            return "option refcount_bits: is \(refcountBits), but must be a power of two from 1 to 64"
        }
        guard !hasExtendedL2 || clusterSize >= Self.leastExtendedClusterSize else {
            return
                "option cluster_size: is \(clusterSize), but must be at least \(Self.leastExtendedClusterSize) for extended_l2"
        }
        return nil
    }

    private var faultOfVersion: String? {
        guard version == 2 || version == 3 else {
            return "version is \(version), but must be 2 (compat 0.10) or 3 (compat 1.1)"
        }
        guard version == 2 else { return nil }
        let needs = "needs compat=1.1"
        if refcountBits != 16 { return "option refcount_bits: is \(refcountBits): any other than 16 \(needs)" }
        if hasExtendedL2 { return "option extended_l2: \(needs)" }
        if hasLazyRefcounts { return "option lazy_refcounts: \(needs)" }
        if compressionType != .zlib { return "option compression_type: \(compressionType.rawValue) \(needs)" }
        return nil
    }

    private var faultOfPreallocation: String? {
        guard backing != nil, preallocation != .off, !hasExtendedL2 else { return nil }
        return
            "option preallocation: is \"\(preallocation.rawValue)\", but must be off over a backing file, or extended_l2 on"
    }

    private var faultOfBacking: String? {
        guard let backing else { return nil }
        guard (1...Int(Header.backingFileSizeLimit)).contains(backing.name.count) else {
            return "the backing file's name has \(backing.name.count) bytes, but must have 1 to 1023"
        }
        guard (1...15).contains(backing.format.utf8.count) else {
            return "the backing file's format is \"\(backing.format)\", but must be a name of 1 to 15 bytes"
        }
        let needed = firstCluster(with: header).count
        guard needed <= clusterSize else {
            return "the header with the backing file's name takes \(needed) bytes, "
                + "but must fit into a cluster of \(clusterSize)"
        }
        return nil
    }

    /// Why there is no disk of this size.
    var faultOfSize: String? {
        let most = Header.l1SizeLimit
        let needed = header.neededL1Size
        guard size <= UInt64(Int64.max) - 511, needed <= UInt64(most) else {
            return "a disk of \(size) bytes needs \(needed) L1 entries, but there can be at most \(most): "
                + "it needs a larger cluster_size"
        }
        return nil
    }
}
