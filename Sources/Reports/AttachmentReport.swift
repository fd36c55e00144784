import Attachment

/// What `rblock attach`, `attached`, `detach`, `mount` and `unmount` say of a disk.
package struct AttachmentReport: Encodable, Sendable {
    /// A partition that is a device.
    private struct Partition: Encodable {
        var number: Int
        var device: String
        var start: UInt64
        var size: UInt64
    }

    /// What has come of it.
    package enum State: String, Encodable, Sendable {
        case attached, mounted, detached, busy
        case serverGone = "server-gone"
    }

    private enum CodingKeys: String, CodingKey {
        case name, filename, state, device, size, source, partitions, mountpoint, options, notes
        case virtualSize = "virtual-size"
        case directIO = "direct-io"
        case serverPID = "server-pid"
        case fileSystem = "file-system"
    }

    private let name: String
    private let filename: String
    private let state: State
    /// Nil while it is not made yet.
    private let device: String?
    private let size: UInt64
    private let virtualSize: UInt64
    private let source: AttachmentRecord.Source
    private let serverPID: Int32?
    private let directIO: Bool
    private let partitions: [Partition]
    private let mountpoint: String?
    private let fileSystem: String?
    private let options: String?
    private let notes: [String]?

    /// Of `record`, which is in `state`; `notes`: what people should know of it.
    package init(_ record: AttachmentRecord, _ state: State, notes: [String] = []) {
        (name, filename, self.state) = (record.name, record.image, state)
        (device, size, virtualSize) = (record.device, record.size, record.diskSize)
        (source, serverPID, directIO) = (record.source, record.server?.pid, record.isDirect)
        partitions = record.partitions.map {
            Partition(number: $0.number, device: $0.device, start: $0.start, size: $0.size)
        }
        (mountpoint, fileSystem) = (record.mounted?.mountpoint, record.mounted?.type)
        options = record.mounted?.options
        self.notes = notes.isEmpty ? nil : notes
    }
}

/// What `rblock mount` says of an image with several file systems, of which one must be chosen.
package struct MountChoiceReport: Encodable, Sendable {
    /// A file system that can be mounted, or a volume that may have one.
    package struct Choice: Encodable, Sendable {
        /// Its partition; nil: it lies on the disk itself, or is a volume.
        package var partition: Int?
        /// The volume of LVM, as it follows the image's name.
        package var volume: String?
        /// Nil: a volume, which was not looked into.
        package var type: String?
        package var label: String?
        package var uuid: String?
        package var size: UInt64

        package init(partition: Int?, type: String, label: String?, uuid: String?, size: UInt64) {
            (self.partition, self.type, self.label) = (partition, type, label)
            (self.uuid, self.size) = (uuid, size)
        }

        package init(volume: String, size: UInt64) { (self.volume, self.size) = (volume, size) }
    }

    private struct Words: Encodable {
        var code = "usage"
        var message: String
    }

    private enum CodingKeys: String, CodingKey {
        case filename, error
        case choices = "file-systems"
    }

    private let filename: String
    private let error: Words
    private let choices: [Choice]

    package init(filename: String, message: String, _ choices: [Choice]) {
        (self.filename, error, self.choices) = (filename, Words(message: message), choices)
    }
}

/// What `rblock unmount` says of a mount of rblockfs.
package struct UnmountReport: Encodable, Sendable {
    /// The mountpoint, and what was mounted there.
    package var filename: String
    package var images: String
    package var state = "unmounted"
    /// The process that served it, which has ended; nil: it is not known.
    package var serverPID: Int32?

    package init(_ mountpoint: String, images: String, server: Int32?) {
        (filename, self.images, serverPID) = (mountpoint, images, server)
    }

    private enum CodingKeys: String, CodingKey {
        case filename, images, state
        case serverPID = "server-pid"
    }
}
