import BlockImage
import Foundation
import HostTools
import TestImages
import Testing

@testable import GuestFiles

/// A walk over all that a file system, which may be damaged, shows.
struct FATWalk {
    private static let limit = 1000
    private static let directoryLimit = 40
    private var seen: Set<GuestFileID> = []
    /// How many errors came, and notes of damage.
    private(set) var errors = 0
    /// How many files were read.
    private(set) var files = 0

    /// Nothing yet.
    init() {}

    /// Opens what is on `file`, and reads of each file the first bytes and the last. Errors may come, and nothing worse.
    mutating func walk(_ file: any HostFile) {
        do {
            guard let system = try GuestFileSystems.open(Image(layer: RawLayer(file: file)), path: file.path) else {
                return
            }
            _ = attempt { try system.usage() }
            walk(system, system.root)
            errors += system.notes.count
        } catch {
            errors += 1
        }
    }

    private mutating func walk(_ system: any GuestFileSystem, _ directory: GuestFileID) {
        var left = [directory]
        while let file = left.popLast() {
            guard seen.count < Self.limit, seen.insert(file).inserted else { continue }
            guard let status = attempt({ try system.status(of: file) }) else { continue }
            guard status.kind == .directory else {
                read(system, file)
                continue
            }
            var entries: [GuestEntry] = []
            _ = attempt {
                try system.list(file) { entry throws(ImageError) in
                    entries.append(entry)
                    return entries.count < Self.directoryLimit
                }
            }
            if let last = entries.last { _ = attempt { try system.find(last.name, in: file) } }
            left += entries.map(\.file)
        }
    }

    private mutating func read(_ system: any GuestFileSystem, _ file: GuestFileID) {
        files += 1
        guard let content = attempt({ try system.open(file) }), content.size > 0 else { return }
        let count = Int(min(content.size, 4096))
        _ = attempt { try content.bytes(count, at: 0) }
        _ = attempt { try content.bytes(count, at: content.size - UInt64(count)) }
        _ = attempt { try content.run(at: content.size - 1, limit: .max) }
    }

    private mutating func attempt<Result>(_ body: () throws -> Result) -> Result? {
        do {
            return try body()
        } catch {
            #expect(error is ImageError)
            errors += 1
            return nil
        }
    }
}

@Suite(.enabled(if: GuestLinux.isThere))
struct `Damaged FAT and exFAT` {
    private static let kinds = FATImages.kinds.filter {
        ["fat12", "fat16", "fat32", "exfat", "exfat-512"].contains($0.name)
    }

    /// The parts of the image that say where things are: its first sectors, its FAT, and its directories.
    private func parts(of kind: FATImages.Kind, _ path: String) throws -> [Range<UInt64>] {
        let image = Image(layer: RawLayer(file: try PatchedFile(path)))
        let system = try #require(try GuestFileSystems.open(image, path: path))
        var records: [Range<UInt64>] = []
        var left = [system.root]
        while let directory = left.popLast(), records.count < 200 {
            try system.list(directory) { entry throws(ImageError) in
                let start = (entry.file.number & (1 << 62 - 1)) * 32
                records.append(start..<start + (kind.isExFAT ? 96 : 32))
                if entry.isDirectory == true { left.append(entry.file) }
                return records.count < 200
            }
        }
        return records
    }

    /// The bytes of the boot sectors that are made others, with a new check sum where there is one.
    private func sealed(_ patches: [UInt64: UInt8], _ kind: FATImages.Kind, _ path: String) throws -> [UInt64: UInt8] {
        guard kind.isExFAT else { return patches }
        let image = Image(layer: RawLayer(file: try PatchedFile(path, patches: patches)))
        let sum = ExFATBootSector.checksum(of: try image.bytes(11 * 512, at: 0))
        var patches = patches
        for index in 0..<512 {
            patches[UInt64(11 * 512 + index)] = UInt8(truncatingIfNeeded: sum >> UInt32(index % 4 * 8))
        }
        return patches
    }

    @Test(arguments: kinds) func `are read or refused, whatever they are`(kind: FATImages.Kind) throws {
        let path = try FATImages.all.get().path(kind)
        let records = try parts(of: kind, path)
        let tableStart = kind.isExFAT ? try tableOffset(path) : kind.name == "fat32" ? 32 * 512 : 512
        let seed: UInt64 = 20
        var random = SeededRandom(seed: seed)
        var (errors, files) = (0, 0)
        for round in 0..<300 {
            var patches: [UInt64: UInt8] = [:]
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let place: Range<UInt64> =
                    switch round % 4 {
                    case 0: 0..<128
                    case 1: tableStart..<tableStart + 2048
                    default: records[Int.random(in: 0..<records.count, using: &random)]
                    }
                let offset = UInt64.random(in: place, using: &random)
                patches[offset] = [0, 0xff, 1, 2, 0x7f, UInt8.random(in: 0...255, using: &random)].randomElement(
                    using: &random)
            }
            if round % 4 == 0 { patches = try sealed(patches, kind, path) }
            var walk = FATWalk()
            walk.walk(try PatchedFile(path, patches: patches))
            (errors, files) = (errors + walk.errors, files + walk.files)
        }
        // Most of what is damaged is read for the rest, and some of it is noticed.
        #expect(errors > 50 && files > 10_000, "\(kind.name), seed \(seed): \(errors) errors, \(files) files")
    }

    private func tableOffset(_ path: String) throws -> UInt64 {
        let image = Image(layer: RawLayer(file: try PatchedFile(path)))
        return try ExFATBootSector(parsing: try image.bytes(512, at: 0)).tableStart
    }
}
