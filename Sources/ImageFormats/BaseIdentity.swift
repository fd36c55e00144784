import BlockImage
import ByteFormat
import Encryption
import HostStorage

/// Which disk an overlay was made over: what it keeps in mind of the files of that, in a header extension, since an overlay
/// over a disk that was changed meanwhile shows a mixture of both, which is a destroyed file system.
///
/// OFFSET SIZE FIELD: 0 4 version, 1; 4 4 how many parts follow, 1 or 2; then each part: 0 8 the bytes of its files; 8 8 and
/// 16 4 when the last of them was written to, in seconds since 1970 and nanoseconds; 20 4 of the first part: bit 0 while the
/// overlay is being committed, bit 1 from then on; 24 8 the inode number of the first; 32 32 the digest. Big-endian.
package struct BaseIdentity: Hashable, Sendable {
    /// The files of the base itself, or all of the images under it.
    package struct Part: Hashable, Sendable {
        fileprivate var size: UInt64
        fileprivate var modified: FileTime
        /// Compared only where a commit has begun: a file that is restored from a backup has another one.
        fileprivate var inode: UInt64
        /// SHA-256 of, for each of them, its size, its time, and its first and last MiB.
        fileprivate var digest: [UInt8]
    }

    private static let version: UInt32 = 1
    private static let digestSize = 32
    private static let hashedSize: UInt64 = 1 << 20

    /// How it stands with the disk that an overlay was made over.
    package enum State: Hashable, Sendable {
        /// It is the one.
        case unchanged
        /// It has a part of what was written to the overlay, which has all of it: a commit did not come to its end.
        case committing
        /// It is another.
        case changed(Change)
    }

    /// How a disk differs from the one that an overlay was made over.
    package struct Change: Hashable, Sendable {
        /// What is another than it was.
        package var fault: ErrorText
        /// What makes it the one again, where only the time of its file is known to be another; nil otherwise.
        package var hint: String?
    }

    private var parts: [Part]
    /// Whether what was written to the overlay is being written to the base, which then is one that was changed.
    package var isBeingCommitted = false
    /// Whether a commit has ever begun: the base may have a part of what was written to the overlay, and be no disk without it.
    package var isPartlyInBase = false

    /// That of the disk whose chain is `layers`. Throws what reading its files throws.
    package init(of layers: [LayerDescription]) throws(ImageError) {
        var parts: [Part] = []
        for files in Self.groups(layers) { parts.append(try Part(files)) }
        self.parts = parts
    }

    /// What `bytes` say; nil for what is none, or of a later version.
    package init?(parsing bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        do throws(ParseFault) {
            let version: UInt32 = try reader.read(.big)
            let count: UInt32 = try reader.read(.big)
            guard version == Self.version, (1...2).contains(count) else { return nil }
            parts = []
            for index in 0..<count {
                let size: UInt64 = try reader.read(.big)
                let seconds: UInt64 = try reader.read(.big)
                let nanoseconds: UInt32 = try reader.read(.big)
                let flags: UInt32 = try reader.read(.big)
                if index == 0 { (isBeingCommitted, isPartlyInBase) = (flags & 1 != 0, flags & 2 != 0) }
                let inode: UInt64 = try reader.read(.big)
                let modified = FileTime(seconds: Int64(bitPattern: seconds), nanoseconds: Int(nanoseconds))
                let digest = try reader.read(bytes: Self.digestSize)
                parts.append(Part(size: size, modified: modified, inode: inode, digest: Array(digest)))
            }
        } catch {
            return nil
        }
    }

    /// As it stands in the header extension.
    package var bytes: [UInt8] {
        var writer = ByteWriter()
        writer.write(Self.version, .big)
        writer.write(UInt32(clamping: parts.count), .big)
        for (index, part) in parts.enumerated() {
            writer.write(part.size, .big)
            writer.write(UInt64(bitPattern: part.modified.seconds), .big)
            writer.write(UInt32(clamping: part.modified.nanoseconds), .big)
            writer.write(index == 0 ? UInt32((isBeingCommitted ? 1 : 0) + (isPartlyInBase ? 2 : 0)) : 0, .big)
            writer.write(part.inode, .big)
            writer.write(bytes: part.digest)
        }
        return writer.bytes
    }

    /// How it stands with the disk whose chain is `layers`. Throws what reading its files throws.
    ///
    /// What a commit has written to the base is known of nothing but the overlay, and so a base whose commit has begun is the
    /// same as long as it is the same file.
    package func state(over layers: [LayerDescription]) throws(ImageError) -> State {
        guard let change = try change(layers) else { return .unchanged }
        let now = try BaseIdentity(of: layers)
        guard isBeingCommitted, parts.count == now.parts.count, parts[0].inode == now.parts[0].inode,
            parts.dropFirst() == now.parts.dropFirst()
        else { return .changed(change) }
        return .committing
    }

    /// The same overlay over the files `base` as they are now.
    package func over(_ base: [any HostFile]) throws(ImageError) -> BaseIdentity {
        var identity = self
        identity.parts[0] = try Part(base)
        return identity
    }

    /// How the disk of `layers` differs from the one that the overlay was made over; nil where it does not.
    private func change(_ layers: [LayerDescription]) throws(ImageError) -> Change? {
        let groups = Self.groups(layers)
        guard parts.count == groups.count else {
            return Change(
                fault:
                    "the image under it has \(groups.count > 1 ? "a" : "no") backing file now, other than when it was made"
            )
        }
        for (index, (was, files)) in zip(parts, groups).enumerated() {
            let name: ErrorText = index == 0 ? "the image under it" : "an image further down its chain"
            let part = try Part(files, was.modified == Part.undated ? .undated : .dated)
            if was.size != part.size { return Change(fault: "\(name) has another size than when it was made") }
            if was.modified != part.modified {
                return Change(
                    fault: "\(name) was written to after it was made", hint: try was.hint(toDate: files))
            }
            if was.digest != part.digest {
                return Change(fault: "\(name) has another content than when it was made")
            }
        }
        return nil
    }

    /// The files of the base itself, and those of all images under it.
    private static func groups(_ layers: [LayerDescription]) -> [[any HostFile]] {
        let below = layers.dropFirst().flatMap(\.files)
        return [layers.prefix(1).flatMap(\.files)] + (below.isEmpty ? [] : [below])
    }
}

extension BaseIdentity.Part {
    /// Whether the times of files count.
    fileprivate enum Dating {
        /// Where they mean something: not of files that their file system dates by the clock.
        case known
        case undated, dated
        /// As if the file was last written to then.
        case at(FileTime)
    }

    /// What stands for the time of files whose times mean nothing.
    fileprivate static let undated = FileTime(seconds: 0, nanoseconds: 0)

    /// That of `files`.
    fileprivate init(_ files: [any HostFile], _ dating: Dating = .known) throws(ImageError) {
        func time(of file: any HostFile) -> FileTime? {
            switch dating {
            case .known: file.isDatedByClock ? nil : Self.time(of: file)
            case .dated: Self.time(of: file)
            case .undated: nil
            case .at(let time): time
            }
        }
        size = files.reduce(0) { $0 &+ $1.size }
        modified = files.compactMap(time).max() ?? Self.undated
        inode = files.first?.identity?.inode ?? 0
        do {
            var digest = try ContentDigest(.sha256)
            for file in files {
                var stamp = ByteWriter()
                stamp.write(file.size, .big)
                if let time = time(of: file) {
                    stamp.write(UInt64(bitPattern: time.seconds), .big)
                    stamp.write(UInt32(clamping: time.nanoseconds), .big)
                }
                unsafe try digest.update(stamp.bytes.span.bytes)
                for piece in Self.hashedPieces(of: file) {
                    let bytes = try file.bytes(piece.count, at: HostOffset(piece.lowerBound), of: "content")
                    // Safe: integers have no bytes that are not set.
                    unsafe try digest.update(bytes.span.bytes)
                }
            }
            self.digest = try digest.finish()
        } catch let error as ImageError {
            throw error
        } catch {
            throw ImageError(
                .unsupported, path: files.first?.path ?? "", "libcrypto refuses to make a SHA-256: \(error)")
        }
    }

    /// When `file` was last written to, as far as that is known.
    private static func time(of file: any HostFile) -> FileTime { (file as? DeviceFile)?.nodeModified ?? file.modified }

    /// What of `file` is hashed: its first and last MiB, and of a device, whose time tells little, pieces between them as well.
    private static func hashedPieces(of file: any HostFile) -> [Range<UInt64>] {
        let count = min(file.size, BaseIdentity.hashedSize)
        let last = file.size - count
        var starts = [0, last]
        let (number, size): (UInt64, UInt64) = (64, 1 << 16)
        if file is DeviceFile, file.size > BaseIdentity.hashedSize * number {
            starts.insert(contentsOf: (1..<number).map { last / number * $0 }, at: 1)
        }
        return starts.map { $0..<$0 + ($0 == 0 || $0 == last ? count : size) }
    }

    /// The command that makes `files` the ones that they were, where their time is all that is known to be another: as after
    /// a copy, which has the time when it was made. Nil where more is, and of several files.
    fileprivate func hint(toDate files: [any HostFile]) throws(ImageError) -> String? {
        guard files.count == 1, modified != Self.undated, try Self(files, .at(modified)).digest == digest else {
            return nil
        }
        var file = files[0]
        // The disk of an appliance is a part of its file.
        while let slice = file as? FileSlice { file = slice.file }
        // A shell would not take a name for what it is that a message cannot show as it is.
        guard let path = (file as? LocalFile)?.path ?? (file as? DeviceFile)?.path, printable(path) == path else {
            return nil
        }
        let fraction = "\(1_000_000_000 + modified.nanoseconds)".dropFirst()
        return
            "if only the time of the image is another, as that of a copy, 'touch -d @\(modified.seconds).\(fraction) "
            + "\(shellWord(path))' puts it back"
    }
}
