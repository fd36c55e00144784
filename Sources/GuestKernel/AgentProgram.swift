import BlockImage
import Glibc
import HostStorage
import SystemPackage

/// Where programs are that a machine needs.
enum MachinePrograms {
    /// The environment variable that names the agent.
    static let variable = "RBLOCK_GUEST_AGENT"

    /// The agent: the file that RBLOCK_GUEST_AGENT names, or one beside this program, or where it is installed.
    static func agent() throws(ImageError) -> FilePath {
        if let path = environment(variable) { return try readable(FilePath(path)) }
        var places: [FilePath] = []
        if let program = try? canonical("/proc/self/exe") {
            let folder = program.removingLastComponent()
            places.append(folder.appending("rblock-guest"))
            places.append(folder.removingLastComponent().pushing("libexec/rblock/rblock-guest"))
        }
        places.append("/usr/libexec/rblock/rblock-guest")
        guard let path = places.first(where: { access($0, R_OK) }) else {
            throw ImageError(
                .system(errno: ENOENT), about: .named("rblock-guest"),
                "is not installed: it is what reads files in the Linux that QEMU runs",
                hint: "the package rblock has it")
        }
        return path
    }

    private static func readable(_ path: FilePath) throws(ImageError) -> FilePath {
        guard access(path, R_OK) else {
            throw ImageError(
                .system(errno: errno), path: path.text, "\(Errno(rawValue: errno)), and \(variable) names it")
        }
        return path
    }

    /// QEMU for the processors of this host.
    static func qemu() throws(ImageError) -> FilePath {
        let name = Architecture.current.qemu
        let folders = (environment("PATH") ?? "").split(separator: ":").map(String.init)
        let places = (folders + ["/usr/local/bin", "/usr/bin", "/bin"]).map { FilePath($0).appending(name) }
        guard let path = places.first(where: { access($0, X_OK) }) else {
            throw ImageError(
                .system(errno: ENOENT), about: .named(name),
                "is not installed: files of such file systems are read by a Linux kernel in QEMU",
                hint: KernelFiles.installation)
        }
        return path
    }
}
