import ArgumentParser
import BlockImage
import ControlRPC
import ImageTools
import Logging
import ServiceLifecycle
import Sockets

/// `rblock serve`: disks for programs that ask over sockets.
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve images, and the images of folders, over sockets.",
        discussion: """
            Every image has a name: that of its file, or its path below the folder that is served. Its snapshots are \
            IMAGE@SNAPSHOT, its partitions IMAGE/p1 and so on; a folder is looked through whenever somebody asks. Images \
            are read and never written. A client names what is served, and never a path.

            JSON-RPC 2.0 (--rpc): every line is a request, or it comes as the body of an HTTP POST; rpc.discover tells of \
            the methods, and 'rblock rpc' is a client. With stdio the server ends when its standard input does.

            A Unix socket is its owner's alone (mode 0600), and is removed in the end. A TCP address that other hosts \
            reach needs --insecure: whoever reaches it reads every image.

            EXAMPLES
              rblock serve --rpc unix:/run/rblock.sock /srv/images
              rblock serve --rpc tcp:127.0.0.1:4711 disk.qcow2 base.vmdk
              echo '{"method": "list", "id": 1}' | rblock serve --rpc stdio disk.qcow2

            EXIT STATUS
              0   a signal (SIGTERM, SIGINT) or a client ended it, and all was answered
              1   an image or folder is not there, or an address cannot be used
              64  wrong usage
            """)

    @OptionGroup var options: ImageOptions
    @Option(
        help: ArgumentHelp(
            "Where JSON-RPC is spoken: unix:PATH, tcp:HOST:PORT or stdio. Repeatable.", valueName: "address"))
    var rpc: [RPCAddress] = []
    @Flag(help: "Let TCP addresses be served that other hosts reach.") var insecure = false
    @Option(help: "How addresses are told: human, on standard error; or json, one line on standard output.")
    var output = OutputForm.human
    @Argument(help: ArgumentHelp("The images, and folders of images.", valueName: "IMAGE"), completion: .file())
    var images: [String]

    /// What --output json prints.
    private struct Addresses: Encodable {
        var rpc: [String]
    }

    func validate() throws {
        guard !rpc.isEmpty else { throw ValidationError("--rpc: say where to serve") }
        let streams = rpc.filter { if case .standardStreams = $0 { true } else { false } }
        guard streams.count <= 1 else { throw ValidationError("--rpc stdio: there is one standard input") }
        if !streams.isEmpty && output == .json {
            throw ValidationError("--rpc stdio and --output json: standard output is for one of them; choose")
        }
    }

    func run() async throws {
        let manager = ServiceManager.take()
        var sockets: [ListeningSocket] = []
        defer { for socket in sockets { socket.remove() } }
        var services: [any Service] = []
        let logger = Logger(label: "rblock") { StreamLogHandler.standardError(label: $0) }
        try Failure.reported {
            let catalog = try ExportCatalog(try images.map { try options.image($0) })
            let listeners = try rpc.map { address in
                switch address {
                case .standardStreams: return ControlServer.Listener.standardStreams
                case .socket(let address):
                    let socket = try listen(at: address)
                    sockets.append(socket)
                    return .socket(socket)
                }
            }
            services.append(ControlServer(on: listeners, serving: catalog, logger: logger))
            try announce(rpc: sockets.map(\.address))
        }
        manager?.tell("READY=1", status: "serving \(images.joined(separator: " "))")
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: services.map {
                    // A client may end one, which is to end all.
                    ServiceGroupConfiguration.ServiceConfiguration(
                        service: $0, successTerminationBehavior: .gracefullyShutdownGroup)
                },
                gracefulShutdownSignals: [.sigterm, .sigint], logger: logger))
        do {
            try await group.run()
        } catch {
            Failure.say("\(error)")
            throw ExitCode(1)
        }
        manager?.tell("STOPPING=1", status: "all is answered")
    }

    private func listen(at address: ListenAddress) throws(ImageError) -> ListeningSocket {
        let socket = try ListeningSocket(address)
        guard socket.isLocal || insecure else {
            throw ImageError(
                .denied, path: "\(address)",
                "other hosts reach this address, and whoever reaches it reads every image; --insecure serves it all the "
                    + "same")
        }
        return socket
    }

    /// Tells where clients can connect by now.
    private func announce(rpc addresses: [ListenAddress]) throws {
        switch output {
        case .human:
            for address in addresses { Failure.say("JSON-RPC at \(address)") }
        case .json:
            let line = try JSON.line(encoding: Addresses(rpc: addresses.map(\.description)))
            let printer = StandardOutput()
            try printer.write(line + "\n")
            try printer.flush()
        }
    }
}
