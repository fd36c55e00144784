import ArgumentParser

/// What is said of QEMU's locks to programs that take them.
package struct LockOption: ParsableArguments {
    @Flag(
        help: """
            Neither take nor heed QEMU's locks on overlays and images, as for file systems without locks. Nothing then keeps a machine \
            from the same files, which would destroy them.
            """)
    package var noLock = false

    package init() {}
}
