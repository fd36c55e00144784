import BlockImage
import FormatCore

/// What QEMU's locks on the files of an image say of who uses it.
public struct ImageUse: Encodable, Sendable {
    /// The locked file.
    public var filename: PathText
    /// Whether another program may write to it; otherwise one reads it.
    public var writing: Bool

    /// A lock on the file called `filename`.
    public init(filename: String, writing: Bool) {
        self.filename = PathText(filename)
        self.writing = writing
    }

    /// The first of `files` that is locked, those that are written to before those that are read; nil where none is.
    public init?(_ files: [any HostFile]) {
        let locked = files.compactMap { file in file.imageLock.map { (file, $0) } }
        guard let (file, lock) = locked.first(where: { $0.1 == .writing }) ?? locked.first else { return nil }
        filename = PathText(file.path)
        writing = lock == .writing
    }

    /// What people should know of it: that what is read may be wrong; nil where no program writes to it.
    public var note: ErrorText? {
        guard writing else { return nil }
        return
            "\(path: filename.text): another program is writing to it, and what is read may be a mixture of old and new"
    }

    /// What people should know of those of `files` whose times tell nothing.
    public static func timeNotes(_ files: [any HostFile]) -> [ErrorText] {
        files.filter(\.isDatedByClock).map {
            "\(path: $0.path): its file system dates it by the clock, so that nothing tells whether it is written to meanwhile"
        }
    }
}

extension MeasuredBitmap: Encodable {
    private enum CodingKeys: String, CodingKey {
        case name, granularity, flags, inconsistent, error
        case dirtyBytes = "dirty-bytes"
    }

    /// What the bitmap directory says of it, and `dirty-bytes` or the `error` that keeps them from being counted.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(bitmap.name, forKey: .name)
        try container.encode(bitmap.granularity, forKey: .granularity)
        try container.encode(bitmap.flagNames, forKey: .flags)
        try container.encode(bitmap.isInconsistent, forKey: .inconsistent)
        switch dirtyBytes {
        case .success(let count): try container.encode(count, forKey: .dirtyBytes)
        case .failure(let error): try container.encode(error, forKey: .error)
        }
    }
}
