import ArgumentParser
import Arguments
import BlockImage
import Completion
import Encryption
import Fuse
import Glibc
import HostStorage
import ImageFS
import ImageFormats
import Logging
import SystemPackage

/// The program.
package enum MountProgram {
    /// Does what the arguments of the process say. Returns when the mount is gone; ends the process where there is none.
    package static func main() {
        Completer(RBlockFS.self).answer(ProgramArguments.strings)
        do {
            var command = try RBlockFS.parseAsRoot(ProgramArguments.strings)
            try command.run()
        } catch {
            RBlockFS.end(error)
        }
    }
}

/// The command: parses its arguments, and mounts in the background or serves in the foreground.
struct RBlockFS: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rblockfs",
        abstract: "Mount a folder of virtual-machine disk images as flat raw disks.",
        usage: "rblockfs [options] IMAGES MOUNTPOINT",
        discussion: MountText.discussion,
        version: versionText(of: "rblockfs", others: [FuseLibrary.version]))

    @Flag(name: .shortAndLong, help: "Serve in the foreground, and log to standard error.")
    var foreground = false

    @Option(
        name: .customLong("allow-path"),
        help: ArgumentHelp(
            "A folder outside IMAGES whose files images may name (backing files, extents). Repeatable.",
            valueName: "dir"),
        completion: .directory)
    var allowPaths: [String] = []

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "The most memory for tables and decompressed clusters; 48M by default.", valueName: "size"),
        transform: ByteSize.parse)
    var cacheSize = ByteSize(count: 48 << 20)

    @Option(
        help: ArgumentHelp(
            "The least that is logged: trace, debug, info, notice, warning, error or critical.", valueName: "level"))
    var logLevel = LogLevel.notice

    @Option(
        name: .customLong("secret"),
        help: ArgumentHelp(
            "The passphrase of an encrypted image, by its file name or path: all bytes of a file, or an environment "
                + "variable. Repeatable.",
            valueName: "image=file:path|image=env:variable"))
    var secrets: [SecretSource] = []

    @Flag(
        help: ArgumentHelp(
            "Unlock also where the key slots ask for more hashing than a few seconds' (\(LUKS1Header.usualWorkLimit) HMACs)."
        ))
    var slowKeys = false

    @Option(
        help: ArgumentHelp(
            "The format of the one image that IMAGES is: \(ImageFormat.names(before: "or")); by default what its name says, else its "
                + "content.",
            valueName: "format"))
    var format: ImageFormat?

    @Flag(help: "Take every .img for a raw disk, and do not look at its content.")
    var rawImg = false

    @Flag(
        help: """
            Show files without a known extension as well, where their content is that of an image. They may name other \
            files only where an image of their folder names them as its backing file, with a format.
            """)
    var probe = false

    @Flag(
        name: [.customLong("ignore-parent-id"), .customLong("ignore-cid")],
        help:
            "Read an image although its parent was changed after it was made (its CID or UUID is another, or an overlay says so)."
    )
    var ignoreParentID = false

    @Option(
        help: ArgumentHelp(
            "What the kernel may read by itself: auto (default), off, require, map; see KERNEL PATHS.",
            valueName: "what"))
    var kernelPath = KernelPath.auto

    @Option(
        help: ArgumentHelp(
            "A folder for QCOW2 overlays, which is made if need be: every disk.raw and partition can be written, and what is written "
                + "goes there. See OVERLAYS.",
            valueName: "dir"),
        completion: .directory)
    var overlay: String?

    @OptionGroup
    var overlays: OverlayOptions

    @Flag(
        help: """
            Show the files of guests as well: files/ with the root file system, and a folder for each partition and volume whose \
            file system is read. See FILES OF GUESTS.
            """)
    var files = false

    @Option(
        name: .customShort("o"),
        help: ArgumentHelp(
            "Mount options, as FUSE programs take them: see MOUNT OPTIONS. Repeatable.",
            valueName: "option,..."),
        completion: .custom { _, _, text in CommaList(text).words(MountCommandOption.offered) })
    var mountOptions: [String] = []

    @OptionGroup
    var service: ServiceOptions

    @Option(help: ArgumentHelp(visibility: .private))
    var backgroundFd: CInt?

    @Argument(
        help: ArgumentHelp("A folder of images, or one image: a file or a block device.", valueName: "IMAGES"),
        completion: .file())
    var images: String

    @Argument(help: ArgumentHelp("A directory to mount on.", valueName: "MOUNTPOINT"), completion: .directory)
    var mountpoint: String

    mutating func validate() throws {
        try takeOwnMountOptions()
        if overlay != nil, kernelPath == .require || kernelPath == .map {
            throw ValidationError(
                "--kernel-path \(kernelPath.rawValue): with --overlay the kernel reads no disk by itself")
        }
        guard !files || overlay == nil else {
            throw ValidationError(
                "--files shows files as they are in the images, and not what --overlay has written over them: mount the images twice"
            )
        }
        try overlays.check(with: overlay)
        try service.checkReadyFd(foreground: foreground)
    }

    func run() throws {
        let settings = try overlays.settings()
        do throws(MountFailure) {
            if let reason = ProgramArguments.missingProc { throw MountFailure(.software, reason) }
            if foreground {
                try Server(self, overlaying: settings).run()
            } else {
                try Background.mount(at: FilePath(text: mountpoint))
            }
        } catch {
            error.report()
            throw ExitCode(error.status)
        }
    }

    /// What FUSE gets of the `-o` options, and what is always on.
    var sessionOptions: [String] {
        // A process that has given up the right to unmount needs one that has not.
        let end = service.givesUpPrivileges ? ["auto_unmount"] : []
        guard files else { return mountOptions + ["default_permissions"] + end }
        // What a guest has must not give rights on the host; mount.fuse3 asks for both by itself.
        let safe = mountOptions.filter { $0 != "dev" && $0 != "suid" } + ["nodev", "nosuid"]
        // The user that mounted, alone, reads all that is in the image, whatever owners and permissions are in the guest.
        return safe + (mountOptions.contains("allow_other") ? ["default_permissions"] : []) + end
    }

    /// Whether disks are not written to, although there is a folder of overlays. Of several options the last one counts.
    var isReadOnly: Bool { mountOptions.last { ["ro", "rw"].contains($0) } == "ro" }

    /// Takes those of the `-o` options that are this command's own; the rest is left for FUSE.
    private mutating func takeOwnMountOptions() throws {
        var rest: [String] = []
        for option in mountOptions.flatMap({ $0.split(separator: ",").map(String.init) }) {
            let parts = option.split(separator: "=", maxSplits: 1).map(String.init)
            switch (parts[0], parts.count > 1 ? parts[1] : nil) {
            case ("allow_path", let value?): allowPaths.append(value)
            case ("overlay", let value?): overlay = value
            case ("cache_size", let value?):
                do {
                    cacheSize = try ByteSize.parse(value)
                } catch let error as ValidationError {
                    throw ValidationError("-o cache_size: '\(value)': \(error.message)")
                }
            case ("log_level", let value?):
                guard let level = LogLevel(rawValue: value) else {
                    throw ValidationError("-o log_level: '\(value)' is no level")
                }
                logLevel = level
            case ("kernel_path", let value?):
                guard let path = KernelPath(rawValue: value) else {
                    let forms = KernelPath.allCases.map(\.rawValue).joined(separator: ", ")
                    throw ValidationError("-o kernel_path: '\(value)' is none of \(forms)")
                }
                kernelPath = path
            case ("secret", let value?):
                guard let secret = SecretSource(argument: value) else {
                    throw ValidationError("-o secret: write IMAGE=file:PATH or IMAGE=env:VARIABLE")
                }
                secrets.append(secret)
            case ("slow_keys", nil): slowKeys = true
            case ("raw_img", nil): rawImg = true
            case ("probe", nil): probe = true
            case ("files", nil): files = true
            case ("ignore_parent_id", nil), ("ignore_cid", nil): ignoreParentID = true
            case (let name, let value):
                if try service.take(name, value) || overlays.take(name, value) || MountCommandOption.isIrrelevant(name)
                {
                    break
                }
                rest.append(option)
            }
        }
        mountOptions = rest
    }
}

extension ImageFormat: ExpressibleByArgument {}

extension KernelPath: ExpressibleByArgument {}

/// The levels of swift-log, as arguments.
enum LogLevel: String, ExpressibleByArgument, CaseIterable {
    case trace, debug, info, notice, warning, error, critical

    var level: Logger.Level { Logger.Level(rawValue: rawValue) ?? .notice }
}
