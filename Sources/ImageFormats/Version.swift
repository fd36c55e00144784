import Compression
import Encryption
import OVA

/// The version that `--version`, `stats.json` and `rblock` tell.
public let rblockVersion = "0.1.0"

/// What `--version` prints: the program, and the libraries that it runs with, a line for each. `others` are those that
/// reading images does not need.
public func versionText(of program: String, others: [String] = []) -> String {
    let libraries = CompressionLibraries.versions + [CryptoLibrary.version, XMLLibrary.version] + others
    return (["\(program) \(rblockVersion)", "Swift \(_SwiftStdlibVersion.current)"] + libraries.sorted())
        .joined(separator: "\n")
}
