import BlockImage
import Glibc
import HostStorage
import SystemPackage

/// Who uses devices: mounts, programs that have them open, and devices made of them, as by LVM.
struct DeviceUsers: CustomStringConvertible {
    private static let listLimit = 5
    /// Those that use them until people end that.
    private var users: [String] = []
    /// Programs that have them open, as udev and losetup(8) have every device for a moment.
    private var programs: [String] = []

    /// Those of `devices`; the mount `own` is none.
    init(of devices: [String], besides own: MountTable.Entry? = nil) throws(ImageError) {
        guard !devices.isEmpty else { return }
        let numbers = Set(devices.compactMap { Self.number(of: $0) })
        for mount in try MountTable().entries where mount.id != own?.id {
            if numbers.contains(mount.device) || devices.contains(mount.source) {
                users.append("the mount at \(mount.mountpoint.text)")
            }
        }
        for device in devices {
            guard let name = FilePath(device).lastComponent?.string else { continue }
            let holders = (try? FolderListing(FilePath("/sys/class/block/\(name)/holders")))?.entries ?? []
            users += holders.map { "/dev/\(nameText($0.name))" }
        }
        for pid in ProcessIdentity.numbers where pid != getpid() && Self.hasOpen(pid, devices) {
            programs.append("process \(pid) (\(ProcessIdentity.name(of: pid)))")
        }
    }

    /// Those that are there when programs have had a moment to close them.
    static func lasting(of devices: [String]) throws(ImageError) -> DeviceUsers {
        var users = try DeviceUsers(of: devices)
        _ = waits(.seconds(1)) {
            users = (try? DeviceUsers(of: devices)) ?? users
            return users.programs.isEmpty || !users.users.isEmpty
        }
        return users
    }

    var isEmpty: Bool { users.isEmpty && programs.isEmpty }

    var description: String {
        let all = users + programs
        let more = all.count - Self.listLimit
        return all.prefix(Self.listLimit).joined(separator: ", ") + (more > 0 ? " and \(more) more" : "")
    }

    /// The number of the device, as "7:0".
    private static func number(of device: String) -> String? {
        guard case .blockDevice(let number)? = try? FileStatus(at: FilePath(device)).kind else { return nil }
        // As glibc's makedev(3) puts them together.
        let major = (number >> 8) & 0xfff | (number >> 32) & ~0xfff
        let minor = number & 0xff | (number >> 12) & ~0xff
        return "\(major):\(minor)"
    }

    private static func hasOpen(_ pid: Int32, _ devices: [String]) -> Bool {
        let folder = FilePath("/proc/\(pid)/fd")
        guard let entries = (try? FolderListing(folder))?.entries else { return false }
        return entries.contains { entry in
            var target = [CChar](repeating: 0, count: 64)
            // Safe: readlink writes at most as many bytes as the array has.
            let count = unsafe folder.appending(nameText(entry.name)).withPlatformString {
                unsafe readlink($0, &target, target.count)
            }
            guard count > 0 else { return false }
            return devices.contains(String(decoding: target[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self))
        }
    }
}
