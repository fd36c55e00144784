import BlockImage
import Foundation
import GuestFiles
import HostTools
import TestImages
import Testing

/// File systems with numbers that no program wrote: each ends in an error or in content.
@Suite(.enabled(if: Tool.canUseLoopDevices("mkfs.ext4", "python3")))
struct `A hostile ext4` {
    private static let work = """
        import os, sys
        os.chdir(sys.argv[1])
        os.mkdir('d')
        for index in range(150): open('d/a file with a longer name %d' % index, 'wb').close()
        for index in range(4):
            with open('f%d' % index, 'wb') as f:
                for place in range(12):
                    f.seek(place * 5000 * (index + 1))
                    f.write(b'x' * 10)
        os.symlink('x' * 20, 'short')
        os.symlink('y' * 100, 'long')
        os.mknod('device', 0o60644, os.makedev(8, 1))
        for index in range(3): os.setxattr('f%d' % index, 'user.x', b'z' * 100 * index)
        with open('large', 'wb') as f:
            for place in range(40):
                f.seek(place * 3000)
                f.write(b'large')
        fd = os.open('d', os.O_RDONLY); os.fsync(fd)
        """

    private static let kinds = [
        "mkfs.ext2 -b 1024 -I 128 -N 256", "mkfs.ext4 -b 1024 -N 256 -O ^metadata_csum,^64bit -J size=1",
        "mkfs.ext4 -b 1024 -N 256 -O ^metadata_csum,inline_data,ea_inode -J size=1",
        "mkfs.ext4 -b 1024 -N 256 -J size=1",
    ]

    private static let values: [UInt64] = [
        0, 1, 2, 4, 5, 8, 11, 12, 60, 255, 256, 1023, 1024, 4096, 32768, 32769, 65535, 65536, 1 << 24, (1 << 31) - 1,
        1 << 31, (1 << 32) - 1, 1 << 32, 1 << 48, (1 << 63) - 1, 1 << 63, .max - 1, .max,
    ]

    /// A copy of a file system that is in use, with a journal that is to be replayed where it has one.
    private static func bytes(_ mkfs: String) throws -> [UInt8] {
        let image = try ExtImage(mkfs, size: "3M")
        let copy = try image.copy()
        // What is synced as a whole leaves nothing in a journal.
        let isExt2 = mkfs.hasPrefix("mkfs.ext2")
        try image.mounted(
            isExt2 ? "noatime" : "noatime,commit=300", "python3 -c \"$1\" $M; \(isExt2 ? "sync" : ":"); cp $2 $3", work,
            image.path, copy.path)
        return Array(try Data(contentsOf: URL(fileURLWithPath: copy.path)))
    }

    /// Puts something in the place of one of the words of `bytes` that are not zeros, most often near one of the structures.
    private static func mutate(_ bytes: inout [UInt8], _ places: [[Int]], using random: inout SeededRandom) {
        let block = places[Int.random(in: 0..<places.count, using: &random)]
        let place =
            Int.random(in: 0..<4, using: &random) == 0
            ? Int.random(in: 1024..<1400, using: &random) : block[Int.random(in: 0..<block.count, using: &random)]
        let width = [1, 2, 4, 4, 8][Int.random(in: 0..<5, using: &random)]
        let start = min(place / width * width, bytes.count - width)
        switch Int.random(in: 0..<4, using: &random) {
        case 0: bytes[start] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 1:
            let source = block[Int.random(in: 0..<block.count, using: &random)] / width * width
            for index in 0..<width where source + index < bytes.count { bytes[start + index] = bytes[source + index] }
        default:
            let isBig = Bool.random(using: &random)
            let value = values[Int.random(in: 0..<values.count, using: &random)]
            for index in 0..<width {
                bytes[start + (isBig ? width - 1 - index : index)] = UInt8(
                    truncatingIfNeeded: value >> UInt64(index * 8))
            }
        }
    }

    @Test(arguments: kinds) func `neither traps nor hangs`(mkfs: String) throws {
        let sound = try Self.bytes(mkfs)
        // Of each block that has something, so that structures of all kinds are met.
        let places = stride(from: 0, to: sound.count, by: 1024).map { block in
            stride(from: block, to: block + 1024, by: 4).filter { place in
                sound[place..<place + 4].contains { $0 != 0 && $0 != UInt8(ascii: "z") }
            }
        }.filter { !$0.isEmpty }
        let all = HostileWalk(sound).run()
        #expect(all >= 160)
        var random = SeededRandom(seed: 20)
        var (refused, fewer) = (0, 0)
        for _ in 0..<1000 {
            var bytes = sound
            for _ in 0..<Int.random(in: 1...3, using: &random) { Self.mutate(&bytes, places, using: &random) }
            let count = HostileWalk(bytes).run()
            if count == 0 { refused += 1 } else if count != all { fewer += 1 }
        }
        #expect(refused > 15 && fewer > 15, "\(refused) refused, \(fewer) with other files")
    }
}

/// Looks at everything that a file system has, as far as it is few.
struct HostileWalk {
    private let disk: Image
    private let entryLimit = 3000

    /// That of the disk `bytes`.
    init(_ bytes: [UInt8]) { disk = Image(layer: RawLayer(file: MemoryFile(bytes))) }

    /// Answers how many files were found.
    func run() -> Int {
        guard let system = try? GuestFileSystems.open(disk, path: "hostile") else { return 0 }
        _ = try? system.usage()
        var waiting = [system.root]
        var seen: Set<GuestFileID> = [system.root]
        var count = 0
        while let folder = waiting.popLast() {
            var entries: [GuestEntry] = []
            try? system.list(folder) { entry in
                entries.append(entry)
                return entries.count < entryLimit
            }
            for entry in entries {
                count += 1
                if count % 16 == 0 { _ = try? system.find(entry.name, in: folder) }
                if seen.insert(entry.file).inserted, look(at: entry.file, in: system) { waiting.append(entry.file) }
            }
            if count > entryLimit { break }
        }
        return count
    }

    /// Answers whether it is a directory.
    private func look(at file: GuestFileID, in system: any GuestFileSystem) -> Bool {
        guard let status = try? system.status(of: file) else { return false }
        _ = try? system.extendedAttributes(of: file)
        switch status.kind {
        case .directory: return true
        case .link: _ = try? system.target(ofLink: file)
        case .regular:
            guard let content = try? system.open(file) else { return false }
            var position: UInt64 = 0
            for _ in 0..<30 {
                guard let run = try? content.run(at: position, limit: .max) else { break }
                position += run.count
            }
            for offset in [0, content.size / 2, content.size - min(content.size, 20000)] {
                let count = Int(min(20000, content.size - offset))
                let buffer = AlignedBuffer(capacity: count)
                try? buffer.fill(count) { output throws(ImageError) in
                    try content.read(count, at: offset, into: &output)
                }
            }
        default: break
        }
        return false
    }
}
