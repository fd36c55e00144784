import BlockImage

extension FileTime {
    /// Seconds from 1970 to 1980.
    private static let year1980: Int64 = 3652 * 86400

    /// The time of day `time` on `date`, as FAT and exFAT keep them, and `hundredths` of a second after it.
    ///
    ///     date  bits 0-4 day, 5-8 month, 9-15 years after 1980
    ///     time  bits 0-4 seconds halved, 5-10 minutes, 11-15 hours
    ///
    /// What no calendar has is counted as Linux does: month 0 and day 0 as the first, day 31 of February as early March.
    init(date: UInt16, time: UInt16, hundredths: UInt8 = 0) {
        let year = Int64(date >> 9)
        let month = max(1, Int(date >> 5 & 15))
        let day = max(1, Int64(date & 31)) - 1
        // 2100 is no leap year, and 2107 the last year.
        var leapDays = (year + 3) / 4 - (year > 120 ? 1 : 0)
        if year % 4 == 0, year != 120, month > 2 { leapDays += 1 }
        let days = year * 365 + leapDays + Self.daysBefore[month] + day
        let minutes = Int64(time >> 11) * 60 + Int64(time >> 5 & 63)
        let seconds = Self.year1980 + days * 86400 + minutes * 60 + Int64(time & 31) * 2
        self.init(seconds: seconds + Int64(hundredths / 100), nanoseconds: Int(hundredths % 100) * 10_000_000)
    }

    /// The days of a year before each month, from month 1 on; months 13 to 15 are none.
    private static let daysBefore: [Int64] = [0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 0, 0, 0]

    /// The same moment where it was given in a zone of exFAT: bit 7 says that there is one, the others count quarters of an hour
    /// east of Greenwich.
    func inZone(_ zone: UInt8) -> FileTime {
        guard zone & 0x80 != 0 else { return self }
        let quarters = Int64(zone & 0x7f) - (zone & 0x40 != 0 ? 128 : 0)
        return FileTime(seconds: seconds - quarters * 900, nanoseconds: nanoseconds)
    }
}
