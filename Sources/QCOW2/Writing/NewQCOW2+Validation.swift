import BlockImage

extension NewQCOW2 {
    /// Checks that there can be such an image, compressed by an encoder of this level if one is given: refuses what
    /// `qemu-img create` and `convert` refuse, before anything is written.
    ///
    /// Throws `unsupported`, about the new file `path`, with what must be changed.
    public func validate(compressionLevel: Int? = nil, path: String) throws(ImageError) {
        func require(_ holds: Bool, _ message: @autoclosure () -> String) throws(ImageError) {
            if !holds { throw ImageError(.unsupported, path: path, message()) }
        }
        try require(
            clusterSize.nonzeroBitCount == 1 && (512...2 << 20).contains(clusterSize),
            "cluster_size is \(clusterSize), but must be a power of two from 512 to 2097152")
        try require(version == 2 || version == 3, "version is \(version), but must be 2 or 3 (compat 0.10 or 1.1)")
        try require(
            refcountBits.nonzeroBitCount == 1 && refcountBits <= 64,
            "refcount_bits is \(refcountBits), but must be a power of two from 1 to 64")
        if version == 2 {
            let needs = "needs version 3 (compat=1.1)"
            try require(refcountBits == 16, "refcount_bits is \(refcountBits): any other than 16 \(needs)")
            try require(!hasExtendedL2, "extended_l2 \(needs)")
            try require(!hasLazyRefcounts, "lazy_refcounts \(needs)")
            try require(compressionType == .zlib, "compression_type=\(compressionType.rawValue) \(needs)")
        }
    }
}

extension NewQCOW2.CompressionType {
    /// The levels that there are: the first is the fastest, the last makes the least of what it is given.
    public var levels: ClosedRange<Int> {
        switch self {
        case .zlib: 1...9
        case .zstd: 1...19
        }
    }

    /// The level for whom it does not matter.
    public var defaultLevel: Int {
        switch self {
        case .zlib: 6
        case .zstd: 3
        }
    }
}
