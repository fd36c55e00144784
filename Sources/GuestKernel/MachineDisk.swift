import BlockImage
import Glibc
import Overlays

/// A disk of a machine.
public struct MachineDisk: Sendable {
    let image: Image
    /// Where what is written goes; nil: nowhere.
    let written: WrittenDisk?
    /// What errors call it.
    let path: String

    /// A disk whose bytes never change: what the kernel writes, as where it replays a journal, is kept while the machine runs. `path`: what errors
    /// call it.
    public init(reading image: Image, path: String) {
        (self.image, written, self.path) = (image, nil, path)
    }

    /// A disk that is written to, over which there is an overlay. Throws why it cannot be.
    public init(writing image: Image, path: String) throws(ImageError) {
        (self.image, written, self.path) = (image, try WrittenDisk(image, path: path), path)
    }

    /// What the server of one machine reads and writes.
    func served() throws(ImageError) -> any ServedDisk {
        guard let written else { return try ScratchDisk(image) }
        return OverlaidDisk(written)
    }
}

/// A disk as its server has it; of one thread.
protocol ServedDisk: AnyObject {
    /// Its bytes: a multiple of 512.
    var size: UInt64 { get }
    /// Appends the `count` bytes at `start`, which are inside.
    func read(_ count: Int, at start: UInt64, into output: inout OutputRawSpan) throws(ImageError)
    func write(_ bytes: RawSpan, at start: UInt64) throws(ImageError)
    func zero(_ count: UInt64, at start: UInt64, mayUnmap: Bool) throws(ImageError)
    func discard(_ count: UInt64, at start: UInt64) throws(ImageError)
    func flush() throws(ImageError)
}

/// The bytes of a sector.
private let sectorSize: UInt64 = 512

extension Image {
    /// The size in whole sectors.
    fileprivate var sectorsSize: UInt64 {
        virtualSize > .max - sectorSize
            ? virtualSize / sectorSize * sectorSize : (virtualSize + sectorSize - 1) / sectorSize * sectorSize
    }

    /// Appends the `count` bytes at `start`, with zeros past the end of the disk.
    fileprivate func readSectors(
        _ count: Int, at start: UInt64, into output: inout OutputRawSpan
    ) throws(ImageError) {
        let inside = Int(min(UInt64(count), start < virtualSize ? virtualSize - start : 0))
        if inside > 0 { try read(inside, at: GuestOffset(start), into: &output) }
        if inside < count { output.appendZeros(count - inside) }
    }
}

/// A disk that is written over: one that has an overlay, or a part of it, as a partition or a volume of LVM.
struct WrittenDisk: Sendable {
    let image: Image
    /// What is written to.
    let layer: OverlayLayer

    /// Throws why `image` cannot be written to; errors call it `path`.
    init(_ image: Image, path: String) throws(ImageError) {
        guard let found = Self.place(1, at: 0, of: image) else {
            throw ImageError(.system(errno: EROFS), path: path, "cannot be written to: it has no overlay")
        }
        if let refusal = found.layer.refusal { throw refusal }
        (self.image, layer) = (image, found.layer)
    }

    /// Gives `body` where on the disk of `layer` the `count` bytes at `start` are, piece by piece, with how many were before.
    func forEachPlace(
        _ count: UInt64, at start: UInt64, _ body: (GuestOffset, UInt64, Int) throws(ImageError) -> Void
    ) throws(ImageError) {
        var done: UInt64 = 0
        while done < count {
            guard let found = Self.place(count - done, at: start + done, of: image), found.layer === layer else {
                throw ImageError(
                    .outOfRange, about: .disk,
                    "\(count) bytes at \(GuestOffset(start)) are not on the disk that is written to")
            }
            try body(GuestOffset(found.start), found.count, Int(done))
            done += found.count
        }
    }

    /// Where the byte `start` of `image` is, and how many of the `count` bytes from there on lie together; nil for nowhere.
    private static func place(
        _ count: UInt64, at start: UInt64, of image: Image
    ) -> (layer: OverlayLayer, start: UInt64, count: UInt64)? {
        guard start < image.virtualSize else { return nil }
        let count = min(count, image.virtualSize - start)
        switch image.layer {
        case let layer as OverlayLayer: return (layer, start, count)
        case let slice as SliceLayer: return place(count, at: slice.start.rawValue + start, of: slice.disk)
        case let mapped as MappedLayer:
            let found = mapped.place(of: start)
            return place(min(count, found.count), at: found.start.rawValue, of: found.disk)
        default: return nil
        }
    }
}

/// What a machine writes to a disk, and reads of it.
private final class OverlaidDisk: ServedDisk {
    private let disk: WrittenDisk

    init(_ disk: WrittenDisk) { self.disk = disk }

    // The last bytes of a disk that ends within a sector are of no file system.
    var size: UInt64 { disk.image.virtualSize / sectorSize * sectorSize }

    func read(_ count: Int, at start: UInt64, into output: inout OutputRawSpan) throws(ImageError) {
        try disk.image.read(count, at: GuestOffset(start), into: &output)
    }

    func write(_ bytes: RawSpan, at start: UInt64) throws(ImageError) {
        try disk.forEachPlace(UInt64(bytes.byteCount), at: start) { place, count, done throws(ImageError) in
            try disk.layer.write(bytes.extracting(done..<(done + Int(count))), at: place)
        }
    }

    func zero(_ count: UInt64, at start: UInt64, mayUnmap: Bool) throws(ImageError) {
        try disk.forEachPlace(count, at: start) { place, count, _ throws(ImageError) in
            try disk.layer.zero(count, at: place, mayUnmap: mayUnmap)
        }
    }

    func discard(_ count: UInt64, at start: UInt64) throws(ImageError) {
        try disk.forEachPlace(count, at: start) { place, count, _ throws(ImageError) in
            try disk.layer.discard(count, at: place)
        }
    }

    func flush() throws(ImageError) { try disk.layer.disk.flush() }
}

/// A disk that is read, with what was written kept in a file without a name, which goes with it.
final class ScratchDisk: ServedDisk {
    /// The bytes that are kept together.
    private static let blockSize = 4096
    /// The most bytes that are written: a journal has less.
    private static let limit = 4 << 30

    private let image: Image
    private let limit: Int
    /// Where each block is kept that was written, in blocks.
    private var places: [UInt64: Int] = [:]
    private var file: CInt = -1
    private let buffer = AlignedBuffer(capacity: blockSize)

    /// What is written over `image`, at most `limit` bytes.
    init(_ image: Image, limit: Int = limit) throws(ImageError) { (self.image, self.limit) = (image, limit) }

    deinit { if file >= 0 { close(file) } }

    var size: UInt64 { image.sectorsSize }

    func read(_ count: Int, at start: UInt64, into output: inout OutputRawSpan) throws(ImageError) {
        guard !places.isEmpty else { return try image.readSectors(count, at: start, into: &output) }
        let buffer = buffer
        try forBlocks(UInt64(count), at: start) { block, offset, count throws(ImageError) in
            guard let place = places[block] else {
                try image.readSectors(count, at: block * UInt64(Self.blockSize) + UInt64(offset), into: &output)
                return
            }
            try load(place)
            output.append(copying: buffer.bytes.extracting(offset..<(offset + count)))
        }
    }

    func write(_ bytes: RawSpan, at start: UInt64) throws(ImageError) {
        var position = 0
        try forBlocks(UInt64(bytes.byteCount), at: start) { block, offset, count throws(ImageError) in
            let piece = bytes.extracting(position..<(position + count))
            try store(count, in: block, at: offset) { $0.append(copying: piece) }
            position += count
        }
    }

    func zero(_ count: UInt64, at start: UInt64, mayUnmap: Bool) throws(ImageError) {
        try forBlocks(count, at: start) { block, offset, count throws(ImageError) in
            try store(count, in: block, at: offset) { $0.appendZeros(count) }
        }
    }

    func discard(_ count: UInt64, at start: UInt64) throws(ImageError) {}

    func flush() throws(ImageError) {}

    /// Gives `body` each block of the bytes, with the first byte in it and how many.
    private func forBlocks(
        _ count: UInt64, at start: UInt64, _ body: (UInt64, Int, Int) throws(ImageError) -> Void
    ) throws(ImageError) {
        let size = UInt64(Self.blockSize)
        var (position, left) = (start, count)
        while left > 0 {
            let offset = position % size
            let count = min(left, size - offset)
            try body(position / size, Int(offset), Int(count))
            position += count
            left -= count
        }
    }

    /// Keeps `block` with `count` bytes changed at `offset` to what `piece` appends.
    private func store(
        _ count: Int, in block: UInt64, at offset: Int, _ piece: (inout OutputRawSpan) -> Void
    ) throws(ImageError) {
        let known = places[block]
        let whole = AlignedBuffer(capacity: Self.blockSize)
        if let known {
            try load(known)
        } else if count < Self.blockSize {
            try buffer.fill(Self.blockSize) { output throws(ImageError) in
                try image.readSectors(Self.blockSize, at: block * UInt64(Self.blockSize), into: &output)
            }
        }
        let old = count < Self.blockSize ? buffer : nil
        whole.fill(Self.blockSize) { output in
            if let old { output.append(copying: old.bytes.extracting(0..<offset)) }
            piece(&output)
            if let old { output.append(copying: old.bytes.extracting((offset + count)..<Self.blockSize)) }
        }
        let place = known ?? places.count
        guard (place + 1) * Self.blockSize <= limit else {
            throw ImageError(.system(errno: ENOSPC), about: .disk, "the kernel writes more than \(limit) bytes")
        }
        try openFile()
        // Safe: the bytes of a buffer of ours.
        let written = unsafe whole.bytes.withUnsafeBytes {
            unsafe pwrite(file, $0.baseAddress, $0.count, off_t(place * Self.blockSize))
        }
        guard written == Self.blockSize else { throw Self.failure("keep what the kernel writes") }
        places[block] = place
    }

    /// Reads what is kept at `place` into the buffer.
    private func load(_ place: Int) throws(ImageError) {
        let file = file
        try buffer.fill(Self.blockSize) { output throws(ImageError) in
            // Safe: pread writes at most as many bytes as there is space for, and those are counted that it wrote.
            let got = unsafe output.withUnsafeMutableBytes { space, count in
                let got = unsafe pread(file, space.baseAddress, Self.blockSize, off_t(place * Self.blockSize))
                count += max(got, 0)
                return got
            }
            guard got == Self.blockSize else { throw Self.failure("read what the kernel wrote") }
        }
    }

    private func openFile() throws(ImageError) {
        guard file < 0 else { return }
        file = unnamedFile()
        guard file >= 0 else { throw Self.failure("make a file for what the kernel writes") }
    }

    private static func failure(_ step: ErrorText) -> ImageError {
        let number = errno
        return ImageError(.system(errno: number), about: .disk, "\(step): error \(number)")
    }
}
