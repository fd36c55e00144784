import BlockImage
import Testing

struct `The identity of an image` {
    static let text = "12345678-9abc-def0-1234-56789abcdef0"

    @Test func `is the same by its text, its bytes and the bytes of a GUID`() {
        let identity = ImageIdentity(text: Self.text)
        #expect(identity?.description == Self.text)
        #expect(identity == ImageIdentity(text: "{12345678-9ABC-DEF0-1234-56789ABCDEF0}"))
        #expect(
            identity?.bytes == [
                0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0,
            ])
        #expect(
            identity?.guidBytes == [
                0x78, 0x56, 0x34, 0x12, 0xbc, 0x9a, 0xf0, 0xde, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0,
            ])
        #expect(identity.map { ImageIdentity(guid: $0.guidBytes) } == identity)
        #expect(identity.map { ImageIdentity($0.bytes) } == identity)
        #expect(identity?.isZero == false && ImageIdentity([UInt8](repeating: 0, count: 16)).isZero)
    }

    @Test(arguments: [
        "", "12345678", "12345678-9abc-def0-1234-56789abcdef", "12345678-9abc-def0-1234-56789abcdefg",
        "123456789-abc-def0-1234-56789abcdef0", "{12345678-9abc-def0-1234-56789abcdef0",
        "12345678-9abc-def0-1234-56789abcdef0-", "12345678-9abc-def0-1234-5678９9abcde",
    ])
    func `is nothing else`(text: String) {
        #expect(ImageIdentity(text: text) == nil)
    }

    @Test func `is known of a folder while that stays as it was`() {
        let index = IdentityIndex()
        let folder = FileIdentity(device: 1, inode: 2)
        let early = FolderStamp(folder, modified: FileTime(seconds: 5, nanoseconds: 0))
        let late = FolderStamp(folder, modified: FileTime(seconds: 5, nanoseconds: 1))
        let identity = ImageIdentity([1, 2, 3])
        #expect(index.names(in: early) == nil)
        index.keep([identity: [Array("a".utf8)]], of: early)
        #expect(index.names(in: early) == [identity: [Array("a".utf8)]])
        #expect(index.names(in: late) == nil)
        index.keep([:], of: late)
        #expect(index.names(in: late) == [:] && index.names(in: early) == nil)
    }

    @Test func `is kept of a bounded number of names`() {
        let index = IdentityIndex()
        let names = (0..<IdentityIndex.nameLimit / 2).map { [UInt8(truncatingIfNeeded: $0)] }
        let stamps = (0..<3).map {
            FolderStamp(FileIdentity(device: 1, inode: $0), modified: FileTime(seconds: 5, nanoseconds: 0))
        }
        for stamp in stamps { index.keep([ImageIdentity([1]): names], of: stamp) }
        #expect(index.names(in: stamps[0]) == nil && index.names(in: stamps[2])?.count == 1)
    }
}

struct `A name of Windows` {
    @Test(
        arguments: [
            (["C:\\VMs\\base.vhd"], ["../VMs/base.vhd", "base.vhd"]),
            ([".\\base.vhd", "C:\\VMs\\base.vhd"], ["base.vhd", "../VMs/base.vhd"]),
            (["..\\other\\base.vhd"], ["../other/base.vhd", "base.vhd"]),
            (["\\\\server\\share\\base.vhd"], ["../share/base.vhd", "base.vhd"]),
            (["./base.vhd"], ["base.vhd"]), (["/sr/base.vhd"], ["/sr/base.vhd", "../sr/base.vhd", "base.vhd"]),
            (["C:\\base.vhd"], ["base.vhd"]), (["base.vhd"], ["base.vhd"]), ([""], []), (["..\\.."], ["../.."]),
        ] as [([String], [String])])
    func `is looked for by what it can mean here`(paths: [String], names: [String]) {
        let sought = SoughtName(windowsPaths: paths, in: "locator")
        #expect(sought.candidates.map { nameText($0.name) } == names)
        #expect(sought.text == paths[0])
    }
}
