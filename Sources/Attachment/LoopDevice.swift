import BlockImage
import CLinux
import Glibc
import HostStorage
import SystemPackage

/// A loop device: a block device whose bytes are those of a file.
package struct LoopDevice: Hashable, Sendable {
    /// The bytes of a file that it is over.
    package struct Range: Hashable, Sendable {
        package var offset: UInt64
        package var count: UInt64

        package init(offset: UInt64, count: UInt64) { (self.offset, self.count) = (offset, count) }
    }

    /// What the sectors of most have. Loop devices have no part of a sector.
    package static let usualSectorSize: UInt64 = 512
    private static let folder = FilePath("/sys/block")
    private static let control = FilePath("/dev/loop-control")

    /// By what the loop devices of an attachment are known.
    struct Mark {
        /// The text that they were given; those of partitions have more behind a slash.
        let tag: String
        /// Where their server mounts.
        let mountpoint: FilePath

        fileprivate func isMeant(by text: String) -> Bool { text == tag || text.hasPrefix("\(tag)/") }
    }

    let number: Int

    /// Its node.
    package var path: String { "/dev/loop\(number)" }
    /// Its name in sysfs.
    var name: String { "loop\(number)" }

    /// The one whose node is `path`; nil where that is the name of none.
    package init?(path: String) {
        guard path.hasPrefix("/dev/loop"), let number = Int(path.dropFirst(9)), "\(number)" == path.dropFirst(9) else {
            return nil
        }
        self.number = number
    }

    /// The one whose node is `path`, or one of whose partitions has that node.
    init?(holding path: String) {
        self.init(path: String(path.prefix(9) + path.dropFirst(9).prefix { $0 != "p" }))
    }

    private init(number: Int) { self.number = number }

    /// A new one over `range` of the open file `file`, for reading alone, with sectors of `sectorSize` bytes, 512 or 4096, and the
    /// text `tag`, by which it is found again.
    /// `isDirect`: past the page cache of the file, where its file system lets it. Both ends of the range are at multiples of a
    /// sector.
    ///
    /// The kernel keeps the very file that is open, and looks up no path.
    static func make(
        over file: FileDescriptor, _ range: Range, sectorSize: UInt64, isDirect: Bool, tag: String
    ) throws(ImageError) -> LoopDevice {
        let control = try open(Self.control)
        defer { try? control.close() }
        for _ in 0..<64 {
            let number = clinux_loop_free(control.rawValue)
            guard number >= 0 else { throw systemError("find a free loop device", path: "/dev/loop-control") }
            let device = LoopDevice(number: Int(number))
            let handle = try open(FilePath(device.path))
            defer { try? handle.close() }
            for isDirect in isDirect ? [CInt(1), 0] : [0] {
                // Safe: the string ends in NUL, and is read in this call only.
                let result = unsafe tag.withCString { text in
                    unsafe clinux_loop_configure(
                        handle.rawValue, file.rawValue, range.offset, range.count, UInt32(sectorSize), isDirect, text)
                }
                if result == 0 { return device }
                if errno != EINVAL { break }
            }
            // Another program was faster.
            guard errno == EBUSY else { throw systemError("attach a loop device", path: device.path) }
        }
        throw ImageError(
            .system(errno: EBUSY), path: "/dev/loop-control", "every loop device that is free is taken at once")
    }

    private static func open(_ path: FilePath) throws(ImageError) -> FileDescriptor {
        do {
            return try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
        } catch {
            let number = (error as? Errno) ?? .ioError
            throw ImageError(
                .system(errno: number.rawValue), path: path.text, "\(number)",
                hint: number == .noSuchFileOrDirectory ? hint(forMissing: path) : nil)
        }
    }

    /// What makes the node `path`.
    private static func hint(forMissing path: FilePath) -> String {
        guard let name = path.lastComponent?.string,
            let text = try? smallFile(
                FilePath("/sys/class").appending(path == control ? "misc" : "block").appending("\(name)/dev"))
        else { return "'modprobe loop' loads the kernel's module" }
        let number = String(decoding: text.filter { $0 > 0x20 }, as: UTF8.self).replacing(text: ":", with: " ")
        let kind = path == control ? "c" : "b"
        return
            "the kernel has it, and this /dev, as that of a container, has not: 'mknod \(path.text) \(kind) \(number)' makes it"
    }

    /// Those that have a file.
    private static func attached() throws(ImageError) -> [LoopDevice] {
        try FolderListing(folder).entries.compactMap { entry in
            guard let device = LoopDevice(path: "/dev/\(nameText(entry.name))"), device.hasFile else { return nil }
            return device
        }
    }

    /// Those with `mark`.
    static func all(with mark: Mark) throws(ImageError) -> [LoopDevice] {
        var devices: [LoopDevice] = []
        for device in try attached() { if try device.has(mark) { devices.append(device) } }
        return devices
    }

    /// Whether it has a file, and `mark`. Of a device over the file of a server that has died the kernel does not tell the
    /// text, and then the path of that file is known still.
    func has(_ mark: Mark) throws(ImageError) -> Bool {
        guard hasFile else { return false }
        if let tag = try tag { return mark.isMeant(by: tag) }
        let path = try smallFile(Self.folder.appending("\(name)/loop").appending("backing_file"))
        return path?.starts(with: "\(mark.mountpoint.text)/".nameBytes) ?? false
    }

    private var hasFile: Bool { (try? FileStatus(at: Self.folder.appending("\(name)/loop"))) != nil }

    private func with<Result>(_ body: (CInt) -> Result) -> Result? {
        guard let handle = try? Self.open(FilePath(path)) else { return nil }
        defer { try? handle.close() }
        return body(handle.rawValue)
    }

    private static func status(_ handle: CInt) -> clinux_loop? {
        var status = clinux_loop()
        // Safe: the call fills a structure of ours.
        return unsafe clinux_loop_status(handle, &status) == 0 ? status : nil
    }

    /// The text that the device that is open was given; nil where that is not known.
    private static func tag(_ handle: CInt) -> String? {
        guard let status = status(handle) else { return nil }
        // Safe: the text ends in NUL within the structure.
        return unsafe withUnsafeBytes(of: status.name) { bytes in
            unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    /// The text that it was given; nil where that is not known. Throws where it cannot be opened now.
    private var tag: String? {
        get throws(ImageError) {
            do throws(ImageError) {
                let handle = try Self.open(FilePath(path))
                defer { try? handle.close() }
                return Self.tag(handle.rawValue)
            } catch {
                // A container may have none of the other devices, or not be let open them.
                guard [ENOENT, ENXIO, ENODEV, EPERM, EACCES].contains(where: { error.code == .system(errno: $0) })
                else {
                    throw error
                }
                return nil
            }
        }
    }

    /// Whether it reads past the page cache.
    var isDirect: Bool { with { Self.status($0)?.is_direct == 1 } ?? false }

    /// Has it read through the page cache.
    func useCache() { _ = with { clinux_loop_set_direct($0, 0) } }

    /// Its size as it is now; 0 where the file is gone, as that of a server that has died.
    var size: UInt64 { with { UInt64(clamping: clinux_device_size($0)) } ?? 0 }

    /// Detaches it from its file; answers false where another program has it open: then it stays as it was, or, where
    /// `isLazy`, goes with the last that closes it.
    func detach(isLazy: Bool, _ mark: Mark) throws(ImageError) -> Bool {
        guard try has(mark) else { return true }
        do {
            let handle = try Self.open(FilePath(path))
            defer { try? handle.close() }
            // While it is open it keeps its file, and with that its mark.
            guard try has(mark) else { return true }
            guard clinux_loop_clear(handle.rawValue) == 0 || errno == ENXIO else {
                throw systemError("detach it", path: path)
            }
        }
        // What looks at every device that changes, as udev does, has it open for a moment.
        if waits(.seconds(2), for: { (try? has(mark)) == false }) { return true }
        if !isLazy {
            _ = with { handle in
                // By now it may be that of another program.
                if let tag = Self.tag(handle), mark.isMeant(by: tag) { _ = clinux_loop_keep(handle) }
            }
        }
        return false
    }
}
