import ArgumentParser

/// How disks are written over, for the programs that have --overlay.
package struct OverlayOptions: ParsableArguments {
    @Flag(
        help: """
            With --overlay: let encrypted disks be written to as well. What is written to them is stored as it is, and can be read \
            without the key.
            """)
    package var overlayPlaintext = false

    package init() {}

    /// Throws where something is said of overlays, and `folder`, the folder for them, is not.
    package func check(with folder: String?) throws {
        guard folder == nil, overlayPlaintext else { return }
        throw ValidationError("--overlay-plaintext goes with --overlay")
    }
}
