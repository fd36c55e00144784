import BlockImage
import HostStorage
import Overlays

/// What is written over a disk, as `stats.json` has it.
struct OverlayFacts: Encodable {
    private var filename: PathText
    /// The bytes that it takes on the host; nil where there is none yet.
    private var actualSize: UInt64?
    private var isThere: Bool
    private var isDirty: Bool
    private var writes: UInt64
    private var bytesWritten: UInt64
    private var zeroings: UInt64
    private var bytesZeroed: UInt64
    private var flushes: UInt64
    /// Why QEMU does not open it.
    private var qemuError: ErrorText?
    /// Why nothing can be written.
    private var writeError: ImageError?
    /// Whether what is written over an encrypted disk is stored as it is; left out for other disks.
    private var isPlaintext: Bool?

    private enum CodingKeys: String, CodingKey {
        case filename, writes, zeroings, flushes
        case actualSize = "actual-size"
        case isThere = "exists"
        case isDirty = "dirty"
        case bytesWritten = "bytes-written"
        case bytesZeroed = "bytes-zeroed"
        case qemuError = "qemu-error"
        case writeError = "write-error"
        case isPlaintext = "plaintext"
    }

    init(_ layer: OverlayLayer) {
        let (disk, counters) = (layer.disk, layer.disk.counters)
        filename = PathText(disk.location.text)
        actualSize = disk.allocatedSize
        isThere = actualSize != nil
        isDirty = disk.isDirty
        (writes, bytesWritten) = (counters.writes, counters.bytesWritten)
        (zeroings, bytesZeroed) = (counters.zeroings, counters.bytesZeroed)
        flushes = counters.flushes
        qemuError = layer.reasonAgainstQEMU
        writeError = layer.refusal
        isPlaintext = layer.isPlaintext && (isThere || layer.refusal == nil) ? true : nil
    }

    /// The same with as many characters as each figure can ever have.
    var widest: OverlayFacts {
        var widest = self
        (widest.actualSize, widest.isThere, widest.isDirty) = (.max, false, false)
        (widest.writes, widest.bytesWritten, widest.flushes) = (.max, .max, .max)
        (widest.zeroings, widest.bytesZeroed) = (.max, .max)
        return widest
    }
}
