import ArgumentParser

/// How disks are written over, for the programs that have --overlay.
package struct OverlayOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            How overlays are made, as options of QCOW2 for qemu-img: cluster_size (64k), extended_l2 (on) and refcount_bits (16). \
            'help' explains them. Those that are there stay as they are. Repeatable.
            """, valueName: "name=value,..."))
    package var overlayOptions: [String] = []

    @Flag(
        help: """
            With --overlay: let encrypted disks be written to as well. What is written to them is stored as it is, and can be read \
            without the key.
            """)
    package var overlayPlaintext = false

    @OptionGroup
    package var locking: LockOption

    package init() {}

    /// Throws where something is said of overlays, and `folder`, the folder for them, is not.
    package func check(with folder: String?) throws {
        guard folder == nil else { return }
        let said = [
            ("--overlay-options", !overlayOptions.isEmpty), ("--overlay-plaintext", overlayPlaintext),
            ("--no-lock", locking.noLock),
        ]
        guard let option = said.first(where: { $0.1 }) else { return }
        throw ValidationError("\(option.0) goes with --overlay")
    }
}
