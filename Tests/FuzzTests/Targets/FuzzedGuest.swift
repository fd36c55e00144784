import BlockImage
import ByteFormat
import TestImages

@testable import GuestFiles

/// A disk with a file system of a guest, of few bytes: those of its blocks that have something, one after the other, each after its
/// number. The others are zeros: a fuzzer gets nowhere with megabytes.
enum GuestShape {
    private static let blockSize = 1024
    /// The bytes before a block. As many as integers have at most, so that they stay at multiples of their size.
    private static let numberSize = 8
    private static let size: UInt64 = 4 << 20

    /// The disk that `bytes` make; where it `isExFAT`, with the check sum that its boot sectors must have.
    static func disk(of bytes: [UInt8], isExFAT: Bool) -> PagedFile {
        var pages = Pages(size: size)
        for start in stride(from: 0, to: bytes.count - numberSize, by: numberSize + blockSize) {
            let number = UInt64(bytes[start]) | UInt64(bytes[start + 1]) << 8
            let block = bytes[start + numberSize..<min(start + numberSize + blockSize, bytes.count)]
            pages.write(Array(block), at: number * UInt64(blockSize) % size)
        }
        if isExFAT {
            let sum = ExFATBootSector.checksum(of: pages.bytes(11 * 512, at: 0))
            pages.write((0..<512).map { UInt8(truncatingIfNeeded: sum >> UInt32($0 % 4 * 8)) }, at: 11 * 512)
        }
        return PagedFile(pages, path: "memory")
    }
}

/// A file system of a guest made of the bytes of a fuzzer, and everything that is done to one.
struct FuzzedGuest {
    /// The most files that are looked at, and the most bytes of each end of one.
    private static let fileLimit = 200
    private static let readLimit: UInt64 = 4096

    private let disk: Image

    /// The file system in `bytes`, of the kind that `target` is about.
    init(_ bytes: [UInt8], _ target: FuzzTarget) {
        disk = Image(layer: RawLayer(file: GuestShape.disk(of: bytes, isExFAT: target == .exFAT)))
    }

    /// Walks through its tree, and reads what there is of each file; answers how many files there were.
    func run() -> Int {
        guard let system = try? GuestFileSystems.open(disk, path: "memory") else { return 0 }
        _ = try? system.usage()
        var (waiting, seen): ([GuestFileID], Set<GuestFileID>) = ([system.root], [system.root])
        var count = 0
        while let file = waiting.popLast(), count < Self.fileLimit {
            count += 1
            _ = try? system.extendedAttributes(of: file)
            guard let status = try? system.status(of: file) else { continue }
            switch status.kind {
            case .directory:
                for child in children(of: file, system) where seen.insert(child).inserted { waiting.append(child) }
            case .link: _ = try? system.target(ofLink: file)
            case .regular: (try? system.open(file)).map(read)
            case .fifo, .socket, .characterDevice, .blockDevice: break
            }
        }
        return count + system.notes.count
    }

    private func children(of directory: GuestFileID, _ system: any GuestFileSystem) -> [GuestFileID] {
        var entries: [GuestEntry] = []
        try? system.list(directory) { entry in
            entries.append(entry)
            return entries.count < Self.fileLimit
        }
        if let last = entries.last { _ = try? system.find(last.name, in: directory) }
        return entries.map(\.file)
    }

    private func read(_ content: any GuestFileContent) {
        let size = content.size
        let count = min(size, Self.readLimit)
        for offset in [0, size - count] {
            let buffer = AlignedBuffer(capacity: Int(count))
            try? buffer.fill(Int(count)) { output throws(ImageError) in
                try content.read(Int(count), at: offset, into: &output)
            }
            if offset < size { _ = try? content.run(at: offset, limit: .max) }
        }
    }
}
