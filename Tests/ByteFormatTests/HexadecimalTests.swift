import ByteFormat
import Testing

@Suite struct `Hexadecimal text` {
    @Test func `has a prefix and no zeros before it in messages`() {
        #expect(hexadecimal(UInt64.max) == "0xffffffffffffffff")
        #expect(hexadecimal(UInt8(0)) == "0x0")
    }

    @Test func `has as many digits as asked for, and never fewer than the number has`() {
        #expect(hexDigits(UInt32(0x1f), 4) == "001f")
        #expect(hexDigits(UInt32(0xabcde), 4) == "abcde")
        #expect(hexDigits(UInt64(0), 1) == "0")
    }

    @Test func `has two digits for each byte`() {
        #expect(hexBytes([0x0f, 0xa0, 0]) == "0f a0 00")
        #expect(hexBytes([]) == "")
    }
}
