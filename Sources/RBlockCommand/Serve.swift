import AccessLog
import ArgumentParser
import Arguments
import BlockImage
import Catalog
import ControlRPC
import FormatCore
import HostStorage
import ImageFormats
import ImageTools
import Logging
import NBDServer
import Overlays
import Reports
import Sockets
import SystemPackage

/// `rblock serve`: disks for programs that ask over sockets.
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve images, and the images of folders, over sockets.",
        discussion: """
            Every image has a name: that of its file, or its path below the folder that is served. Its snapshots are \
            IMAGE@SNAPSHOT, its partitions IMAGE/p1 and so on, its volumes of LVM IMAGE/VG-LV; the disks of an OVA are \
            APPLIANCE.ova/DISK. A folder is looked through whenever a client asks. Images are read and never written: with \
            --overlay DIR clients can write to disks and partitions, and what they write goes to QCOW2 overlays in DIR. A \
            client names what is served, and never a path. When the server has ended, 'rblock commit' writes an overlay into its image, \
            and 'rblock discard' throws it away.

            NBD (--nbd, by default at tcp:127.0.0.1:10809): any client reads the exports, several at once; where one image \
            is served, its name may be left out. Holes, allocation depths and dirty bitmaps are reported on request.

            JSON-RPC 2.0 (--rpc): every line is a request, or it comes as the body of an HTTP POST; rpc.discover lists \
            the methods, and 'rblock rpc' is a client. With stdio the server ends when its standard input does.

            A Unix socket is its owner's alone (mode 0600), and is removed in the end. A TCP address that other hosts \
            reach needs --insecure, or for NBD --tls require: who reaches it reads every image. Sockets that systemd \
            passes are for NBD, those called "rpc" for JSON-RPC.

            EXAMPLES
              # one image, at nbd://localhost
              rblock serve disk.qcow2
              rblock serve --backing /srv/base.qcow2 overlay.qcow2
              # and its clients
              nbdcopy nbd://localhost copy.raw
              qemu-img convert nbd://localhost -O qcow2 copy.qcow2
              nbd-client localhost /dev/nbd0
              # a folder of images, at Unix sockets, and its clients
              rblock serve --nbd unix:/tmp/nbd.sock --rpc unix:/tmp/rpc.sock /srv/images
              nbdinfo --list 'nbd+unix:///?socket=/tmp/nbd.sock'
              nbdfuse mnt 'nbd+unix:///vm.qcow2/p1?socket=/tmp/nbd.sock'
              rblock rpc /tmp/rpc.sock list
              # disks that can be written to; the images stay as they are
              rblock serve --overlay /srv/overlays --nbd unix:/tmp/nbd.sock /srv/images
              nbdcopy disk.raw 'nbd+unix:///vm.qcow2?socket=/tmp/nbd.sock'
              # for other hosts, encrypted
              rblock serve --nbd tcp:0.0.0.0:10809 --tls-certificates /etc/pki/nbd /srv
              # one question, and the end
              echo '{"method": "list", "id": 1}' | rblock serve --rpc stdio disk.qcow2

            SIGNALS
              SIGTERM, SIGINT
                  end the server, once requests are answered
              SIGHUP
                  with --access-log FILE opens the file anew, else ends the server

            ENVIRONMENT
              LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES
                  sockets that systemd passes; the names tell which are for JSON-RPC
              NOTIFY_SOCKET
                  where systemd learns that clients can connect

            EXIT STATUS
              0   a signal (SIGTERM, SIGINT) or a client ended it; all was answered
                  but what waits for an image or a client that does not answer
              1   an image or folder is not there, an address or certificate cannot be
                  used, or standard output takes no answers; with --overlay also:
                  what was written may be lost, which the log says
              64  wrong usage

            SEE ALSO
              nbdcopy(1), nbdfuse(1), nbdinfo(1), rblock(1), rblock-rpc(1),
              rblock-json(5), systemd.socket(5), rblock-guide(7), rblock-names(7),
              nbd-client(8), qemu-nbd(8)
            """)

    @OptionGroup var options: ImageOptions
    @OptionGroup var under: BackingOption
    @Option(
        help: ArgumentHelp(
            "Where NBD is spoken: unix:PATH or tcp:HOST:PORT; port 0 is any that is free. Repeatable.",
            valueName: "address"))
    var nbd: [ListenAddress] = []
    @Option(
        help: ArgumentHelp(
            "Where JSON-RPC is spoken: unix:PATH, tcp:HOST:PORT or stdio. Repeatable.", valueName: "address"))
    var rpc: [RPCAddress] = []
    @Option(
        help: ArgumentHelp(
            """
            A folder for QCOW2 overlays, which is made if need be: clients of NBD can write to disks and partitions, and \
            what they write goes there. Snapshots, images of chains and volumes of LVM stay read-only.
            """, valueName: "dir"),
        completion: .directory)
    var overlay: String?
    @OptionGroup var overlays: OverlayOptions
    @OptionGroup var encryption: EncryptionOptions
    @Flag(
        help: """
            Serve files of folders without a known extension as well, where their content is that of an image. They may \
            name other files only where an image of their folder names them as its backing file, with a format.
            """)
    var probe = false
    @Flag(help: "Let TCP addresses be served that other hosts reach, though nothing is encrypted.") var insecure = false
    @OptionGroup var logs: LogOptions
    @Option(
        help: ArgumentHelp(
            """
            How addresses are reported: human, on standard error; or json, one line on standard output. Also the form of \
            the access log.
            """, valueName: "form"))
    var output = OutputForm.human
    @Argument(help: ArgumentHelp("The images, and folders of images.", valueName: "IMAGE"), completion: .file())
    var images: [String]

    /// The sockets of both protocols.
    private struct Sockets {
        var nbd: [ListeningSocket] = []
        var rpc: [ControlServer.Listener] = []

        var ofRPC: [ListeningSocket] {
            rpc.compactMap { if case .socket(let socket) = $0 { socket } else { nil } }
        }
    }

    func validate() throws {
        try under.check(images)
        if overlay != nil, under.backing != nil {
            throw ValidationError("--overlay and --backing: an overlay names what the image itself is over; choose")
        }
        try overlays.check(with: overlay)
        let streams = rpc.filter { if case .standardStreams = $0 { true } else { false } }
        guard streams.count <= 1 else { throw ValidationError("--rpc stdio: there is one standard input") }
        if !streams.isEmpty && output == .json {
            throw ValidationError("--rpc stdio and --output json: standard output is for one of them; choose")
        }
        if !streams.isEmpty && logs.accessLog == "-" {
            throw ValidationError("--rpc stdio and --access-log -: standard output is for one of them; choose")
        }
    }

    func run() async throws {
        let manager = ServiceManager.take()
        let passed = ListeningSocket.passed()
        var sockets = Sockets()
        defer { for socket in sockets.nbd + sockets.ofRPC { socket.remove() } }
        var servers: [@Sendable () async throws -> Void] = []
        var begun: ServerLogs?
        defer { begun?.finish() }
        var group: ServerGroup?
        var served: ExportCatalog?
        try Failure.reported(as: output, inLine: true) {
            let logs = try logs.begin(output)
            begun = logs
            let logger = logs.logger
            let settings = try usage { () throws(OptionFault) in
                try OverlaySettings(
                    options: overlays.overlayOptions, allowsPlaintext: overlays.overlayPlaintext,
                    takesLocks: !overlays.locking.noLock)
            }
            let catalog = try ExportCatalog(
                try namedImages(), probesAll: probe, overlay: overlay.map { FilePath(text: $0) },
                overlaySettings: settings
            ) { note in
                logger.warning("\(printable(note))")
            }
            served = catalog
            let tls = try encryption.read()
            try listen(passed, encrypted: tls.mode == .require, into: &sockets)
            if !sockets.nbd.isEmpty {
                servers.append(
                    try NBDServer(
                        catalog: catalog, sockets: sockets.nbd, tls: tls, logger: logger, log: logs.access
                    ).run)
            }
            if !sockets.rpc.isEmpty {
                servers.append(
                    ControlServer(on: sockets.rpc, serving: catalog, logger: logger, log: logs.access).run)
            }
            // A client of what is announced may end the server at once.
            group = ServerGroup(hangUp: !logs.reopens)
            try Announcement(sockets.nbd, sockets.ofRPC, of: catalog, tls).make(output)
            catalog.tellUnreadable { error in Failure.say("clients cannot read this: \(error)") }
            catalog.tellSkipped { skipped in
                if !skipped.isEmpty { Failure.say("not served: \(skipped.summary)") }
            }
        }
        manager?.tell("READY=1", status: "serving \(images.joined(separator: " "))")
        do {
            try await group?.run(servers)
        } catch {
            let reason = (error as? ImageError)?.description ?? connectionFault(error) ?? "a socket cannot be used"
            Failure.say("serving has failed: \(reason)")
            _ = end(served, begun)
            throw ExitCode(1)
        }
        manager?.tell("STOPPING=1", status: "all is answered")
        guard end(served, begun) else { throw ExitCode(1) }
    }

    /// Nothing is served any more: has what was written be in the overlays. Answers false, and logs why, where some may be lost.
    private func end(_ catalog: ExportCatalog?, _ logs: ServerLogs?) -> Bool {
        let errors = catalog?.end() ?? []
        for error in errors { logs?.logger.error("\(printable("what was written may be lost: \(error)"))") }
        return errors.isEmpty
    }

    /// What is to be served. Throws where an image has no place for the file that is to lie under it.
    private func namedImages() throws(ImageError) -> [NamedImage] {
        var named: [NamedImage] = []
        for path in images {
            var image = try options.image(path)
            under.apply(to: &image)
            if under.backing != nil { _ = try image.open() }
            named.append(image)
        }
        return named
    }

    /// Opens the sockets that were asked for, besides those that were `passed`.
    private func listen(
        _ passed: [(name: String, socket: ListeningSocket)], encrypted: Bool, into sockets: inout Sockets
    ) throws(ImageError) {
        let isForRPC = { (name: String) in name == "rpc" }
        for (name, socket) in passed {
            try check(socket, encrypted: encrypted && !isForRPC(name))
            if isForRPC(name) { sockets.rpc.append(.socket(socket)) } else { sockets.nbd.append(socket) }
        }
        var nbd = nbd
        if nbd.isEmpty, rpc.isEmpty, passed.isEmpty { nbd = [.tcp(host: "127.0.0.1", port: 10809)] }
        for address in nbd {
            let socket = try ListeningSocket(address)
            sockets.nbd.append(socket)
            try check(socket, encrypted: encrypted)
        }
        for address in rpc {
            switch address {
            case .standardStreams: sockets.rpc.append(.standardStreams)
            case .socket(let address):
                let socket = try ListeningSocket(address)
                sockets.rpc.append(.socket(socket))
                try check(socket, encrypted: false)
            }
        }
    }

    private func check(_ socket: ListeningSocket, encrypted: Bool) throws(ImageError) {
        guard socket.isLocal || encrypted || insecure else {
            throw ImageError(
                .denied, about: .named("\(socket.address)"),
                "other hosts reach this address, and whoever reaches it reads every image\(overlay == nil ? "" : " and writes")"
                    + "\(hint: "; --insecure serves it all the same")")
        }
    }
}
