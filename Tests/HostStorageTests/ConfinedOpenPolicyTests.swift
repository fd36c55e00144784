import BlockImage
import Foundation
import HostStorage
import HostTools
import SystemPackage
import TestImages
import Testing

/// A folder `images` with an image and a few files beside it, and a folder `outside` that none of it may lead to.
struct Confines {
    let folder: TemporaryFolder
    let policy: ConfinedOpenPolicy
    let image: LocalFile

    init(allowed: [String] = [], _ prepare: (TemporaryFolder) throws -> Void = { _ in }) throws {
        folder = try TemporaryFolder()
        _ = try folder.makeFolder("images/sub")
        _ = try folder.makeFolder("outside")
        try folder.write([1], to: "images/image.qcow2")
        try folder.write([2], to: "images/base.img")
        try folder.write([3], to: "images/sub/base.img")
        try folder.write([4], to: "outside/secret")
        try prepare(folder)
        let folder = folder
        policy = try ConfinedOpenPolicy(
            images: FilePath(folder.file("images")), allowed: allowed.map { FilePath(folder.file($0)) })
        image = try policy.openImage(at: FilePath(folder.file("images/image.qcow2")))
    }

    /// The first byte of the file that the image names, which tells the files apart.
    func firstByte(
        of name: String, role: FileReference.Role = .backing, namedBy image: LocalFile? = nil
    ) throws(ImageError) -> UInt8? {
        let file = try policy.open(FileReference(Array(name.utf8), role: role), namedBy: image ?? self.image)
        return try file.bytes(1, at: HostOffset(0), of: "test").first
    }

    func error(of name: String, role: FileReference.Role = .backing) -> ImageError? {
        do {
            _ = try firstByte(of: name, role: role)
            return nil
        } catch {
            return error
        }
    }

    func link(_ name: String, to target: String) throws {
        try FileManager.default.createSymbolicLink(atPath: folder.file(name), withDestinationPath: target)
    }
}

struct `The confined policy` {
    @Test func `tells the state of a folder that was not changed lately`() throws {
        let confines = try Confines()
        func stamp(_ name: String) -> FolderStamp? {
            confines.policy.stamp(
                ofFolder: FileReference(Array(name.utf8), role: .parent), besides: confines.image)
        }
        func setTime(_ name: String, _ seconds: Double) throws {
            try FileManager.default.setAttributes(
                [.modificationDate: Date(timeIntervalSince1970: seconds)], ofItemAtPath: confines.folder.file(name))
        }
        #expect(stamp("") == nil && stamp("sub") == nil && stamp("..") == nil && stamp("base.img") == nil)
        try setTime("images", 1_000_000)
        try setTime("outside", 1_000_000)
        let first = try #require(stamp(""))
        #expect(first.modified == FileTime(seconds: 1_000_000, nanoseconds: 0))
        #expect(stamp("../outside") == nil && stamp("../images")?.identity == first.identity)
        try confines.folder.write([5], to: "images/more")
        try setTime("images", 1_000_001)
        #expect(stamp("") != first)
    }

    @Test(
        arguments: [
            ("base.img", 2), ("./base.img", 2), ("sub/base.img", 3), ("sub/../base.img", 2), ("../images/base.img", 2),
            ("file:base.img", 2), ("file:sub/base.img", 3), ("sub//base.img", 3),
        ] as [(String, UInt8)])
    func `opens what lies in the folder, however it is written`(name: String, byte: UInt8) throws {
        let confines = try Confines()
        #expect(try confines.firstByte(of: name) == byte)
        #expect(try confines.firstByte(of: confines.folder.file("images/") + "base.img") == 2)
    }

    @Test(arguments: [
        "/etc/shadow", "../../x", "../outside/secret", "/etc/../etc/shadow", "sub/../../outside/secret", "..", "/",
        "file:/etc/shadow", "file:../outside/secret", "/proc/self/environ", "/dev/zero", "//etc/shadow",
        "json:{\"file.filename\":\"/etc/shadow\"}", "nbd:localhost:10809", "nbd://host/export", "http://host/x",
        "fat:/etc", "a:b.img", ":x",
    ])
    func `denies what leads out of it, and every protocol`(name: String) throws {
        let confines = try Confines()
        let error = confines.error(of: name)
        #expect(error?.code == .denied, "\(String(describing: error))")
        #expect(error?.path == confines.image.path)
        #expect(error?.message.contains(name) == true)
    }

    @Test func `tells whether something is there that it denies`() throws {
        let confines = try Confines()
        func isThere(_ name: String) -> Bool {
            confines.policy.isThere(FileReference(Array(name.utf8), role: .backing), namedBy: confines.image)
        }
        try confines.link("images/far", to: "../outside/secret")
        try confines.link("images/dangling", to: "nothing")
        let outside = confines.folder.file("outside")
        for name in ["../outside/secret", "\(outside)/secret", "file:\(outside)/secret", "far", outside, "base.img"] {
            #expect(isThere(name), "\(name)")
        }
        for name in ["../outside/none", "\(outside)/none", "dangling", "", "a\0", "nbd:x", "/gone/there/base.img"] {
            #expect(!isThere(name), "\(name)")
        }
        let served = try ConfinedOpenPolicy(
            images: FilePath(confines.folder.file("images")), excluding: FilePath(outside))
        #expect(!served.isThere(FileReference(Array("far".utf8), role: .backing), namedBy: confines.image))
    }

    @Test func `opens a name with a colon where a slash comes first, and as an extent of VMDK always`() throws {
        let confines = try Confines { try $0.write([7], to: "images/a:b.img") }
        #expect(try confines.firstByte(of: "./a:b.img") == 7)
        #expect(try confines.firstByte(of: "a:b.img", role: .extent) == 7)
    }

    @Test(arguments: ["", "base.img\0", "\0"])
    func `calls a name that is empty or has a NUL corrupt`(name: String) throws {
        let confines = try Confines()
        #expect(confines.error(of: name)?.code == .corrupt)
        #expect(confines.error(of: name, role: .extent)?.code == .corrupt)
    }

    @Test func `says of a file that is missing that the system cannot find it`() throws {
        let confines = try Confines()
        let error = confines.error(of: "none.img")
        #expect(error?.code == .system(errno: ENOENT))
        #expect(error?.message.hasPrefix("backing file \"none.img\"") == true)
        #expect(confines.error(of: "base.img/x")?.code == .system(errno: ENOTDIR))
        let long = String(repeating: "n", count: 5000)
        #expect(confines.error(of: long)?.code == .system(errno: ENAMETOOLONG))
    }

    @Test(.timeLimit(.minutes(10)))
    func `neither opens nor waits for a FIFO, a device, a socket or a folder`() throws {
        let confines = try Confines()
        #expect(mkfifo(confines.folder.file("images/fifo"), 0o600) == 0)
        // A writer, so that a reader who opens it after all fails the test rather than waiting for ever.
        let writer = open(confines.folder.file("images/fifo"), O_RDWR)
        defer { close(writer) }
        try confines.link("images/device", to: "/dev/zero")
        for name in ["fifo", "sub", "."] { #expect(confines.error(of: name)?.code == .denied, "\(name)") }
        #expect(confines.error(of: "device")?.code == .denied)
        let opened = #expect(throws: ImageError.self) {
            _ = try confines.policy.openImage(at: FilePath(confines.folder.file("images/fifo")))
        }
        #expect(opened?.code == .denied)
        #expect(opened?.message.contains("a FIFO") == true)
    }

    @Test func `never touches a device node in the folder`() throws {
        let confines = try Confines()
        let path = confines.folder.file("images/node")
        // Character device 1:5 is /dev/zero. Only root may make one.
        guard mknod(path, S_IFCHR | 0o600, 1 << 8 | 5) == 0 else { return }
        let error = confines.error(of: "node")
        #expect(error?.code == .denied)
        #expect(error?.message.contains("is a character device, and only regular files are opened") == true)
    }

    @Test func `follows links that stay inside, also absolute ones, and no others`() throws {
        let confines = try Confines()
        try confines.link("images/near", to: "sub/base.img")
        try confines.link("images/absolute", to: confines.folder.file("images/sub/base.img"))
        try confines.link("images/far", to: "../outside/secret")
        try confines.link("images/away", to: confines.folder.file("outside/secret"))
        try confines.link("images/folder", to: "../outside")
        try confines.link("images/chain", to: "near")
        try confines.link("images/back", to: "../outside/../images/base.img")
        try confines.link("images/dangling", to: "nothing")
        #expect(try confines.firstByte(of: "near") == 3)
        #expect(try confines.firstByte(of: "absolute") == 3)
        #expect(try confines.firstByte(of: "chain") == 3)
        #expect(try confines.firstByte(of: "back") == 2)
        for name in ["far", "away", "folder/secret"] { #expect(confines.error(of: name)?.code == .denied, "\(name)") }
        #expect(confines.error(of: "dangling")?.code == .system(errno: ENOENT))
        // `..` behind a link leads out of where the link leads to.
        #expect(confines.error(of: "folder/../images/base.img") == nil)
    }

    @Test func `ends loops of links with an error`() throws {
        let confines = try Confines()
        try confines.link("images/one", to: "two")
        try confines.link("images/two", to: "one")
        #expect(confines.error(of: "one")?.code == .system(errno: ELOOP))
        try confines.link("images/absolute", to: confines.folder.file("images/absolute"))
        #expect(confines.error(of: "absolute")?.code == .system(errno: ELOOP))
    }

    @Test func `opens what lies in allowed folders, and says which would have to be allowed`() throws {
        let confines = try Confines(allowed: ["outside"])
        try confines.link("images/far", to: "../outside/secret")
        #expect(try confines.firstByte(of: "../outside/secret") == 4)
        #expect(try confines.firstByte(of: confines.folder.file("outside/secret")) == 4)
        #expect(try confines.firstByte(of: "far") == 4)
        #expect(
            confines.error(of: "../elsewhere/x")?.hint?.contains("--allow-path \(confines.folder.path)/elsewhere")
                == true)
        #expect(confines.error(of: "/etc/shadow")?.hint?.hasSuffix("only with --allow-path /etc") == true)
    }

    @Test func `is not fooled by a folder whose name begins like the allowed one`() throws {
        let confines = try Confines()
        _ = try confines.folder.makeFolder("images-2")
        try confines.folder.write([9], to: "images-2/x")
        #expect(confines.error(of: "../images-2/x")?.code == .denied)
        #expect(confines.error(of: confines.folder.file("images-2/x"))?.code == .denied)
    }

    @Test func `keeps to the folder that it was given, whatever is put in its place`() throws {
        let confines = try Confines()
        try FileManager.default.moveItem(atPath: confines.folder.file("images"), toPath: confines.folder.file("moved"))
        try confines.link("images", to: "outside")
        try confines.folder.write([5], to: "outside/base.img")
        #expect(try confines.firstByte(of: confines.folder.file("images/base.img")) == 2)
    }

    @Test func `takes a folder that was made anew in the place of the first`() throws {
        let confines = try Confines()
        try FileManager.default.removeItem(atPath: confines.folder.file("images"))
        #expect(throws: ImageError.self) { try confines.firstByte(of: confines.folder.file("images/base.img")) }
        _ = try confines.folder.makeFolder("images")
        try confines.folder.write([8], to: "images/base.img")
        #expect(try confines.firstByte(of: confines.folder.file("images/base.img")) == 8)
        #expect(confines.policy.list(confines.policy.images)?.entries.map(\.name) == [Array("base.img".utf8)])
    }

    @Test func `needs folders that are there`() throws {
        let folder = try TemporaryFolder()
        try folder.write([], to: "file")
        for name in ["none", "file"] {
            let error = #expect(throws: ImageError.self) {
                _ = try ConfinedOpenPolicy(images: FilePath(folder.path), allowed: [FilePath(folder.file(name))])
            }
            #expect(error?.path == folder.file(name))
        }
    }

    @Test func `resolves names beside the file that names them, not beside the first image`() throws {
        let confines = try Confines { try $0.write([6], to: "images/sub/other.img") }
        let inner = try confines.policy.openImage(at: FilePath(confines.folder.file("images/sub/base.img")))
        #expect(try confines.firstByte(of: "other.img", namedBy: inner) == 6)
        #expect(try confines.firstByte(of: "../base.img", namedBy: inner) == 2)
    }

    @Test func `tells the names beside an image, links and folders too, and looks at none of them`() throws {
        let confines = try Confines()
        try confines.link("images/far", to: "../outside/secret")
        try confines.link("images/dangling", to: "nothing")
        func names(_ image: LocalFile) -> Set<String> {
            Set(confines.policy.names(besides: image).map { String(decoding: $0, as: UTF8.self) })
        }
        #expect(names(confines.image) == ["image.qcow2", "base.img", "sub", "far", "dangling"])
        let inner = try confines.policy.openImage(at: FilePath(confines.folder.file("images/sub/base.img")))
        #expect(names(inner) == ["base.img"])
        #expect(confines.policy.names(besides: MemoryFile([])) == [])
    }

    @Test func `tells no names of a folder that was moved out and linked to`() throws {
        let confines = try Confines()
        let inner = try confines.policy.openImage(at: FilePath(confines.folder.file("images/sub/base.img")))
        let sub = confines.folder.file("images/sub")
        try FileManager.default.moveItem(atPath: sub, toPath: confines.folder.file("outside/sub"))
        try confines.link("images/sub", to: "../outside")
        #expect(confines.policy.names(besides: inner) == [])
    }

    @Test func `takes the name of a parent as it is, colon and all`() throws {
        let confines = try Confines { try $0.write([7], to: "images/file:base.img") }
        #expect(try confines.firstByte(of: "file:base.img", role: .parent) == 7)
        #expect(try confines.firstByte(of: "sub/base.img", role: .parent) == 3)
        #expect(confines.error(of: "../outside/secret", role: .parent)?.code == .denied)
        #expect(
            confines.error(of: #"C:\none.vmdk"#, role: .parent)?.message.hasPrefix(#"parent "C:\none.vmdk": "#) == true)
    }

    @Test func `opens names that are not UTF-8`() throws {
        let confines = try Confines()
        let name: [UInt8] = [0xff, 0xfe, 0x2e, 0x69]
        let path = Array(confines.folder.file("images/").utf8) + name + [0]
        let handle = path.withUnsafeBufferPointer {
            open(UnsafeRawPointer($0.baseAddress!).assumingMemoryBound(to: CChar.self), O_CREAT | O_WRONLY, 0o600)
        }
        #expect(handle >= 0)
        close(handle)
        let file = try confines.policy.open(FileReference(name, role: .backing), namedBy: confines.image)
        #expect(file.size == 0)
        #expect((file as? LocalFile)?.location.bytes.suffix(4) == name[...])
        unlink(FilePath(bytes: path.dropLast()).string)
    }
}
