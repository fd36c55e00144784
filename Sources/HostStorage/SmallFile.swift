import BlockImage
import Glibc
import SystemPackage

/// All that a small file has, such as one of the kernel's; nil where there is none. Throws where it cannot be read.
public func smallFile(_ path: FilePath) throws(ImageError) -> [UInt8]? {
    do {
        let file = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
        return try file.closeAfter {
            var bytes: [UInt8] = []
            var piece = [UInt8](repeating: 0, count: 1 << 16)
            while true {
                // Safe: read writes at most as many bytes as the array has.
                let count = unsafe try piece.withUnsafeMutableBytes { unsafe try file.read(into: $0) }
                if count == 0 { return bytes }
                bytes += piece[..<count]
            }
        }
    } catch {
        // The last of them: of a process that has ended meanwhile.
        if let number = error as? Errno, [.noSuchFileOrDirectory, .notDirectory, .noSuchProcess].contains(number) {
            return nil
        }
        let number = (error as? Errno) ?? .ioError
        throw ImageError(.system(errno: number.rawValue), path: path.text, "\(number)")
    }
}
