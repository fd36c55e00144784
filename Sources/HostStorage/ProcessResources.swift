import CLinux
import Glibc

/// Lets this process open as many files as it may: a folder of images, and an image of many extents, take a descriptor per
/// open file, and 1,024 is the usual soft limit.
public func raiseDescriptorLimit() {
    var limit = rlimit()
    // Safe: both calls use a structure of ours.
    guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    unsafe _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
}

/// Gives memory that was freed back to the system: the C library keeps it otherwise, however much that is. Takes
/// milliseconds.
public func giveBackHeap() {
    clinux_trim_heap()
}
