import Foundation
import HostTools
import TestImages
import Testing

/// Files of every kind of content under every kind of name, and the disk that each is.
private struct ContentMatrix {
    /// A kind of content.
    struct Kind {
        var name: String
        /// What messages call it; nil for images and disks that are read here.
        var word: String?
        /// Whether its bytes are a disk.
        var isRaw = false
        /// The format that it is an image of.
        var format: String?
    }

    static let extensions = ["qcow2", "vmdk", "img", "raw", "ova", ""]

    static let kinds = [
        Kind(name: "qcow2", format: "qcow2"), Kind(name: "vmdk", format: "vmdk"), Kind(name: "disk", isRaw: true),
        Kind(name: "zeros", isRaw: true), Kind(name: "vdi", format: "vdi"),
        Kind(name: "vhd", format: "vpc"),
        Kind(name: "fixed-vhd", format: "vpc"), Kind(name: "vhdx", format: "vhdx"), Kind(name: "qed", format: "qed"),
        Kind(name: "qcow1", format: "qcow"), Kind(name: "parallels", format: "parallels"),
        Kind(name: "luks", word: "LUKS"),
        Kind(name: "gzip", word: "gzip"), Kind(name: "xz", word: "xz"), Kind(name: "bzip2", word: "bzip2"),
        Kind(name: "tar", word: "OVA"), Kind(name: "zip", word: "ZIP"), Kind(name: "android", word: "Android"),
        Kind(name: "html", word: "HTML"), Kind(name: "text", word: "text"),
        Kind(name: "utf16", word: "UTF-16"),
    ]

    let folder: TemporaryFolder
    /// The digest of the disk in each image, and of each file.
    let disk: String
    let files: [String: String]

    init() throws {
        folder = try TemporaryFolder()
        try Pattern.writeDisk(folder.file("disk"), size: 192 << 10, seed: 41)
        try Shell.check(
            """
            cd "$1"
            # A boot sector's signature, and no magic before it.
            printf '\\353\\143\\220' | dd of=disk conv=notrunc status=none
            printf '\\125\\252' | dd of=disk bs=1 seek=510 conv=notrunc status=none
            truncate -s 192K zeros
            for format in qcow2 vmdk vdi vhdx qed parallels; do qemu-img convert -f raw -O $format disk $format; done
            qemu-img convert -f raw -O qcow disk qcow1
            qemu-img convert -f raw -O vpc -o force_size=on disk vhd
            qemu-img convert -f raw -O vpc -o subformat=fixed,force_size=on disk fixed-vhd
            (printf 'LUKS\\272\\276\\0\\1'; cat disk) >luks
            gzip -c qcow2 >gzip; xz -0 -c qcow2 >xz; bzip2 -c qcow2 >bzip2
            echo '<Envelope/>' >vm.ovf; tar cf tar vm.ovf vmdk; rm vm.ovf
            (printf 'PK\\3\\4'; cat disk) >zip; (printf '\\72\\377\\46\\355\\1\\0'; cat disk) >android
            printf '<!DOCTYPE html>\\n<title>404</title>\\n' >html; seq 20000 >text
            printf '\\377\\376#\\0 \\0D\\0i\\0s\\0k\\0\\15\\0\\12\\0' >utf16
            mkdir all
            for kind in *; do
              [ -f "$kind" ] || continue
              for name in $kind.qcow2 $kind.vmdk $kind.img $kind.raw $kind.ova $kind; do cp "$kind" all/"$name"; done
            done
            """, folder.path)
        let sums = try Shell.check("cd \"$1/all\" && sha256sum *", folder.path)
        let pairs = sums.split(separator: "\n").map { line in
            (String(line.dropFirst(66)), String(line.prefix(64)))
        }
        let files = Dictionary(uniqueKeysWithValues: pairs)
        self.files = files
        disk = files["disk"] ?? ""
    }

    var path: String { folder.file("all") }

    static func name(_ kind: Kind, _ suffix: String) -> String { suffix.isEmpty ? kind.name : "\(kind.name).\(suffix)" }

    /// The digest of the disk that `kind` is under a name with the extension `suffix`; nil: there is none.
    func right(_ kind: Kind, _ suffix: String) -> String? {
        let bytes = files[kind.name]
        switch suffix {
        case "raw": return bytes
        case "img", "": return kind.isRaw ? bytes : kind.format.map { _ in disk }
        default: return kind.format == suffix ? disk : nil
        }
    }

    /// Compares what a surface gave of each file, by its name, with what is right; nil is a refusal. `mayLack`: whether a
    /// file that is right may be refused.
    func check(
        _ surface: String, _ found: [String: String], mayLack: (_ suffix: String) -> Bool = { _ in false }
    ) {
        for kind in Self.kinds {
            for suffix in Self.extensions {
                let name = Self.name(kind, suffix)
                let right = right(kind, suffix)
                let given = found[name]
                // What is no archive but called one may be read as what it is.
                if suffix == "ova", given == nil || given == self.right(kind, "") || kind.name == "tar" { continue }
                if given == nil, mayLack(suffix) { continue }
                #expect(given == right, "\(surface): \(name)")
            }
        }
    }
}

@Suite(.enabled(if: Tool.canMount("qemu-img", "xz", "bzip2", "gzip", "tar", "curl", "nbdcopy")))
struct `What is in a file, whatever it is called` {
    @Test(.timeLimit(.minutes(20)))
    func `is what every surface gives, or it is refused`() throws {
        let matrix = try ContentMatrix()
        let digests = try verbs(matrix)
        for verb in ["convert", "hash", "read"] { matrix.check(verb, digests[verb] ?? [:]) }
        try reports(matrix)
        try served(matrix)
        try mounted(matrix)
    }

    /// The digests of what `convert`, `hash` and `read` give of each file.
    private func verbs(_ matrix: ContentMatrix) throws -> [String: [String: String]] {
        let text = try Shell.check(
            """
            cd "$1"; out=$2/out; errors=$2/errors
            for name in *; do
              if "$3" convert -O raw "$name" "$out" >/dev/null 2>"$errors"; then
                echo convert "$name" $(sha256sum <"$out"); rm "$out"
              else
                [ ! -e "$out" ] || echo left "$name"
                echo refused "$name" $(tr '\\n' ' ' <"$errors")
              fi
              if "$3" read "$name" >"$out" 2>/dev/null; then echo read "$name" $(sha256sum <"$out"); fi
              rm -f "$out"
            done
            "$3" hash --output json * 2>/dev/null | tr -d ' \\n' | tr '{' '\\n' | sed -nE \
              's/.*"filename":"([^"]*)","hash":"([0-9a-f]*)".*/hash \\1 \\2/p'
            """, matrix.path, matrix.folder.path, Tool.rblock, timeout: 600)
        var found: [String: [String: String]] = [:]
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ", maxSplits: 2).map(String.init)
            guard words.count > 1 else { continue }
            #expect(words[0] != "left", "convert left a file of \(words[1])")
            let value = words.count > 2 ? words[2] : ""
            found[words[0], default: [:]][words[1]] = words[0] == "refused" ? value : String(value.prefix(64))
        }
        for kind in ContentMatrix.kinds {
            guard let word = kind.word else { continue }
            for suffix in ContentMatrix.extensions where suffix != "raw" && suffix != "ova" {
                let name = ContentMatrix.name(kind, suffix)
                // A text may be a descriptor whose mark is lost.
                if kind.name == "text", suffix == "vmdk" { continue }
                #expect(
                    found["refused"]?[name]?.contains(word) == true, "\(name): \(found["refused"]?[name] ?? "read")")
            }
        }
        return found
    }

    /// `info`, `map` and `inspect` have the size of the right disk, or fail.
    private func reports(_ matrix: ContentMatrix) throws {
        let sizes = try Shell.check("cd \"$1\" && stat -c '%n %s' *", matrix.path).split(separator: "\n").map {
            $0.split(separator: " ").map(String.init)
        }
        let sizeOfFile = Dictionary(uniqueKeysWithValues: sizes.map { ($0[0], Int($0[1]) ?? -1) })
        for kind in ContentMatrix.kinds {
            for suffix in ContentMatrix.extensions where suffix != "ova" {
                let name = ContentMatrix.name(kind, suffix)
                let isRaw = suffix == "raw" || kind.isRaw
                let size = matrix.right(kind, suffix).map { _ in isRaw ? sizeOfFile[name] ?? -1 : 192 << 10 }
                let info = try RBlock.run(["info", "--output", "json", name], in: matrix.path)
                let document = try JSONValue(parsing: info.output)
                #expect((info.status == 0) == (size != nil) && document["virtual-size"]?.number == size, "info \(name)")
                let map = try RBlock.run(["map", "--output", "json", name], in: matrix.path)
                #expect((map.status == 0) == (size != nil), "map \(name): \(map.errors)")
                // It shows the layout of what is there, whatever it is called.
                let inspect = try RBlock.run(["inspect", name], in: matrix.path)
                let hasLayout = kind.format != nil || size != nil
                #expect((inspect.status == 0) == hasLayout, "inspect \(name): \(inspect.text)\(inspect.errors)")
            }
        }
    }

    /// NBD and JSON-RPC offer the right disks, and no others.
    private func served(_ matrix: ContentMatrix) throws {
        let all = ContentMatrix.kinds.flatMap { kind in ContentMatrix.extensions.map { ContentMatrix.name(kind, $0) } }
        let server = try ImageServer(all.map { "\(matrix.path)/\($0)" })
        let copied = try Shell.check(
            """
            out=$1; socket=$2; shift 2
            for name in "$@"; do
              rm -f "$out"
              if nbdcopy "nbd+unix:///$name?socket=$socket" "$out" 2>/dev/null; then echo "$name" $(sha256sum <"$out"); fi
            done
            """, arguments: [matrix.folder.file("copy"), server.socket] + all, timeout: 600)
        matrix.check("NBD", Self.digests(copied))
        let requests = all.enumerated().map { index, name in
            #"{"method": "read", "id": \#(index), "params": {"image": "\#(name)", "offset": 0, "length": 32}}"#
        }
        let body = try matrix.folder.write(Array("[\(requests.joined(separator: ","))]".utf8), to: "requests")
        let answers = try JSONValue(
            parsing: Data(
                try Shell.check(
                    "curl -s -H 'Content-Type: application/json' -d @\"$1\" http://127.0.0.1:$2/", body,
                    "\(server.rpcPort)"
                ).utf8))
        #expect(answers.array?.count == all.count)
        for answer in answers.array ?? [] {
            let name = all[answer["id"]?.number ?? 0]
            guard let data = answer["result", "data"]?.text.flatMap({ Data(base64Encoded: $0) }) else {
                #expect(answer["error"] != nil, "JSON-RPC: \(name)")
                continue
            }
            let parts = name.split(separator: ".", maxSplits: 1).map(String.init)
            let kind = try #require(ContentMatrix.kinds.first { $0.name == parts[0] })
            let isImage = kind.format != nil && parts.last != "raw"
            #expect(
                matrix.right(kind, parts.count > 1 ? parts[1] : "") != nil || parts.last == "ova", "JSON-RPC: \(name)")
            let source = matrix.folder.file(isImage ? "disk" : "all/\(name)")
            #expect(
                try data == Data(contentsOf: URL(fileURLWithPath: source)).prefix(32) || kind.name == "tar", "\(name)")
        }
        withExtendedLifetime(server) {}
    }

    /// The digests in lines of a name and a digest.
    private static func digests(_ text: String) -> [String: String] {
        let pairs = text.split(separator: "\n").map { $0.split(separator: " ") }
        return Dictionary(uniqueKeysWithValues: pairs.map { (String($0[0]), String($0[1])) })
    }

    /// The mount has the right disks, and no others; each of them has a reason beside it.
    private func mounted(_ matrix: ContentMatrix) throws {
        let mount = try Mount(matrix.path)
        let text = try Shell.check(
            "cd \"$1\" && for name in *; do [ ! -e $name/disk.raw ] || echo $name $(sha256sum <$name/disk.raw); done",
            mount.path, timeout: 600)
        matrix.check("mount", Self.digests(text)) { $0.isEmpty }
        for kind in ContentMatrix.kinds where kind.word != nil {
            let message = try mount.document("\(kind.name).img")["error", "message"]?.text ?? ""
            #expect(message.contains(kind.word ?? ""), "\(kind.name).img: \(message)")
        }
        try mount.unmount()
    }
}
