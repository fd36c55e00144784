import BlockImage
import Foundation
import HostTools
import Synchronization
import TestImages
import Testing

@testable import QCOW2

/// A disk to be written: pieces of it, in its order.
struct PiecesOfDisk {
    enum Piece {
        /// These bytes; they are whole units where the writer compresses.
        case data([UInt8], at: UInt64)
        /// Explicit zeros.
        case zeros(UInt64, at: UInt64)
    }

    var size: UInt64
    var pieces: [Piece] = []

    /// What the disk reads as over `backing`.
    func disk(over backing: [UInt8] = []) -> [UInt8] {
        var disk = Array(backing.prefix(Int(size)))
        disk += Array(repeating: 0, count: Int(size) - disk.count)
        for piece in pieces {
            switch piece {
            case .data(let bytes, let start):
                disk.replaceSubrange(Int(start)..<Int(start) + bytes.count, with: bytes)
            case .zeros(let count, let start):
                disk.replaceSubrange(
                    Int(start)..<Int(start + count), with: repeatElement(0, count: Int(count)))
            }
        }
        return disk
    }

    /// The same disk in pieces of one unit of `granularity` each.
    func divided(by granularity: Int) -> PiecesOfDisk {
        var divided = PiecesOfDisk(size: size)
        for piece in pieces {
            switch piece {
            case .data(let bytes, let start):
                for first in stride(from: 0, to: bytes.count, by: granularity) {
                    let part = Array(bytes[first..<min(first + granularity, bytes.count)])
                    divided.pieces.append(.data(part, at: start + UInt64(first)))
                }
            case .zeros(let count, let start):
                for first in stride(from: 0, to: count, by: granularity) {
                    divided.pieces.append(.zeros(min(UInt64(granularity), count - first), at: start + first))
                }
            }
        }
        return divided
    }

    /// Runs of random length of data, holes and, where they are asked for, zeros; each begins at a multiple of
    /// `granularity`. Data is never all zeros; some of it can be compressed.
    static func random(
        size: UInt64, granularity: Int, withZeros: Bool, using random: inout SeededRandom
    ) -> PiecesOfDisk {
        var disk = PiecesOfDisk(size: size)
        var position: UInt64 = 0
        while position < size {
            let count = min(UInt64(Int.random(in: 1...9, using: &random) * granularity), size - position)
            switch Int.random(in: 0...(withZeros ? 5 : 4), using: &random) {
            case 0, 1: break
            case 5: disk.pieces.append(.zeros(count, at: position))
            case let kind:
                // From a part of the alphabet, or of all of it: that is noise, which nothing compresses.
                let most: UInt8 = kind == 2 ? 255 : 7
                var bytes: [UInt8] = []
                bytes.reserveCapacity(Int(count) + 8)
                while bytes.count < count {
                    withUnsafeBytes(of: random.next()) { word in bytes += word.lazy.map { $0 & most | 1 } }
                }
                disk.pieces.append(.data(Array(bytes.prefix(Int(count))), at: position))
            }
            position += count
        }
        return disk
    }
}

/// Writes `disk` as `image` to `path`; answers how many calls wrote to the file.
@discardableResult
func write(
    _ disk: PiecesOfDisk, as image: NewQCOW2, compressionLevel: Int? = nil, to path: String
) throws -> Int {
    let file = try PlainNewFile(path)
    let writer = try QCOW2Writer(image, compressionLevel: compressionLevel, in: file)
    for piece in disk.pieces {
        switch piece {
        case .zeros(let count, let start): try writer.writeZeros(count, at: GuestOffset(start))
        case .data(let bytes, let start):
            guard let encoder = writer.encoder else {
                try bytes.withUnsafeBytes { try writer.write($0.bytes, at: GuestOffset(start), stored: nil) }
                continue
            }
            try encode(bytes, at: start, with: encoder, into: writer)
        }
    }
    try writer.finish()
    return file.writes.load(ordering: .relaxed)
}

/// Writes the units of `bytes`, which begin at one and end at one or at the end of the disk, in their encoded form, or
/// as they are where that is no shorter.
private func encode(
    _ bytes: [UInt8], at start: UInt64, with encoder: any UnitEncoder, into writer: QCOW2Writer
) throws {
    let size = encoder.unitSize
    let output = AlignedBuffer(capacity: encoder.encodedLimit)
    for first in stride(from: 0, to: bytes.count, by: size) {
        let place = GuestOffset(start + UInt64(first))
        let unit = Array(bytes[first..<min(first + size, bytes.count)])
        let whole = unit + Array(repeating: 0, count: size - unit.count)
        let isEncoded = try output.fill(encoder.encodedLimit) { output in
            try whole.withUnsafeBytes { try encoder.encode($0.bytes, into: &output) }
        }
        if isEncoded {
            try writer.write(encoded: output.bytes, at: place)
        } else {
            try unit.withUnsafeBytes { try writer.write($0.bytes, at: place, stored: nil) }
        }
    }
}

/// The bytes of the file at `path`.
func contents(_ path: String) throws -> [UInt8] {
    [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
}
