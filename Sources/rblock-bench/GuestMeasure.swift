import Foundation
import HostTools

/// What people do with files of a guest that is on an image. The raw value is its name on the command line and in JSON.
enum GuestMeasure: String, CaseIterable {
    case list, file, archive, many

    /// What the table calls it.
    var title: String {
        switch self {
        case .list: "all files listed"
        case .file: "one file read"
        case .archive: "all files archived"
        case .many: "a million files listed"
        }
    }

    /// What its figures are.
    var unit: String { self == .archive ? "MB/s" : "times/hour" }

    /// What the figure is to be, at least. `isNative`: of a file system that is read without a kernel.
    func aims(of kind: GuestReaderKind, isNative: Bool) -> [PeerRow.Aim] {
        guard kind == .rblock else { return [] }
        return switch self {
        case .list where isNative: [PeerRow.Aim(times: GuestReaderKind.guestfish.rawValue, atLeast: 20)]
        // 50 ms; 4 s where a kernel is started for it.
        case .file: [PeerRow.Aim(times: nil, atLeast: isNative ? 72_000 : 900)]
        case .archive where isNative: [PeerRow.Aim(times: GuestReaderKind.loopMount.rawValue, atLeast: 0.8)]
        case .list, .archive, .many: []
        }
    }

    /// The figure of a run that wrote `count` bytes in `seconds`.
    func figure(_ count: Int, _ seconds: Double) -> Double {
        self == .archive ? Double(count) / 1e6 / seconds : 3600 / seconds
    }
}

/// A run of a command whose output nothing keeps.
struct DrainedCommand {
    /// How many bytes it wrote.
    private(set) var count = 0
    private(set) var seconds = 0.0
    /// The most memory that it had, in bytes, as of when it last wrote something; of the shell's children nothing.
    private(set) var peak = 0

    /// Runs `command` with sh(1). Throws where it fails.
    init(_ command: String) throws {
        let start = ContinuousClock.now
        guard let pipe = popen("echo $$; \(command)", "r") else {
            throw PosixFailure(number: errno, call: "popen")
        }
        var line = [CChar](repeating: 0, count: 32)
        let process = fgets(&line, 32, pipe).map { atoi($0) } ?? 0
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 4096)
        defer { buffer.deallocate() }
        var pieces = 0
        while true {
            let got = fread(buffer.baseAddress, 1, buffer.count, pipe)
            guard got > 0 else { break }
            count += got
            pieces += 1
            if pieces % 16 == 0 || got < buffer.count { peak = max(peak, Self.peak(of: process)) }
        }
        let status = pclose(pipe)
        guard status == 0 else { throw ToolFailure(description: "ended with \(status >> 8)") }
        seconds = start.duration(to: .now).seconds
    }

    private static func peak(of process: CInt) -> Int {
        let text = (try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)) ?? ""
        let line = text.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return (line?.split { $0 == " " || $0 == "\t" }.dropFirst().first.flatMap { Int($0) } ?? 0) * 1024
    }
}
