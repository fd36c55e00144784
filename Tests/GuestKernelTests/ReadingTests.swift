import BlockImage
import Foundation
import GuestFiles
import GuestKernel
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: GuestVM.hasJudge))
struct `Files by way of a kernel in QEMU` {
    /// A file system of the test.
    private struct Made {
        var type: String
        var image: HostImage
        var isDirty = false
    }

    @Test func `are those that the kernel of the host shows, and the images stay as they are`() throws {
        let made = [
            try makeXFS(), try makeBtrfs(), try makeExt4(), try makeDirtyXFS(),
        ]
        let sums = try made.map { try $0.image.sum() }
        let machine = try GuestVM.reading(made.map(\.image.path), ["xfs", "btrfs", "ext4"])
        var found: [[String]] = []
        for (index, each) in made.enumerated() {
            let system = try machine.mount(disk: index, type: each.type)
            if !each.isDirty {
                // A copy: to be mounted changes it. First, since what is only reserved is data while it is in memory.
                let judge = try each.image.copy()
                try checkHoles(system, judge)
                try checkNumbers(system, judge)
                try checkUsage(system, judge)
            }
            found.append(try system.guestLines())
            #expect(system.info.label == "a label" && system.info.type == each.type)
            #expect(system.info.uuid == (try Shell.check("blkid -p -o value -s UUID $1", each.image.path)))
        }
        try machine.end()
        #expect(try made.map { try $0.image.sum() } == sums)
        for (found, each) in zip(found, made) {
            let expected = try each.image.copy().kernelLines()
            #expect(differences(found, expected) == [], "\(each.type)")
            #expect(found.count == expected.count && found.count > (each.isDirty ? 200 : 600))
        }
    }

    private func makeXFS() throws -> Made {
        let image = try HostImage("mkfs.xfs -q -m reflink=1,bigtime=1 -L 'a label'", size: "320M")
        try image.mounted(
            "python3 -c \"$1\" $M 60000 3000; cp --reflink=always $M/sizes/300000 $M/clone", GuestTree.populate)
        return Made(type: "xfs", image: image)
    }

    private func makeBtrfs() throws -> Made {
        let image = try HostImage("mkfs.btrfs -q -L 'a label'", size: "400M")
        try image.mounted(
            """
            btrfs property set $M compression zstd
            python3 -c \"$1\" $M 12000 1000
            head -c 3000000 /dev/zero | tr '\\0' x >$M/compressed
            btrfs subvolume create $M/sub >/dev/null
            cp -a $M/sizes $M/links $M/sub
            btrfs subvolume snapshot -r $M/sub $M/snapshot >/dev/null
            """, GuestTree.populate)
        return Made(type: "btrfs", image: image)
    }

    private func makeExt4() throws -> Made {
        let image = try HostImage("mkfs.ext4 -q -b 4096 -L 'a label'", size: "200M")
        try image.mounted("python3 -c \"$1\" $M 3500 1000", GuestTree.populate)
        return Made(type: "ext4", image: image)
    }

    /// One whose files are in the log alone: a copy of it while it was mounted.
    private func makeDirtyXFS() throws -> Made {
        let image = try HostImage("mkfs.xfs -q -L 'a label'", size: "320M")
        let copy = image.file("copy")
        try image.mounted(
            """
            for index in $(seq 300); do echo $index >$M/$index; done
            sync -f $M
            rm $M/7
            mkdir $M/late
            echo more >$M/late/file
            sync $M/late/file
            cp --sparse=always $1 $2
            echo after >$M/after
            """, image.path, copy)
        try Shell.check("mv $1 $2", copy, image.path)
        let lost = try Shell.check(
            """
            exec unshare -m --propagation private bash -ec '
            mkdir -p $2; mount -o loop,ro,norecovery,nouuid $1 $2; ls $2 | wc -l; umount $2' bash $1 $2
            """, image.path, image.file("old"))
        #expect(Int(lost) ?? .max < 300)
        return Made(type: "xfs", image: image, isDirty: true)
    }

    /// The files of `sparse`, and where their data is.
    private func checkHoles(_ system: KernelFileSystem, _ image: HostImage) throws {
        let expected = try image.mounted(
            """
            python3 -c '
            import os, sys
            for name in sorted(os.listdir(sys.argv[1])):
                f, at, all = os.open(os.path.join(sys.argv[1], name), os.O_RDONLY), 0, []
                while True:
                    try: start = os.lseek(f, at, os.SEEK_DATA)
                    except OSError: break
                    at = os.lseek(f, start, os.SEEK_HOLE)
                    all.append("%d-%d" % (start, at))
                print(name, *all)' $M/sparse
            """)
        let folder = try #require(try system.find(Array("sparse".utf8), in: system.root))
        var lines: [String] = []
        try system.list(folder) { entry throws(ImageError) in
            let content = try system.open(entry.file)
            var (position, words): (UInt64, [String]) = (0, [String(decoding: entry.name, as: UTF8.self)])
            while position < content.size {
                let run = try content.run(at: position, limit: .max)
                if run.isData { words.append("\(position)-\(position + run.count)") }
                position += run.count
            }
            #expect(position == content.size)
            #expect(throws: ImageError.self) { try content.run(at: content.size, limit: 1) }
            lines.append(words.joined(separator: " "))
            return true
        }
        #expect(lines.sorted().joined(separator: "\n") == expected)
    }

    /// As many files as the kernel of the host has: hard links are one, and those of subvolumes others.
    private func checkNumbers(_ system: KernelFileSystem, _ image: HostImage) throws {
        let expected = try image.mounted("find $M -printf '%D:%i\\n' | sort -u | wc -l")
        var numbers: Set<GuestFileID> = [system.root]
        var waiting = [system.root]
        while let directory = waiting.popLast() {
            try system.list(directory) { entry in
                numbers.insert(entry.file)
                if entry.isDirectory == true { waiting.append(entry.file) }
                return true
            }
        }
        #expect("\(numbers.count)" == expected)
        let links = try ["sizes/100", "links/hard1", "links/hard2"].map { try system.find(path: $0) }
        #expect(Set(links).count == 1 && links[0] != nil)
        #expect(try system.find(path: "sizes/missing") == nil)
    }

    private func checkUsage(_ system: KernelFileSystem, _ image: HostImage) throws {
        let usage = try system.usage()
        let expected = try image.mounted("stat -f -c '%S %b %c' $M")
        #expect("\(usage.blockSize) \(usage.blocks) \(usage.files ?? 0)" == expected)
    }
}

extension GuestFileSystem {
    /// The file at `path` below the root.
    func find(path: String) throws(ImageError) -> GuestFileID? {
        var file = root
        for name in path.split(separator: "/") {
            guard let found = try find(Array(name.utf8), in: file) else { return nil }
            file = found
        }
        return file
    }
}
