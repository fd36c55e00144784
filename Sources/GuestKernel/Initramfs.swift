import BlockImage
import CLinux
import Glibc
import HostStorage
import SystemPackage

/// The initial RAM disk of a machine: the agent and the modules, in an archive as the kernel unpacks it (newc:
/// Documentation/driver-api/early-userspace/buffer-format.rst).
struct Initramfs {
    private var archive: [UInt8] = []
    private var inode: UInt32 = 1

    /// The bytes of the archive with `agent` as /init, and `modules` in /modules.
    static func archive(agent: FilePath, modules: KernelModules) throws(ImageError) -> [UInt8] {
        var disk = Initramfs()
        for folder in ["dev", "proc", "sys", "mnt", "modules"] { disk.add(folder, mode: 0o40755, []) }
        // The console that /init has open from the start.
        disk.add("dev/console", mode: 0o20600, [], device: (5, 1))
        disk.add("init", mode: 0o100755, try content(of: agent))
        var names: [String] = []
        for file in modules.files {
            guard let name = file.lastComponent?.string else { continue }
            names.append(name)
            disk.add("modules/\(name)", mode: 0o100644, try content(of: file))
        }
        disk.add("modules/list", mode: 0o100644, Array(names.map { "\($0)\n" }.joined().utf8))
        disk.add("TRAILER!!!", mode: 0, [])
        return disk.archive
    }

    private static func content(of path: FilePath) throws(ImageError) -> [UInt8] {
        guard let bytes = try smallFile(path) else {
            throw ImageError(.system(errno: ENOENT), path: path.text, "the file is gone")
        }
        return bytes
    }

    /// Adds a file: a header of 13 numbers in eight hexadecimal digits each, the name with a NUL, the content; both end at multiples of four.
    private mutating func add(
        _ name: String, mode: UInt32, _ content: [UInt8], device: (UInt32, UInt32) = (0, 0)
    ) {
        let size = UInt32(truncatingIfNeeded: content.count)
        let fields: [UInt32] = [
            inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, UInt32(truncatingIfNeeded: name.utf8.count + 1), 0,
        ]
        inode += 1
        archive += Array("070701".utf8)
        for field in fields {
            let digits = String(field, radix: 16)
            archive += Array(String(repeating: "0", count: 8 - digits.count).utf8) + Array(digits.utf8)
        }
        archive += Array(name.utf8) + [0]
        align()
        archive += content
        align()
    }

    private mutating func align() {
        while archive.count % 4 != 0 { archive.append(0) }
    }
}

extension FileDescriptor {
    /// A file in memory that has `bytes`, and no name.
    static func inMemory(_ bytes: [UInt8]) throws(ImageError) -> FileDescriptor {
        // Safe: a string of ours.
        let number = unsafe clinux_memory_file("rblock")
        guard number >= 0 else {
            throw ImageError(.system(errno: errno), about: .named("a file in memory"), "\(Errno(rawValue: errno))")
        }
        let file = FileDescriptor(rawValue: number)
        do {
            _ = try file.writeAll(bytes)
        } catch {
            try? file.close()
            let number = (error as? Errno) ?? .ioError
            throw ImageError(.system(errno: number.rawValue), about: .named("a file in memory"), "\(number)")
        }
        return file
    }
}
