import ArgumentParser
import Fuse
import Glibc
import ImageFS
import SystemPackage

/// Options for who runs the server as a service, and for whose files the mount shows.
struct ServiceOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The user that files belong to; by default who mounts.", valueName: "user"))
    var uid: UserID?

    @Option(help: ArgumentHelp("The group that files belong to; by default that of who mounts.", valueName: "group"))
    var gid: GroupID?

    @Option(
        help: ArgumentHelp(
            "The permissions that files do not have; folders begin with 555, files with 444.", valueName: "mode"))
    var umask: FileMask?

    @Option(
        help: ArgumentHelp(
            "A file that holds the server's process number from when the mount answers until the server ends.",
            valueName: "file"))
    var pidFile: String?

    @Option(
        help: ArgumentHelp(
            "With -f: a descriptor to which a newline is written when the mount answers.", valueName: "n"))
    var readyFd: CInt?

    @Flag(help: "Once the mount answers, keep no capability but the one to read all files (CAP_DAC_READ_SEARCH).")
    var dropPrivileges = false

    @Option(help: ArgumentHelp("As --drop-privileges, and go on as that user.", valueName: "user"))
    var user: UserID?

    /// Whether anything is given up once the mount answers. An ordinary user has nothing, and needs to go on being
    /// allowed to run fusermount3.
    var givesUpPrivileges: Bool { geteuid() == 0 && (dropPrivileges || user != nil) }

    /// Takes an option of `-o`; answers false for one that is none of these.
    mutating func take(_ name: String, _ value: String?) throws -> Bool {
        switch (name, value) {
        case ("uid", let value?): uid = try parse(value, of: name)
        case ("gid", let value?): gid = try parse(value, of: name)
        case ("umask", let value?): umask = try parse(value, of: name)
        case ("pid_file", let value?): pidFile = value
        case ("drop_privileges", nil): dropPrivileges = true
        case ("setuid", let value?): user = try parse(value, of: name)
        default: return false
        }
        return true
    }

    /// Throws where there is nothing to write to, or nothing to say: in the background, to return is to be ready.
    func checkReadyFd(foreground: Bool) throws {
        guard let readyFd else { return }
        guard foreground else { throw ValidationError("--ready-fd goes with --foreground") }
        guard readyFd >= 0, fcntl(readyFd, F_GETFD) >= 0 else {
            throw ValidationError("--ready-fd: \(readyFd) is no open descriptor")
        }
    }

    private func parse<Value: ExpressibleByArgument>(_ value: String, of name: String) throws -> Value {
        guard let parsed = Value(argument: value) else {
            throw ValidationError("-o \(name): '\(value)' is no \(Value.self)")
        }
        return parsed
    }
}

/// A user, by number or by name.
struct UserID: ExpressibleByArgument, CustomStringConvertible {
    let rawValue: UInt32
    /// The name, where it is known, and the group that the user is first of all in.
    let name: String?
    let group: UInt32?

    /// Fails for a name that the system does not know, and for the largest number, which means "none".
    init?(argument: String) {
        let number = UInt32(argument)
        // Safe: both return NULL or an entry that is valid until the next such call; it is copied at once.
        let entry = unsafe number.map { unsafe getpwuid($0) } ?? getpwnam(argument)
        guard let entry = unsafe entry else {
            guard let number, number != .max else { return nil }
            (rawValue, name, group) = (number, nil, nil)
            return
        }
        rawValue = unsafe entry.pointee.pw_uid
        group = unsafe entry.pointee.pw_gid
        name = unsafe String(cString: entry.pointee.pw_name)
    }

    var description: String { name ?? "\(rawValue)" }
}

/// A group, by number or by name.
struct GroupID: ExpressibleByArgument {
    let rawValue: UInt32

    /// Fails for a name that the system does not know, and for the largest number, which means "none".
    init?(argument: String) {
        if let number = UInt32(argument) {
            guard number != .max else { return nil }
            rawValue = number
            return
        }
        // Safe: getgrnam returns NULL or an entry that is valid until the next such call.
        guard let entry = unsafe getgrnam(argument) else { return nil }
        rawValue = unsafe entry.pointee.gr_gid
    }
}

/// Permissions to leave out, in octal as in umask(1).
struct FileMask: ExpressibleByArgument {
    let rawValue: UInt16

    init?(argument: String) {
        guard let number = UInt16(argument, radix: 8), number <= 0o777, argument.first?.isNumber == true else {
            return nil
        }
        rawValue = number
    }
}

/// The options of mount(8) and fstab(5) that say how to mount, not what the mount is like.
enum MountCommandOption {
    /// What is not passed to FUSE: it is for mount and systemd, or true of every mount of this program, which changes
    /// no time.
    static func isIrrelevant(_ name: String) -> Bool {
        if name == "dev" || name == "suid" {
            // mount.fuse3 adds them by itself; fusermount3 refuses them to an ordinary user, with a warning.
            return geteuid() != 0
        }
        return name.isEmpty || name.hasPrefix("x-") || name.hasPrefix("X-") || names.contains(name)
    }

    /// What completions of `-o` offer: the options of this program, of FUSE, and of mount(8) that go with it; those that take a
    /// value with some of their values.
    static let offered: [(name: String, values: [String]?)] = [
        ("allow_other", nil), ("allow_root", nil), ("auto_unmount", nil), ("allow_path", []), ("overlay", []),
        ("overlay_options", []), ("overlay_plaintext", nil), ("no_lock", nil), ("cache_size", []),
        ("log_level", LogLevel.allCases.map(\.rawValue)), ("secret", []), ("slow_keys", nil), ("raw_img", nil),
        ("probe", nil), ("files", nil), ("ignore_parent_id", nil), ("uid", []), ("gid", []), ("umask", []),
        ("pid_file", []),
        ("kernel_path", KernelPath.allCases.map(\.rawValue)), ("drop_privileges", nil), ("setuid", []), ("ro", nil),
    ]

    private static let names: Set<String> = [
        "defaults", "auto", "noauto", "user", "nouser", "users", "nousers", "owner", "noowner", "group",
        "nogroup", "_netdev", "nofail", "comment", "silent", "loud", "mand", "nomand", "iversion", "noiversion",
        "atime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime",
        "lazytime", "nolazytime", "symfollow", "nosymfollow", "helper", "uhelper",
    ]
}
