import BlockImage
import Dispatch
import Glibc
import GuestProtocol
import Overlays
import Synchronization
import SystemPackage

/// A Linux in a QEMU process, which mounts file systems of disks: for those that no reader of this program knows, and for all
/// writing. It needs no root, no KVM, no FUSE, and no mount on the host. May be used from any thread.
///
/// What a hostile file system could take over is that kernel. It sees its disks, and the socket of its agent, and nothing else: no network, no
/// folder of the host. Nothing that the agent says is trusted.
public final class GuestMachine: Sendable {
    let channel: AgentChannel
    private let disks: [MachineDisk]
    /// The types of file systems whose modules it has.
    private let types: Set<String>
    /// The version of its kernel.
    public let kernelVersion: String
    /// Whether the host's processor runs it, and no emulation.
    public let usesKVM: Bool
    private let isOver = Guarded(false)
    /// The servers of its disks.
    private let servers: DispatchGroup

    /// Whether KVM was tried and did not work, so that it need not be tried again.
    private static let kvmFails = Atomic(false)

    private init(
        _ channel: AgentChannel, _ disks: [MachineDisk], _ servers: DispatchGroup, types: Set<String>,
        kernelVersion: String, usesKVM: Bool
    ) {
        (self.channel, self.disks, self.servers) = (channel, disks, servers)
        (self.types, self.kernelVersion, self.usesKVM) = (types, kernelVersion, usesKVM)
    }

    deinit { channel.process.kill() }

    /// Boots `kernel` with `disks`, to mount file systems of the `types`, as mount(8) calls them.
    ///
    /// Throws `system` with ENOENT for what is not installed, with the command that installs it.
    public static func start(
        disks: [MachineDisk], types: Set<String>, kernel: KernelFiles? = nil
    ) throws(ImageError) -> GuestMachine {
        guard disks.count <= GuestProtocol.diskLimit else {
            throw ImageError(
                .unsupported, about: .named("QEMU"),
                "a machine of \(disks.count) disks, and the limit is \(GuestProtocol.diskLimit)")
        }
        let qemu = try MachinePrograms.qemu()
        let kernel = if let kernel { kernel } else { try KernelFiles.find() }
        let archive = try Initramfs.archive(
            agent: try MachinePrograms.agent(), modules: try KernelModules(of: kernel, for: types))
        if access("/dev/kvm", R_OK | W_OK), !kvmFails.load(ordering: .relaxed) {
            if let machine = try? boot(qemu, kernel, archive, disks, types, accelerator: "kvm") { return machine }
            // There may be a device, and no processor that can: as in a machine in a machine.
            kvmFails.store(true, ordering: .relaxed)
        }
        return try boot(qemu, kernel, archive, disks, types, accelerator: "tcg")
    }

    private static func boot(
        _ qemu: FilePath, _ kernel: KernelFiles, _ archive: [UInt8], _ disks: [MachineDisk], _ types: Set<String>,
        accelerator: String
    ) throws(ImageError) -> GuestMachine {
        let faults = DiskFaults()
        var files: [FileDescriptor] = []
        var sockets: [MachineSocket] = []
        do throws(ImageError) {
            files.append(try .inMemory(archive))
            for _ in 0...disks.count {
                let (own, other) = try MachineSocket.pair()
                sockets.append(own)
                files.append(other)
            }
        } catch {
            for file in files { try? file.close() }
            throw error
        }
        let command = MachineCommand(kernel: kernel, accelerator: accelerator, diskCount: disks.count)
        let servers = DispatchGroup()
        let process = try MachineProcess.start(qemu, command.arguments, files: files)
        for (disk, socket) in zip(disks, sockets.dropFirst()) {
            DiskServer.start(disk, on: socket, noting: faults, in: servers)
        }
        let channel = AgentChannel(sockets[0], process, faults)
        // With KVM it takes a second; where that hangs, the machine is started without.
        let hello = try channel.hello(within: accelerator == "kvm" ? .seconds(30) : nil)
        return GuestMachine(
            channel, disks, servers, types: types, kernelVersion: hello.kernel, usesKVM: accelerator == "kvm")
    }

    /// Mounts the file system `type` of the disk `index`.
    ///
    /// For reading, the kernel replays its journal; what it writes for that goes with the machine. Throws `unsupported` where the kernel has no
    /// such file system, `corrupt` where it does not mount it.
    public func mount(
        disk index: Int = 0, type: String, writable: Bool = false
    ) throws(ImageError) -> KernelFileSystem {
        guard disks.indices.contains(index), types.contains(type) else {
            throw ImageError(
                .outOfRange, about: .named("QEMU"), "a machine of \(disks.count) disks has no \(type) on disk \(index)")
        }
        let disk = disks[index]
        guard !writable || disk.written != nil else {
            throw ImageError(.system(errno: EROFS), path: disk.path, "the machine has this disk for reading only")
        }
        let reply = try channel.exchange(
            .mount(
                disk: UInt32(index), type: type, options: MountOptions.options(for: type), isWritable: writable))
        switch reply {
        case .number(let number):
            return try KernelFileSystem(
                self, GuestMountID(number), disk: disk, type: type, isWritable: writable)
        case .failure(let failure): throw mountFailure(failure, disk, type)
        default: throw unexpected(reply)
        }
    }

    private func mountFailure(_ failure: GuestFailure, _ disk: MachineDisk, _ type: String) -> ImageError {
        let number = CInt(bitPattern: failure.number)
        if number == ENODEV {
            return ImageError(
                .unsupported, path: disk.path, "the kernel \(kernelVersion) has no file system \(type)",
                hint: "\(KernelFiles.variable) names a folder with another one")
        }
        let lines = channel.process.lastLines(3).joined(separator: " / ")
        var detail: ErrorText =
            "the kernel \(kernelVersion) does not mount its \(type): \(Errno(rawValue: number)); it said last: \(quoting: lines)"
        if let fault = channel.faults.error { detail += "; its disk: \(fault)" }
        return ImageError(.corrupt, path: disk.path, detail)
    }

    /// Stores all that was written, unmounts all, and switches the machine off. Whatever is used of it afterwards throws.
    ///
    /// What this throws is that what was written may not be on the disks. It has ended in any case.
    public func end() throws(ImageError) {
        let wasOver = isOver.withLock { isOver in
            defer { isOver = true }
            return isOver
        }
        guard !wasOver else { return }
        let isWritable = disks.contains { $0.written != nil }
        defer { kill() }
        do throws(ImageError) {
            let reply = try channel.exchange(.powerOff)
            if case .failure(let failure) = reply { throw error(failure) }
            guard channel.process.waitForEnd(seconds: 30) else {
                throw ImageError(.system(errno: ETIMEDOUT), about: .named("QEMU"), "the machine does not switch off")
            }
            for disk in disks { try disk.written?.layer.disk.flush() }
            if isWritable, let fault = channel.faults.writeError { throw fault }
        } catch {
            channel.end(error)
            if isWritable { throw error }
        }
        channel.end(MachineSocket.end)
    }

    /// Ends it as it is: what was written and not stored is lost. Nothing uses its disks any more.
    public func kill() {
        channel.process.kill()
        // QEMU closed their sockets when it ended; a disk that does not answer may keep one.
        _ = servers.wait(timeout: .now() + 30)
    }

    /// What a failure of the agent means that is about no file.
    private func error(_ failure: GuestFailure) -> ImageError {
        let number = CInt(bitPattern: failure.number)
        return ImageError(
            .system(errno: number), about: .named("QEMU"), "\(quoting: failure.step): \(Errno(rawValue: number))")
    }

    /// The error that a reply of another kind is.
    func unexpected(_ reply: GuestReply) -> ImageError {
        ImageError(.corrupt, about: .named("rblock-guest"), "answers what it was not asked for")
    }

    /// The process ID of QEMU; nil when it has ended. For tests.
    package var processID: pid_t? { channel.process.id }
}
