import ByteFormat
import Testing

struct `A reader` {
    private let bytes: [UInt8] = [0x01, 0x02, 0x03, 0x04, 0x85, 0x06, 0x07, 0x08, 0x09]

    @Test func `reads integers of every width in both orders`() throws {
        var big = ByteReader(bytes)
        #expect(try big.read(.big) as UInt8 == 0x01)
        #expect(try big.read(.big) as UInt16 == 0x0203)
        #expect(try big.read(.big) as UInt32 == 0x0485_0607)
        #expect(big.position == 7)
        var little = ByteReader(bytes)
        #expect(try little.read(.little) as UInt64 == 0x0807_0685_0403_0201)
        #expect(try little.read(.little) as UInt8 == 0x09)
        var signed = ByteReader(bytes, at: 4)
        #expect(try signed.read(.big) as Int8 == -123)
        #expect(try signed.read(.big, as: Int16.self) == 0x0607)
    }

    @Test(arguments: [0, 1, 5, 8, 9])
    func `never passes the end, and stays where it is when it would`(position: Int) {
        for count in [bytes.count - position + 1, .max] {
            var reader = ByteReader(bytes, at: position)
            let left = bytes.count - position
            let message = "the structure ends \(left) bytes on, but \(count) more are needed"
            #expect(throws: ParseFault(at: position, message)) { _ = try reader.read(bytes: count) }
            #expect(throws: ParseFault(at: position, message)) { try reader.skip(count) }
            #expect(reader.position == position)
        }
        var reader = ByteReader(bytes, at: position)
        let value: UInt64? = try? reader.read(.big)
        #expect((value != nil) == (position <= 1))
    }

    @Test func `takes no negative count, and no position outside its bytes`() {
        var reader = ByteReader(bytes, at: 3)
        #expect(throws: ParseFault.self) { _ = try reader.read(bytes: -1) }
        #expect(throws: ParseFault.self) { try reader.skip(.min) }
        #expect(reader.position == 3)
        #expect(ByteReader(bytes, at: -5).position == 0)
        #expect(ByteReader(bytes, at: .max).position == bytes.count)
        #expect(ByteReader([]).remaining == 0)
    }

    @Test func `aligns to multiples counted from the structure's start, and stops at its end`() {
        for (position, alignment, expected) in [(0, 8, 0), (1, 8, 8), (8, 8, 8), (9, 8, 9), (3, 4, 4), (7, 512, 9)] {
            var reader = ByteReader(bytes, at: position)
            reader.align(to: alignment)
            #expect(reader.position == expected)
        }
    }
}

struct `A bit field` {
    @Test(arguments: [
        (0, 63, UInt64.max), (0, 0, 1), (63, 63, 1 << 63), (9, 55, 0x00ff_ffff_ffff_fe00), (56, 61, 0x3f << 56),
    ])
    func `has a mask of its bits, whose value it shifts down`(low: Int, high: Int, mask: UInt64) {
        let field = BitField<UInt64>(low...high)
        #expect(field.mask == mask)
        #expect(field.value(in: mask) == (mask >> UInt64(low)))
        #expect(field.value(in: ~mask) == 0)
        #expect(field.masked(in: .max) == mask)
        #expect(field.isSet(in: mask) && !field.isSet(in: ~mask))
    }

    @Test func `lies in integers of every width`() {
        #expect(BitField<UInt8>(7).mask == 0x80)
        #expect(BitField<UInt8>(0...7).mask == 0xff)
        #expect(BitField<UInt32>(16...31).value(in: 0xabcd_1234) == 0xabcd)
    }
}

struct `A table` {
    @Test func `is decoded in the order that its bytes have, and its last, cut entry left out`() {
        let bytes: [UInt8] = [0, 0, 0, 1, 0x80, 0, 0, 2, 9, 9, 9]
        let span = bytes.span
        #expect(decodeTable(span.bytes, of: UInt32.self, .big) == [1, 0x8000_0002])
        #expect(decodeTable(span.bytes, of: UInt32.self, .little) == [0x0100_0000, 0x0200_0080])
        #expect(decodeTable(span.bytes, of: UInt64.self, .big) == [0x0000_0001_8000_0002])
        #expect(decodeTable(span.bytes, of: UInt8.self, .big).count == 11)
        #expect(decodeTable(span.bytes.extracting(0..<3), of: UInt32.self, .big) == [])
        // Not aligned in memory.
        #expect(decodeTable(span.bytes.extracting(1..<9), of: UInt32.self, .big) == [0x0000_0180, 0x0000_0209])
    }
}
