import BlockImage
import Fuse
import Glibc
import SystemPackage

/// Why nothing was mounted: one line for people, and the exit status.
struct MountFailure: Error {
    /// The command's exit statuses, as sysexits.h names them.
    enum Status: Int32 {
        /// IMAGES cannot be read.
        case noInput = 66
        /// There is no FUSE.
        case unavailable = 69
        /// Anything else.
        case software = 70
        /// MOUNTPOINT cannot be mounted on, or the file of --pid-file cannot be written.
        case cannotMount = 73
        /// Not permitted.
        case noPermission = 77
    }

    var status: Int32
    /// Nil where the line was written already.
    var message: String?

    init(_ status: Status, _ message: String) {
        self.status = status.rawValue
        self.message = message
    }

    /// The background process has said what is wrong, and ended with `status`.
    init(reportedWith status: Int32) {
        self.status = status
    }

    /// IMAGES or a folder of --allow-path cannot be used.
    init(reading error: ImageError) {
        let isPermission = error.code == .system(errno: EACCES) || error.code == .system(errno: EPERM)
        self.init(isPermission ? .noPermission : .noInput, error.description)
    }

    /// The session could not be made, mounted or served.
    init(_ error: SessionError) {
        // In these words fusermount3 refuses it to an ordinary user.
        if error.message.contains(text: "user_allow_other") {
            let advice = "root can allow it to all: echo user_allow_other >>/etc/fuse.conf"
            self.init(.noPermission, "\(error.message); \(advice)")
            return
        }
        // fusermount3 has only words to say why it failed.
        let isRefused = [ErrorNumber(rawValue: EPERM), .accessDenied].contains { error.message.hasSuffix("\($0)") }
        switch error.errorNumber.rawValue {
        case EPERM, EACCES: self.init(.noPermission, error.message)
        default: self.init(isRefused ? .noPermission : .software, error.message)
        }
    }

    /// The kernel reads nothing by itself because of `error`, where that is required.
    init(requiringKernelPath error: ErrorNumber, _ reason: String) {
        self.init(error.rawValue == EPERM ? .noPermission : .unavailable, "--kernel-path require: \(reason)")
    }

    func report() {
        message.map(Self.say)
    }

    /// Writes one line for people.
    static func say(_ message: String) {
        _ = try? FileDescriptor.standardError.writeAll("rblockfs: \(message)\n".utf8)
    }
}
