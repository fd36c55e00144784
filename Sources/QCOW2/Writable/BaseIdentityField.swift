import BlockImage
import ByteFormat

extension QCOW2Description {
    /// Has the image in `file`, which this describes, say `identity` of the disk that it is over, in the place of what it says:
    /// as many bytes. Returns when that is on stable storage.
    ///
    /// Throws `corrupt` where it says nothing of that, or has another number of bytes for it.
    public func replaceBaseIdentity(with identity: [UInt8], in file: any WritableFile) throws(ImageError) {
        let cluster = try file.bytes(Int(min(file.currentSize, header.clusterSize)), at: HostOffset(0), of: "header")
        guard let place = try? HeaderExtensions.place(of: HeaderExtensions.Kind.baseIdentity, in: cluster, header),
            place.count == identity.count
        else {
            throw ImageError(
                .corrupt, path: file.path, "the header has no place for \(identity.count) bytes about the disk under it"
            )
        }
        // Safe: integers have no bytes that are not set.
        unsafe try file.write(identity.span.bytes, at: HostOffset(UInt64(place.lowerBound)))
        try file.sync()
    }
}

extension HeaderExtensions {
    /// Where in `cluster`, the first of an image with this header, the data of the extension `type` is; nil: there is none.
    fileprivate static func place(
        of type: UInt32, in cluster: [UInt8], _ header: Header
    ) throws(ParseFault) -> Range<Int>? {
        let end = header.backingFileOffset == 0 ? cluster.count : min(Int(header.backingFileOffset), cluster.count)
        var reader = ByteReader(cluster, at: Int(header.headerLength))
        while reader.position + 8 <= end {
            let found: UInt32 = try reader.read(.big)
            let length: UInt32 = try reader.read(.big)
            let place = reader.position..<reader.position + Int(length)
            guard found != Kind.end, place.upperBound <= end else { return nil }
            if found == type { return place }
            try reader.skip(Int(length))
            reader.align(to: 8)
        }
        return nil
    }
}
