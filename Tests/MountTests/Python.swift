import Foundation
import HostTools
import Testing

/// Short Python programs for tests: they make the system calls that shell commands do not make one by one.
enum Python {
    /// What every program begins with: `says(call)` is what a call ends with, the name of its errno or None.
    private static let prelude = """
        import ctypes, errno, fcntl, hashlib, mmap, multiprocessing, os, random, stat, sys, threading, time
        libc = ctypes.CDLL(None, use_errno=True)
        def says(call, *arguments):
            try: call(*arguments)
            except OSError as e: return errno.errorcode[e.errno]
        def is_(what, value, expected):
            if value != expected: print('%s: %r, not %r' % (what, value, expected))
        def contents(path):
            with open(path, 'rb') as file: return file.read()

        """

    /// Runs `program` with `arguments` as sys.argv[1] and so on; as an ordinary user where it `isOrdinary`. Answers what
    /// it printed: tests print what is wrong.
    static func run(
        _ program: String, _ arguments: String..., isOrdinary: Bool = false, timeout: Double = 300
    ) throws -> String {
        let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        // Another that comes first in the path may belong to a user whose folders are closed to others.
        let command = (isOrdinary ? user : []) + ["/usr/bin/python3", "-c", prelude + program] + arguments
        let result = try Tool.run(command[0], Array(command.dropFirst()), timeout: timeout)
        guard result.status == 0 else {
            throw ToolFailure(description: "Python ended with \(result.status): \(result.text)\(result.errors)")
        }
        return result.text
    }
}
