import Glibc

/// `text` on one line that does nothing to a terminal: names come from images, and whoever made an image may have put
/// anything into them. Characters that control, format or separate lines, those that no XML may have, and the bytes of
/// names that are not UTF-8 (see `nameText`) become `\x1b` or `\u{202e}`, and a backslash, which would look like the start
/// of one, becomes two where there is such a character.
public func printable(_ text: String) -> String {
    func isUnsafe(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.isASCII { return scalar.value < 0x20 || scalar.value == 0x7f }
        if scalar.rawByte != nil { return true }
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator: return true
        default: return scalar.value == 0xfffe || scalar.value == 0xffff
        }
    }
    guard text.unicodeScalars.contains(where: isUnsafe) else { return text }
    var result = ""
    for scalar in text.unicodeScalars {
        let value = scalar.rawByte.map(UInt32.init) ?? scalar.value
        let digits = String(value, radix: 16)
        if scalar == "\\" {
            result += "\\\\"
        } else if !isUnsafe(scalar) {
            result.unicodeScalars.append(scalar)
        } else if value < 0x100 {
            result += "\\x" + (digits.count < 2 ? "0" : "") + digits
        } else {
            result += "\\u{\(digits)}"
        }
    }
    return result
}

/// The same of `bytes`, of which those that are not UTF-8 become `\xfc` too.
public func printable(_ bytes: some Collection<UInt8>) -> String {
    printable(nameText(bytes))
}

/// A number of bytes with three digits that count, as qemu-img writes it: `352 KiB`, `2.19 MiB`, `0.977 KiB`.
public func humanSize(_ count: UInt64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    var unit = 0
    var scale = 1.0
    // The next unit begins at 1000 of this one, so that there are never four digits before the point.
    while unit < units.count - 1, Double(count) / scale >= 1000 {
        unit += 1
        scale *= 1024
    }
    let value = Double(count) / scale
    // The digits behind the point that make three in all.
    let decimals = value >= 100 || value == 0 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3
    let powers = [1, 10, 100, 1000]
    var digits = Int((value * Double(powers[decimals])).rounded(.toNearestOrEven))
    var power = powers[decimals]
    while power > 1 && digits % 10 == 0 {
        digits /= 10
        power /= 10
    }
    guard power > 1 else { return "\(digits) \(units[unit])" }
    let fraction = String(digits % power + power).dropFirst()
    return "\(digits / power).\(fraction) \(units[unit])"
}

/// `number` of what `noun` calls one, as people count: `1 entry`, `2 entries`. `plural`: what several are called, where
/// that is no `noun` with an s.
public func counted(_ number: some BinaryInteger, _ noun: String, _ plural: String? = nil) -> String {
    "\(number) \(number == 1 ? noun : plural ?? noun + "s")"
}

/// The time `seconds` after the beginning of 1970, as "2026-11-30 12:00:00 UTC"; nil where no calendar reaches it.
public func utcTime(_ seconds: UInt64) -> String? {
    guard var time = time_t(exactly: seconds) else { return nil }
    // Safe: a value of numbers, and a pointer to a name of the time zone that is not looked at.
    var parts = unsafe tm()
    // Safe: both are on the stack, and the function writes into the second.
    guard unsafe gmtime_r(&time, &parts) != nil else { return nil }
    func two(_ number: CInt) -> String { number < 10 ? "0\(number)" : "\(number)" }
    let day = unsafe "\(1900 + Int(parts.tm_year))-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
    return unsafe "\(day) \(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) UTC"
}

/// The time now as RFC 3339 has it, with milliseconds: "2026-11-30T12:00:00.250Z".
public func utcTimestamp() -> String {
    var time = timespec()
    // Safe: the call fills a structure of ours.
    unsafe clock_gettime(CLOCK_REALTIME, &time)
    let milliseconds = String(time.tv_nsec / 1_000_000 + 1000).dropFirst()
    let seconds = UInt64(clamping: time.tv_sec)
    // "2026-11-30 12:00:00 UTC"
    let text = (utcTime(seconds) ?? "").split(separator: " ")
    return text.prefix(2).joined(separator: "T") + ".\(milliseconds)Z"
}
