import HostTools
import TestImages
import Testing

/// `rblock commit` on a host that fails it.
@Suite(.enabled(if: Tool.canMount("qemu-img", "qemu-io", "strace")))
struct `A commit that the host fails` {
    /// Images of 4 MiB, and the least that goes all ways: data where there is some and where there is none, and zeros.
    private func images() throws -> OverlayImages {
        let images = try OverlayImages(
            """
            qemu-img create -q -f qcow2 -o cluster_size=4k base.qcow2 4M; qemu-io -c 'write -P 7 1M 1M' base.qcow2
            head -c 4M /dev/urandom >base.raw
            """)
        let mount = try images.mount()
        for image in ["base.qcow2", "base.raw"] {
            try Shell.check(
                """
                head -c 70000 /dev/urandom | dd of="$1" bs=1k seek=1200 conv=notrunc status=none
                head -c 5000 /dev/urandom | dd of="$1" bs=1k seek=3000 conv=notrunc status=none
                fallocate -p -o 1M -l 100k "$1"; fallocate -z -o 3M -l 12345 "$1"
                """, mount.disk(image))
        }
        try mount.unmount()
        return images
    }

    /// $1: the folder, $2: rblock, $3: the image, $4: its format.
    private static let start = """
        cd "$1"; overlay=changes/$3.overlay.qcow2; cp -p images/$3 kept; cp $overlay kept.overlay
        digest() { qemu-img convert -f $1 -O raw $2 disk; sha256sum <disk; }
        want=$(digest qcow2 $overlay); runs=0
        again() { cat kept >images/$3; touch -r kept images/$3; cp kept.overlay $overlay; }
        fail() { echo "$*"; cat said; exit 1; }
        # What must be so after a commit that ended with $status.
        judge() {
          if [ ! -e $overlay ]; then
            [ "$(digest $4 images/$3)" = "$want" ] || fail "the image is another disk"
          else
            [ $status = 1 ] || fail "status $status, and the overlay is there"
            grep -q 'rblock: ' said || fail 'nothing is said'
            [ "$(digest qcow2 $overlay)" = "$want" ] || fail "both are another disk"
            [ $4 = raw ] || qemu-img check -q images/$3 >/dev/null || [ $? = 3 ] || fail "the image is not sound"
            "$2" commit --yes --allow-path images $overlay >said 2>&1 || fail "it cannot be done again"
            [ ! -e $overlay ] && [ "$(digest $4 images/$3)" = "$want" ] || fail "done again, it is another disk"
          fi
          [ $4 = raw ] || qemu-img check -q images/$3 >/dev/null || [ $? = 3 ] || fail "the image is not sound"
        }

        """

    @Test(arguments: [("base.qcow2", "qcow2"), ("base.raw", "raw")])
    func `at any one call says so, keeps the disk, and can be done again`(image: (name: String, format: String)) throws
    {
        let script = """
            for fault in pwrite64:ENOSPC fallocate:EIO ftruncate:EIO fdatasync:EIO fsync:EIO unlink:EACCES; do
              call=${fault%:*}
              for number in {1..60}; do
                for more in '' +; do
                  again "$@"; status=0
                  strace -f -qq -o trace -e trace=$call -e inject=$call:error=${fault#*:}:when=$number$more \\
                    "$2" commit --yes --allow-path images $overlay >said 2>&1 || status=$?
                  grep -q INJECTED trace || break 2
                  runs=$((runs + 1)); judge "$@"
                done
              done
            done
            echo $runs
            """
        let images = try images()
        let said = try Shell.run(
            Self.start + script, images.path, Tool.rblock, image.name, image.format, timeout: 1800)
        #expect(said.status == 0 && Int(said.text.trimmingNewline) ?? 0 > 12, "\(said)")
        withExtendedLifetime(images) {}
    }

    /// Writes are cut short at the limit, and fail from then on.
    @Test func `where no file may be longer says so, keeps the disk, and can be done again`() throws {
        let script = """
            size=$(($(stat -c %s images/$3) / 1024))
            for limit in $(seq $size 29 $((size + 400))); do
              again "$@"; status=0
              (ulimit -f $limit; exec "$2" commit --yes --allow-path images $overlay >said 2>&1) || status=$?
              if [ $status = 0 ]; then break; fi
              grep -q 'File too large' said || fail "status $status"
              runs=$((runs + 1)); judge "$@"
            done
            judge "$@"; echo $runs
            """
        let images = try images()
        let said = try Shell.run(
            Self.start + script, images.path, Tool.rblock, "base.qcow2", "qcow2", timeout: 1800)
        #expect(said.status == 0 && Int(said.text.trimmingNewline) ?? 0 > 3, "\(said)")
        withExtendedLifetime(images) {}
    }
}

extension String {
    fileprivate var trimmingNewline: String { String(self.prefix { $0 != "\n" }) }
}
