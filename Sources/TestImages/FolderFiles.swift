import BlockImage
import Foundation

/// The files of a new image in a folder, where they are from the start, for tests of what is written into them.
public final class FolderFiles: NewFiles {
    private let folder: String

    /// New files in the folder at `path`.
    public init(_ path: String) {
        folder = path
    }

    /// See `NewFiles`; a file that is there is replaced.
    public func file(named name: String) throws(ImageError) -> any NewFile {
        let path = "\(folder)/\(name)"
        do { return try PlainNewFile(path) } catch {
            throw ImageError(.system(errno: EIO), path: path, String(describing: error))
        }
    }
}
