import BlockImage
import Catalog
import Foundation
import HostTools
import ImageFormats
import Overlays
import SystemPackage

/// The disk of an image of the host that is written over, as servers do it.
package final class OverlaidDisk: WritableDisk {
    /// The disk, with what was written.
    package let image: Image
    private let overlays: OverlayFolder
    private let disk: OverlayDisk
    private let layer: OverlayLayer

    /// The disk of the image at `path`, in the folder `images` or below it, with overlays in the folder `overlays`, which
    /// need not be there. All of them are canonical paths.
    package init(_ path: String, of images: String, overlays folder: String) throws {
        overlays = try OverlayFolder(
            at: FilePath(folder), for: FilePath(images), isForOne: false, settings: OverlaySettings())
        let location = FilePath(path)
        disk = overlays.disk(over: location)
        let opened = try NamedImage(location).open()
        image = try disk.view(of: opened, at: location, isFile: true, ignoresChanges: false).disk.result.get()
        guard let layer = image.layer as? OverlayLayer else {
            throw ToolFailure(description: "\(path): nothing can be written over it")
        }
        self.layer = layer
    }

    package func write(_ bytes: [UInt8], at offset: UInt64) throws {
        try bytes.withUnsafeBytes { try layer.write($0.bytes, at: GuestOffset(offset)) }
    }

    package func writeZeros(_ count: UInt64, at offset: UInt64) throws {
        try layer.zero(count, at: GuestOffset(offset), mayUnmap: offset / 512 % 2 == 0)
    }

    /// Those of 64 KiB, the clusters of overlays.
    package var clusterSectors: Int { 128 }

    package func discard(_ count: UInt64, at offset: UInt64) throws {
        try layer.discard(count, at: GuestOffset(offset))
    }

    package func flush() throws { try disk.flush() }

    package func writeBack() throws { try disk.writeBack() }

    package func close() throws {
        if let error = overlays.close().first { throw error }
    }
}

/// Requests to such a disk as lines of text, which another process makes.
package final class OverlayScript: WritableDisk {
    /// A line, and how many requests of the recorder there were when it was written.
    private let lines = Guarded<[(text: String, requestCount: Int)]>([])
    private let recorder: Recorder

    /// `recorder` has the requests that the lines are for.
    package init(_ recorder: Recorder) {
        self.recorder = recorder
    }

    private func add(_ text: String) {
        let count = recorder.recording.requests.count
        lines.withLock { $0.append((text, count)) }
    }

    /// The generation of the sectors, all of one, says which bytes these are.
    package func write(_ bytes: [UInt8], at offset: UInt64) {
        let generation = bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self) }
        add("write \(offset) \(bytes.count) \(generation)")
    }

    package func writeZeros(_ count: UInt64, at offset: UInt64) { add("zero \(offset) \(count)") }
    package var clusterSectors: Int { 128 }
    package func discard(_ count: UInt64, at offset: UInt64) { add("discard \(offset) \(count)") }
    package func flush() { add("flush") }
    package func writeBack() { add("write-back") }
    package func close() { add("close") }

    /// The lines, each with the requests that it is for.
    package var commands: [(line: String, requests: [TracedProgram.Request])] {
        let requests = recorder.recording.requests
        var first = 0
        return lines.withLock { $0 }.map { text, count in
            defer { first = count }
            return (text, requests[first..<count].map { TracedProgram.Request($0.kind, $0.sectors) })
        }
    }

    /// Does what such a line says to `disk`, whose sectors are marked with `run`.
    package static func perform(_ line: String, on disk: some WritableDisk, run: UInt64) throws {
        let words = line.split(separator: " ")
        let numbers = words.dropFirst().compactMap { UInt64($0) }
        switch (words.first, numbers.count) {
        case ("write", 3):
            let generations = Array(repeating: numbers[2], count: Int(numbers[1]) / GuestSector.size)
            try disk.write(
                GuestSector.bytes(from: Int(numbers[0]) / GuestSector.size, generations: generations, run: run),
                at: numbers[0])
        case ("zero", 2): try disk.writeZeros(numbers[1], at: numbers[0])
        case ("discard", 2): try disk.discard(numbers[1], at: numbers[0])
        case ("flush", 0): try disk.flush()
        case ("write-back", 0): try disk.writeBack()
        case ("close", 0): try disk.close()
        default: throw ToolFailure(description: "no such request: \(line)")
        }
    }
}
