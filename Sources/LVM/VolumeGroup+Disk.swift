import BlockImage

extension VolumeGroup {
    /// The disk that `volume`, one of the group, is, where `places` says of each member the disk or partition that it is, or
    /// why there is none. `path`: the image that errors are about.
    ///
    /// Throws `unsupported` for a volume that is neither linear nor striped, `corrupt` where the metadata contradicts itself, and
    /// why a physical volume that it lies on is not there.
    public func disk(
        of volume: LogicalVolume, on places: [VolumeID: Result<Image, ImageError>], path: String
    ) throws(ImageError) -> Image {
        let what: ErrorText = "volume \(name)/\(volume.name)"
        if let fault = volume.fault { throw ImageError(.corrupt, path: path, "\(what): \(quoting: fault)") }
        guard volume.isMapped else {
            throw ImageError(
                .unsupported, path: path,
                "\(what): is of the type \(quoting: volume.type), and only linear and striped volumes are read; LVM in a machine that has the disks reads it, for instance that of 'guestfish --ro'"
            )
        }
        let members = Dictionary(members.map { ($0.name, $0) }) { first, _ in first }
        var pieces: [MappedLayer.Piece] = []
        for segment in volume.segments {
            var stripes: [MappedLayer.Place] = []
            let count = segment.count / UInt64(segment.stripes.count)
            for stripe in segment.stripes {
                stripes.append(try place(of: stripe, on: members[stripe.source], count, places, what, path: path))
            }
            pieces.append(MappedLayer.Piece(segment.count, over: stripes, stripeSize: segment.stripeSize))
        }
        return Image(layer: try MappedLayer(pieces))
    }

    /// Where the `count` bytes of `stripe` lie, which is on `member`, if that is one.
    private func place(
        of stripe: LogicalVolume.Segment.Stripe, on member: Member?, _ count: UInt64,
        _ places: [VolumeID: Result<Image, ImageError>], _ what: ErrorText, path: String
    ) throws(ImageError) -> MappedLayer.Place {
        guard let member else {
            // Volumes that are being moved, or are made of others.
            let isVolume = volumes.contains { $0.name == stripe.source } || stripe.source.hasPrefix("pvmove")
            throw ImageError(
                isVolume ? .unsupported : .corrupt, path: path,
                "\(what): lies on \"\(quoting: stripe.source)\", which is \(isVolume ? "another volume" : "no physical volume of the group")"
            )
        }
        let physical: ErrorText = "physical volume \(quoting: member.name) (\(member.id))"
        guard !member.isMissing else {
            throw ImageError(
                .unsupported, path: path,
                "\(what): lies on the \(physical), which the metadata calls MISSING: what it holds is out of date")
        }
        let extents = count / extentSize
        guard stripe.extent <= member.extentCount, extents <= member.extentCount - stripe.extent else {
            throw ImageError(
                .corrupt, path: path,
                "\(what): has \(extents) extents from \(stripe.extent) on of the \(physical), which has \(member.extentCount)"
            )
        }
        let disk: Image
        switch places[member.id] {
        case .success(let found): disk = found
        case .failure(let error):
            throw ImageError(
                error.code, path: path, "\(what): lies on the \(physical), \(error.detail)", hint: error.hint)
        case nil:
            throw ImageError(.system(errno: 2), path: path, "\(what): lies on the \(physical), which is not there")
        }
        // Sizes past the end of every disk are held to the largest number, which no disk has.
        guard member.size(extentSize) != .max else {
            throw ImageError(.corrupt, path: path, "\(what): the \(physical) is larger than any disk")
        }
        let start = member.start + stripe.extent * extentSize
        guard start <= disk.virtualSize, count <= disk.virtualSize - start else {
            throw ImageError(
                .truncated, path: path,
                "\(what): has \(count) bytes at \(GuestOffset(start)) of the \(physical), which ends at \(GuestOffset(disk.virtualSize))"
            )
        }
        return MappedLayer.Place(disk, at: GuestOffset(start))
    }
}
