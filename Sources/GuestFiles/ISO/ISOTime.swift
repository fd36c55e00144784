import BlockImage

extension FileTime {
    /// The seven bytes of a directory record (ECMA-119, 9.1.5): years after 1900, month, day, hour, minute, second, and quarters
    /// of an hour east of Greenwich. What was not said is zeros, and 1970.
    ///
    /// As in Linux, a zone of more than 13 hours is none.
    init(record bytes: ArraySlice<UInt8>) {
        let fields = bytes.prefix(6).map { Int64($0) }
        guard bytes.count >= 7, bytes.prefix(6).contains(where: { $0 != 0 }) else {
            self.init(seconds: 0, nanoseconds: 0)
            return
        }
        let zone = Int64(Int8(bitPattern: bytes[bytes.startIndex + 6]))
        self.init(
            year: 1900 + fields[0], month: fields[1], day: fields[2],
            second: (fields[3] * 60 + fields[4]) * 60 + fields[5],
            zone: zone, nanoseconds: 0)
    }

    /// The 17 bytes of a volume descriptor (8.4.26.1): four digits of the year and two each of month, day, hour, minute, second
    /// and hundredths, and the zone. Nil for what is no number.
    init?(digits bytes: ArraySlice<UInt8>) {
        guard bytes.count >= 17, let zone = bytes.dropFirst(16).first else { return nil }
        var fields: [Int64] = []
        var rest = bytes.prefix(16)
        for count in [4, 2, 2, 2, 2, 2, 2] {
            var value: Int64 = 0
            for byte in rest.prefix(count) {
                guard (0x30...0x39).contains(byte) else { return nil }
                value = value * 10 + Int64(byte - 0x30)
            }
            fields.append(value)
            rest = rest.dropFirst(count)
        }
        guard fields.contains(where: { $0 != 0 }) else { return nil }
        self.init(
            year: fields[0], month: fields[1], day: fields[2], second: (fields[3] * 60 + fields[4]) * 60 + fields[5],
            zone: Int64(Int8(bitPattern: zone)), nanoseconds: Int(fields[6]) * 10_000_000)
    }

    /// What no calendar has is counted on, as Linux does: month 0 is December of the year before.
    private init(year: Int64, month: Int64, day: Int64, second: Int64, zone: Int64, nanoseconds: Int) {
        // Years from March on, so that leap days are at their ends.
        let months = month - 3 + (month <= 2 ? 12 : 0)
        let years = year - (month <= 2 ? 1 : 0)
        let century = years / 100
        let days = 146_097 * (century / 4) + 36524 * (century % 4) + 365 * (years % 100) + years % 100 / 4
        let dayOfYear = (153 * months + 2) / 5 + day - 1
        let east = (-52...52).contains(zone) ? zone * 900 : 0
        self.init(seconds: (days + dayOfYear - 719_468) * 86400 + second - east, nanoseconds: nanoseconds)
    }
}
