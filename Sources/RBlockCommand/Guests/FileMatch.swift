import BlockImage
import Glibc

/// What `rblock find` compares with.
enum FileMatch {
    /// When the day `text`, as 2026-11-30, begins in UTC, in seconds since 1970; nil for what is no day.
    static func seconds(ofDay text: String) -> Int64? {
        let numbers = text.split(separator: "-", omittingEmptySubsequences: false).map { Int32($0) }
        guard numbers.count == 3, let year = numbers[0], let month = numbers[1], let day = numbers[2],
            (1900...9999).contains(year), (1...12).contains(month), (1...31).contains(day)
        else { return nil }
        // Safe: a value of numbers, and a pointer to a name of the time zone that is not looked at.
        var parts = unsafe tm()
        unsafe (parts.tm_year, parts.tm_mon, parts.tm_mday) = (year - 1900, month - 1, day)
        // Safe: the structure is there during the call.
        let seconds = unsafe timegm(&parts)
        // A day that a month does not have becomes one of the next.
        return unsafe parts.tm_mday == day ? Int64(seconds) : nil
    }

    /// Whether `name` is like `pattern`, as fnmatch(3) has it.
    static func matches(_ name: [UInt8], _ pattern: String) -> Bool {
        let (name, pattern) = (
            (name + [0]).map(CChar.init(bitPattern:)), (pattern.nameBytes + [0]).map(CChar.init(bitPattern:))
        )
        // Safe: both end in NUL and are there during the call.
        return unsafe fnmatch(pattern, name, 0) == 0
    }
}
