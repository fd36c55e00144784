import BlockImage
import Glibc
import HostStorage
import SystemPackage

/// A kernel to boot, and its modules.
public struct KernelFiles: Sendable {
    /// The kernel itself.
    public let kernel: FilePath
    /// The folder of its modules.
    let modules: FilePath
    /// Its version, as uname(1) prints it.
    public let version: String

    /// The environment variable that names a folder with `boot` and `lib/modules`.
    public static let variable = "RBLOCK_KERNEL"

    /// The kernel in the folder that RBLOCK_KERNEL names, else one that is installed: that which runs, or the newest.
    ///
    /// Throws `system` where there is none that can be read, with what is to be done.
    public static func find() throws(ImageError) -> KernelFiles {
        try find(in: environment(variable).map { FilePath($0) }, or: "/")
    }

    /// That in `folder`, or where none is named, in one that has all that is installed.
    package static func find(in folder: FilePath?, or root: FilePath) throws(ImageError) -> KernelFiles {
        if let folder {
            if let kernel = kernels(in: folder).found.first { return kernel }
            throw ImageError(
                .system(errno: ENOENT), path: folder.text,
                "has no boot/vmlinuz-VERSION with modules in lib/modules/VERSION, as \(variable) must")
        }
        let (found, unreadable) = kernels(in: root)
        let running = runningVersion
        if let kernel = found.first(where: { $0.version == running }) ?? found.first { return kernel }
        guard let unreadable else {
            throw ImageError(
                .system(errno: ENOENT), about: .named("the kernel"),
                "files of such file systems are read by a Linux kernel in QEMU, and none is installed",
                hint: installation)
        }
        throw ImageError(
            .system(errno: EACCES), path: unreadable.text, "only root may read this kernel, which QEMU is to boot",
            hint: "dpkg-statoverride --update --add root root 0644 \(unreadable.text)")
    }

    /// The command that installs QEMU and a kernel on Debian.
    static var installation: String {
        "apt install \(Architecture.current.qemuPackage) \(Architecture.current.kernelPackage)"
    }

    /// The kernels below `folder` that can be read and have modules, the newest first; and one that cannot be read.
    private static func kernels(in folder: FilePath) -> (found: [KernelFiles], unreadable: FilePath?) {
        let boot = folder.appending("boot")
        let names = ((try? FolderListing(boot))?.entries ?? []).map { String(decoding: $0.name, as: UTF8.self) }
        var found: [KernelFiles] = []
        var unreadable: FilePath?
        for name in names {
            guard let prefix = ["vmlinuz-", "vmlinux-"].first(where: { name.hasPrefix($0) }) else { continue }
            let version = String(name.dropFirst(prefix.count))
            let places = ["lib/modules", "usr/lib/modules"].map { folder.pushing(FilePath($0)).appending(version) }
            guard let modules = places.first(where: { access($0, X_OK) }) else { continue }
            let kernel = boot.appending(name)
            if access(kernel, R_OK) {
                found.append(KernelFiles(kernel: kernel, modules: modules, version: version))
            } else {
                unreadable = kernel
            }
        }
        return (found.sorted { isNewer($0.version, $1.version) }, unreadable)
    }

    /// Whether the numbers in `version` are larger than those in `other`, from the first on.
    static func isNewer(_ version: String, _ other: String) -> Bool {
        func numbers(_ text: String) -> [UInt64] {
            text.split { !("0"..."9").contains($0) }.map { UInt64($0) ?? .max }
        }
        let (left, right) = (numbers(version), numbers(other))
        return left == right ? version > other : right.lexicographicallyPrecedes(left)
    }

    private static var runningVersion: String? {
        guard let text = try? smallFile("/proc/sys/kernel/osrelease") else { return nil }
        return String(decoding: text.filter { $0 > 0x20 }, as: UTF8.self)
    }
}

/// What differs between the processors that a machine is for: that of this host.
struct Architecture: Sendable {
    var qemu: String
    var qemuPackage: String
    var kernelPackage: String
    var machine: String
    /// The console, as the kernel calls it.
    var console: String

    #if arch(arm64)
        static let current = Architecture(
            qemu: "qemu-system-aarch64", qemuPackage: "qemu-system-arm", kernelPackage: "linux-image-cloud-arm64",
            machine: "virt", console: "ttyAMA0")
    #else
        static let current = Architecture(
            qemu: "qemu-system-x86_64", qemuPackage: "qemu-system-x86", kernelPackage: "linux-image-cloud-amd64",
            machine: "microvm", console: "ttyS0")
    #endif
}

/// Whether this process may use `path` so, as access(2) says.
func access(_ path: FilePath, _ mode: CInt) -> Bool {
    // Safe: a string of ours.
    unsafe path.withPlatformString { unsafe Glibc.access($0, mode) } == 0
}

/// The environment variable `name`; nil where it is not set, or empty.
func environment(_ name: String) -> String? {
    // Safe: getenv answers NULL or a C string, which is copied at once.
    let value = unsafe getenv(name).map { unsafe String(cString: $0) } ?? ""
    return value.isEmpty ? nil : value
}
