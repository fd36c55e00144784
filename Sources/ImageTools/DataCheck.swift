import BlockImage
import ImageFormats
import QCOW2
import VMDK

/// Reads all that one file of a chain stores of its disk, and inflates what is compressed.
struct DataCheck {
    /// The most bytes that are read at once.
    private static let readSize: UInt64 = 1 << 20

    private let path: String
    private let layer: (any ImageLayer)?
    /// A run that cannot be read is left behind in steps of so many bytes.
    private let step: UInt64

    /// The check of what `description`'s file stores.
    init(of description: LayerDescription) {
        path = description.file.path
        switch description.facts {
        case .raw:
            layer = RawLayer(file: description.file)
            step = Self.readSize
        case .qcow2(let qcow2, let layer):
            self.layer = layer
            step = qcow2.header.clusterSize
        case .vmdk(_, let layer):
            self.layer = layer
            step = layer?.clusterSize.map { UInt64($0) } ?? 65536
        }
    }

    /// Adds what cannot be read to `result`. Throws `unsupported` where the disk is stored in more runs than
    /// `Image.walkLimit`: a small hostile image can name one compressed cluster again and again.
    func run(
        _ result: inout CheckResult, runLimit: Int = Image.walkLimit, progress: (Double) -> Void
    ) throws(ImageError) {
        guard let layer else {
            return result.add(
                CheckFinding(.data, .error, path: path, "the data of the disk: not read, as it needs a key, or a file"))
        }
        let buffer = AlignedBuffer(capacity: Int(Self.readSize))
        var position: UInt64 = 0
        for _ in 0..<runLimit {
            guard position < layer.virtualSize else { return }
            progress(Double(position) / Double(layer.virtualSize))
            do throws(ImageError) {
                position += try read(layer, from: position, buffer)
            } catch {
                result.add(
                    CheckFinding(
                        .data, .corruption, path: error.path, at: error.offset, guest: GuestOffset(position),
                        "the data of guest offset \(GuestOffset(position)): \(error.message)"))
                // To the next place that may be stored in another way.
                position += step - position % step
            }
        }
        guard position < layer.virtualSize else { return }
        throw ImageError(
            .unsupported, path: path,
            "the data of the disk is stored in too many runs to read them: read up to \(GuestOffset(position))")
    }

    /// Reads one run from `position` on, at most `readSize` bytes of it if they are stored, and answers its bytes.
    private func read(
        _ layer: any ImageLayer, from position: UInt64, _ buffer: AlignedBuffer
    ) throws(ImageError) -> UInt64 {
        let start = GuestOffset(position)
        var extent = try layer.extent(at: start, limit: layer.virtualSize - position)
        switch extent.storage {
        case .zero, .unallocated: return extent.count
        case .data(let file, let offset):
            let run = file.run(at: offset, limit: extent.count)
            if run.isHole { return run.count }
            let count = min(run.count, Self.readSize)
            try buffer.fill(Int(count)) { output throws(ImageError) in
                try file.read(Int(count), at: offset, into: &output)
            }
            return count
        case .encoded:
            if extent.count > Self.readSize { extent = try layer.extent(at: start, limit: Self.readSize) }
            let count = extent.count
            try buffer.fill(Int(count)) { output throws(ImageError) in try layer.decode(extent, into: &output) }
            return count
        }
    }
}
