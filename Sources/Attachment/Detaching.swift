import BlockImage
import Glibc
import HostStorage
import SystemPackage

extension AttachmentFolder {
    /// What there was to say of a disk that is free again.
    package struct Outcome: Sendable {
        package var record: AttachmentRecord
        /// Why what was read from the device may be wrong; nil: nothing speaks for it.
        package var doubt: String?

        init(record: AttachmentRecord, doubt: String? = nil) { (self.record, self.doubt) = (record, doubt) }
    }

    /// What is attached, and, by name, why it cannot be known of some.
    package func list() throws(ImageError) -> (
        records: [AttachmentRecord], faults: [(name: String, error: ImageError)]
    ) {
        try locked { ($0.records, $0.faults) }
    }

    /// Whether `record` is called `name`, or has the device of that path.
    private static func isAttached(_ record: AttachmentRecord, as name: String) -> Bool {
        if record.name == name || record.devices.contains(name) { return true }
        // A link to the device, as those of /dev/disk.
        return name.contains("/") && (try? canonical(FilePath(text: name)).text).map(record.devices.contains) == true
    }

    /// Whether `rblock mount` has mounted `record` at the directory `path`, or `record` under that name.
    private static func isMounted(_ record: AttachmentRecord, as path: String) -> Bool {
        guard let mounted = record.mounted else { return false }
        return record.name == path || (try? canonical(FilePath(text: path)).text) == mounted.mountpoint
    }

    /// Detaches the disk that is called `name`, or has the device of that path, and returns when nothing of it is in use: its
    /// devices are detached, and its server has ended. Throws where it is in use; `isLazy`: it goes with the last program that
    /// uses it.
    package func detach(_ name: String, isLazy: Bool) throws(ImageError) -> Outcome {
        let missing = ImageError(
            .outOfRange, about: .named(name), "is not attached", hint: "'rblock attached' lists what is")
        let claim = try claim(name, of: { Self.isAttached($0, as: name) }, orThrow: { _ in missing })
        guard case .owned(var record) = claim else { return claim.outcome }
        do throws(ImageError) {
            let doubt = Self.doubt(about: record)
            try release(record, isLazy: isLazy)
            return Outcome(record: record, doubt: doubt)
        } catch {
            try? update(&record, isOver: true)
            throw error
        }
    }

    /// The same of what `rblock mount` has mounted at `path`, or under that name; it is unmounted first.
    package func unmount(_ path: String, isLazy: Bool) throws(ImageError) -> Outcome {
        let claim = try claim(path, of: { Self.isMounted($0, as: path) }, orThrow: { Self.notMounted(path, $0) })
        guard case .owned(var record) = claim else { return claim.outcome }
        do throws(ImageError) {
            let doubt = Self.doubt(about: record)
            try unmountOwn(of: record, isLazy: isLazy)
            try release(record, isLazy: isLazy)
            return Outcome(record: record, doubt: doubt)
        } catch {
            try? update(&record, isOver: true)
            throw error
        }
    }

    /// That nothing called `path` is mounted; it may be the name of one of `records`.
    private static func notMounted(_ path: String, _ records: [AttachmentRecord]) -> ImageError {
        guard records.contains(where: { $0.name == path }) else {
            let isFolder = (try? FileStatus(at: FilePath(text: path)).kind) == .folder
            return ImageError(
                .outOfRange, about: .named(path),
                isFolder
                    ? "nothing of 'rblock mount' or rblockfs is mounted there"
                    : "is no directory and no name of what 'rblock mount' has mounted",
                hint: "'rblock attached' lists what 'rblock mount' has mounted")
        }
        return ImageError(
            .outOfRange, about: .named(path), "is attached, and 'rblock mount' has not mounted it",
            hint: "'rblock detach \(shellWord(path))' detaches it")
    }

    private enum Claim {
        /// This process is the one that works at it.
        case owned(AttachmentRecord)
        /// Nothing of it is left.
        case removed(AttachmentRecord)

        var outcome: Outcome {
            switch self {
            case .owned(let record): Outcome(record: record)
            case .removed(let record): Outcome(record: record, doubt: AttachmentFolder.deadServer)
            }
        }
    }

    /// Has this process be the one that works at what `isMeant`, which was named `name`. Throws `missing` where there is none.
    private func claim(
        _ name: String, of isMeant: (AttachmentRecord) -> Bool, orThrow missing: ([AttachmentRecord]) -> ImageError
    ) throws(ImageError) -> Claim {
        try locked { content throws(ImageError) in
            guard var record = content.records.first(where: isMeant) else {
                if let record = content.removed.first(where: isMeant) { return .removed(record) }
                if let fault = content.faults.first(where: { $0.name == name }) { throw fault.error }
                // What is meant may be one of these.
                for fault in content.faults { onNote(fault.error.description) }
                throw missing(content.records)
            }
            guard !record.isBusy else {
                throw ImageError(
                    .system(errno: EBUSY), about: .named(record.name),
                    "process \(record.owner?.pid ?? 0) is attaching or detaching it")
            }
            record.owner = .current
            try save(record)
            return .owned(record)
        }
    }

    private static let deadServer = "its server or its device was gone before, and what was read since then has failed"

    /// Why what was read from its device may be wrong.
    private static func doubt(about record: AttachmentRecord) -> String? {
        let size = record.device.flatMap(LoopDevice.init(path:))?.size ?? 0
        if record.isDead || record.source == .server && record.server?.isRunning != true { return deadServer }
        if size != record.size { return "the device had \(size) bytes, and the disk has \(record.size)" }
        let changed = record.changedFiles
        if changed.isEmpty { return nil }
        return "\(changed.joined(separator: ", ")): was replaced or written to while it was attached; "
            + "where it was written to, what was read may be a mixture"
    }

    private func release(_ record: AttachmentRecord, isLazy: Bool) throws(ImageError) {
        let users = try isLazy ? DeviceUsers(of: []) : DeviceUsers.lasting(of: ownDevices(of: record))
        guard users.isEmpty else { throw Self.inUse(record, by: users.description) }
        let mark = mark(of: record)
        for device in try LoopDevice.all(with: mark).reversed() {
            guard try device.detach(isLazy: isLazy, mark) || isLazy else {
                let users = try DeviceUsers(of: [device.path])
                guard users.isEmpty else { throw Self.inUse(record, by: users.description) }
                throw ImageError(
                    .system(errno: EBUSY), path: device.path,
                    "is mounted in another mount namespace, which has a copy of the mounts here: run the command again "
                        + "when that has ended (lsns -t mnt)", hint: "--lazy does not wait for it")
            }
        }
        endServer(of: record, isLazy: isLazy)
        try withLock { () throws(ImageError) in remove(record.name) }
    }

    private static func inUse(_ record: AttachmentRecord, by users: String) -> ImageError {
        let hint =
            record.mounted == nil
            ? "--lazy detaches it when the last of them ends" : "'rblock unmount \(shellWord(record.name))' unmounts it"
        return ImageError(
            .system(errno: EBUSY), path: record.device ?? record.name, "is in use by \(quoting: users)", hint: hint)
    }
}
