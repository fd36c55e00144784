import Foundation
import HostTools
import TestImages
import Testing

@Suite struct `Versions and libraries` {
    static let programs = [Tool.rblock, Tool.rblockfs]

    @Test(.enabled(if: Tool.areThere("pkg-config")), arguments: programs)
    func `--version names the program, and the version of each library that is installed`(program: String) throws {
        let version = try Tool.run(program, ["--version"])
        #expect(version.status == 0 && version.errors == "")
        let lines = version.text.split(separator: "\n").map(String.init)
        let name = (program as NSString).lastPathComponent
        #expect(lines.first?.wholeMatch(of: /(rblock|rblockfs) \d+\.\d+\.\d+/)?.1 == Substring(name), "\(lines)")
        #expect(lines.contains { $0.wholeMatch(of: /Swift \d+\.\d+(\.\d+)?/) != nil }, "\(lines)")
        for (library, module) in [
            ("libcrypto", "libcrypto"), ("libdeflate", "libdeflate"), ("libexpat", "expat"), ("libzstd", "libzstd"),
            ("zlib", "zlib"), ("libfuse", "fuse3"),
        ] {
            let line = lines.first { $0.hasPrefix("\(library) ") }
            guard library != "libfuse" || name == "rblockfs" else {
                #expect(line == nil)
                continue
            }
            let installed = try Shell.check("pkg-config --modversion \(module)").trimmingCharacters(in: .newlines)
            #expect(line?.split(separator: " ")[1] == Substring(installed), "\(lines)")
        }
    }

    /// One `import Foundation` anywhere adds 45 MB to a program with a static runtime, most of it data of ICU.
    @Test(.enabled(if: Tool.areThere("ldd")), arguments: programs)
    func `no program is linked against more of Foundation than its essentials`(program: String) throws {
        let libraries = try Shell.check("ldd \"$1\"", program).split(separator: "\n")
            .compactMap { $0.split(whereSeparator: \.isWhitespace).first }
            .filter { $0.contains("Foundation") }
        #expect(libraries == ["libFoundationEssentials.so"])
    }

    /// `contains` of a text is one such function: `contains(text:)` of this package does it in its place.
    @Test(.enabled(if: Tool.areThere("nm")), arguments: programs)
    func `no program uses what brings regular expressions, a megabyte of a static one`(program: String) throws {
        let symbols = try Shell.check("nm -D --undefined-only \"$1\"", program).split(separator: "\n")
        #expect(symbols.count > 100)
        #expect(symbols.filter { $0.contains("_StringProcessing") || $0.contains("_RegexParser") } == [])
    }
}
