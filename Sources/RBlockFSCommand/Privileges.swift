import CLinux
import Glibc
import SystemPackage

/// What a server gives up once its mount answers. Mounting, and raising the read-ahead, take rights that serving does not.
enum Privileges {
    /// Throws where this process cannot become `user`: better now than when it is mounted.
    static func check(becoming user: UserID?) throws(MountFailure) {
        guard let user else { return }
        guard geteuid() == 0 else {
            throw MountFailure(.noPermission, "--user \(user): only root can go on as another user")
        }
        guard user.name != nil, user.group != nil else {
            throw MountFailure(.noPermission, "--user \(user): there is no such user")
        }
    }

    /// Becomes `user`, and keeps no capability but CAP_DAC_READ_SEARCH: images are opened when they are looked at,
    /// and root's mount shows those of all users. To be called while the process has one thread; later ones inherit it.
    static func giveUp(becoming user: UserID?) throws(MountFailure) {
        // Safe: a string of ours, or none.
        guard unsafe clinux_keep_read_search(user?.name, user?.rawValue ?? 0, user?.group ?? 0) == 0 else {
            throw MountFailure(.noPermission, "cannot give up privileges: \(Errno(rawValue: errno))")
        }
    }
}
