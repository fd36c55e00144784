import CLinux

/// Gives memory that was freed back to the system: the C library keeps it otherwise, however much that is. Takes
/// milliseconds.
public func giveBackHeap() {
    clinux_trim_heap()
}
