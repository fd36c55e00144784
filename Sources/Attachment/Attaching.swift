import BlockImage
import CLinux
import Glibc
import HostStorage
import SystemPackage

/// A disk that is to be a block device.
package struct DiskToAttach {
    /// The name that was asked for, and the one that it gets otherwise, with a number where that is taken.
    package var name: String?
    package var usualName: String
    /// The image, as it was named, and the path of its file.
    package var image: String
    package var path: String
    package var disk: Image
    package var files: [any HostFile]
    /// Nil: it has to be served.
    package var flatPlace: FlatPlace?
    package var server: AttachedServer
    /// The bytes of a sector of the device, 512 or 4096: its kernel reads partition tables in them.
    package var sectorSize: UInt64
    /// The partitions that are to be devices as well.
    package var partitions: [(number: Int, bytes: LoopDevice.Range)]

    package init(
        name: String?, usualName: String, image: String, path: String, disk: Image, files: [any HostFile],
        flatPlace: FlatPlace?, server: AttachedServer, sectorSize: UInt64,
        partitions: [(number: Int, bytes: LoopDevice.Range)]
    ) {
        (self.name, self.usualName, self.image, self.path) = (name, usualName, image, path)
        (self.disk, self.files, self.flatPlace, self.server) = (disk, files, flatPlace, server)
        (self.sectorSize, self.partitions) = (sectorSize, partitions)
    }
}

extension AttachmentFolder {
    /// Makes the devices of `wanted`. They are removed by whichever command comes next, unless `complete` follows.
    package func begin(_ wanted: DiskToAttach) throws(ImageError) -> AttachmentRecord {
        let sectorSize = wanted.sectorSize
        let size = wanted.disk.virtualSize / sectorSize * sectorSize
        guard size > 0 else {
            throw ImageError(
                .unsupported, path: wanted.image,
                "has \(wanted.disk.virtualSize) bytes, and a block device has at least a sector of \(sectorSize)"
            )
        }
        var record = try reserve(wanted)
        do throws(ImageError) {
            let file = try openFile(of: wanted, &record)
            defer { try? file.descriptor.close() }
            let range = LoopDevice.Range(offset: file.offset, count: size)
            // What a server reads is in the page cache already. A file of the host, which may be there as well, is read
            // two to four times as fast by way of it then.
            let device = try LoopDevice.make(
                over: file.descriptor, range, sectorSize: sectorSize, isDirect: record.source == .server,
                tag: record.tag)
            record.device = device.path
            record.size = size
            try update(&record)
            record.isDirect = try Self.compare(device.path, with: wanted.disk, at: 0, size, device: device)
            record.partitions = try device.addPartitions(
                wanted.partitions.compactMap { Self.whole($0, of: size, sectorSize) }, of: file.descriptor, range,
                sectorSize: sectorSize, tag: record.tag)
            for partition in record.partitions {
                _ = try Self.compare(
                    partition.device, with: wanted.disk, at: partition.start, partition.size, device: nil)
            }
            guard device.size == size else {
                throw ImageError(
                    .unsupported, path: device.path,
                    "has \(device.size) bytes, and the disk \(size): the file that it is over has changed")
            }
            try update(&record)
        } catch {
            abandon(record)
            throw error
        }
        return record
    }

    /// What `begin` made is to stay.
    package func complete(_ record: inout AttachmentRecord) throws(ImageError) {
        record.isComplete = true
        try update(&record, isOver: true)
    }

    /// Keeps in mind that `record` is to be mounted so, before it is, and then which mount that is.
    package func note(
        _ mounted: AttachmentRecord.Mounted, of record: inout AttachmentRecord
    ) throws(ImageError) {
        record.mounted = mounted
        try update(&record)
    }

    /// Takes back what `begin` made. What cannot be taken back now, the next command takes back.
    package func abandon(_ record: AttachmentRecord) { try? takeDown(record) }

    /// Takes the name for `wanted`.
    private func reserve(_ wanted: DiskToAttach) throws(ImageError) -> AttachmentRecord {
        try locked { content throws(ImageError) in
            for fault in content.faults { onNote(fault.error.description) }
            let taken = Set(content.records.map(\.name) + content.faults.map(\.name))
            if let name = wanted.name, let other = content.records.first(where: { $0.name == name }) {
                throw ImageError(
                    .denied, about: .named(name), "is the name of \(path: other.image), which is attached already",
                    hint: "'rblock attached' lists the names that are taken")
            }
            if let fault = content.faults.first(where: { $0.name == wanted.name }) { throw fault.error }
            var name = wanted.name ?? wanted.usualName
            var number = 2
            while taken.contains(name) {
                name = "\(wanted.usualName)-\(number)"
                number += 1
            }
            let record = AttachmentRecord(
                name: name, image: wanted.image, path: wanted.path, diskSize: wanted.disk.virtualSize,
                files: wanted.files)
            try save(record)
            return record
        }
    }

    /// The open file that has the disk, from an offset on: of the image, or of a server that is started.
    private func openFile(
        of wanted: DiskToAttach, _ record: inout AttachmentRecord
    ) throws(ImageError) -> (descriptor: FileDescriptor, offset: UInt64) {
        if let place = wanted.flatPlace, let descriptor = place.file.descriptor {
            let own = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
            guard own >= 0 else { throw systemError("keep it open", path: place.file.path) }
            return (FileDescriptor(rawValue: own), place.offset)
        }
        record.source = .server
        record.server = try wanted.server.start(for: record.name, in: self)
        try update(&record)
        let path = mountpoint(record.name).pushing(wanted.server.file)
        do {
            let file = try FileDescriptor.open(path, .readOnly, options: [.closeOnExec, .noFollow])
            let size = try file.seek(offset: 0, from: .end)
            guard UInt64(clamping: size) == wanted.disk.virtualSize else {
                try? file.close()
                throw ImageError(
                    .system(errno: ESTALE), path: wanted.image,
                    "had \(wanted.disk.virtualSize) bytes, and has \(size) now: it was changed meanwhile")
            }
            return (file, 0)
        } catch let error as ImageError {
            throw error
        } catch {
            throw systemError(error, path: path.text)
        }
    }

    /// The sectors of a partition of a disk of `size` bytes; nil where there is none, or it would have none.
    private static func whole(
        _ partition: (number: Int, bytes: LoopDevice.Range), of size: UInt64, _ sector: UInt64
    ) -> (number: Int, bytes: LoopDevice.Range)? {
        guard partition.bytes.offset % sector == 0, partition.bytes.offset < size else { return nil }
        let count = min(partition.bytes.count, size - partition.bytes.offset) / sector * sector
        return count > 0 ? (partition.number, LoopDevice.Range(offset: partition.bytes.offset, count: count)) : nil
    }
}

extension AttachmentFolder {
    /// How much of each end is compared.
    private static let comparedSize: UInt64 = 64 << 10

    /// Compares both ends of the device at `path` with the `size` bytes at `start` of `disk`: that a device was made proves
    /// nothing of its bytes. Answers whether `device`, if given, reads past the page cache, which it then does only where
    /// reading so works. Throws where a byte is another, or cannot be read although the image has it.
    private static func compare(
        _ path: String, with disk: Image, at start: UInt64, _ size: UInt64, device: LoopDevice?
    ) throws(ImageError) -> Bool {
        let count = min(size, comparedSize)
        for offset in Set([0, size - count]) {
            // What the image cannot give, the device cannot either.
            let buffer = AlignedBuffer(capacity: Int(count))
            do throws(ImageError) {
                try buffer.fill(Int(count)) { output throws(ImageError) in
                    try disk.read(Int(count), at: GuestOffset(start + offset), into: &output)
                }
            } catch {
                continue
            }
            var found = read(path, offset, Int(count))
            if found == nil, let device, device.isDirect {
                device.useCache()
                found = read(path, offset, Int(count))
            }
            guard let found else { throw systemError("read it", path: path) }
            guard found == buffer.array else {
                throw ImageError(
                    .system(errno: ESTALE), path: path, offset: HostOffset(offset),
                    "has other bytes than the disk has: the image was changed meanwhile")
            }
        }
        return device?.isDirect ?? false
    }

    /// Reads past the page cache of the device, so that what it has there is no older than this; nil with errno set where
    /// that fails.
    private static func read(_ path: String, _ offset: UInt64, _ count: Int) -> [UInt8]? {
        // Safe: a string of ours.
        let handle = unsafe open(path, O_RDONLY | O_CLOEXEC | clinux_O_DIRECT)
        guard handle >= 0 else { return nil }
        defer { close(handle) }
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 4096)
        defer { unsafe memory.deallocate() }
        var done = 0
        while done < count {
            // Safe: pread writes into the part that is left of the memory.
            let got = unsafe pread(handle, memory.baseAddress! + done, count - done, off_t(offset) + off_t(done))
            guard got > 0 else {
                if got == 0 { errno = EIO }
                return nil
            }
            done += got
        }
        return unsafe Array(memory)
    }
}
