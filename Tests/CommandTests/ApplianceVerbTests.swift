import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "tar", "sha256sum", "cmp", "bash", "python3")))
struct `The verbs, of an OVA` {
    private func hash(_ path: String) throws -> String { try Shell.check("sha256sum < \"$1\" | cut -c 1-64", path) }

    @Test func `read its disks as what is unpacked`() throws {
        let images = try ApplianceImages()
        let folder = images.folder
        for (name, disk) in [
            ("one.ova", "one.raw"), ("one.ova/disk1.vmdk", "one.raw"), ("two.ova/disk1.vmdk", "one.raw"),
            ("two.ova/disk2.qcow2", "two.raw"),
        ] {
            let (hashed, expected) = (try images.run("hash", name), try hash(folder.file(disk)))
            #expect(hashed.status == 0 && hashed.text == "\(expected)  \(name)\n", "\(hashed)")
            let compared = try images.run("diff", name, disk)
            #expect(compared.status == 0 && compared.text == "the disks are the same\n", "\(compared)")
            let converted = try images.run("convert", "--force", name, "out.qcow2")
            #expect(converted.status == 0, "\(converted)")
            try Tool.check("qemu-img", "compare", folder.file("out.qcow2"), folder.file(disk))
            try Shell.check(
                "cd \"$1\"; \"$2\" read --offset 1M --length 1M \"$3\" | cmp -i 0:1048576 -n 1048576 - \"$4\"",
                images.path, Tool.rblock, name, disk)
        }
        // From anywhere.
        #expect(try images.run("hash", folder.file("two.ova/disk2.qcow2")).status == 0)
    }

    @Test func `take one of its disks for the backing file of another image`() throws {
        let images = try ApplianceImages()
        try Shell.check("qemu-img create -q -u -f qcow2 -b gone -F qcow2 \"$1\" 4M", images.folder.file("top.qcow2"))
        let hashed = try images.run("hash", "--backing", "two.ova/disk2.qcow2", "top.qcow2")
        #expect(try hashed.text.hasPrefix(hash(images.folder.file("two.raw"))), "\(hashed)")
    }

    @Test func `tell where its disks are stored as of what is unpacked`() throws {
        let images = try ApplianceImages()
        for (inside, outside) in [("one.ova", "disk1.vmdk"), ("two.ova/disk2.qcow2", "disk2.qcow2")] {
            let ours = try RBlock.json("map", inside, in: images.path)
            #expect(try ours == RBlock.json("map", outside, in: images.path))
            let inspected = try images.run("inspect", inside)
            let plain = try images.run("inspect", outside)
            #expect(inspected.status == 0)
            // The first line has the name.
            #expect(
                inspected.text.split(separator: "\n").dropFirst() == plain.text.split(separator: "\n").dropFirst())
        }
        #expect(try images.run("map", "one.ova").text.contains("one.ova/disk1.vmdk"))
    }

    @Test func `name its disks where one must be named, and where there is no such disk`() throws {
        let images = try ApplianceImages()
        let both = "two.ova/disk1.vmdk, two.ova/disk2.qcow2"
        for verb in ["hash", "map", "read", "inspect"] {
            let result = try images.run(verb, "two.ova")
            #expect(
                result.status == 1 && result.text == ""
                    && result.errors.contains("several disks, of which one must be named; it has \(both)"),
                "\(verb): \(result)")
        }
        let none = try images.run("convert", "two.ova/disk3.vmdk", "out.raw")
        #expect(none.status == 1 && none.errors.contains("no such disk; it has \(both)"), "\(none)")
        #expect(try images.run("convert", "two.ova", "out.raw").status == 1)
        #expect(try Shell.run("ls \"$1\"/out*", images.path).status != 0)
        #expect(try images.run("hash", "none.ova/disk1.vmdk").status == 1)
        // A person may have the archive itself as a disk.
        let (raw, bytes) = (
            try images.run("hash", "--format", "raw", "two.ova"), try hash(images.folder.file("two.ova"))
        )
        #expect(raw.text.hasPrefix(bytes), "\(raw)")
    }

    @Test func `report of the whole what a mount does, and of a disk what is reported of an image`() throws {
        let images = try ApplianceImages()
        let whole = try RBlock.json("info", "two.ova", in: images.path)
        #expect(whole["filename"]?.text == "two.ova" && whole["format"]?.text == "ova")
        #expect(whole["ova", "disks"]?.array?.compactMap { $0["folder"]?.text } == ["disk1.vmdk", "disk2.qcow2"])
        #expect(whole["ova", "machines"]?.array?.first?["name"]?.text == "A machine")
        #expect(whole["ova", "files"]?.array?.count == 4)
        let text = try images.run("info", "two.ova")
        #expect(text.status == 0 && text.text.contains("disk2.qcow2") && text.text.contains("A machine"), "\(text)")
        let disk = try RBlock.json("info", "two.ova/disk2.qcow2", in: images.path)
        #expect(disk["filename"]?.text == "two.ova/disk2.qcow2" && disk["format"]?.text == "qcow2")
        #expect(disk["virtual-size"]?.number == 4 << 20)
        try Shell.check("cd \"$1\"; head -c 9000 two.ova > cut.ova; echo no > no.ova", images.path)
        let cut = try images.run("info", "cut.ova")
        #expect(cut.status == 1 && cut.text.contains("disk1.vmdk") && cut.errors.contains("cut.ova"), "\(cut)")
        #expect(try images.run("info", "no.ova").errors.contains("no tar archive"))
    }

    @Test func `cannot have an image over one of its disks`() throws {
        let images = try ApplianceImages()
        let made = try images.run("create", "-b", "one.ova", "-F", "vmdk", "over.qcow2")
        #expect(made.status == 1 && made.errors.contains("is in an archive"), "\(made)")
        let disk = try images.run("create", "-b", "two.ova/disk2.qcow2", "over.qcow2")
        #expect(disk.status == 1 && disk.errors.contains("is in an archive"), "\(disk)")
        let delta = try images.run("delta", "two.ova/disk2.qcow2", "one.ova", "over.qcow2")
        #expect(delta.status == 1 && delta.errors.contains("is in an archive"), "\(delta)")
        #expect(try Shell.run("ls \"$1\"/over*", images.path).status != 0)
        // What has changed may be in one, and the base may be a file that a person names.
        #expect(try images.run("delta", "two.raw", "two.ova/disk1.vmdk", "changed.qcow2").status == 0)
        try Tool.check("qemu-img", "compare", images.folder.file("changed.qcow2"), images.folder.file("one.raw"))
        let named = try images.run(
            "delta", "--backing-name", "disk2.qcow2", "two.ova/disk2.qcow2", "one.raw", "named.qcow2")
        #expect(named.status == 0, "\(named)")
        try Tool.check("qemu-img", "compare", images.folder.file("named.qcow2"), images.folder.file("one.raw"))
    }

    @Test func `never write over the archive that they read`() throws {
        let images = try ApplianceImages()
        let before = try hash(images.folder.file("one.ova"))
        #expect(try images.run("convert", "--force", "-O", "raw", "one.ova", "one.ova").status == 1)
        #expect(try images.run("convert", "--force", "-O", "raw", "one.ova/disk1.vmdk", "one.ova").status == 1)
        for options in [[], ["--force"]] {
            let arguments = ["inspect"] + options + ["--svg", "one.ova", "one.ova/disk1.vmdk"]
            #expect(try RBlock.run(arguments, in: images.path).status == 1)
        }
        #expect(try hash(images.folder.file("one.ova")) == before)
    }
}

@Suite(.enabled(if: Tool.areThere("qemu-img", "tar", "sha256sum", "bash", "python3")))
struct `rblock check, of an OVA` {
    @Test(arguments: ["<Envelope>\n&x;</Envelope>", "<Envelope>", "", "<!DOCTYPE x><Envelope/>", "<no/>"])
    func `calls none sound whose descriptor cannot be read`(text: String) throws {
        let images = try ApplianceImages()
        try Shell.check(
            "cd \"$1\"; printf %s \"$2\" >bad.ovf; qemu-img create -q -f vmdk d.vmdk 1M; tar -cf bad.ova bad.ovf d.vmdk",
            images.path, text)
        let result = try images.run("check", "bad.ova")
        #expect(result.status == 2 && result.text.contains("corruption: "), "\(result.text)\(result.errors)")
        #expect(result.text.contains("OVF descriptor: "), "\(result.text)")
    }

    @Test func `compares all files with the manifest, and checks all disks`() throws {
        let images = try ApplianceImages()
        for name in ["one.ova", "two.ova", "two.ova/disk1.vmdk", "two.ova/disk2.qcow2"] {
            let result = try images.run("check", name)
            #expect(result.status == 0 && result.text.contains("Nothing is wrong."), "\(name): \(result)")
        }
        try images.damage("disk1.vmdk", of: "two.ova")
        let whole = try images.run("check", "two.ova")
        #expect(whole.status == 2 && whole.text.contains("corruption: \"disk1.vmdk\": its SHA256 is "), "\(whole)")
        let document = try RBlock.json("check", "two.ova", in: images.path)
        #expect(document["format"]?.text == "ova" && document["filename"]?.text == "two.ova")
        let findings = document["findings"]?.array?.filter { $0["kind"]?.text == "manifest" } ?? []
        #expect(findings.count == 1 && findings[0]["file"]?.text?.hasSuffix("two.ova") == true, "\(document)")
        #expect(try images.run("check", "two.ova/disk1.vmdk").status == 2)
        #expect(try images.run("check", "two.ova/disk2.qcow2").status == 0)
        try images.damage("vm.ovf", of: "one.ova")
        let descriptor = try images.run("check", "one.ova")
        #expect(descriptor.status == 2 && descriptor.text.contains("\"vm.ovf\": its SHA256"), "\(descriptor)")
        #expect(try images.run("check", "one.ova/disk1.vmdk").status == 0)
    }

    @Test(arguments: ["SHA1", "SHA256", "SHA512", "SHA2-256", "sha-512", "SHA2-512"])
    func `knows every spelling of the algorithms`(name: String) throws {
        let images = try ApplianceImages()
        let tool = name.lowercased().replacing("sha2-", with: "sha").replacing("-", with: "") + "sum"
        try Shell.check(
            """
            cd "$1"; for name in disk1.vmdk disk2.qcow2; do
              printf '%s(%s)= %s\\r\\n' $2 $name $($3 < $name | cut -d ' ' -f 1 | tr a-f A-F)
            done > vm.mf
            tar -cf x.ova vm.mf disk1.vmdk disk2.qcow2
            """, images.path, name, tool)
        #expect(try images.run("check", "x.ova").status == 0)
        try images.damage("disk2.qcow2", of: "x.ova")
        let result = try images.run("check", "x.ova")
        #expect(result.status == 2 && result.text.contains("\"disk2.qcow2\": its SHA"), "\(result)")
    }

    @Test func `says what of a manifest cannot be compared, and what it does not have`() throws {
        let images = try ApplianceImages()
        try Shell.check(
            """
            cd "$1"; sed -i '/disk1/d' vm.mf; tar -cf less.ova disk1.vmdk disk2.qcow2 vm.mf vm.ovf
            echo "SHA3-256(vm.ovf)=$(printf 0%.0s $(seq 64))" >> vm.mf; tar -cf odd.ova disk2.qcow2 vm.mf vm.ovf
            tar -cf missing.ova disk1.vmdk vm.mf; tar -cf none.ova disk1.vmdk disk2.qcow2 vm.ovf
            head -c 300000 /dev/zero | tr '\\0' x > flat.raw; tar -cf raw.ova flat.raw
            """, images.path)
        let less = try images.run("check", "less.ova")
        #expect(less.status == 0 && less.text.contains("warning: disk1.vmdk: the manifest does not have"), "\(less)")
        let odd = try images.run("check", "odd.ova")
        #expect(odd.status == 1 && odd.text.contains("line 3 is no digest of a known kind"), "\(odd)")
        let missing = try images.run("check", "missing.ova")
        #expect(missing.status != 0 && missing.text.contains("the archive has no such file"), "\(missing)")
        #expect(try images.run("check", "none.ova").status == 0)
        #expect(try images.run("check", "raw.ova").status == 63)
        #expect(try images.run("check", "--data", "raw.ova").status == 0)
    }

    @Test func `finds what is wrong inside a disk, and says in which`() throws {
        let images = try ApplianceImages()
        try Shell.check(
            """
            cd "$1"; printf '\\377' | dd of=disk2.qcow2 bs=1 seek=196608 conv=notrunc status=none
            tar -cf x.ova disk1.vmdk disk2.qcow2; head -c 400000 x.ova > cut.ova
            """, images.path)
        let plain = try RBlock.json("check", "disk2.qcow2", in: images.path)
        let inside = try RBlock.json("check", "x.ova", in: images.path)
        #expect(plain["findings"]?.array?.isEmpty == false)
        for key in ["corruptions", "leaks", "check-errors"] { #expect(plain[key] == inside[key], "\(key)") }
        #expect(inside["findings"]?.array?.first?["message"]?.text?.hasPrefix("disk2.qcow2: ") == true)
        let cut = try images.run("check", "cut.ova")
        #expect(cut.status == 2 && cut.text.contains("corruption: member \"disk1.vmdk\""), "\(cut)")
    }

    @Test(arguments: [
        ("gone.vmdk", 2, "corruption"), ("sub/gone.vmdk", 2, "corruption"), ("http://example.com/a.vmdk", 1, "error"),
        ("file:///srv/a.vmdk", 1, "error"), ("/srv/a.vmdk", 1, "error"), ("disk2.qcow2", 0, ""),
    ])
    func `tells what is missing from what lies elsewhere, of disks and of other files`(
        href: String, status: Int32, severity: String
    ) throws {
        let images = try ApplianceImages()
        let file = "<File ovf:id=\"x\" ovf:href=\"\(href)\"/>"
        for disk in ["<Disk ovf:diskId=\"x\" ovf:fileRef=\"x\" ovf:capacity=\"1\"/>", ""] {
            try Shell.check(
                """
                cd "$1"; { echo '<Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References>'
                echo '<File ovf:id="y" ovf:href="disk1.vmdk"/>' "$2" '</References><DiskSection>' "$3"
                echo '<Disk ovf:diskId="y" ovf:fileRef="y" ovf:capacity="1"/></DiskSection></Envelope>'; } >x.ovf
                tar -cf x.ova x.ovf disk1.vmdk disk2.qcow2
                """, images.path, file, disk)
            let result = try images.run("check", "x.ova")
            #expect(result.status == status, "\(href) \(disk): \(result)")
            let lines = result.text.split(separator: "\n").filter { $0.contains(":") && !$0.hasPrefix("corruptions:") }
            guard status != 0 else { continue }
            #expect(lines.count == 1 && lines[0].hasPrefix("\(severity): "), "\(href) \(disk): \(result.text)")
            let words = status == 2 ? "is missing: the archive has no member" : "is not in the archive"
            #expect(lines[0].contains(words), "\(lines)")
        }
    }

    @Test func `does not hash holes without end`() throws {
        let images = try ApplianceImages()
        try Shell.check(
            """
            cd "$1"; truncate -s 7T huge.raw; printf x | dd of=huge.raw bs=1 seek=1G conv=notrunc status=none
            echo "SHA256(huge.raw)= $(printf 0%.0s $(seq 64))" > vm.mf; tar --sparse -cf huge.ova vm.mf huge.raw
            """, images.path)
        let result = try images.run("check", "huge.ova")
        #expect(result.status == 1 && result.text.contains("more than are hashed"), "\(result)")
    }
}
