import Testing

@testable import CrashReplay

struct `What strace writes` {
    @Test func `is read to the byte, and calls that overlap in their order`() throws {
        let trace = try SystemCallTrace(
            parsing: #"""
                10 read(0<\x70\x69\x70\x65>, "\x61\x0a", 4096) = 2
                11 pwrite64(4<\x2f\x61\x20\x28>, "\x00\xff", 2, 4096) = 2
                12 fdatasync(4<\x2f\x61\x20\x28> <unfinished ...>
                11 pwritev(4<\x2f\x61\x20\x28>, [{iov_base="\x01", iov_len=1}, {iov_base="\x02\x03", iov_len=2}], 2, 512) = 3
                12 <... fdatasync resumed>)          = 0
                11 fallocate(4<\x2f\x61\x20\x28>, FALLOC_FL_KEEP_SIZE|FALLOC_FL_PUNCH_HOLE, 512, 1024) = -1 EOPNOTSUPP (Operation not supported)
                11 write(1<\x2f\x62>(deleted), "\x61", 1) = 1
                12 ???()                             = ?
                13 read(5<\x2f\x61>,  <unfinished ...>) = ?
                14 fdatasync(4<\x2f\x61\x20\x28> <unfinished ...>
                14 <... fdatasync resumed>)          = ?
                12  +++ exited with 0 +++
                """#)
        #expect(trace.calls.map(\.name) == ["read", "pwrite64", "pwritev", "fdatasync", "fallocate", "write"])
        #expect(trace.calls.map(\.result) == [2, 2, 3, 0, -1, 1])
        #expect(trace.calls.map(\.begin) == [0, 1, 2, 2, 4, 5])
        #expect(
            trace.calls[1].arguments == [.file("/a (", descriptor: 4), .bytes([0, 255]), .text("2"), .text("4096")])
        #expect(trace.calls[2].arguments[1] == .bytes([1, 2, 3]))
        #expect(trace.calls[5].arguments[0] == .file("/b", descriptor: 1))
    }

    @Test func `is not taken where bytes are missing`() {
        #expect(throws: (any Error).self) {
            try SystemCallTrace(parsing: #"11 pwrite64(4<\x2f\x61>, "\x00"..., 4096, 0) = 4096"#)
        }
    }
}
