import BlockImage
import CLinux
import Glibc
import HostStorage
import SystemPackage

/// A part of a device that is a device by itself.
package struct PartitionDevice: Codable, Hashable, Sendable {
    /// The number that Linux gives the partition.
    package var number: Int
    /// Its node.
    package var device: String
    /// Where on the disk it begins, and how many bytes it has.
    package var start: UInt64
    package var size: UInt64
}

extension LoopDevice {
    /// Has `partitions` of it be devices: `/dev/loop0p1`, as the kernel makes them where it reads partition tables. Where the
    /// kernel knows another table, or none, it gets these. One that it refuses is a loop device of its own, over that part
    /// of `file`, which the device shows from `range` on.
    func addPartitions(
        _ partitions: [(number: Int, bytes: Range)], of file: FileDescriptor, _ range: Range, sectorSize: UInt64,
        tag: String
    ) throws(ImageError) -> [PartitionDevice] {
        var devices: [PartitionDevice] = []
        for (number, bytes) in partitions {
            var node = "\(path)p\(number)"
            if !add(number, bytes) {
                let (start, overflow) = range.offset.addingReportingOverflow(bytes.offset)
                guard !overflow else { continue }
                let place = Range(offset: start, count: bytes.count)
                node = try Self.make(
                    over: file, place, sectorSize: sectorSize, isDirect: isDirect, tag: "\(tag)/p\(number)"
                ).path
            }
            devices.append(PartitionDevice(number: number, device: node, start: bytes.offset, size: bytes.count))
        }
        return devices
    }

    /// Makes the partition, unless it is there; answers whether it is.
    private func add(_ number: Int, _ bytes: Range) -> Bool {
        if let known = partition(number) {
            if known == bytes, hasNode(number) { return true }
            _ = onDevice { clinux_partition_remove($0, CInt(clamping: number)) }
        }
        guard let start = Int64(exactly: bytes.offset), let count = Int64(exactly: bytes.count), number > 0 else {
            return false
        }
        guard onDevice({ clinux_partition_add($0, CInt(clamping: number), start, count) }) == 0 else { return false }
        // Where /dev is kept by udev, the node comes a moment later.
        guard partition(number) == bytes, waits(.seconds(2), for: { hasNode(number) }) else {
            _ = onDevice { clinux_partition_remove($0, CInt(clamping: number)) }
            return false
        }
        return true
    }

    private func onDevice(_ body: (CInt) -> CInt) -> CInt {
        guard let handle = try? FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec) else { return -1 }
        defer { try? handle.close() }
        return body(handle.rawValue)
    }

    private func hasNode(_ number: Int) -> Bool {
        if case .blockDevice? = try? FileStatus(at: FilePath("\(path)p\(number)")).kind { true } else { false }
    }

    /// Where the kernel has the partition `number`; nil where it has none.
    private func partition(_ number: Int) -> Range? {
        func value(_ name: String) -> UInt64? {
            let text = try? smallFile(FilePath("/sys/block/\(self.name)/\(self.name)p\(number)/\(name)"))
            return text.flatMap { UInt64(String(decoding: $0.filter { $0 > 0x20 }, as: UTF8.self)) }
        }
        // In sectors of 512 bytes, whatever those of the device are.
        guard let start = value("start"), let count = value("size"),
            case (let offset, false) = start.multipliedReportingOverflow(by: 512),
            case (let size, false) = count.multipliedReportingOverflow(by: 512)
        else { return nil }
        return Range(offset: offset, count: size)
    }
}
