import Foundation
import HostTools
import TestImages
import Testing

@Suite(
    "Files of guests",
    .enabled(
        if: Tool.isRoot && Tool.areThere("mkfs.ext4", "mkfs.vfat", "mcopy", "sfdisk", "setfattr", "qemu-img", "jq")))
struct GuestVerbTests {
    @Test func `ls lists what the guest has, by every name of its file systems`() throws {
        let images = try GuestImages()
        for image in ["disk.raw", "disk.qcow2", "disk.vmdk", "disk.qcow2@daily"] {
            let all = try images.run("ls", "-a", "\(image):/")
            #expect(
                all.status == 0 && all.text == "abs\nboot\netc\nhome\nloop\nlost+found\nusr\nvar\n", "\(image): \(all)")
            for name in ["/boot", ":1:/", ":p1:/", ":LABEL=EFI:/"] {
                let listed = try images.run("ls", "\(image)\(name.hasPrefix(":") ? name : ":\(name)")")
                #expect(listed.status == 0 && listed.text == "grub.cfg\n", "\(image)\(name): \(listed)")
            }
            // The file system alone has nothing mounted in it.
            for name in ["2", "LABEL=root"] {
                #expect(try images.run("ls", "\(image):\(name):/boot").output.isEmpty, "\(image) \(name)")
            }
        }
        #expect(try images.run("ls", "root.raw").text == images.run("ls", "root.raw:/").text)
        let notes = try images.run("ls", "disk.raw").errors
        #expect(notes.contains("which its /etc/fstab mounts on /data two, is not in the image") == true, "\(notes)")
        #expect(!notes.contains("media") && !notes.contains("tmp"), "\(notes)")
        let uuid = try Shell.check("blkid -s UUID -o value \"$1\"", images.folder.file("root.raw"))
        #expect(try images.run("ls", "disk.vmdk:UUID=\(uuid.uppercased()):/etc").text == "fstab\nhostname\n")
        #expect(try images.run("ls", "-R", "disk.vmdk:/usr").text == "disk.vmdk:/usr:\nbin\n\n/usr/bin:\n")
        #expect(try images.run("ls", "-d", "disk.vmdk:/usr/").text == "usr\n")
    }

    @Test func `ls -l and its JSON say what the kernel says`() throws {
        let images = try GuestImages()
        let result = try images.compare(
            """
            "$R" ls -laR --output json root.raw:/ 2>/dev/null |
              jq -r '.[] | [.path, .type, .mode, .uid, .gid, .links, .size, (.target // "")] | map(tostring) | join("|")' | sort >ours
            (cd mnt; find . -mindepth 1 -printf '/%P|%y|%04m|%U|%G|%n|%s|%l\\n') |
              sed 's/|f|/|file|/;s/|d|/|directory|/;s/|l|/|link|/;s/|p|/|fifo|/;s/|c|/|character-device|/;s/|b|/|block-device|/' | sort >theirs
            # A name with a newline is two lines here.
            grep -v -e line -e new ours >ours2; grep -v -e line -e new theirs >theirs2; diff ours2 theirs2; wc -l <ours2
            "$R" ls --output json root.raw:/home/me/f4 2>/dev/null | jq -r '.[0].modified'; date -u -d "$(stat -c %y mnt/home/me/f4)" +%FT%TZ
            """)
        let lines = result.text.split(separator: "\n").map(String.init)
        #expect(result.status == 0 && lines.count == 3, "\(result.text)\(result.errors)")
        #expect((Int(lines.first ?? "") ?? 0) > 65 && lines.last == lines.dropLast().last, "\(lines)")
        let long = try images.run("ls", "-l", "disk.raw:/home/me/f4").text
        #expect(long == "-rw-r--r-- 1 0 0 2 2001-02-03 04:05 f4\n", "\(long)")
        #expect(try images.run("ls", "-lh", "disk.raw:/var/disk").text.contains("brw-r--r-- 1 0 0 259,300 "))
    }

    @Test func `cat follows links inside of the guest`() throws {
        let images = try GuestImages()
        let several = try images.run("cat", "disk.vmdk:/home/link", "disk.vmdk:/abs/second", "disk.vmdk:/boot/grub.cfg")
        #expect(several.status == 0 && several.text == "guest\nguest\nboot\n", "\(several)")
        let big = try images.run("cat", "disk.qcow2:/var/big")
        #expect(big.output == FileManager.default.contents(atPath: images.tree + "/var/big"))
        for (name, message) in [
            ("/loop", "Too many levels of symbolic links"), ("/home/out", "No such file or directory"),
            ("/etc/hostname/x", "Not a directory"), ("/etc/hostname/", "Not a directory"),
            ("/etc", "is no regular file"),
            ("/var/null", "is no regular file"),
        ] {
            let result = try images.run("cat", "disk.qcow2:\(name)")
            #expect(
                result.status == 1 && result.output.isEmpty && result.errors.contains(message), "\(name): \(result)")
        }
        // The others are written all the same.
        let partly = try images.run("cat", "disk.qcow2:/nothing", "disk.qcow2:/etc/hostname")
        #expect(partly.status == 1 && partly.text == "guest\n")
        let json = try RBlock.json("cat", images.folder.file("disk.raw") + ":/etc/hostname")
        #expect(
            json.array?[0]["data"]?.text == "Z3Vlc3QK" && json.array?[0]["path"]?.text == "/etc/hostname", "\(json)")
    }

    @Test func `tar writes what GNU tar makes the same files of`() throws {
        let images = try GuestImages()
        let result = try images.compare(
            """
            "$R" tar root.raw:/ 2>/dev/null | tar -x --xattrs --xattrs-include='*' -p --numeric-owner -C out
            diff <(walk mnt) <(walk out) && du -s --apparent-size out/var/sparse mnt/var/sparse | cut -f1 && du -k out/var/sparse | cut -f1
            "$R" tar --file one.tar root.raw:/home/me/f4 2>/dev/null; tar -tf one.tar
            "$R" tar --file etc.tar --output json disk.qcow2:/etc | jq -c '[.files, .complete, .path]'; tar -tf etc.tar
            """)
        let lines = result.text.split(separator: "\n")
        #expect(result.status == 0 && lines.count == 8, "\(result.text)\(result.errors)")
        #expect(
            lines.starts(with: ["40960", "40960"]) && (Int(lines.count > 2 ? lines[2] : "") ?? 999) < 100, "\(lines)")
        #expect(Array(lines.dropFirst(3)) == ["f4", "[3,true,\"/etc\"]", "./", "./fstab", "./hostname"], "\(lines)")
    }

    @Test func `cp copies to the host, as it was and not out of the directory`() throws {
        let images = try GuestImages()
        let result = try images.compare(
            """
            mkdir plain; "$R" cp -a root.raw:/ out 2>/dev/null; rm -rf out/second
            # Hard links and extended attributes are tar's.
            diff <(walk mnt -) <(walk out -)
            du -k out/var/sparse | cut -f1
            umask 027; "$R" cp -r root.raw:/home root.raw:/usr plain 2>notes; stat -c '%a %U %n' plain/home/me/f1 plain/usr/bin
            "$R" cp root.raw:/etc/hostname new 2>/dev/null; cat new; "$R" cp root.raw:/etc . 2>&1 | grep -c 'r copies it'
            # What lies where a directory is to go is not followed.
            mkdir -p away trap; ln -s ../away trap/home; "$R" cp -r root.raw:/home trap 2>/dev/null && exit 9; ls away
            ln -s ../away/file trap/hostname; "$R" cp root.raw:/etc/hostname trap 2>/dev/null && exit 9; ls away
            """)
        let lines = result.text.split(separator: "\n")
        #expect(result.status == 0, "\(result.text)\(result.errors)")
        #expect((Int(lines.first ?? "") ?? 999) < 100, "\(lines)")
        #expect(
            Array(lines.dropFirst()) == [
                "640 root plain/home/me/f1", "750 root plain/usr/bin", "guest", "1",
            ], "\(lines)")
    }

    @Test func `what is written on the host is no device, no image that is read, and called as was said`() throws {
        let images = try GuestImages()
        let result = try images.compare(
            """
            mkfifo out/hostname; "$R" cp root.raw:/etc/hostname out 2>&1 | grep -o 'no regular file'
            mkdir in; "$R" cp root.raw:/home/link in 2>/dev/null; ls in; before=$(sha256sum disk.raw)
            "$R" tar --file disk.raw disk.raw:/ 2>&1 | grep -o 'is the image that is read'; "$R" cp disk.raw:/etc/hostname disk.raw 2>&1 | grep -o 'the image that is read'
            [ "$(sha256sum disk.raw)" = "$before" ] && echo same; mkdir there; chmod 1777 there; mkdir there/home; chmod 2711 there/home
            "$R" cp -r root.raw:/home there 2>/dev/null; stat -c %a there/home
            """)
        #expect(
            result.text.split(separator: "\n") == [
                "no regular file", "link", "is the image that is read", "the image that is read", "same", "2711",
            ], "\(result.text)\(result.errors)")
    }

    @Test func `find and du see the same files as those of the host`() throws {
        let images = try GuestImages()
        let result = try images.compare(
            """
            same() { diff <(sort "$1") <(sort "$2"); }
            "$R" find -0 root.raw:/ 2>/dev/null | tr '\\0' '\\n' >ours; (cd mnt; find . -printf '/%P\\n') >theirs; same ours theirs
            "$R" find --name 'f1?' --type file root.raw:/home 2>/dev/null >ours; (cd mnt; find home -type f -name 'f1?' -printf '/%p\\n') >theirs; same ours theirs
            "$R" find --type link root.raw:/ 2>/dev/null | wc -l; find mnt -type l | wc -l
            "$R" find --larger 1M --newer 2020-01-01 root.raw:/ 2>/dev/null; "$R" find --older 1970-01-01 root.raw:/ 2>/dev/null
            "$R" du --apparent-size root.raw:/var 2>/dev/null | cut -f1; "$R" du -s root.raw:/home 2>/dev/null; du -s mnt/home
            """)
        let lines = result.text.split(separator: "\n").map(String.init)
        try #require(result.status == 0 && lines.count >= 8, "\(result.text)\(result.errors)")
        #expect(lines[0] == lines[1] && lines[2...4] == ["/var/big", "/var/sparse", "/home/me/f5"], "\(lines)")
        #expect(lines[6].split(separator: "\t")[0] == lines[7].split(separator: "\t")[0], "\(lines)")
    }

    @Test func `df lists the file systems, and what cannot be read`() throws {
        let images = try GuestImages()
        let rows = try RBlock.json("df", images.folder.file("disk.vmdk"))
        #expect(rows.array?[0]["type"]?.text == "vfat" && rows.array?[0]["label"]?.text == "EFI", "\(rows)")
        #expect(
            rows.array?[1]["type"]?.text == "ext4" && rows.array?[1]["name"]?.text == "p2"
                && rows.array?[1]["used"] != nil, "\(rows)")
        let table = try images.run("df", "disk.qcow2")
        #expect(table.status == 0 && table.text.split(separator: "\n").count == 3, "\(table)")
        // A superblock that is damaged.
        try Shell.check(
            "cp \"$1/root.raw\" \"$1/bad.raw\"; printf '\\377' | dd of=\"$1/bad.raw\" bs=1 seek=1048 conv=notrunc status=none",
            images.path)
        let bad = try images.run("df", "bad.raw")
        #expect(bad.status == 1 && bad.errors.contains("bad.raw"), "\(bad)")
        let listed = try images.run("ls", "bad.raw:/")
        #expect(listed.status == 1 && listed.output.isEmpty && listed.errors.contains("bad.raw"), "\(listed)")
    }
}
