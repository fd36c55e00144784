import BlockImage
import Encryption

extension QCOW2Layout {
    /// Lists the LUKS header: what is needed to know how the disk is encrypted, and nothing that helps to guess a
    /// passphrase.
    func listEncryption(
        _ header: Header, _ found: FoundExtensions, to consumer: any LayoutConsumer
    ) throws(ImageError) {
        guard let pointer = found.encryptionHeader else {
            guard header.cryptMethod == 2 else { return }
            return try consumer.structure(LayoutStructure("LUKS header", at: nil, size: nil)) { () throws(ImageError) in
                try consumer.fault("crypt_method is 2, but no header extension says where the LUKS header lies")
            }
        }
        let start = HostOffset(pointer.offset)
        try consumer.structure(LayoutStructure("LUKS header", at: start, size: pointer.length)) {
            () throws(ImageError) in
            if let fault = placeFault(pointer.offset, header) {
                try consumer.fault("its pointer \(fault)")
                guard pointer.offset < file.size else { return }
            }
            try reportingReadErrors(consumer) { () throws(ImageError) in
                let held = min(UInt64(LUKS1Header.size), file.size - pointer.offset)
                var cursor = LayoutCursor(
                    try file.bytes(Int(held), at: start, of: "LUKS header"), at: start, isLittleEndian: false,
                    telling: consumer)
                try listLUKS(&cursor, consumer)
            }
        }
    }

    private func listLUKS(_ cursor: inout LayoutCursor, _ consumer: any LayoutConsumer) throws(ImageError) {
        if cursor.peek(6, at: 0) != LUKS1Header.magic.reduce(0, { $0 << 8 | UInt64($1) }) {
            cursor.faults[0] = "must be \"LUKS\\xba\\xbe\""
        }
        if cursor.peek(2, at: 6) != 1 { cursor.faults[6] = "only version 1 is read" }
        try cursor.bytes("magic", size: 6) {
            $0 == LUKS1Header.magic ? "\"LUKS\\xba\\xbe\"" : "\"\(printable($0))\""
        }
        try cursor.number("version", size: 2)
        for name in ["cipher-name", "cipher-mode", "hash-spec"] { try cursor.text(name, size: 32) }
        try cursor.number("payload-offset", size: 4) { "sector \($0), of which QCOW2 makes no use" }
        try cursor.number("key-bytes", size: 4) { counted($0, "byte") }
        try cursor.bytes("mk-digest", size: 20, isSecret: true) { _ in "not shown" }
        try cursor.bytes("mk-digest-salt", size: 32, isSecret: true) { _ in "not shown" }
        try cursor.number("mk-digest-iter", size: 4)
        try cursor.text("uuid", size: 40)
        for slot in 1...LUKS1Header.keySlotCount {
            let place = cursor.start.advanced(by: UInt64(cursor.position))
            try consumer.begin(
                LayoutStructure("key slot \(slot)", at: place, size: UInt64(LUKS1Header.KeySlot.size)))
            let state = cursor.peek(4, at: cursor.position)
            if state != 0x00ac_71f3, state != 0x0000_dead {
                cursor.faults[cursor.position] = "must be 0xac71f3 (used) or 0xdead (not used)"
            }
            try cursor.number("active", size: 4) { $0 == 0x00ac_71f3 ? "used" : "not used" }
            try cursor.number("iterations", size: 4)
            try cursor.bytes("salt", size: 32, isSecret: true) { _ in "not shown" }
            try cursor.number("key-material-offset", size: 4) { "sector \($0) of the LUKS header" }
            try cursor.number("stripes", size: 4)
            try consumer.end()
        }
    }
}
