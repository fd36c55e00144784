import Foundation
import HostTools

/// The kernel that tests boot: Debian's for machines in clouds, which `make deps-test` unpacks into the folder .build-kernel of the
/// repository and does not install.
package enum BootKernel {
    /// The folder with its `boot` and `lib`: RBLOCK_BOOT_KERNEL, or that of the repository.
    package static let folder: String = {
        if let path = ProcessInfo.processInfo.environment["RBLOCK_BOOT_KERNEL"] { return path }
        // Tests/Support/BootKernel.swift.
        var root = URL(fileURLWithPath: #filePath)
        for _ in 0..<3 { root.deleteLastPathComponent() }
        return root.appendingPathComponent(".build-kernel").path
    }()

    /// Whether tests that boot it may run, where `programs`, whether those are there that they need, says so. As `Tool.areThere`, it
    /// says why not, and skips nothing in CI.
    package static func isThere(_ programs: Bool) -> Bool {
        guard programs, !FileManager.default.fileExists(atPath: "\(folder)/boot") else { return programs }
        print("skipped: no kernel in \(folder); 'make deps-test' unpacks one")
        return ProcessInfo.processInfo.environment["CI"] != nil
    }
}
