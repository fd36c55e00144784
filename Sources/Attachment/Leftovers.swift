import BlockImage
import Glibc
import HostStorage
import SystemPackage

extension AttachmentFolder {
    /// The devices of `record` that are its own still: the kernel gives the numbers of loop devices again.
    func ownDevices(of record: AttachmentRecord) throws(ImageError) -> [String] {
        let mark = mark(of: record)
        var own: [String] = []
        for path in record.devices {
            if try LoopDevice(holding: path)?.has(mark) == true { own.append(path) }
        }
        return own
    }

    /// The mount that `rblock mount` has made of `record`; nil where there is none, or none any more.
    private func ownMount(
        of record: AttachmentRecord, in table: MountTable
    ) throws(ImageError) -> MountTable.Entry? {
        guard let mounted = record.mounted, try ownDevices(of: record).contains(mounted.device) else { return nil }
        let mountpoint = FilePath(text: mounted.mountpoint)
        return table.entries.last { entry in
            entry.mountpoint == mountpoint && entry.source == mounted.device
                && (mounted.mountID == nil || mounted.mountID == entry.id)
        }
    }

    /// Unmounts what `rblock mount` has mounted of `record`, and nothing else. Throws EBUSY where it is in use, unless
    /// `isLazy`, and where another file system is mounted upon it.
    func unmountOwn(of record: AttachmentRecord, isLazy: Bool) throws(ImageError) {
        let table = try MountTable()
        guard let own = try ownMount(of: record, in: table) else { return }
        guard table.uppermost(at: own.mountpoint)?.id == own.id else {
            throw ImageError(
                .system(errno: EBUSY), path: own.mountpoint.text, "another file system is mounted upon it",
                hint: "'findmnt \(shellWord(own.mountpoint.text))' shows it; unmount it first")
        }
        do throws(ImageError) {
            try MountTable.unmount(own.mountpoint, isLazy: isLazy)
        } catch {
            guard error.code == .system(errno: EBUSY) else { throw error }
            throw ImageError(
                error.code, path: own.mountpoint.text, "is in use",
                hint: "'fuser -vm \(shellWord(own.mountpoint.text))' shows by what; --lazy does not wait")
        }
    }

    /// What is found of an attachment.
    enum Finding {
        /// It is there, as the kernel has it now.
        case attached(AttachmentRecord)
        /// This process is to remove what is left of it.
        case leftover(AttachmentRecord)
    }

    /// `record` as the kernel has it now.
    func checked(_ record: AttachmentRecord) throws(ImageError) -> Finding {
        if record.owner?.isRunning == true { return .attached(record) }
        var record = record
        record.owner = nil
        let devices = try ownDevices(of: record)
        let hasDevice = record.device.map(devices.contains) == true
        let hasServer = record.source == .file || record.server?.isRunning == true
        if record.isComplete, hasDevice, hasServer { return .attached(record) }
        if record.isComplete {
            let what = hasDevice ? "its server is gone" : "its device was detached"
            guard try isFree(record, devices) else {
                record.isDead = true
                return .attached(record)
            }
            onNote("\(record.name): \(what); what was left of it is removed")
        }
        record.owner = .current
        return .leftover(record)
    }

    /// Whether no program uses `devices`, those that `record` has still. What `rblock mount` has mounted of them is unmounted,
    /// unless that is in use.
    private func isFree(_ record: AttachmentRecord, _ devices: [String]) throws(ImageError) -> Bool {
        let own = try ownMount(of: record, in: MountTable())
        guard try DeviceUsers(of: devices, besides: own).isEmpty else { return false }
        do throws(ImageError) {
            try unmountOwn(of: record, isLazy: false)
            return true
        } catch {
            guard error.code == .system(errno: EBUSY) else { throw error }
            return false
        }
    }

    /// Removes all that there is of `record`, however far it was made, and in use or not.
    func takeDown(_ record: AttachmentRecord) throws(ImageError) {
        do throws(ImageError) {
            try unmountOwn(of: record, isLazy: true)
        } catch {
            // The device goes with what is mounted of it.
            guard error.code == .system(errno: EBUSY) else { throw error }
        }
        let mark = mark(of: record)
        for device in try LoopDevice.all(with: mark).reversed() { _ = try device.detach(isLazy: true, mark) }
        // One that was started for what was never attached may not have mounted yet.
        endServer(of: record, patience: record.isComplete ? .seconds(10) : .zero)
        try withLock { () throws(ImageError) in remove(record.name) }
    }

    /// Unmounts what the server of `record` has mounted, and waits until it has ended: by itself within `patience`. `isLazy`:
    /// it goes on for those that use it still.
    func endServer(of record: AttachmentRecord, patience: Duration = .seconds(10), isLazy: Bool = false) {
        let mountpoint = mountpoint(record.name)
        unmountServer(at: mountpoint)
        guard !isLazy else { return }
        for server in servers(of: record) where !server.waitForEnd(patience) {
            _ = server.end(patience: .seconds(5))
        }
        // One that was killed just before it answered may have mounted since.
        unmountServer(at: mountpoint)
    }

    /// The server of `record`. Where the process that started it was killed before it wrote down which that is, it is found by
    /// its program, its user and its mountpoint.
    private func servers(of record: AttachmentRecord) -> [ProcessIdentity] {
        if let server = record.server { return [server] }
        guard !record.isComplete, let program = try? AttachedServer.program() else { return [] }
        return ProcessIdentity.all(of: program, withArgument: mountpoint(record.name).text)
    }

    /// Unmounts all that is mounted at `mountpoint`, which only a server of ours mounts on.
    private func unmountServer(at mountpoint: FilePath) {
        for _ in 0..<4 {
            guard (try? MountTable.unmount(mountpoint, isLazy: true)) != nil else { return }
        }
    }
}
