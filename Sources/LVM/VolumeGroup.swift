/// What LVM's metadata says of a group of volumes.
public struct VolumeGroup: Hashable, Sendable {
    /// One of the physical volumes that it is made of.
    public struct Member: Hashable, Sendable {
        /// What the metadata calls it: `pv0`.
        public var name: String
        /// Which one it is.
        public var id: VolumeID
        /// Where the guest found it last, as a hint.
        public var device: String?
        /// Where its first extent begins, in bytes.
        public var start: UInt64
        /// How many extents it has.
        public var extentCount: UInt64
        /// Whether it was missing when the metadata was written, so that what it holds is out of date.
        public var isMissing: Bool

        /// Its bytes that hold extents of `extentSize`, and those before them; held to the largest number.
        func size(_ extentSize: UInt64) -> UInt64 {
            let (bytes, overflow) = extentCount.multipliedReportingOverflow(by: extentSize)
            let (end, isTooLarge) = start.addingReportingOverflow(bytes)
            return overflow || isTooLarge ? .max : end
        }
    }

    /// What people call it.
    public var name: String
    /// Which one it is.
    public var id: VolumeID
    /// How often the metadata was changed: the highest number is the newest.
    public var sequence: UInt64
    /// The bytes of an extent, in which space is given out.
    public var extentSize: UInt64
    /// What it is made of.
    public var members: [Member]
    /// Its volumes, in the order of the metadata, without those that LVM itself keeps for others.
    public var volumes: [LogicalVolume]

    /// Whether `id` is one of its members.
    public func has(_ id: VolumeID) -> Bool { members.contains { $0.id == id } }
}

/// A volume of a group.
public struct LogicalVolume: Hashable, Sendable {
    /// A part of it that lies on other volumes in one way.
    public struct Segment: Hashable, Sendable {
        /// A place on a physical volume.
        public struct Stripe: Hashable, Sendable {
            /// What the metadata calls that volume.
            public var source: String
            /// The first extent.
            public var extent: UInt64
        }

        /// How many bytes it has.
        public var count: UInt64
        /// Where it lies: one, or several that take turns.
        public var stripes: [Stripe]
        /// The bytes of a turn.
        public var stripeSize: UInt64
    }

    /// What people call it.
    public var name: String
    /// Which one it is; nil where the metadata does not say it well.
    public var id: VolumeID?
    /// How many bytes it has.
    public var size: UInt64 = 0
    /// `linear`, `striped`, or what else LVM calls the way in which it is kept.
    public var type = "linear"
    /// Where it lies, of a linear or striped one.
    public var segments: [Segment] = []
    /// What is wrong with what the metadata says of it.
    public var fault: String?

    /// Whether a disk can be made of its segments: it is linear or striped.
    public var isMapped: Bool { type == "linear" || type == "striped" }
}
