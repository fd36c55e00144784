import BlockImage
import Glibc
import HostStorage
import SystemPackage

/// The rblockfs that serves an image whose bytes do not lie flat in a file.
package struct AttachedServer: Sendable {
    /// What it is given: the arguments of rblockfs that say how the image is opened, and the image.
    package var options: [String]
    package var image: String
    /// The file of the disk below its mountpoint.
    package var file: FilePath

    /// What is served, and under which name.
    package init(options: [String], image: String, file: FilePath) {
        (self.options, self.image, self.file) = (options, image, file)
    }

    /// All arguments of the program: this is the only place that they are put together.
    private func arguments(_ mountpoint: FilePath, _ pidFile: FilePath) -> [String] {
        options + ["--pid-file", pidFile.text, "--", image, mountpoint.text]
    }

    /// What runs it.
    static func program() throws(ImageError) -> ChildProgram {
        try ChildProgram(besides: "rblockfs", package: "rblock")
    }

    /// Starts it, and answers when its mount does; it goes on in the background.
    func start(for name: String, in folder: AttachmentFolder) throws(ImageError) -> ProcessIdentity {
        let mountpoint = folder.mountpoint(name)
        // Safe: a string of ours.
        guard unsafe mountpoint.withPlatformString({ unsafe mkdir($0, 0o700) }) == 0 else {
            throw systemError("make the folder", path: mountpoint.text)
        }
        let program = try Self.program()
        let result = try program.run(arguments(mountpoint, folder.pidFile(name)))
        guard result.status == 0 else {
            let reason = result.message.replacing(text: "rblockfs: ", with: "")
            throw ImageError(
                .unsupported, about: .named("rblockfs"), "ended with \(result.status): \(quoting: reason)")
        }
        let text = try smallFile(folder.pidFile(name)).map { String(decoding: $0.filter { $0 > 0x20 }, as: UTF8.self) }
        guard let server = text.flatMap({ Int32($0) }).flatMap(ProcessIdentity.init(running:)) else {
            throw ImageError(.unsupported, about: .named("rblockfs"), "ended as soon as it had mounted the image")
        }
        return server
    }
}
