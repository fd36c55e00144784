/// A file system that is mounted in the machine, by its number there.
public struct GuestMountID: Hashable, Sendable {
    public var number: UInt32

    /// The mount `number`.
    public init(_ number: UInt32) { self.number = number }
}

/// A file or directory that is open in the machine.
public struct GuestHandle: Hashable, Sendable {
    public var number: UInt32

    /// The handle `number`.
    public init(_ number: UInt32) { self.number = number }
}

/// Where a file is: its path below the root of a mounted file system, names with "/" between them; none is "", "." or "..". Nothing: the root.
public struct GuestPath: Hashable, Sendable {
    public var mount: GuestMountID
    public var bytes: [UInt8]

    /// The file at `bytes` below the root of `mount`.
    public init(_ mount: GuestMountID, _ bytes: [UInt8]) {
        (self.mount, self.bytes) = (mount, bytes)
    }

    /// Whether each name may be one, and there are not too many bytes.
    public var isValid: Bool {
        guard bytes.count <= GuestProtocol.pathLimit else { return false }
        guard !bytes.isEmpty else { return true }
        return bytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).allSatisfy {
            Self.isName(Array($0))
        }
    }

    /// Whether a file in a directory may be called `name`.
    public static func isName(_ name: [UInt8]) -> Bool {
        !name.isEmpty && name.count <= GuestProtocol.nameLimit && name != [0x2e] && name != [0x2e, 0x2e]
            && !name.contains(0) && !name.contains(UInt8(ascii: "/"))
    }
}

/// A time of a file.
public struct GuestTime: Hashable, Sendable {
    public var seconds: Int64
    public var nanoseconds: UInt32

    /// The moment `seconds` and `nanoseconds` after 1970 began.
    public init(seconds: Int64, nanoseconds: UInt32) {
        (self.seconds, self.nanoseconds) = (seconds, nanoseconds)
    }
}

/// What the agent is asked for.
public enum GuestRequest: Hashable, Sendable {
    /// Mounts a disk; answered by a `GuestMountID`.
    case mount(disk: UInt32, type: String, options: String, isWritable: Bool)
    case unmount(GuestMountID)
    /// Answered by `GuestCounts`.
    case usage(GuestMountID)
    /// Answered by a `GuestRecord`.
    case status(GuestPath)
    /// Opens a directory; answered by a `GuestHandle`.
    case list(GuestPath)
    /// The next entries of a directory; answered by a `GuestBatch`.
    case entries(GuestHandle)
    /// Answered by the bytes of a link's target.
    case target(GuestPath)
    /// Answered by the names of extended attributes.
    case attributeNames(GuestPath)
    /// Answered by a value.
    case attribute(GuestPath, name: [UInt8])
    /// Opens a regular file; answered by a `GuestHandle`.
    case open(GuestPath, isWritable: Bool)
    /// Answered by the bytes, fewer only at the end of the file.
    case read(GuestHandle, count: UInt32, offset: UInt64)
    /// Answered by `GuestRuns` from `offset` on.
    case runs(GuestHandle, offset: UInt64)
    case close([GuestHandle])

    /// Makes a file of any kind but a link; `mode` has its type, as stat(2). Answered by a `GuestRecord`, as the two next.
    case make(GuestPath, mode: UInt32, major: UInt32, minor: UInt32)
    case makeLink(GuestPath, target: [UInt8])
    case makeName(GuestPath, of: GuestPath)
    case write(GuestHandle, offset: UInt64, bytes: [UInt8])
    case setSize(GuestPath, UInt64)
    case setMode(GuestPath, UInt32)
    case setOwner(GuestPath, user: UInt32, group: UInt32)
    case setTimes(GuestPath, accessed: GuestTime?, modified: GuestTime?)
    case setAttribute(GuestPath, name: [UInt8], value: [UInt8])
    case removeAttribute(GuestPath, name: [UInt8])
    case remove(GuestPath, isDirectory: Bool)
    case rename(GuestPath, to: GuestPath)
    /// Has a regular file that is empty have these bytes.
    case fill(GuestPath, bytes: [UInt8])
    /// Does one after the other, none of which is a batch or ends the machine, up to the first that fails. Answered by what is known in the
    /// end of the file that the first is about, as by `status`.
    case batch([GuestRequest])
    case synchronize(GuestMountID)
    /// Unmounts all, and ends the machine after the reply.
    case powerOff
}
