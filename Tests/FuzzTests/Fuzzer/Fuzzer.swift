import Glibc
import HostTools
import TestImages

// The functions that libFuzzer calls (LLVM, "libFuzzer – a library for coverage-guided fuzz testing"). The environment
// variable RBLOCK_FUZZ_TARGET names the target.

private let target: FuzzTarget = {
    // Safe: getenv answers a C string or nil, and the environment does not change.
    let name = getenv("RBLOCK_FUZZ_TARGET").map { String(cString: $0) } ?? ""
    guard let target = FuzzTarget(rawValue: name) else {
        let names = FuzzTarget.allCases.map(\.rawValue).joined(separator: " ")
        fail("RBLOCK_FUZZ_TARGET must be one of: \(names)", status: 64)
    }
    return target
}()

private func fail(_ message: String, status: CInt) -> Never {
    let line = Array("\(message)\n".utf8)
    _ = write(STDERR_FILENO, line, line.count)
    exit(status)
}

@_silgen_name("LLVMFuzzerMutate")
private func mutateBytes(_ data: UnsafeMutablePointer<UInt8>, _ size: Int, _ limit: Int) -> Int

/// One execution.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    target.run(Array(UnsafeBufferPointer(start: data, count: size)))
    return 0
}

/// A mutation: by libFuzzer itself, or of one to three integers.
@_cdecl("LLVMFuzzerCustomMutator")
public func mutate(_ data: UnsafeMutablePointer<UInt8>, _ size: Int, _ limit: Int, _ seed: CUnsignedInt) -> Int {
    var random = SeededRandom(seed: UInt64(seed))
    guard target.hasFixedFields, size >= 8, Int.random(in: 0..<3, using: &random) > 0 else {
        return mutateBytes(data, size, limit)
    }
    var bytes = Array(UnsafeBufferPointer(start: data, count: size))
    for _ in 0..<Int.random(in: 1...3, using: &random) { Mutation.poke(&bytes, using: &random) }
    for index in bytes.indices { data[index] = bytes[index] }
    return size
}

/// Before the corpus is read: puts the seeds into the folder that RBLOCK_FUZZ_SEEDS names.
@_cdecl("LLVMFuzzerInitialize")
public func initialize(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>
) -> CInt {
    guard let folder = getenv("RBLOCK_FUZZ_SEEDS").map({ String(cString: $0) }) else { return 0 }
    guard let seeds = try? target.seeds() else {
        fail("the seeds cannot be made", status: 70)
    }
    for (number, seed) in seeds.enumerated() {
        guard let file = fopen("\(folder)/seed-\(number)", "w") else {
            fail("\(folder): seeds cannot be written there", status: 74)
        }
        fwrite(seed, 1, seed.count, file)
        fclose(file)
    }
    return 0
}
