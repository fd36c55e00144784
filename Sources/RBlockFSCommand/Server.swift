import Arguments
import BlockImage
import CLinux
import Encryption
import Fuse
import Glibc
import HostStorage
import ImageFS
import ImageFormats
import Logging
import Overlays
import Sockets
import SystemPackage

/// The process that serves a mount.
struct Server {
    /// Read-ahead of the mount, where this process may set it: the kernel's 128 KiB costs a third of the speed of
    /// sequential reads and most of that of mapped ones.
    private static let readAheadKibibytes = 1024

    private let command: RBlockFS
    private let overlaySettings: OverlaySettings

    /// What `command` says; with --overlay disks are written over as `overlaySettings` says.
    init(_ command: RBlockFS, overlaying overlaySettings: OverlaySettings) {
        self.command = command
        self.overlaySettings = overlaySettings
    }

    func run() throws(MountFailure) {
        command.backgroundFd.map { Background.detach(keeping: $0, PassedDevice(mountpoint: command.mountpoint)) }
        // What is started from here, as fusermount3, must not keep it open.
        command.service.readyFd.map { if $0 > STDERR_FILENO { _ = fcntl($0, F_SETFD, FD_CLOEXEC) } }
        raiseDescriptorLimit()
        // What reaches past the limit of a file's size (ulimit -f) fails, as on a full disk.
        _ = signal(SIGXFSZ, SIG_IGN)
        // Two, so that the workers seldom wait for each other, and the caches' bounds bound the process.
        clinux_limit_arenas(2)
        let logger = makeLogger()
        Log.setHandler { line in logger.notice("\(line)") }
        try Privileges.check(becoming: command.service.user)
        // Later it could not even unmount.
        if command.kernelPath == .require, command.service.givesUpPrivileges {
            throw MountFailure(requiringKernelPath: ErrorNumber(rawValue: EPERM), KernelPath.missingRights)
        }
        let mountpoint = try Mountpoint(command.mountpoint) { line in
            logger.notice("\(line)")
            // Only its starter sees the log of a server in the background still listens.
            if command.backgroundFd != nil { MountFailure.say(line) }
        }
        try mountpoint.checkNotBelowPassed([command.images] + command.allowPaths)
        let folder: ImageFolder
        let policy: ConfinedOpenPolicy
        var settings = MountSettings()
        do throws(ImageError) {
            var secrets: [ExactName: Secret] = [:]
            for source in command.secrets { secrets[ExactName(source.image)] = try source.read() }
            settings.opening.keys = ImageKeys(
                secrets, workLimit: command.slowKeys ? LUKS1Header.workLimit : LUKS1Header.usualWorkLimit,
                slowKeyHint: "--slow-keys does them")
            folder = try ImageFolder(FilePath(text: command.images))
            policy = try ConfinedOpenPolicy(
                images: folder.location, allowed: folder.linkFolders + command.allowPaths.map { FilePath(text: $0) },
                excluding: mountpoint.isPassed ? nil : mountpoint.path)
        } catch {
            throw MountFailure(reading: error)
        }
        guard folder.isImage || command.format == nil else {
            throw MountFailure(.noInput, "\(command.images): is a folder, and --format is for a single image")
        }
        try mountpoint.checkApart(from: policy, given: command.mountpoint)
        settings.probesImg = !command.rawImg
        settings.format = command.format
        settings.probesAll = command.probe
        settings.opening.ignoresParentID = command.ignoreParentID
        settings.cacheSize = command.cacheSize.count
        settings.kernelPath = command.kernelPath
        settings.overlays = try overlays(for: folder, apartFrom: mountpoint)
        settings.isReadOnly = command.isReadOnly
        settings.showsFiles = command.files
        // The program that mounted it decided about that.
        settings.mayGiveRights = mountpoint.isPassed
        settings.owner = (command.service.uid?.rawValue ?? getuid(), command.service.gid?.rawValue ?? getgid())
        settings.permissionMask = command.service.umask?.rawValue ?? 0
        let path = mountpoint.path
        let fileSystem = ImageFileSystem(folder, policy: policy, settings: settings, logger: logger) {
            _ = MountedFileSystem(at: path)?.setReadAhead(kibibytes: Self.readAheadKibibytes)
        }
        try serve(fileSystem, settings, of: folder.location.text, at: mountpoint, logger)
    }

    /// The folder that --overlay names; nil where it is not given.
    private func overlays(
        for folder: ImageFolder, apartFrom mountpoint: Mountpoint
    ) throws(MountFailure) -> OverlayFolder? {
        guard let path = command.overlay else { return nil }
        do throws(ImageError) {
            if command.isReadOnly, (try? FileStatus(at: FilePath(text: path))) == nil {
                throw ImageError(
                    .missing, path: path,
                    "there is no such folder, and none is made where nothing is to be written (-o ro)")
            }
            let overlays = try OverlayFolder(
                at: FilePath(text: path), for: folder.location, isForOne: folder.isImage,
                settings: overlaySettings)
            guard mountpoint.isPassed || !overlays.location.starts(with: mountpoint.path) else {
                throw ImageError(
                    .denied, path: path, "lies below the mountpoint, where the mount hides it",
                    hint: "name another folder")
            }
            return overlays
        } catch {
            throw MountFailure(.cannotMount, error.description)
        }
    }

    /// Throws where nothing can be written to the folder of overlays.
    private func checkOverlays(_ settings: MountSettings) throws(MountFailure) {
        guard !settings.isReadOnly else { return }
        do throws(ImageError) {
            try settings.overlays?.checkWritable()
        } catch {
            throw MountFailure(.noPermission, error.description)
        }
    }

    /// Mounts, notifies every process that waits for it, and serves to the end.
    private func serve(
        _ fileSystem: ImageFileSystem, _ settings: MountSettings, of images: String, at mountpoint: Mountpoint,
        _ logger: Logger
    ) throws(MountFailure) {
        let pidFile = try command.service.pidFile.map(PidFile.init)
        defer { pidFile?.remove() }
        let manager = command.backgroundFd == nil ? ServiceManager.take() : nil
        var failure: MountFailure?
        do throws(SessionError) {
            let session = try Session(
                fileSystem: fileSystem, name: images, subtype: "rblockfs", mountOptions: command.sessionOptions,
                asksForPassthrough: command.kernelPath != .off)
            try session.mount(at: mountpoint.path)
            let stuck = try session.run(
                threads: ImageFileSystem.threads, replacements: ImageFileSystem.replacementThreads
            ) {
                do throws(MountFailure) {
                    try pidFile?.publish()
                    if command.service.givesUpPrivileges { try Privileges.giveUp(becoming: command.service.user) }
                    // Rights that are given up may be what it takes.
                    try checkOverlays(settings)
                    if command.kernelPath == .require, let (error, reason) = fileSystem.kernelPathRefusal {
                        throw MountFailure(requiringKernelPath: error, reason)
                    }
                } catch {
                    failure = error
                    return false
                }
                manager?.tell("READY=1", status: "serving \(images) on \(mountpoint.path.text)")
                command.service.readyFd.map(Self.tellReady)
                command.backgroundFd.map(Background.announce)
                return true
            } ending: {
                manager?.tell("STOPPING=1", status: "unmounting \(mountpoint.path.text)")
                guard mountpoint.isPassed else { return }
                logger.info("who has mounted it must unmount it, if that is not why the server ends")
            }
            if !fileSystem.end(), failure == nil {
                failure = MountFailure(.software, "what was written may be lost: see the log")
            }
            if stuck > 0, failure == nil { abandon(stuck, pidFile, logger) }
        } catch {
            // What was written before that is kept all the same.
            _ = fileSystem.end()
            throw MountFailure(error)
        }
        if let failure { throw failure }
    }

    /// Ends the process, although files that do not answer have threads of it wait.
    private func abandon(_ requests: Int, _ pidFile: PidFile?, _ logger: Logger) -> Never {
        logger.notice("\(requests) requests are given up: the files that they are about do not answer")
        pidFile?.remove()
        _exit(0)
    }

    private static func tellReady(on descriptor: CInt) {
        let file = FileDescriptor(rawValue: descriptor)
        _ = try? file.writeAll([UInt8(ascii: "\n")])
        if descriptor > STDERR_FILENO { try? file.close() }
    }

    private func makeLogger() -> Logger {
        var logger = Logger(label: "rblockfs") { program -> any LogHandler in
            command.backgroundFd != nil ? SyslogHandler() : StandardErrorLog(of: program)
        }
        logger.logLevel = command.logLevel.level
        return logger
    }
}
