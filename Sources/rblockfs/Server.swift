import BlockImage
import CLinux
import Encryption
import Fuse
import Glibc
import HostStorage
import ImageFS
import ImageFormats
import Logging
import SystemPackage

/// The process that serves a mount.
struct Server {
    /// Read-ahead of the mount, where this process may set it: the kernel's 128 KiB costs a third of the speed of
    /// sequential reads and most of that of mapped ones.
    private static let readAheadKibibytes = 1024

    private let command: RBlockFS

    init(_ command: RBlockFS) {
        self.command = command
    }

    func run() throws(MountFailure) {
        command.readyFd.map(Background.detach)
        raiseDescriptorLimit()
        // Two, so that the workers seldom wait for each other, and the caches' bounds bound the process.
        clinux_limit_arenas(2)
        let logger = makeLogger()
        Log.setHandler { line in logger.notice("\(line)") }
        let mountpoint = try checkedMountpoint()
        let folder: ImageFolder
        let policy: ConfinedOpenPolicy
        var secrets: [String: Secret] = [:]
        do throws(ImageError) {
            for source in command.secrets { secrets[source.image] = try source.read() }
            folder = try ImageFolder(FilePath(command.images))
            policy = try ConfinedOpenPolicy(
                images: folder.location, allowed: command.allowPaths.map { FilePath($0) },
                excluding: FilePath(mountpoint))
        } catch {
            throw MountFailure(reading: error)
        }
        try checkApart(mountpoint, policy)
        let readyFd = command.readyFd
        var settings = MountSettings()
        settings.probesImg = !command.rawImg
        settings.keys = ImageKeys(secrets)
        settings.ignoresCID = command.ignoreCid
        settings.cacheSize = command.cacheSize.count
        settings.owner = (getuid(), getgid())
        let fileSystem = ImageFileSystem(folder, policy: policy, settings: settings, logger: logger) {
            _ = MountedFileSystem(at: mountpoint)?.setReadAhead(kibibytes: Self.readAheadKibibytes)
            readyFd.map(Background.announce)
        }
        do throws(SessionError) {
            let session = try Session(
                fileSystem: fileSystem, name: String(decoding: folder.location), subtype: "rblockfs",
                mountOptions: command.mountOptions + ["default_permissions"])
            try session.mount(at: mountpoint)
            try session.run(threads: max(4, min(16, 2 * sysconf(CInt(_SC_NPROCESSORS_ONLN)))))
        } catch {
            throw MountFailure(error)
        }
    }

    /// The mountpoint as the mount table will show it. Throws where nothing can be mounted, or something of FUSE is.
    private func checkedMountpoint() throws(MountFailure) -> String {
        // Safe: a string of ours.
        guard unsafe access("/dev/fuse", F_OK) == 0 else {
            throw MountFailure(.unavailable, "there is no /dev/fuse: load the kernel module with 'modprobe fuse'")
        }
        let given = command.mountpoint
        let mountpoint: String
        do throws(SessionError) {
            mountpoint = try Session.canonicalMountpoint(given)
        } catch {
            let hint =
                error.errorNumber.rawValue == ENOTCONN
                ? ": the server of the mount there is gone; 'fusermount3 -u \(given)' cleans it up" : ""
            throw MountFailure(.cannotMount, "mountpoint \(error.message)\(hint)")
        }
        if let type = MountedFileSystem(at: mountpoint)?.type, type.hasPrefix("fuse") {
            throw MountFailure(
                .cannotMount, "mountpoint \(given): busy, a \(type) is mounted there; 'fusermount3 -u \(given)' ends it"
            )
        }
        return mountpoint
    }

    /// A mount over a folder that images are read from would have this process wait for itself.
    private func checkApart(_ mountpoint: String, _ policy: ConfinedOpenPolicy) throws(MountFailure) {
        for folder in policy.locations where folder.starts(with: FilePath(mountpoint)) {
            throw MountFailure(
                .cannotMount,
                "mountpoint \(command.mountpoint): would hide \(String(decoding: folder)), which images are read from")
        }
    }

    private func makeLogger() -> Logger {
        var logger = Logger(label: "rblockfs") { label -> any LogHandler in
            command.readyFd == nil ? StreamLogHandler.standardError(label: label) : SyslogHandler()
        }
        logger.logLevel = command.logLevel.level
        return logger
    }

    /// A folder of images takes a descriptor per open file, and 1,024 is the usual soft limit.
    private func raiseDescriptorLimit() {
        var limit = rlimit()
        // Safe: both calls use a structure of ours.
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        unsafe _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}
