import Glibc
import NIOCore

/// What `error` of an event loop means for a connection, in words; nil for one that only says that it has ended.
package func connectionFault(_ error: any Error) -> String? {
    if error is ChannelError { return nil }
    guard let number = (error as? IOError)?.errnoCode else { return "the connection failed" }
    switch number {
    case ECONNRESET: return "the client reset the connection"
    case EPIPE: return "the client closed the connection before it had taken all answers"
    case ETIMEDOUT, EHOSTUNREACH, ENETUNREACH: return "the client's host does not answer any more"
    default: return "the connection failed: \(systemText(number))"
    }
}

/// What the system calls the error `number`.
package func systemText(_ number: CInt) -> String {
    // Safe: strerror answers a C string, which is copied at once.
    unsafe String(cString: strerror(number))
}
