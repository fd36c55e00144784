import BlockImage
import Glibc
import GuestKernel
import HostStorage
import SystemPackage

/// One thing that this program needs of the host.
struct HostCheck: Sendable {
    /// What came of it.
    struct Report: Encodable {
        var name: String
        var works: Bool
        var detail: String
        /// What is to be done; nil where it works, or nothing can be.
        var hint: String?
    }

    /// What it is for.
    let name: String
    /// What is there. Throws what is not.
    let look: @Sendable () throws(ImageError) -> String

    /// Looks.
    func report() -> Report {
        do throws(ImageError) {
            return Report(name: name, works: true, detail: try look(), hint: nil)
        } catch {
            return Report(name: name, works: false, detail: "\(error.detail)", hint: error.hint.map { "\($0)" })
        }
    }

    /// All, in the order in which people use them.
    static let all = [
        HostCheck(name: "files of guests: ext2, ext3, ext4, FAT, exFAT, ISO 9660") { () throws(ImageError) in
            "read by rblock itself"
        },
        HostCheck(name: "files of guests: XFS, btrfs and others, and all changes", look: machine),
        HostCheck(name: "mounts of rblockfs", look: mounts),
        HostCheck(name: "disks that the kernel reads by itself", look: kernelPath),
        HostCheck(name: "block devices: attach, mount", look: blockDevices),
        HostCheck(name: "locks of overlays in this folder", look: locks),
    ]

    // MARK: What is looked for

    private static func machine() throws(ImageError) -> String {
        let start = ContinuousClock.now
        let machine = try GuestMachine.start(disks: [], types: [])
        let time = start.duration(to: .now)
        defer { machine.kill() }
        let tenths = time.components.seconds * 10 + time.components.attoseconds / 100_000_000_000_000_000
        return
            "Linux \(machine.kernelVersion) in QEMU started in \(tenths / 10).\(tenths % 10) s, "
            + (machine.usesKVM ? "with KVM" : "without KVM")
    }

    private static func mounts() throws(ImageError) -> String {
        guard unsafe access("/dev/fuse", R_OK | W_OK) == 0 else {
            throw ImageError(
                .system(errno: errno), about: .named("FUSE"), "/dev/fuse cannot be opened",
                hint: "modprobe fuse; in a container, it must be passed in: podman run --device /dev/fuse")
        }
        guard geteuid() != 0 else { return "/dev/fuse can be opened" }
        guard program("fusermount3") else {
            throw ImageError(
                .missing, about: .named("FUSE"), "fusermount3, which mounts for ordinary users, is not installed",
                hint: "apt install fuse3")
        }
        return "/dev/fuse can be opened, and fusermount3 is installed"
    }

    private static func kernelPath() throws(ImageError) -> String {
        guard geteuid() == 0 else {
            throw ImageError(
                .system(errno: EPERM), about: .named("FUSE"), "only for root; the server reads them", hint: nil)
        }
        let version = linux
        guard !version.lexicographicallyPrecedes([6, 9]) else {
            throw ImageError(
                .unsupported, about: .named("FUSE"), "Linux \(text(version)) has no FUSE passthrough, which 6.9 has")
        }
        return version.lexicographicallyPrecedes([6, 12])
            ? "Linux \(text(version)): those that are in one piece; others by a map take 6.12"
            : "Linux \(text(version)): by FUSE passthrough, and by a map"
    }

    private static func blockDevices() throws(ImageError) -> String {
        guard geteuid() == 0 else {
            throw ImageError(.system(errno: EPERM), about: .named("devices"), "only for root")
        }
        guard unsafe access("/dev/loop-control", R_OK | W_OK) == 0 else {
            throw ImageError(
                .system(errno: errno), about: .named("devices"), "/dev/loop-control cannot be opened",
                hint: "modprobe loop")
        }
        return "loop devices can be made"
    }

    private static func locks() throws(ImageError) -> String {
        // Safe: a string of ours.
        let folder = unsafe open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard folder >= 0 else {
            throw ImageError(.system(errno: errno), path: ".", "\(Errno(rawValue: errno))")
        }
        defer { close(folder) }
        guard flock(folder, LOCK_SH | LOCK_NB) == 0 || errno == EWOULDBLOCK else {
            throw ImageError(
                .system(errno: errno), path: ".", "its file system has no flock(2): \(Errno(rawValue: errno))",
                hint: "have overlays in a folder of another file system")
        }
        return "its file system has flock(2)"
    }

    /// Whether there is a program called `name`.
    private static func program(_ name: String) -> Bool {
        // Safe: getenv answers NULL or a C string, which is copied at once.
        let path = unsafe getenv("PATH").map { unsafe String(cString: $0) } ?? "/usr/bin:/bin"
        return path.split(separator: ":").contains { unsafe access("\($0)/\(name)", X_OK) == 0 }
    }

    /// The version of the kernel: two numbers.
    private static var linux: [Int] {
        var name = utsname()
        // Safe: uname fills a structure of ours, whose texts end in NUL.
        guard unsafe uname(&name) == 0 else { return [] }
        let text = unsafe withUnsafeBytes(of: &name.release) {
            unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
        }
        return text.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
    }

    private static func text(_ version: [Int]) -> String { version.map(String.init).joined(separator: ".") }
}
