import Foundation
import HostTools
import TestImages

/// A client of JSON-RPC that sends what no library would. One thread may send while another one reads.
final class LineClient: @unchecked Sendable {
    private let descriptor: CInt
    private var input: [UInt8] = []

    /// Connects to the Unix socket at `path`.
    init(unix path: String) throws {
        descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
        try connect(&address)
    }

    /// Connects to a port of 127.0.0.1.
    init(port: UInt16) throws {
        descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        try connect(&address)
    }

    private func connect<Address>(_ address: inout Address) throws {
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<Address>.size))
            }
        }
        guard result == 0 else { throw PosixFailure(number: errno, call: "connect") }
        // A server that says nothing fails the test, and does not hang it.
        var limit = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit {
        close(descriptor)
    }

    /// Sends all of `bytes`. Throws where the server does not take them.
    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw PosixFailure(number: errno, call: "send") }
            sent += count
        }
    }

    /// Sends a line.
    func send(_ line: String) throws { try send(Array("\(line)\n".utf8)) }

    /// Sends nothing any more.
    func endOutput() { shutdown(descriptor, CInt(SHUT_WR)) }

    /// Has the connection be reset when it is closed.
    func resetWhenClosed() {
        var linger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<linger>.size))
    }

    /// The next line; nil where the server has closed the connection. Throws after a minute without one, and where the
    /// connection ends within a line.
    func line() throws -> String? {
        var searched = 0
        var buffer = [UInt8](repeating: 0, count: 1 << 18)
        while true {
            if let end = Self.lineEnd(in: input, from: searched) {
                defer { input.removeFirst(end + 1) }
                return String(decoding: input[..<end], as: UTF8.self)
            }
            searched = input.count
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count < 0 { throw PosixFailure(number: errno, call: "recv") }
            guard count > 0 else {
                guard input.isEmpty else { throw ToolFailure(description: "half an answer: \(input.count) bytes") }
                return nil
            }
            input += buffer[..<count]
        }
    }

    /// Where the first line end is; not found by Swift, which takes seconds for what is not optimized.
    private static func lineEnd(in bytes: [UInt8], from start: Int) -> Int? {
        bytes[start...].withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress, let found = memchr(base, 0x0a, bytes.count) else { return nil }
            return start + (UnsafeRawPointer(found) - base)
        }
    }

    /// The next line, which there must be, as JSON.
    func answer() throws -> JSONValue {
        guard let line = try line() else { throw ToolFailure(description: "the server closed the connection") }
        return try JSONValue(parsing: Data(line.utf8))
    }

    /// Calls `method` with `params`, a text of JSON, and answers the whole answer.
    func call(_ method: String, _ params: String = "{}") throws -> JSONValue {
        try send("{\"jsonrpc\":\"2.0\",\"method\":\"\(method)\",\"params\":\(params),\"id\":1}")
        while true {
            let answer = try answer()
            if answer["id"] != nil { return answer }
        }
    }
}

extension JSONValue {
    /// The code of the error that an answer is.
    var code: Int? { self["error", "code"]?.number }
}
